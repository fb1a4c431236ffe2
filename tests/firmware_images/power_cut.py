"""A flash that loses power: the operation in progress is done half, and nothing after it."""

from __future__ import annotations

from firmware_images.flash_medium import SECTOR_BYTES, MemoryFlash


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
