"""Where each chip's ROM looks for the second-stage bootloader, as esptool knows it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# 0 for every chip that is not named.
BOOTLOADER_OFFSETS_BYTES: Mapping[str, int] = MappingProxyType(
    {"esp32": 0x1000, "esp32s2": 0x1000}
    | dict.fromkeys(("esp32c5", "esp32h4", "esp32p4", "esp32s31"), 0x2000)
)


def bootloader_offset_bytes(chip: str) -> int:
    """Return where a chip's ROM looks for the second-stage bootloader, from the start of flash."""
    return BOOTLOADER_OFFSETS_BYTES.get(chip, 0)
