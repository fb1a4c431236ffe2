/* Somebody else's application: a valid ESP32-C3 image that knows nothing of the factory's link. */
#include "board.h"

void application_main(void)
{
    board_start();
    uint64_t due_ticks = ticks_now();
    for (unsigned seconds_left = 10;; seconds_left = seconds_left ? seconds_left - 1 : 10) {
        uart_write_line(seconds_left ? "Hello world!" : "Restarting now.");
        due_ticks += TICKS_PER_SECOND;
        wait_until(due_ticks);
    }
}
