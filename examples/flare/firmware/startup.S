# The first instructions after the bootloader: no interrupts, a stack, a trap, a clean .bss.
#
# It lies in IRAM, so that it does not depend on the flash windows, and reaches the application in
# IROM through a register: a plain jump (1 MiB) cannot span the distance.

    .section .iram.entry, "ax"
    .global application_entry
application_entry:
    csrci   mstatus, 8              # MIE off: nothing here uses interrupts
    la      t0, trap
    ori     t0, t0, 1               # the chip knows vectored mode only
    csrw    mtvec, t0
    la      sp, stack_top
    la      t0, bss_start
    la      t1, bss_end
clear_next_word:
    bgeu    t0, t1, start_application
    sw      zero, 0(t0)
    addi    t0, t0, 4
    j       clear_next_word
start_application:
    la      t0, application_main
    jr      t0

# Any exception ends here. Nobody feeds the watchdog any more, so the chip restarts.
    .section .iram.text, "ax"
    .balign 256
trap:
    j       trap
