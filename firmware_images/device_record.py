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

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firmware_images.errors import RecordError
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.record_slots import PAYLOAD_MAX_BYTES, SLOT_COUNT, RecordSlots
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition

RECORD_NAMES = ("calibration record", "identity record", "trust record", "update state")
DEVICE_RECORD_SIZE_BYTES = len(RECORD_NAMES) * SLOT_COUNT * SECTOR_BYTES
MAC_BYTES = 6
_DIGEST_BYTES = 32
_TEXT_MAX_CHARACTERS = 64
_UINT32_MAX = 0xFFFFFFFF
_IDENTITY_FORMAT = 1
_UPDATE_STATE_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRecord:
    """Who the board is, and its key.

    Attributes:
        serial: Serial number of the unit.
        mac: The chip's six-byte base MAC, most significant first.
        job_id: The station's job that asked for the key.
        private_key_der: PKCS #8 DER of the key made on the board; never printed.
        certificate_der: The device certificate, empty until the factory CA issued it.
        confirmed: Whether the certificate was written and read back.
    """

    serial: str
    mac: bytes
    job_id: str
    private_key_der: bytes = field(repr=False)
    certificate_der: bytes = b""
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingUpdate:
    """An update that was written and not yet confirmed by its first boot.

    Attributes:
        manifest_digest: SHA-256 of the manifest that it came from.
        release_counter: The counter that will hold once it is confirmed.
        policy_version: The limits policy version of its table.
        slot: The app and waveform slot that it was written to.
        app_sha256: SHA-256 of the app image that must be running.
    """

    manifest_digest: bytes
    release_counter: int
    policy_version: int
    slot: int
    app_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateState:
    """What an updater must never forget: every number here only rises.

    Attributes:
        release_counter: Counter of the running, confirmed release.
        assignment_sequence: Highest campaign assignment accepted.
        freshness_sequence: Highest freshness answer accepted.
        policy_version_floor: Lowest limits policy version still acceptable.
        pending: The update that waits for its first boot to be confirmed.
        last_outcome: What became of the last update, for the report; empty if there was none.
        last_manifest_digest: The manifest that `last_outcome` is about, or empty.
    """

    release_counter: int = 0
    assignment_sequence: int = 0
    freshness_sequence: int = 0
    policy_version_floor: int = 0
    pending: PendingUpdate | None = None
    last_outcome: str = ""
    last_manifest_digest: bytes = b""


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


def serialize_identity(identity: IdentityRecord) -> bytes:
    """Return the identity as deterministic CBOR."""
    return serialize_cbor(
        {
            1: _IDENTITY_FORMAT,
            2: identity.serial,
            3: identity.mac,
            4: identity.job_id,
            5: identity.private_key_der,
            6: identity.certificate_der,
            7: identity.confirmed,
        }
    )


def parse_identity(untrusted_bytes: bytes) -> IdentityRecord:
    """Parse an identity record.

    Raises:
        RecordError: It is not one.
    """
    match _parse_map(untrusted_bytes, what="identity record"):
        case {
            1: 1,
            2: str(serial),
            3: bytes(mac),
            4: str(job_id),
            5: bytes(private_key_der),
            6: bytes(certificate_der),
            7: bool(confirmed),
            **rest,
        } if (
            not rest
            and len(mac) == MAC_BYTES
            and 0 < len(serial) <= _TEXT_MAX_CHARACTERS
            and len(job_id) <= _TEXT_MAX_CHARACTERS
        ):
            identity = IdentityRecord(
                serial=serial,
                mac=mac,
                job_id=job_id,
                private_key_der=private_key_der,
                certificate_der=certificate_der,
                confirmed=confirmed,
            )
            if serialize_identity(identity) == untrusted_bytes:
                return identity
    raise RecordError(
        "the identity record does not have its fields",
        expected="format 1 of docs/spec/device-record.md",
    )


def serialize_update_state(state: UpdateState) -> bytes:
    """Return the update state as deterministic CBOR."""
    pending = state.pending
    return serialize_cbor(
        {
            1: _UPDATE_STATE_FORMAT,
            2: state.release_counter,
            3: state.assignment_sequence,
            4: state.freshness_sequence,
            5: state.policy_version_floor,
            6: None
            if pending is None
            else {
                1: pending.manifest_digest,
                2: pending.release_counter,
                3: pending.policy_version,
                4: pending.slot,
                5: pending.app_sha256,
            },
            7: state.last_outcome,
            8: state.last_manifest_digest,
        }
    )


def parse_update_state(untrusted_bytes: bytes) -> UpdateState:
    """Parse an update state.

    Raises:
        RecordError: It is not one.
    """
    match _parse_map(untrusted_bytes, what="update state"):
        case {
            1: 1,
            2: int(release_counter),
            3: int(assignment_sequence),
            4: int(freshness_sequence),
            5: int(policy_version_floor),
            6: pending,
            7: str(last_outcome),
            8: bytes(last_manifest_digest),
            **rest,
        } if not rest and len(last_outcome) <= _TEXT_MAX_CHARACTERS:
            numbers = (
                release_counter,
                assignment_sequence,
                freshness_sequence,
                policy_version_floor,
            )
            if all(_is_uint32(number) for number in numbers):
                state = UpdateState(
                    release_counter=release_counter,
                    assignment_sequence=assignment_sequence,
                    freshness_sequence=freshness_sequence,
                    policy_version_floor=policy_version_floor,
                    pending=_parse_pending(pending),
                    last_outcome=last_outcome,
                    last_manifest_digest=last_manifest_digest,
                )
                # The format's 1 could have been True, which equals it; the bytes tell.
                if serialize_update_state(state) == untrusted_bytes:
                    return state
    raise RecordError(
        "the update state does not have its fields",
        expected="format 1 of docs/spec/device-record.md",
    )


def _parse_pending(value: object) -> PendingUpdate | None:
    match value:
        case None:
            return None
        case {
            1: bytes(manifest_digest),
            2: int(release_counter),
            3: int(policy_version),
            4: int(slot),
            5: bytes(app_sha256),
            **rest,
        } if not rest and {len(manifest_digest), len(app_sha256)} == {_DIGEST_BYTES}:
            if all(_is_uint32(number) for number in (release_counter, policy_version, slot)):
                return PendingUpdate(
                    manifest_digest=manifest_digest,
                    release_counter=release_counter,
                    policy_version=policy_version,
                    slot=slot,
                    app_sha256=app_sha256,
                )
    raise RecordError(
        "the pending update in the update state does not have its fields",
        expected="format 1 of docs/spec/device-record.md",
    )


def _is_uint32(number: int) -> bool:
    # A CBOR boolean is an int to Python.
    return type(number) is int and 0 <= number <= _UINT32_MAX


def _parse_map(untrusted_bytes: bytes, *, what: str) -> object:
    try:
        return parse_cbor(untrusted_bytes, max_bytes=PAYLOAD_MAX_BYTES)
    except CborError as error:
        raise RecordError(f"the {what} is not readable", got=str(error)) from error
