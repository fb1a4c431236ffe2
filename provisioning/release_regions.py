"""What a station writes of a release: what a blank board needs, and over a used one all of a slot.

A waveform slot is 0xFF behind its approval (`firmware_images.waveform_slot`), and boards refuse one
that is not. A returned unit may have held a longer one, whose tail an image alone would leave.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from firmware_images.bundle import Bundle, FlashRegion

_WAVEFORM_PREFIX: Final = "wave_"
_ERASED: Final = b"\xff"


def list_station_regions(bundle: Bundle) -> tuple[FlashRegion, ...]:
    """Return the regions in ascending order of offset, waveform slots to their ends."""

    def whole(region: FlashRegion) -> FlashRegion:
        if not region.name.startswith(_WAVEFORM_PREFIX):
            return region
        size_bytes = bundle.partition_table.find(region.name).size_bytes
        return replace(region, content=region.content.ljust(size_bytes, _ERASED))

    return tuple(map(whole, bundle.flash_regions()))
