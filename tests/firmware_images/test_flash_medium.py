from __future__ import annotations

import pytest

from firmware_images.errors import FlashMediumError
from firmware_images.flash_medium import SECTOR_BYTES, MemoryFlash


def test_a_new_flash_is_erased_and_a_write_only_clears_bits():
    flash = MemoryFlash(2 * SECTOR_BYTES)
    flash.write(4, b"\xf0\x0f")
    flash.write(4, b"\x3f\xff")
    assert flash.read(3, 4) == b"\xff\x30\x0f\xff"


def test_an_erase_sets_whole_sectors_and_leaves_the_neighbour():
    flash = MemoryFlash(2 * SECTOR_BYTES)
    flash.write(0, bytes(2 * SECTOR_BYTES))
    flash.erase(SECTOR_BYTES, SECTOR_BYTES)
    assert flash.read(0, SECTOR_BYTES) == bytes(SECTOR_BYTES)
    assert flash.read(SECTOR_BYTES, SECTOR_BYTES) == b"\xff" * SECTOR_BYTES


def test_an_empty_write_changes_nothing():
    flash = MemoryFlash(SECTOR_BYTES)
    flash.write(SECTOR_BYTES, b"")
    assert flash.read(0, SECTOR_BYTES) == b"\xff" * SECTOR_BYTES


@pytest.mark.parametrize(
    ("offset_bytes", "size_bytes"), [(-1, 1), (0, -1), (SECTOR_BYTES, 1), (1, SECTOR_BYTES)]
)
def test_an_access_outside_the_flash_is_refused_and_changes_nothing(offset_bytes, size_bytes):
    flash = MemoryFlash(SECTOR_BYTES)
    with pytest.raises(FlashMediumError, match="leaves the flash"):
        flash.read(offset_bytes, size_bytes)
    with pytest.raises(FlashMediumError, match="leaves the flash"):
        flash.erase(offset_bytes, size_bytes)
    if size_bytes > 0:
        with pytest.raises(FlashMediumError, match="leaves the flash"):
            flash.write(offset_bytes, bytes(size_bytes))
    assert flash.content == b"\xff" * SECTOR_BYTES


@pytest.mark.parametrize(("offset_bytes", "size_bytes"), [(1, SECTOR_BYTES), (0, 100)])
def test_an_erase_of_part_of_a_sector_is_refused(offset_bytes, size_bytes):
    flash = MemoryFlash(4 * SECTOR_BYTES)
    flash.write(0, bytes(SECTOR_BYTES))
    with pytest.raises(FlashMediumError, match="whole sectors"):
        flash.erase(offset_bytes, size_bytes)
    assert flash.read(0, SECTOR_BYTES) == bytes(SECTOR_BYTES)
