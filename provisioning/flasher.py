"""What the station needs of whatever writes a board's flash: the interface, and its values.

`provisioning.esptool_flasher` is the one that does it. Nothing here knows esptool or a port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioning.efuse_access import EfuseAccess
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityFacts:
    """What a ROM loader tells of a chip's locks, in every mode.

    Attributes:
        is_secure_boot_enabled: Whether it boots signed images alone.
        is_secure_download: Whether the loader takes and does not tell.
        is_jtag_disabled: Whether both the soft and the hard lock of JTAG are set.
        revoked_digests: Digest slots that are closed.
    """

    is_secure_boot_enabled: bool
    is_secure_download: bool
    is_jtag_disabled: bool
    revoked_digests: frozenset[int]


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

    def open_efuses(self) -> EfuseAccess:
        """Reset the board into its ROM loader, and return what reads and burns its eFuses."""
        ...

    def read_security(self) -> SecurityFacts:
        """Return what even a locked chip tells of its locks; `detect` has found it."""
        ...
