"""Who a board is whose loader does not tell: its application signs it.

A finished board may be locked: in secure download mode its loader gives neither MAC nor flash, and
with download mode off there is no loader. Then the certificate that the board holds, and a fresh
nonce that it signs, say what its eFuses and its identity record would have said. A board that
cannot prove who it is gets no number. Implements docs/spec/provisioning.md §3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.classification import BoardIdentity, RecordCondition
from provisioning.errors import LockedChipError, ProvisioningError
from provisioning.identity import NONCE_BYTES, ExpectedIdentity, verify_identity
from signing.errors import SigningError

if TYPE_CHECKING:
    from provisioning.device_link import DeviceLink
    from provisioning.errors import FlashError
    from provisioning.station import Station


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBoard:
    """What lies in a slot.

    Attributes:
        chip: Name of the chip, such as `ESP32-C3`.
        revision: Its revision, or `None` of a locked chip.
        mac: Its MAC, 6 bytes.
        identity: What its application proved, or `None` of a chip whose loader tells its flash.
    """

    chip: str
    revision: str | None
    mac: bytes
    identity: BoardIdentity | None = None

    @property
    def is_locked(self) -> bool:
        """Whether the loader is of no use."""
        return self.identity is not None


def identify_locked_board(
    station: Station, link: DeviceLink, loader_error: FlashError
) -> FoundBoard:
    """Have the application prove who the board is.

    Args:
        station: Names the factory, and the keys that no longer count.
        link: The board's application.
        loader_error: Why the loader did not tell.

    Raises:
        FlashError: `loader_error`, when no application of ours answers either, or when there was
            no sign of a locked board and nothing is proved.
        IdentityError: A locked board has no certificate, or the proof is of something else.
        SigningError: Certificate or signature of a locked board do not verify.
    """
    try:
        link.reset_board()
        info = link.wait_until_ready(timeout_s=station.settings.boot_timeout_s)
    except ProvisioningError:
        raise loader_error from None
    try:
        verify_identity(
            link,
            expected=ExpectedIdentity(
                serial=info.serial,
                mac=info.mac,
                app_sha256=info.appsha,
                trust=station.trust,
                now=station.outside.now(),
            ),
            nonce=station.outside.random_bytes(NONCE_BYTES),
        )
    except (ProvisioningError, SigningError):
        if isinstance(loader_error, LockedChipError):
            raise
        raise loader_error from None
    return FoundBoard(
        chip=info.chip,
        revision=None,
        mac=info.mac,
        identity=BoardIdentity(condition=RecordCondition.PRESENT, serial=info.serial, mac=info.mac),
    )
