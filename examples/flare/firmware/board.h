/* What an application here needs of the ESP32-C3: time, a UART and quiet watchdogs. */
#pragma once

#include <stdint.h>

/* The system timer counts at 16 MHz: the 40 MHz crystal divided by 2.5, whatever the CPU clock. */
#define TICKS_PER_SECOND 16000000ULL

/* Takes over from the bootloader: timer running, only the RTC watchdog left to be fed. */
void board_start(void);

/* Ticks since reset (52 bits, wraps after nine years). */
uint64_t ticks_now(void);

/* Waits until the counter reaches due_ticks, feeding the watchdog meanwhile. */
void wait_until(uint64_t due_ticks);

/* Sends a line and its newline on UART0 at the 115200 baud that the ROM has set up. */
void uart_write_line(const char *text);
