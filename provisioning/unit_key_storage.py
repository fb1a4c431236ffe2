"""Has a board encrypt its key storage before there is a key, and checks its eFuses for it.

The board burns the key of its storage itself, so that no station ever knows it; ESP-IDF's HMAC
scheme does exactly that. What the board says of it is believed only together with what espefuse
reads from the chip: the purpose, and that the block can be neither read nor changed. Then the board
is started again and asked once more. Implements docs/spec/provisioning.md §8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smp.error import MGMT_ERR

from provisioning.errors import BoardRefusalError, EfuseError
from provisioning.ledger_events import Phase
from provisioning.link_key_storage import (
    KeyStorageReadRequest,
    KeyStorageReadResponse,
    KeyStorageWriteRequest,
    KeyStorageWriteResponse,
    StoredKey,
)
from provisioning.station_values import Step, UnitRejection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioning.device_link import DeviceLink
    from provisioning.efuse_access import EfuseAccess
    from provisioning.station import Station
    from provisioning.unit_job import UnitJob

SCHEME: Final = "nvs-hmac"
HMAC_UP: Final = 8
"""Key purpose, the same in every family that has the peripheral."""

FIRST_FREE_BLOCK: Final = 3  # Secure Boot's digests are in 0 to 2


class UnitKeyStorage:
    """The key storage of one unit within one job.

    Args:
        station: What all slots share.
        job: The job's memory.
        link: The board's application.
        open_efuses: Resets the board into its loader, and returns its eFuses.
        restart: Resets the board into its application, and waits for it.
        is_locked: Whether the chip does not tell its eFuses any more.
    """

    def __init__(
        self,
        station: Station,
        job: UnitJob,
        link: DeviceLink,
        *,
        open_efuses: Callable[[], EfuseAccess],
        restart: Callable[[], object],
        is_locked: bool,
    ) -> None:
        self._station = station
        self._job = job
        self._link = link
        self._open_efuses = open_efuses
        self._restart = restart
        self._is_locked = is_locked

    def encrypt(self) -> None:
        """See to it that the storage is encrypted, and that no key was made before it was.

        Raises:
            UnitRejection: The firmware cannot, a key was made too early, or the eFuses are not as
                the board says.
            EfuseError: The chip is locked, and no earlier job saw its eFuses.
            BoardRefusalError: The board cannot burn them.
            FlashError: The loader does not answer.
        """
        self._job.perform(
            Step.KEY_STORAGE,
            intent={"scheme": SCHEME},
            act=self._encrypt,
            still_holds=self._still_holds,
        )

    def _encrypt(self) -> Mapping[str, object]:
        self._refuse_open_key(self._ask())
        if self._is_locked:
            earlier = self._find_earlier()
            if not self._still_holds(earlier):
                raise self._rejected("its key storage is not the one that an earlier job saw")
            return earlier
        told = self._link.request(KeyStorageWriteRequest, KeyStorageWriteResponse)
        if not told.enc or told.block is None:
            raise self._rejected("it was told to encrypt its key storage, and says that it is not")
        if told.block < FIRST_FREE_BLOCK:
            raise self._rejected(
                f"its key storage uses BLOCK_KEY{told.block}, which is for Secure Boot"
            )
        faults = self._find_efuse_faults(told.block)
        self._restart()  # whatever comes: out of its loader
        if faults:
            raise self._rejected(
                f"it says that BLOCK_KEY{told.block} encrypts its key storage, and its eFuses say "
                f"otherwise: {', '.join(faults)}"
            )
        again = self._ask()
        self._refuse_open_key(again)
        if not again.enc or again.block != told.block:
            raise self._rejected("its key storage is not encrypted any more after a reset")
        return {"scheme": SCHEME, "block": told.block, "proof": "eFuses"}

    def _find_efuse_faults(self, block: int) -> tuple[str, ...]:
        name, purpose = f"BLOCK_KEY{block}", f"KEY_PURPOSE_{block}"
        facts = self._open_efuses().read({name, purpose})
        number = facts[purpose].value
        faults = {
            f"{purpose} is {number!r} and not HMAC_UP": number != HMAC_UP,
            f"{name} can be read": facts[name].is_readable,
            f"{name} can be changed": facts[name].is_writeable,
            f"{purpose} can be changed": facts[purpose].is_writeable,
        }
        return tuple(fault for fault, is_there in faults.items() if is_there)

    def _still_holds(self, confirmed: Mapping[str, object]) -> bool:
        told = self._ask()
        return told.enc and told.block == confirmed.get("block") and told.key != StoredKey.OPEN

    def _ask(self) -> KeyStorageReadResponse:
        try:
            return self._link.request(KeyStorageReadRequest, KeyStorageReadResponse)
        except BoardRefusalError as error:
            if error.code_name != MGMT_ERR.ENOTSUP.name:
                raise
            raise self._rejected(
                "its firmware has no encrypted key storage (docs/spec/serial-link.md §4.12)"
            ) from error

    def _refuse_open_key(self, told: KeyStorageReadResponse) -> None:
        if told.key is StoredKey.OPEN:
            raise self._rejected(
                "its private key was made before its key storage was encrypted, and lay open in "
                "flash: erase its device record, so that it makes another one"
            )

    def _find_earlier(self) -> Mapping[str, object]:
        """Return what an earlier job saw of a chip that tells nothing any more."""
        reservation = self._job.reservation
        for chained in self._station.ledger.events(serial=reservation.serial):
            event = chained.event
            if (event.step, event.phase, event.mac) == (
                Step.KEY_STORAGE.value,
                Phase.CONFIRM,
                reservation.mac,
            ):
                return dict(event.data)
        raise EfuseError(
            "the chip was locked before its key storage was seen to be encrypted",
            expected="a unit whose eFuses an earlier job checked",
            got="a locked chip without such a job",
            where=f"{reservation.serial}, {reservation.mac.hex(':')}",
            hint="it cannot be told any more whether its key is safe: put the board aside",
        )

    def _rejected(self, reason: str) -> UnitRejection:
        return UnitRejection(Step.KEY_STORAGE, (reason,))
