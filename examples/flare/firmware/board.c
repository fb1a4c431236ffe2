/*
 * Bare registers, because there is no ESP-IDF below us. The numbers are those of the ESP32-C3
 * Technical Reference Manual: chapters "UART Controller", "System Timer", "Watchdog Timers".
 *
 * Time is read from the system timer and not from the CPU's cycle counter: the bootloader's clock
 * settings (80 or 160 MHz) would change the second, while the timer always runs on the crystal.
 */
#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART0_FIFO REGISTER(0x60000000)
#define UART0_STATUS REGISTER(0x6000001C)
#define UART_TX_COUNT(status) (((status) >> 16) & 0x3FF)
#define UART_FIFO_BYTES 128

#define SYSTIMER_CONF REGISTER(0x60023000)
#define SYSTIMER_UNIT0_OP REGISTER(0x60023004)
#define SYSTIMER_UNIT0_VALUE_HI REGISTER(0x60023040)
#define SYSTIMER_UNIT0_VALUE_LO REGISTER(0x60023044)
#define SYSTIMER_CLOCK_ON (1u << 31)
#define SYSTIMER_UNIT0_ON (1u << 30)
#define SYSTIMER_LATCH (1u << 30)
#define SYSTIMER_LATCHED (1u << 29)

#define RTC_WDT_FEED REGISTER(0x600080A4)
#define RTC_WDT_PROTECT REGISTER(0x600080A8)
#define RTC_WDT_FEED_NOW (1u << 31)
#define SUPER_WDT_CONF REGISTER(0x600080AC)
#define SUPER_WDT_PROTECT REGISTER(0x600080B0)
#define SUPER_WDT_AUTO_FEED (1u << 31)
#define TIMER_GROUP0_WDT_CONFIG REGISTER(0x6001F048)
#define TIMER_GROUP0_WDT_PROTECT REGISTER(0x6001F064)
#define TIMER_GROUP1_WDT_CONFIG REGISTER(0x60020048)
#define TIMER_GROUP1_WDT_PROTECT REGISTER(0x60020064)
#define WDT_UNLOCK 0x50D83AA1u
#define SUPER_WDT_UNLOCK 0x8F1D312Au
#define WDT_LOCK 0u

void board_start(void)
{
    TIMER_GROUP0_WDT_PROTECT = WDT_UNLOCK;
    TIMER_GROUP0_WDT_CONFIG = 0;
    TIMER_GROUP0_WDT_PROTECT = WDT_LOCK;

    TIMER_GROUP1_WDT_PROTECT = WDT_UNLOCK;
    TIMER_GROUP1_WDT_CONFIG = 0;
    TIMER_GROUP1_WDT_PROTECT = WDT_LOCK;

    SUPER_WDT_PROTECT = SUPER_WDT_UNLOCK;
    SUPER_WDT_CONF |= SUPER_WDT_AUTO_FEED;
    SUPER_WDT_PROTECT = WDT_LOCK;

    SYSTIMER_CONF |= SYSTIMER_CLOCK_ON | SYSTIMER_UNIT0_ON;
}

/* The bootloader started this one (9 s unless configured otherwise) and leaves it running for the
 * application: fed, it still restarts a board whose loop hangs. */
static void feed_watchdog(void)
{
    RTC_WDT_PROTECT = WDT_UNLOCK;
    RTC_WDT_FEED = RTC_WDT_FEED_NOW;
    RTC_WDT_PROTECT = WDT_LOCK;
}

uint64_t ticks_now(void)
{
    SYSTIMER_UNIT0_OP = SYSTIMER_LATCH;
    while (!(SYSTIMER_UNIT0_OP & SYSTIMER_LATCHED)) {
    }
    uint32_t low = SYSTIMER_UNIT0_VALUE_LO;
    return ((uint64_t)SYSTIMER_UNIT0_VALUE_HI << 32) | low;
}

void wait_until(uint64_t due_ticks)
{
    while (ticks_now() < due_ticks) {
        feed_watchdog();
    }
}

static void uart_write_byte(char byte)
{
    /* A transmitter that never drains leaves the watchdog unfed. */
    while (UART_TX_COUNT(UART0_STATUS) >= UART_FIFO_BYTES - 1) {
    }
    UART0_FIFO = (uint8_t)byte;
}

void uart_write_line(const char *text)
{
    while (*text) {
        uart_write_byte(*text++);
    }
    uart_write_byte('\n');
}
