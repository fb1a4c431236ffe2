"""The chip families whose eFuses a plan can describe, and what differs between them.

In all of them the key blocks, purposes, digest slots and locks have one name and one meaning, as
espefuse's own definitions have it, and SECURE_BOOT_DIGEST0 is purpose 9. A family that is not
listed is refused: ESP32, ESP32-S2, ESP32-C2, ESP32-C61 and ESP32-P4 have other key blocks, other
JTAG locks, or other fields by revision. Implements docs/spec/efuses.md §5.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from firmware_images.errors import EfusePlanError
from firmware_images.secure_boot_chips import CHIPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from signing.keys import PublicKey

DEFAULT_CHIP: Final = "esp32c3"


@dataclass(frozen=True, slots=True, kw_only=True)
class EfuseChip:
    """What is particular about one family.

    Attributes:
        other_download_ways: Fields that close what secure download mode, made for the UART, would
            leave open.
    """

    other_download_ways: tuple[str, ...] = ()


EFUSE_CHIPS: Final[Mapping[str, EfuseChip]] = MappingProxyType(
    {
        "esp32c3": EfuseChip(),
        "esp32s3": EfuseChip(other_download_ways=("DIS_USB_OTG_DOWNLOAD_MODE",)),
        "esp32c5": EfuseChip(),
        "esp32c6": EfuseChip(),
        "esp32h2": EfuseChip(),
    }
)


def find_efuse_chip(chip: str, *, where: object) -> EfuseChip:
    """Return the facts of a family.

    Args:
        chip: esptool's name of the chip.
        where: The plan, for messages.

    Raises:
        EfusePlanError: Nothing is known of its eFuses.
    """
    if chip not in EFUSE_CHIPS:
        raise EfusePlanError(
            "eFuse plans are not known for this chip",
            expected=", ".join(sorted(EFUSE_CHIPS)),
            got=chip,
            where=where,
            hint="burn its eFuses with espefuse, and leave efuses out of section [station]",
        )
    return EFUSE_CHIPS[chip]


def refuse_unsound_keys(chip: str, keys: Iterable[PublicKey], *, where: str) -> None:
    """Refuse keys whose signatures a family does not verify, or not soundly.

    Raises:
        EfusePlanError: There is one.
    """
    silicon = CHIPS[chip]
    sound = silicon.schemes - silicon.broken.keys()
    for key in keys:
        if key.algorithm not in sound:
            why = silicon.broken.get(key.algorithm)
            raise EfusePlanError(
                f"the {chip} does not verify signatures of this key"
                + ("" if why is None else f": {why}"),
                expected=" or ".join(sorted(sound)),
                got=key.algorithm,
                where=f"{where}, secure_boot_keys",
            )
