"""What a board remembers about itself and its updates, and the payloads that hold it.

Where the payloads lie is in `device_record`; docs/spec/device-record.md §3 and §4 are normative.
"""

from __future__ import annotations

from dataclasses import field

from firmware_images.errors import RecordError
from firmware_images.record_slots import PAYLOAD_MAX_BYTES
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError
from signing.value_class import dataclass

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


def serialize_identity(identity: IdentityRecord) -> bytes:
    """Return the identity as deterministic CBOR.

    Raises:
        RecordError: A field is not one that a board could read back.
    """
    content = _encode_identity(identity)
    parse_identity(content)
    return content


def _encode_identity(identity: IdentityRecord) -> bytes:
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
            if _encode_identity(identity) == untrusted_bytes:
                return identity
    raise RecordError(
        "the identity record does not have its fields",
        expected="format 1 of docs/spec/device-record.md",
    )


def serialize_update_state(state: UpdateState) -> bytes:
    """Return the update state as deterministic CBOR.

    Raises:
        RecordError: A field is not one that a board could read back.
    """
    content = _encode_update_state(state)
    parse_update_state(content)
    return content


def _encode_update_state(state: UpdateState) -> bytes:
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
        } if (
            not rest
            and len(last_outcome) <= _TEXT_MAX_CHARACTERS
            and len(last_manifest_digest) in {0, _DIGEST_BYTES}
        ):
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
                if _encode_update_state(state) == untrusted_bytes:
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
