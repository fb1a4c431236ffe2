"""The device-record partition `devrec`: what makes one board this unit.

Eight 4096-byte sectors, two for each record (see `record_slots`):

| sectors | record | payload |
|---|---|---|
| 0, 1 | calibration | the signed calibration record (`calibration_record`) |
| 2, 3 | identity | CBOR of `IdentityRecord` |
| 4, 5 | trust | the signed device trust record (`signing.trust`) |
| 6, 7 | update state | CBOR of `UpdateState` |

Normative text: docs/spec/device-record.md. The identity holds the device's private key: on a real
product flash encryption is on before that key is made. The records that another party vouches for
(calibration, trust) are signed; this module stores their bytes and does not judge them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.device_record_values import (
    MAC_BYTES,
    IdentityRecord,
    PendingUpdate,
    UpdateState,
    parse_identity,
    parse_update_state,
    serialize_identity,
    serialize_update_state,
)
from firmware_images.errors import RecordError
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.record_slots import (
    DEVICE_RECORD_SIZE_BYTES,
    RECORD_NAMES,
    SLOT_COUNT,
    RecordSlots,
)

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition

__all__ = [
    "DEVICE_RECORD_SIZE_BYTES",
    "IDENTITY_SECTORS",
    "MAC_BYTES",
    "RECORD_NAMES",
    "UPDATE_STATE_SECTORS",
    "DeviceRecord",
    "IdentityRecord",
    "PendingUpdate",
    "UpdateState",
    "parse_identity",
    "parse_update_state",
    "serialize_identity",
    "serialize_update_state",
]

IDENTITY_SECTORS = (2, 3)
"""The sectors of the partition that hold the identity."""
UPDATE_STATE_SECTORS = (6, 7)
"""The sectors of the partition that hold the update state."""


class DeviceRecord:
    """The four records in the partition.

    Args:
        medium: The board's flash.
        partition: Its `devrec` partition.

    Raises:
        RecordError: The partition is too small.
    """

    def __init__(self, medium: FlashMedium, partition: Partition) -> None:
        if partition.size_bytes < DEVICE_RECORD_SIZE_BYTES:
            raise RecordError(
                "the device-record partition is too small",
                expected=f"at least {DEVICE_RECORD_SIZE_BYTES:#x} bytes",
                got=f"{partition.size_bytes:#x}",
                where=f"partition {partition.name}",
            )
        self.calibration, self.identity, self.trust, self.update_state = (
            RecordSlots(
                medium,
                partition.offset_bytes + index * SLOT_COUNT * SECTOR_BYTES,
                name=name,
            )
            for index, name in enumerate(RECORD_NAMES)
        )

    def load_identity(self) -> IdentityRecord | None:
        """Return the identity, or `None` on a blank board."""
        record = self.identity.load()
        return None if record is None else parse_identity(record.payload)

    def save_identity(self, identity: IdentityRecord) -> None:
        """Write the identity and read it back."""
        self.identity.save(serialize_identity(identity))

    def load_update_state(self) -> UpdateState:
        """Return the update state; a blank board has the default one."""
        record = self.update_state.load()
        return UpdateState() if record is None else parse_update_state(record.payload)

    def save_update_state(self, state: UpdateState) -> None:
        """Write the update state and read it back.

        Raises:
            RecordError: A number would go down, or the flash did not keep it.
        """
        old = self.load_update_state()
        for name in (
            "release_counter",
            "assignment_sequence",
            "freshness_sequence",
            "policy_version_floor",
        ):
            if getattr(state, name) < getattr(old, name):
                raise RecordError(
                    f"the update state's {name} must never go down",
                    expected=f"at least {getattr(old, name)}",
                    got=getattr(state, name),
                )
        self.update_state.save(serialize_update_state(state))

    def forget_sequences(self, *, of_assignments: bool, of_freshness: bool) -> None:
        """Begin to count anew what keys said that nobody is to believe any more.

        The one way in which a number of the update state goes down: a thief of an online key can
        drive its sequence to the end, and the key that follows would never be heard.

        Args:
            of_assignments: Whether a key of the campaign role lost the role.
            of_freshness: Whether a key of the freshness role lost the role.

        Raises:
            RecordError: The flash did not keep it.
        """
        old = self.load_update_state()
        new = replace(
            old,
            assignment_sequence=0 if of_assignments else old.assignment_sequence,
            freshness_sequence=0 if of_freshness else old.freshness_sequence,
        )
        if new != old:
            self.update_state.save(serialize_update_state(new))
