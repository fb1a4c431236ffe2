"""The freshness answer: proof that what a device was shown is what the server says *now*.

A board has no clock. Before an install it draws a nonce and asks; the answer, a COSE_Sign1 of at
most 1 KiB by the freshness role's own online key, carries that nonce, the time, and the sequence
of the assignment in force, so that neither an expired nor a superseded message can be passed off
as current. Implements docs/spec/freshness.md.

Request (CBOR map): 1 format version, 2 nonce of 16 bytes, 3 hardware class.

| key | type | meaning |
|---|---|---|
| 1 | uint | format version, 1 |
| 2 | 16 bytes | the device's nonce |
| 3 | uint32 | sequence, never falling over answers |
| 4 | uint | time, seconds since 1970-01-01T00:00:00Z |
| 5 | text 1-32 | hardware class |
| 6 | uint32 | sequence of the assignment in force; 0 when there is none |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.errors import DeviceMessageError
from manifests.manifest import NAME_MAX_LENGTH
from manifests.message_fields import (
    MESSAGE_FORMAT_VERSION,
    MESSAGE_MAX_BYTES,
    TIME_MAX_S,
    check_received_length,
    parse_message,
)
from signing.canonical_cbor import serialize_cbor
from signing.cose import sign_one
from signing.roles import Role

if TYPE_CHECKING:
    from signing.signers import Signer
    from signing.trust_record import TrustRecord

FRESHNESS_CONTENT_TYPE = "application/vnd.ampforge.freshness+cbor"
NONCE_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessRequest:
    """What a device asks: answer this nonce for my hardware class."""

    nonce: bytes
    hardware_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What the server says now. See the module's table."""

    nonce: bytes
    sequence: int
    time_s: int
    hardware_class: str
    assignment_sequence: int


def serialize_freshness_request(request: FreshnessRequest) -> bytes:
    """Return the body that a device posts."""
    return serialize_cbor({1: MESSAGE_FORMAT_VERSION, 2: request.nonce, 3: request.hardware_class})


def parse_freshness_request(untrusted_bytes: bytes) -> FreshnessRequest:
    """Return the request in a posted body; it is not signed, and grants nothing.

    Raises:
        DeviceMessageError: A field is missing, unknown, of another type or out of its bounds.
    """
    fields = parse_message(untrusted_bytes, where="freshness request")
    request = FreshnessRequest(
        nonce=fields.read_bytes(2, "nonce", minimum=NONCE_BYTES, maximum=NONCE_BYTES),
        hardware_class=fields.read_text(3, "hardware class", maximum=NAME_MAX_LENGTH),
    )
    fields.finish()
    return request


def sign_freshness(freshness: Freshness, signer: Signer) -> bytes:
    """Return the signed answer."""
    payload = serialize_cbor(
        {
            1: MESSAGE_FORMAT_VERSION,
            2: freshness.nonce,
            3: freshness.sequence,
            4: freshness.time_s,
            5: freshness.hardware_class,
            6: freshness.assignment_sequence,
        }
    )
    return sign_one(payload, signer, content_type=FRESHNESS_CONTENT_TYPE)


def verify_freshness(
    untrusted_bytes: bytes, trust: TrustRecord, *, request: FreshnessRequest
) -> Freshness:
    """Return the answer to this very request: length, signature, meaning, nonce.

    Raises:
        DeviceMessageError: Its length or a field is refused, or it answers another request.
        TrustError: No key of the freshness role signed these bytes.
    """
    check_received_length(untrusted_bytes, where="freshness")
    payload = trust.verify(
        untrusted_bytes,
        Role.FRESHNESS,
        content_type=FRESHNESS_CONTENT_TYPE,
        max_bytes=MESSAGE_MAX_BYTES,
    )
    fields = parse_message(payload, where="freshness")
    freshness = Freshness(
        nonce=fields.read_bytes(2, "nonce", minimum=NONCE_BYTES, maximum=NONCE_BYTES),
        sequence=fields.read_int(3, "sequence"),
        time_s=fields.read_int(4, "time", maximum=TIME_MAX_S),
        hardware_class=fields.read_text(5, "hardware class", maximum=NAME_MAX_LENGTH),
        assignment_sequence=fields.read_int(6, "assignment sequence"),
    )
    fields.finish()
    if freshness.nonce != request.nonce:
        raise DeviceMessageError(
            "the freshness answer is not for this request",
            expected=f"nonce {request.nonce.hex()}",
            got=freshness.nonce.hex(),
            where="freshness, field 2",
            hint="somebody replays an older answer; ask again over another path",
        )
    if freshness.hardware_class != request.hardware_class:
        raise DeviceMessageError(
            "the freshness answer is for another hardware class",
            expected=request.hardware_class,
            got=freshness.hardware_class,
            where="freshness, field 5",
        )
    return freshness
