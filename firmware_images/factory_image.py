"""One image of a board's flash from the parts of a verified release.

From the first byte of flash to the end of the last part, FF between, as `esptool merge-bin` makes
it. Writing it leaves nothing between the parts as it was: it is for blank boards, because a board's
own record of identity and calibration lies between them, too.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from firmware_images.errors import BundleError
from firmware_images.flash_medium import SECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firmware_images.bundle import FlashRegion

ERASED: Final = b"\xff"


def merge_regions(
    regions: Iterable[FlashRegion], *, flash_size_bytes: int, fill_flash: bool = False
) -> bytes:
    """Return the flash image that these regions make.

    Args:
        regions: What lies where; `Bundle.flash_regions` of a verified bundle.
        flash_size_bytes: Flash on the board.
        fill_flash: Go to the end of flash instead of the end of the last region.

    Raises:
        BundleError: Two regions overlap, one does not begin at a sector, or is not inside of flash.
    """
    ordered = sorted(regions, key=lambda region: region.offset_bytes)
    for region in ordered:
        end_bytes = region.offset_bytes + len(region.content)
        if region.offset_bytes % SECTOR_BYTES or region.offset_bytes < 0:
            raise BundleError(
                f"{region.name} does not begin at a flash sector",
                expected=f"a multiple of {SECTOR_BYTES:#x}",
                got=f"{region.offset_bytes:#x}",
            )
        if end_bytes > flash_size_bytes:
            raise BundleError(
                f"{region.name} does not end inside of flash",
                expected=f"at most {flash_size_bytes:#x}",
                got=f"{end_bytes:#x}",
            )
    for first, second in pairwise(ordered):
        if first.offset_bytes + len(first.content) > second.offset_bytes:
            raise BundleError(
                f"{first.name} reaches into {second.name}",
                expected=f"an end at or before {second.offset_bytes:#x}",
                got=f"{first.offset_bytes + len(first.content):#x}",
                hint="correct the product's partition CSV and build the bundle again",
            )
    merged = bytearray()
    for region in ordered:
        merged += ERASED * (region.offset_bytes - len(merged)) + region.content
    return bytes(merged).ljust(flash_size_bytes if fill_flash else 0, ERASED)
