"""The flash that records, otadata and slots are written to, seen as three verbs.

NOR flash erases whole sectors to 0xFF, and a write can only clear bits. The simulator's board and
an update client implement `FlashMedium`; `MemoryFlash` is the smallest one, for composing a flash
content in memory.

This module does not know what lies where: that is `partitions`.
"""

from __future__ import annotations

from typing import Protocol

from firmware_images.errors import FlashMediumError

SECTOR_BYTES = 4096
ERASED_BYTE = 0xFF


class FlashMedium(Protocol):
    """Access to one flash chip by absolute offset."""

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return exactly `size_bytes` bytes."""
        ...

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        """Set whole 4096-byte sectors to 0xFF; offset and size are multiples of 4096."""
        ...

    def write(self, offset_bytes: int, content: bytes) -> None:
        """Clear bits: afterwards each byte is the old byte AND the new one."""
        ...


def check_range(
    offset_bytes: int, size_bytes: int, *, capacity_bytes: int, whole_sectors: bool = False
) -> None:
    """Refuse an access that leaves the flash, or an erase that would touch part of a sector.

    Raises:
        FlashMediumError: The range is negative, past the end, or not made of whole sectors.
    """
    if offset_bytes < 0 or size_bytes < 0 or offset_bytes + size_bytes > capacity_bytes:
        raise FlashMediumError(
            "the access leaves the flash",
            expected=f"a range inside {capacity_bytes:#x} bytes",
            got=f"{size_bytes:#x} bytes at {offset_bytes:#x}",
            hint="compare the partition table with the flash size of the board",
        )
    if whole_sectors and (offset_bytes % SECTOR_BYTES or size_bytes % SECTOR_BYTES):
        raise FlashMediumError(
            "an erase must cover whole sectors",
            expected=f"multiples of {SECTOR_BYTES:#x}",
            got=f"{size_bytes:#x} bytes at {offset_bytes:#x}",
        )


class MemoryFlash:
    """A NOR flash in memory, erased at the start.

    Args:
        size_bytes: Capacity, a multiple of 4096.
    """

    def __init__(self, size_bytes: int) -> None:
        check_range(0, size_bytes, capacity_bytes=size_bytes, whole_sectors=True)
        self.content = bytearray([ERASED_BYTE]) * size_bytes

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return bytes of the flash."""
        check_range(offset_bytes, size_bytes, capacity_bytes=len(self.content))
        return bytes(self.content[offset_bytes : offset_bytes + size_bytes])

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        """Set whole sectors to 0xFF."""
        check_range(offset_bytes, size_bytes, capacity_bytes=len(self.content), whole_sectors=True)
        self.content[offset_bytes : offset_bytes + size_bytes] = bytes([ERASED_BYTE]) * size_bytes

    def write(self, offset_bytes: int, content: bytes) -> None:
        """Clear bits, as NOR flash does."""
        size_bytes = len(content)
        check_range(offset_bytes, size_bytes, capacity_bytes=len(self.content))
        old = int.from_bytes(self.content[offset_bytes : offset_bytes + size_bytes], "big")
        new = old & int.from_bytes(content, "big")
        self.content[offset_bytes : offset_bytes + size_bytes] = new.to_bytes(size_bytes, "big")
