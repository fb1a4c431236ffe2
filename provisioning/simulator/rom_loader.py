"""The loader in the ROM of an ESP32-C3, in download mode on UART0.

It adds to `loader`: uploading a program to RAM and jumping to it, and the slow flash read. Its
answers carry four status bytes, its MD5 is hexadecimal text. In secure download mode it takes flash
content, and refuses whatever would read or run something.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from provisioning.simulator.efuses import EFUSE_COMMAND, EFUSE_READ_COMMAND
from provisioning.simulator.loader import (
    WRITE_REG,
    Answer,
    Loader,
    NextStep,
    Operation,
    RequestError,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.simulator.efuses import EfuseFile
    from provisioning.simulator.flash import NorFlash
    from provisioning.simulator.registers import ChipRegisters

_MEMORY_BEGIN: Final = struct.Struct("<IIII")
_READ_LIMIT_BYTES: Final = 64
_RAM_MAX_BYTES: Final = 0x60000
_LUI_OPCODE: Final = 0x37
_OHAI_UPPER: Final = 0x49415
"""`lui` immediate of the word "OHAI" (0x4941484F, its lower part is negative)."""


_SECURE_OPERATIONS: Final = frozenset(
    {
        Operation.FLASH_BEGIN,
        Operation.FLASH_DATA,
        Operation.FLASH_END,
        Operation.FLASH_DEFL_BEGIN,
        Operation.FLASH_DEFL_DATA,
        Operation.FLASH_DEFL_END,
        Operation.SPI_SET_PARAMS,
        Operation.SPI_ATTACH,
        Operation.CHANGE_BAUDRATE,
        Operation.GET_SECURITY_INFO,
    }
)
"""What is left in secure download mode: nothing that reads, and nothing that runs."""


class RomLoader(Loader):
    """The ROM loader; arguments as for `Loader`."""

    STATUS_BYTES = 4
    IS_STUB = False

    def __init__(self, *, flash: NorFlash, registers: ChipRegisters, efuse_file: EfuseFile) -> None:
        super().__init__(flash=flash, registers=registers, efuse_file=efuse_file)
        self._is_secure_download = efuse_file.is_secure_download
        self._segments: dict[int, bytearray] = {}
        self._segment_start = 0
        self._next_block = 0
        self._commands |= {
            Operation.MEM_BEGIN: self._begin_memory,
            Operation.MEM_DATA: self._write_memory,
            Operation.MEM_END: self._end_memory,
            Operation.READ_FLASH_SLOW: self._read_flash,
        }

    def _command(self, operation: int) -> Callable[[bytes], Answer] | None:
        if self._is_secure_download and operation not in _SECURE_OPERATIONS:
            return None
        return super()._command(operation)

    def _write_register(self, data: bytes) -> Answer:
        answer = super()._write_register(data)
        # A burned lock counts from the moment at which the controller reads its fuses again.
        for address, value, _, _ in WRITE_REG.iter_unpack(data):
            if address == EFUSE_COMMAND and value & EFUSE_READ_COMMAND:
                self._is_secure_download = self._efuses.is_secure_download
        return answer

    @property
    def has_stub(self) -> bool:
        """Whether the uploaded program is esptool's flasher stub: one that says OHAI.

        Any other program would run on a chip, but not here: it is silent.
        """
        for content in self._segments.values():
            for start in range(0, len(content) - 3, 2):
                if content[start] & 0x7F == _LUI_OPCODE:
                    (word,) = struct.unpack_from("<I", content, start)
                    if word >> 12 == _OHAI_UPPER:
                        return True
        return False

    def _begin_memory(self, data: bytes) -> Answer:
        size_bytes, _, _, start = _MEMORY_BEGIN.unpack_from(data)
        if size_bytes > _RAM_MAX_BYTES:
            raise RequestError("more than the RAM holds")
        self._segment_start = start
        self._segments[start] = bytearray()
        self._next_block = 0
        return Answer()

    def _write_memory(self, data: bytes) -> Answer:
        block_bytes, number, _, _ = _MEMORY_BEGIN.unpack_from(data)
        block = data[_MEMORY_BEGIN.size :]
        segment = self._segments.get(self._segment_start)
        if segment is None or number != self._next_block or len(block) != block_bytes:
            raise RequestError("block out of order")
        if len(segment) + len(block) > _RAM_MAX_BYTES:
            raise RequestError("more than the RAM holds")
        segment += block
        self._next_block += 1
        return Answer()

    def _end_memory(self, data: bytes) -> Answer:
        stays, entry = struct.unpack_from("<II", data)
        if stays:
            return Answer()
        if not any(start <= entry < start + len(code) for start, code in self._segments.items()):
            raise RequestError("the entry point is not in what was uploaded")
        self._registers.load_ram({start: bytes(code) for start, code in self._segments.items()})
        self.next_step = NextStep.RUN_UPLOADED
        return Answer()

    def _end_flash(self, data: bytes) -> Answer:
        struct.unpack_from("<I", data)
        # Whatever the argument says, the ROM leaves its loader.
        self._download = None
        self.next_step = NextStep.RUN_FLASH
        return Answer()

    def _read_flash(self, data: bytes) -> Answer:
        offset_bytes, size_bytes = struct.unpack_from("<II", data)
        if size_bytes > _READ_LIMIT_BYTES:
            raise RequestError("the ROM reads 64 bytes", status=Status.FAILED)
        content = self._flash.read(offset_bytes, size_bytes)
        return Answer(data=content.ljust(_READ_LIMIT_BYTES, b"\x00"))

    def _hash_flash(self, data: bytes) -> Answer:
        return Answer(data=self._digest_flash(data).hex().encode())
