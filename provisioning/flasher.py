"""What the station needs of whatever writes a board's flash: the interface, and its values.

`provisioning.esptool_flasher` is the one that does it. Nothing here knows esptool or a port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioning.transfer_rates import RateAttempt


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipFacts:
    """What the ROM loader says about a chip.

    Attributes:
        chip: Name as esptool writes it, such as `ESP32-C3`.
        revision: Major and minor revision, such as `0.4`.
        mac: Base MAC, 6 bytes.
    """

    chip: str
    revision: str
    mac: bytes


class Region(Protocol):
    """A piece of flash content with its place; `firmware_images.bundle.FlashRegion` is one."""

    @property
    def name(self) -> str:
        """What is written there."""
        ...

    @property
    def offset_bytes(self) -> int:
        """Where it begins."""
        ...

    @property
    def content(self) -> bytes:
        """The bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionReport:
    """One region after it was written or found.

    Attributes:
        name: What is there.
        offset_bytes: Where it begins.
        size_bytes: How long it is.
        md5: MD5 that the chip computed over it, lower case hexadecimal.
        was_there: It was there before and was not written.
    """

    name: str
    offset_bytes: int
    size_bytes: int
    md5: str
    was_there: bool


class Flasher(Protocol):
    """What the station needs to put a release into a board."""

    @property
    def rates(self) -> tuple[RateAttempt, ...]:
        """How it went at each rate that was used, in order."""
        ...

    def detect(self) -> ChipFacts:
        """Reset the board into its ROM loader and say what it is."""
        ...

    def read(self, offset_bytes: int, size_bytes: int) -> bytes | None:
        """Return a part of the flash, or `None` from a chip that is locked against it."""
        ...

    def erase(self, offset_bytes: int, size_bytes: int) -> None:
        """Erase whole sectors."""
        ...

    def write(
        self, regions: Sequence[Region], *, on_progress: Callable[[float], None]
    ) -> tuple[RegionReport, ...]:
        """Write the regions that are not there yet, and check the MD5 of each."""
        ...
