"""esptool's flasher stub, as it behaves once it runs on an ESP32-C3.

It adds to `loader`: erasing, and reading flash as a stream with acknowledgements. Its answers carry
two status bytes, its MD5 is binary, and it greets with OHAI.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

from firmware_images.flash_medium import check_range
from provisioning.simulator.loader import Answer, Loader, NextStep, Operation, RequestError
from provisioning.simulator.slip import serialize_packet

if TYPE_CHECKING:
    from provisioning.simulator.efuses import EfuseFile
    from provisioning.simulator.flash import NorFlash
    from provisioning.simulator.registers import ChipRegisters

GREETING: Final = serialize_packet(b"OHAI")
_READ: Final = struct.Struct("<IIII")
_BLOCK_MAX_BYTES: Final = 0x1000


class StubLoader(Loader):
    """The flasher stub; arguments as for `Loader`."""

    STATUS_BYTES = 2
    IS_STUB = True

    def __init__(self, *, flash: NorFlash, registers: ChipRegisters, efuse_file: EfuseFile) -> None:
        super().__init__(flash=flash, registers=registers, efuse_file=efuse_file)
        self._stream: _FlashStream | None = None
        self._commands |= {
            Operation.ERASE_FLASH: lambda _: self._erase(0, self._flash.size_bytes),
            Operation.ERASE_REGION: self._erase_region,
            Operation.READ_FLASH: self._read_flash,
            Operation.RUN_USER_CODE: self._run_flash,
        }

    def _handle(self, packet: bytes) -> bytes:
        if self._stream is None:
            return super()._handle(packet)
        if len(packet) != 4:  # noqa: PLR2004 - an acknowledgement is one 32-bit word
            self._stream = None
            return super()._handle(packet)
        self._stream.acknowledge(int.from_bytes(packet, "little"))
        return self._take_extra_output()

    def _take_extra_output(self) -> bytes:
        if self._stream is None:
            return b""
        output = self._stream.take_packets()
        if self._stream.is_finished:
            self._stream = None
        return output

    def _erase_region(self, data: bytes) -> Answer:
        offset_bytes, size_bytes = struct.unpack_from("<II", data)
        return self._erase(offset_bytes, size_bytes)

    def _read_flash(self, data: bytes) -> Answer:
        offset_bytes, size_bytes, block_bytes, blocks_in_flight = _READ.unpack_from(data)
        check_range(offset_bytes, size_bytes, capacity_bytes=self._flash.size_bytes)
        if not 0 < block_bytes <= _BLOCK_MAX_BYTES or not blocks_in_flight:
            raise RequestError("block size or count")
        content = self._flash.read(offset_bytes, size_bytes)
        self._stream = _FlashStream(
            content, block_bytes=block_bytes, window_bytes=block_bytes * blocks_in_flight
        )
        return Answer()

    def _run_flash(self, _data: bytes) -> Answer:
        self.next_step = NextStep.RUN_FLASH
        return Answer()

    def _end_flash(self, data: bytes) -> Answer:
        (stays,) = struct.unpack_from("<I", data)
        self._download = None
        if not stays:
            self.next_step = NextStep.RESTART_LOADER
        return Answer()

    def _hash_flash(self, data: bytes) -> Answer:
        return Answer(data=self._digest_flash(data))


class _FlashStream:
    def __init__(self, content: bytes, *, block_bytes: int, window_bytes: int) -> None:
        self._content = content
        self._block_bytes = block_bytes
        self._window_bytes = window_bytes
        self._sent_bytes = 0
        self._acknowledged_bytes = 0
        self.is_finished = False

    def acknowledge(self, received_bytes: int) -> None:
        if self._acknowledged_bytes <= received_bytes <= self._sent_bytes:
            self._acknowledged_bytes = received_bytes

    def take_packets(self) -> bytes:
        """Return the blocks that the window allows, and after the last one the MD5."""
        packets = []
        limit = min(len(self._content), self._acknowledged_bytes + self._window_bytes)
        while self._sent_bytes < limit:
            block = self._content[self._sent_bytes : self._sent_bytes + self._block_bytes]
            packets.append(serialize_packet(block))
            self._sent_bytes += len(block)
        if self._acknowledged_bytes == len(self._content):
            digest = hashlib.md5(self._content, usedforsecurity=False).digest()
            packets.append(serialize_packet(digest))
            self.is_finished = True
        return b"".join(packets)
