"""An ESP32-C3 as far as a bare application sees it: one RV32IMC core, UART0, timer, watchdogs.

The image is laid out as ESP-IDF's second-stage bootloader would do it: segments for the SRAM are
copied, segments for the flash windows are mapped page by page from the image itself, so that a
segment at a wrong place in the file shows wrong bytes. SRAM is one memory under two addresses.
The instructions are executed by Unicorn; nothing here shares code with the build.

Every register access takes 50 µs of virtual time: a second is 20 000 accesses.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, field

import unicorn
from unicorn import riscv_const

PAGE_BYTES = 0x10000
SRAM_BYTES = 0x60000
SRAM_ON_DATA_BUS = 0x3FC80000
SRAM_ON_INSTRUCTION_BUS = 0x40380000
DROM_WINDOW = range(0x3C000000, 0x3C800000)
IROM_WINDOW = range(0x42000000, 0x42800000)
DRAM = range(SRAM_ON_DATA_BUS, SRAM_ON_DATA_BUS + SRAM_BYTES)
IRAM = range(SRAM_ON_INSTRUCTION_BUS, SRAM_ON_INSTRUCTION_BUS + SRAM_BYTES)

ACCESS_US = 50
TICKS_PER_US = 16
UART_FIFO_BYTES = 128
RTC_WATCHDOG_US = 9_000_000  # what the bootloader sets unless told otherwise
UNLOCK = 0x50D83AA1
SUPER_UNLOCK = 0x8F1D312A


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment as the image lists it: where it goes, where it lies in the file, what it holds."""

    load_address: int
    file_offset: int
    content: bytes


def parse_segments(image: bytes) -> tuple[int, tuple[Segment, ...]]:
    """Read entry point and segments of an ESP image, by its documented layout alone."""
    magic, count, _mode, _size_frequency, entry = struct.unpack_from("<BBBBI", image)
    assert magic == 0xE9
    segments, offset = [], 24
    for _ in range(count):
        load_address, size_bytes = struct.unpack_from("<II", image, offset)
        offset += 8
        content = image[offset : offset + size_bytes]
        assert len(content) == size_bytes
        segments.append(Segment(load_address=load_address, file_offset=offset, content=content))
        offset += size_bytes
    return entry, tuple(segments)


@dataclass(slots=True, kw_only=True)
class Machine:
    """A chip that has just left its bootloader.

    Args:
        image: The application image as it lies in its slot.
        is_uart_stuck: The transmitter never drains, as with a stopped clock.
    """

    image: bytes
    is_uart_stuck: bool = False
    sent: bytearray = field(default_factory=bytearray)
    newline_times_us: list[int] = field(default_factory=list)
    lost_bytes: int = 0
    now_us: int = 123_456
    is_reset_by_watchdog: bool = False
    fed_at_us: int = 123_456
    feeds: int = 0
    registers: dict[int, int] = field(default_factory=dict)
    _uart_count: int = 0
    _latched_ticks: int = 0
    _stop_after_lines: int = 0
    _core: unicorn.Uc = field(init=False)
    _sram: object = field(init=False)

    def __post_init__(self) -> None:
        self.registers = {
            0x60008090: 0x800132E2,  # RTC watchdog on, as the bootloader leaves it
            0x6001F048: 0x8000C000,  # both timer groups' watchdogs on: the worst the ROM leaves
            0x60020048: 0x8000C000,
            0x600080AC: 0,
        }
        self._core = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        self._sram = ctypes.create_string_buffer(b"\xa5" * SRAM_BYTES, SRAM_BYTES)
        pointer = ctypes.cast(self._sram, ctypes.c_void_p)
        for base in (SRAM_ON_DATA_BUS, SRAM_ON_INSTRUCTION_BUS):
            self._core.mem_map_ptr(base, SRAM_BYTES, unicorn.UC_PROT_ALL, pointer)
        for base in (0x60000000, 0x60008000, 0x6001F000, 0x60020000, 0x60023000):
            self._core.mmio_map(base, 0x1000, self._read, base, self._write, base)
        entry, segments = parse_segments(self.image)
        for segment in segments:
            self._place(segment)
        self._core.reg_write(riscv_const.UC_RISCV_REG_PC, entry)

    def _place(self, segment: Segment) -> None:
        address, size_bytes = segment.load_address, len(segment.content)
        if address in DRAM or address in IRAM:
            self._core.mem_write(address, segment.content)
        elif address in DROM_WINDOW or address in IROM_WINDOW:
            first_page = address // PAGE_BYTES
            last_page = (address + size_bytes - 1) // PAGE_BYTES
            first_byte = segment.file_offset // PAGE_BYTES * PAGE_BYTES
            rights = unicorn.UC_PROT_READ
            if address in IROM_WINDOW:
                rights |= unicorn.UC_PROT_EXEC
            for index, page in enumerate(range(first_page, last_page + 1)):
                self._core.mem_map(page * PAGE_BYTES, PAGE_BYTES, rights)
                start = first_byte + index * PAGE_BYTES
                content = self.image[start : start + PAGE_BYTES].ljust(PAGE_BYTES, b"\xff")
                self._core.mem_write(page * PAGE_BYTES, content)
        else:
            assert address == 0, "neither memory nor padding"

    def run(self, *, lines: int, max_instructions: int) -> list[str]:
        """Run until so many lines were sent, a watchdog bit, or the instructions are used up."""
        self._stop_after_lines = lines
        start = self._core.reg_read(riscv_const.UC_RISCV_REG_PC)
        self._core.emu_start(start, 0, count=max_instructions)
        return self.sent.decode("ascii").splitlines()

    def read_trap_vector(self) -> int:
        """Return mtvec, where an exception would go."""
        return int(self._core.reg_read(riscv_const.UC_RISCV_REG_MTVEC))

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        """Return what the core would read there."""
        return bytes(self._core.mem_read(address, size_bytes))

    def _spend_time(self) -> None:
        self.now_us += ACCESS_US
        if self.now_us - self.fed_at_us > RTC_WATCHDOG_US:
            self.is_reset_by_watchdog = True
            self._core.emu_stop()

    def _read(self, _core: unicorn.Uc, offset: int, _size: int, base: int) -> int:
        self._spend_time()
        match base + offset:
            case 0x6000001C:
                count = self._uart_count
                self._uart_count = count if self.is_uart_stuck else max(0, count - 1)
                return count << 16
            case 0x60023004:
                return 1 << 29
            case 0x60023044:
                return self._latched_ticks & 0xFFFFFFFF
            case 0x60023040:
                return self._latched_ticks >> 32
            case address:
                return self.registers.get(address, 0)

    def _write(self, _core: unicorn.Uc, offset: int, _size: int, value: int, base: int) -> None:
        self._spend_time()
        address = base + offset
        match address:
            case 0x60000000:
                self._send(value)
            case 0x60023004:
                assert value == 1 << 30
                self._latched_ticks = self.now_us * TICKS_PER_US
            case 0x600080A4:
                if self.registers.get(0x600080A8) == UNLOCK and value >> 31:
                    self.fed_at_us = self.now_us
                    self.feeds += 1
            case 0x6001F048 | 0x60020048:
                if self.registers.get(base + 0x64) == UNLOCK:
                    self.registers[address] = value
            case 0x600080AC:
                if self.registers.get(0x600080B0) == SUPER_UNLOCK:
                    self.registers[address] = value
            case _:
                self.registers[address] = value

    def _send(self, byte: int) -> None:
        if self._uart_count >= UART_FIFO_BYTES:
            self.lost_bytes += 1
            return
        self._uart_count += 1
        self.sent.append(byte)
        if byte == ord("\n"):
            self.newline_times_us.append(self.now_us)
            if len(self.newline_times_us) == self._stop_after_lines:
                self._core.emu_stop()
