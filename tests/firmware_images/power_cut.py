"""Flashes that lose power, which leaves the operation in progress half done, or are worn."""

from __future__ import annotations

import random
from enum import Enum, auto
from typing import TYPE_CHECKING

from firmware_images.errors import FlashMediumError
from firmware_images.flash_medium import ERASED_BYTE, SECTOR_BYTES, MemoryFlash, check_range

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE_BYTES = 256


class Tear(Enum):
    """What the operation leaves in which the power fails."""

    NOTHING = auto()
    PAGES = auto()
    PREFIX = auto()
    BITS = auto()
    DONE = auto()


class Wear(Enum):
    """What is wrong with a worn sector."""

    ERASE_FAILS = auto()
    ERASE_DOES_NOTHING = auto()
    WRITE_FAILS = auto()
    BITS_STAY = auto()


class PowerCutError(Exception):
    """The moment the power went away."""


class CuttableFlash(MemoryFlash):
    """Counts erases and writes, and cuts the power in the chosen one.

    Args:
        size_bytes: Capacity.
        cut_at: Number of the operation, from 0, that is only half done; `None` never cuts.
        done_bytes: How much of that operation still happens.
    """

    def __init__(self, size_bytes: int, *, cut_at: int | None = None, done_bytes: int = 0) -> None:
        super().__init__(size_bytes)
        self.cut_at = cut_at
        self.done_bytes = done_bytes
        self.operations = 0

    def _is_cut(self) -> bool:
        self.operations += 1
        return self.cut_at is not None and self.operations > self.cut_at

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        if self._is_cut():
            done = min(self.done_bytes, size_bytes)
            self.content[offset_bytes : offset_bytes + done] = b"\xff" * done
            raise PowerCutError
        super().erase(offset_bytes, size_bytes)

    def write(self, offset_bytes: int, content: bytes) -> None:
        if self._is_cut():
            super().write(offset_bytes, content[: self.done_bytes])
            raise PowerCutError
        super().write(offset_bytes, content)


CUTS = tuple(
    (cut_at, done_bytes) for cut_at in range(3) for done_bytes in (0, 1, 9, 30, SECTOR_BYTES // 2)
)


class TornFlash(MemoryFlash):
    """Loses power within one sector's erase or one write, and leaves there what a chip may leave.

    Each sector of an erase is an operation of its own, as on the chip.

    Args:
        size_bytes: Capacity.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.operations = 0
        self.touched: list[tuple[str, int]] = []
        self._cut_at: int | None = None
        self._tear = Tear.NOTHING
        self._draw = random.Random(0)
        self._leave: Callable[[bytes, bytes], bytes] = self._torn

    def cut_after(self, operations: int, tear: Tear, *, seed: int) -> None:
        """Cut the power in the operation that follows so many from now."""
        self.operations, self._cut_at = 0, operations
        self._tear, self._draw = tear, random.Random(seed)
        self._leave = self._torn

    def cut_leaving(self, operations: int, leave: Callable[[bytes, bytes], bytes]) -> None:
        """Cut the power there, and have it leave what a function makes of old and new bytes."""
        self.operations, self._cut_at, self._leave = 0, operations, leave

    def power_on(self) -> None:
        """Cut no more."""
        self._cut_at = None

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        check_range(offset_bytes, size_bytes, capacity_bytes=len(self.content), whole_sectors=True)
        for offset in range(offset_bytes, offset_bytes + size_bytes, SECTOR_BYTES):
            self._operate("erase", offset, bytes([ERASED_BYTE]) * SECTOR_BYTES)

    def write(self, offset_bytes: int, content: bytes) -> None:
        old = self.read(offset_bytes, len(content))
        self._operate("write", offset_bytes, _and(old, content))

    def _operate(self, act: str, offset_bytes: int, content: bytes) -> None:
        self.operations += 1
        self.touched.append((act, offset_bytes))
        place = slice(offset_bytes, offset_bytes + len(content))
        if self._cut_at is None or self.operations <= self._cut_at:
            self.content[place] = content
            return
        self.content[place] = self._leave(bytes(self.content[place]), content)
        raise PowerCutError

    def _torn(self, old: bytes, new: bytes) -> bytes:
        match self._tear:
            case Tear.NOTHING:
                return old
            case Tear.PAGES:
                done = self._draw.randrange(0, len(new) + 1, PAGE_BYTES)
                return new[:done] + old[done:]
            case Tear.PREFIX:
                done = self._draw.randrange(len(new) + 1)
                return new[:done] + old[done:]
            case Tear.BITS:
                # Any of the bits that were to change may have changed.
                mask = self._draw.randbytes(len(new))
                return bytes(
                    (o & ~m & 0xFF) | (n & m) for o, n, m in zip(old, new, mask, strict=True)
                )
            case Tear.DONE:
                return new


class WornFlash(MemoryFlash):
    """Has one worn sector.

    Args:
        size_bytes: Capacity.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.worn_sector: int | None = None
        self.wear = Wear.ERASE_FAILS

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        if self.worn_sector is not None and self._hits(offset_bytes, size_bytes):
            sectors = range(offset_bytes, offset_bytes + size_bytes, SECTOR_BYTES)
            if self.wear is Wear.ERASE_FAILS:
                raise FlashMediumError("the chip reports a failed erase", where=hex(offset_bytes))
            for offset in sectors:
                if self.wear is not Wear.ERASE_DOES_NOTHING or not self._hits(offset, SECTOR_BYTES):
                    super().erase(offset, SECTOR_BYTES)
            return
        super().erase(offset_bytes, size_bytes)

    def write(self, offset_bytes: int, content: bytes) -> None:
        if self.worn_sector is not None and self._hits(offset_bytes, len(content)):
            if self.wear is Wear.WRITE_FAILS:
                raise FlashMediumError("the chip reports a failed write", where=hex(offset_bytes))
            if self.wear is Wear.BITS_STAY:
                # One cell in each 64 bytes cannot be cleared any more.
                stuck = bytearray(content)
                stuck[::64] = bytes(byte | 0x10 for byte in stuck[::64])
                content = bytes(stuck)
        super().write(offset_bytes, content)

    def _hits(self, offset_bytes: int, size_bytes: int) -> bool:
        assert self.worn_sector is not None
        start = self.worn_sector * SECTOR_BYTES
        return offset_bytes < start + SECTOR_BYTES and start < offset_bytes + size_bytes


def _and(old: bytes, new: bytes) -> bytes:
    both = int.from_bytes(old, "big") & int.from_bytes(new, "big")
    return both.to_bytes(len(new), "big")
