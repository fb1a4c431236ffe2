/* The example product's firmware: says its name and version on UART0 once a second. */
#include "board.h"

void application_main(void)
{
    board_start();
    uint64_t due_ticks = ticks_now();
    for (;;) {
        uart_write_line(APPLICATION_NAME " " APPLICATION_VERSION);
        due_ticks += TICKS_PER_SECOND; /* from deadline to deadline, so that the second never drifts */
        wait_until(due_ticks);
    }
}
