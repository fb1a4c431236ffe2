"""What READ_REG and WRITE_REG see on a simulated ESP32-C3.

| addresses | behaviour |
|---|---|
| 0x60008800 + 0x200 | eFuse controller (`efuses`) |
| 0x60002000 + 0x100 | SPI1 controller: user commands reach the flash chip |
| 0x60008090, 0x600080A8 | RTC watchdog: once enabled and locked again, it resets the chip |
| RAM that was uploaded | as uploaded |
| anything else | keeps what is written, reads 0 before |

Register names are those of the ESP32-C3 technical reference manual.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from provisioning.simulator import efuses

if TYPE_CHECKING:
    from provisioning.simulator.efuses import EfuseFile

_CHIP_DETECT: Final = 0x40001000
_CHIP_DETECT_VALUE: Final = 0x1B31506F
_SPI_BASE: Final = 0x60002000
_SPI_CMD: Final = _SPI_BASE + 0x00
_SPI_ADDR: Final = _SPI_BASE + 0x04
_SPI_USER2: Final = _SPI_BASE + 0x20
_SPI_MISO_DLEN: Final = _SPI_BASE + 0x28
_SPI_W0: Final = _SPI_BASE + 0x58
_SPI_CMD_USR: Final = 1 << 18
_RTC_WDT_CONFIG0: Final = 0x60008090
_RTC_WDT_ENABLE: Final = 1 << 31
_RTC_WDT_PROTECT: Final = 0x600080A8
_RTC_WDT_KEY: Final = 0x50D83AA1

_READ_STATUS: Final = {0x05: 0, 0x35: 1, 0x15: 2}
_WRITE_STATUS: Final = {0x01: 0, 0x31: 1, 0x11: 2}
_READ_ID: Final = 0x9F
_READ_SFDP: Final = 0x5A
_FLASH_MAKER: Final = 0xEF
_FLASH_TYPE: Final = 0x40
_SFDP_HEADER: Final = struct.pack("<4sBBBB", b"SFDP", 6, 1, 0, 0xFF)
_SFDP: Final = (_SFDP_HEADER + struct.pack("<BBBBI", 0, 6, 1, 16, 0xFF000080)).ljust(0x100, b"\xff")


class ChipRegisters:
    """The register space of one chip.

    Args:
        efuse_file: The board's eFuses.
        flash_size_bytes: Capacity that the flash chip's identity tells; a power of two.
    """

    def __init__(self, *, efuse_file: EfuseFile, flash_size_bytes: int) -> None:
        self.is_watchdog_reset_due = False
        self._is_watchdog_armed = False
        self._efuses = efuse_file
        capacity_code = flash_size_bytes.bit_length() - 1
        self._flash_id = _FLASH_MAKER | _FLASH_TYPE << 8 | capacity_code << 16
        self._flash_status = [0, 0, 0]
        self._words: dict[int, int] = {}
        self._ram: dict[int, bytes] = {}

    def load_ram(self, segments: dict[int, bytes]) -> None:
        """Make uploaded segments readable, keyed by their address."""
        self._ram = dict(segments)

    def read_word(self, address: int) -> int:
        """Return the 32-bit word at an address."""
        if efuses.contains_address(address):
            return self._efuses.read_word(address)
        if address == _CHIP_DETECT:
            return _CHIP_DETECT_VALUE
        for start, content in self._ram.items():
            if start <= address < start + len(content):
                piece = content[address - start : address - start + 4]
                return int.from_bytes(piece, "little")
        return self._words.get(address & ~3, 0)

    def write_word(self, address: int, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Write the masked bits of a word.

        Raises:
            SimulatorError: The eFuse controller refuses.
        """
        value = (self.read_word(address) & ~mask | value & mask) & 0xFFFFFFFF
        if efuses.contains_address(address):
            self._efuses.write_word(address, value)
            return
        self._words[address & ~3] = value
        if address == _SPI_CMD and value & _SPI_CMD_USR:
            self._run_flash_command()
        elif address == _RTC_WDT_CONFIG0 and value & _RTC_WDT_ENABLE:
            self._is_watchdog_armed = self._words.get(_RTC_WDT_PROTECT) == _RTC_WDT_KEY
        elif address == _RTC_WDT_PROTECT and value != _RTC_WDT_KEY and self._is_watchdog_armed:
            self._is_watchdog_armed = False
            self.is_watchdog_reset_due = True

    def _run_flash_command(self) -> None:
        command = self._words.get(_SPI_USER2, 0) & 0xFF
        data = self._words.get(_SPI_W0, 0)
        answer = 0
        if command in _READ_STATUS:
            answer = self._flash_status[_READ_STATUS[command]]
        elif command in _WRITE_STATUS:
            self._flash_status[_WRITE_STATUS[command]] = data & 0xFF
        elif command == _READ_ID:
            answer = self._flash_id
        elif command == _READ_SFDP:
            start = self._words.get(_SPI_ADDR, 0) & 0xFFFFFF
            answer = int.from_bytes(_SFDP[start : start + 4].ljust(4, b"\xff"), "little")
        bits = self._words.get(_SPI_MISO_DLEN, 0) + 1
        self._words[_SPI_W0] = answer & ((1 << min(bits, 32)) - 1)
        self._words[_SPI_CMD] = 0
