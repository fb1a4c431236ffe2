"""One flash write of the serial loaders: begin, numbered blocks, end; plain or compressed.

The ROM loader erases the whole region at the begin; the stub erases each sector just before the
first byte of it is written. Both refuse a block out of order and a block with a wrong checksum.
"""

from __future__ import annotations

import zlib
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Final

from firmware_images.flash_medium import SECTOR_BYTES
from provisioning.errors import SimulatorError

if TYPE_CHECKING:
    from provisioning.simulator.flash import NorFlash

CHECKSUM_START: Final = 0xEF


def checksum(data: bytes) -> int:
    """Return the loaders' checksum: all bytes XORed, starting from 0xEF.

    The XOR runs over 8-byte words first, because a block has thousands of bytes.
    """
    whole = len(data) // 8 * 8
    words = memoryview(data[:whole]).cast("Q")
    folded = reduce(xor, words, 0)
    total = reduce(xor, data[whole:], CHECKSUM_START)
    return reduce(xor, folded.to_bytes(8, "little"), total)


class FlashDownload:
    """A write in progress.

    Args:
        flash: The chip.
        offset_bytes: Where it begins.
        size_bytes: Uncompressed bytes to come; the ROM gives it rounded up to its block size.
        is_compressed: Whether blocks carry a zlib stream.
        is_erased_first: Erase the region now (ROM), else sector by sector (stub).

    Raises:
        SimulatorError: The region leaves the flash.
    """

    def __init__(
        self,
        flash: NorFlash,
        *,
        offset_bytes: int,
        size_bytes: int,
        is_compressed: bool,
        is_erased_first: bool,
    ) -> None:
        if offset_bytes + size_bytes > flash.size_bytes:
            raise SimulatorError(
                "the write leaves the flash",
                expected=f"at most {flash.size_bytes:#x}",
                got=f"{size_bytes:#x} bytes at {offset_bytes:#x}",
            )
        self.is_compressed = is_compressed
        self._flash = flash
        self._position = offset_bytes
        self._end = offset_bytes + size_bytes
        self._next_block = 0
        self._inflate = zlib.decompressobj() if is_compressed else None
        self._erased_end = offset_bytes // SECTOR_BYTES * SECTOR_BYTES
        if is_erased_first:
            self._erase_to(self._end)

    def write_block(self, number: int, data: bytes) -> None:
        """Take the next block.

        Args:
            number: Its number, from 0; must be the next one.
            data: Its content, without padding for a compressed write.

        Raises:
            SimulatorError: Out of order, not a zlib stream, or longer than announced.
        """
        if number != self._next_block:
            raise SimulatorError("block out of order", expected=self._next_block, got=number)
        if self._inflate is not None:
            room_bytes = self._end - self._position
            try:
                data = self._inflate.decompress(data, room_bytes + 1)
            except zlib.error as error:
                raise SimulatorError("block does not decompress", got=error) from error
            if len(data) > room_bytes:
                raise SimulatorError("more data than announced", expected=f"{room_bytes} bytes")
        else:
            data = data[: max(0, self._flash.size_bytes - self._position)]
        self._next_block += 1
        self._erase_to(self._position + len(data))
        self._flash.write(self._position, data)
        self._position += len(data)

    def _erase_to(self, end: int) -> None:
        end = min(-(-end // SECTOR_BYTES) * SECTOR_BYTES, self._flash.size_bytes)
        if end > self._erased_end:
            self._flash.erase(self._erased_end, end - self._erased_end)
            self._erased_end = end
