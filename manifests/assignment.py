"""The assignment: which devices of a hardware class install which manifest, and until when.

A COSE_Sign1 of at most 1 KiB by the campaign role, online. It can only name a manifest, by
digest, and the device verifies that manifest by the release role: so a stolen campaign key can
hold releases back but never invent one. Implements docs/spec/assignment.md.

| key | type | meaning |
|---|---|---|
| 1 | uint | format version, 1, or 2 with field 13 |
| 2 | text 1-64 | product |
| 3 | text 1-32 | hardware class |
| 4 | uint32 from 1 | sequence, strictly rising over assignments of the hardware class |
| 5 | 32 bytes | SHA-256 of the signed manifest message |
| 6 | text 1-48 | campaign, for people |
| 7 | 16 bytes | salt of the draw |
| 8 | uint | devices drawn, parts per million, 0 to 1 000 000 |
| 9 | list of text 1-20 | pinned serial numbers, sorted, at most 24 |
| 10 | bool | halted |
| 11, 12 | uint | issued and expires, seconds since 1970-01-01T00:00:00Z |
| 13 | list of 32 bytes, 1-8 | format 2 alone: manifests that lead to field 5, rising counter |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manifests.errors import DeviceMessageError
from manifests.manifest import NAME_MAX_LENGTH, PRODUCT_MAX_LENGTH
from manifests.message_fields import (
    MESSAGE_FORMAT_VERSION,
    MESSAGE_MAX_BYTES,
    TIME_MAX_S,
    UINT32_MAX,
    check_received_length,
    parse_versioned_message,
)
from signing.canonical_cbor import serialize_cbor
from signing.roles import Role

if TYPE_CHECKING:
    from signing.trust_record import TrustRecord

ASSIGNMENT_CONTENT_TYPE = "application/vnd.ampforge.assignment+cbor"
CAMPAIGN_MAX_LENGTH = 48
SALT_BYTES = 16
ALL_DEVICES_PPM = 1_000_000
PINNED_MAX_COUNT = 24
SERIAL_MAX_LENGTH = 20
STEPPED_FORMAT_VERSION = 2
"""The format that names steps; one that names none has format 1."""
STEPS_MAX_COUNT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Who installs a release, and when. See the module's table for bounds.

    Attributes:
        steps_sha256: Signed manifests of releases that lead to it, of rising counter: a device
            that must take a step first takes the last of them that it may.
    """

    product: str
    hardware_class: str
    sequence: int
    manifest_sha256: bytes
    campaign: str
    salt: bytes
    drawn_ppm: int
    pinned_serial_numbers: tuple[str, ...]
    is_halted: bool
    issued_at_s: int
    expires_at_s: int
    steps_sha256: tuple[bytes, ...] = ()

    def selects(self, serial_number: str) -> bool:
        """Whether a device is to install: pinned, or drawn; never while halted."""
        if self.is_halted:
            return False
        return serial_number in self.pinned_serial_numbers or (
            draw_ppm(self.salt, serial_number) < self.drawn_ppm
        )

    @property
    def expires_at(self) -> datetime:
        """When the assignment expires, UTC."""
        return datetime.fromtimestamp(self.expires_at_s, UTC)


def draw_ppm(salt: bytes, serial_number: str) -> int:
    """Return a device's draw, 0 to 999 999: fixed by salt and serial, uniform over devices.

    The first 8 bytes of SHA-256(salt || serial) as a big-endian fraction of 2**64, scaled
    (docs/spec/assignment.md §3). Raising the share in a campaign keeps those already drawn.
    """
    digest = hashlib.sha256(salt + serial_number.encode("ascii")).digest()
    return (int.from_bytes(digest[:8], "big") * ALL_DEVICES_PPM) >> 64


def following_sequence(sequence: int) -> int:
    """Return the sequence of the assignment that follows; after the last one, the first.

    Nobody comes to the last one by publishing: a thief of the campaign key did. Boards begin to
    count anew with the key that replaces it (docs/spec/trust.md §4.1), and refuse everything until
    then, so nothing is lost by beginning anew here.
    """
    return sequence + 1 if sequence < UINT32_MAX else 1


def serialize_assignment(assignment: Assignment) -> bytes:
    """Return the payload that the campaign role signs."""
    steps: dict[int, object] = (
        {13: list(assignment.steps_sha256)} if assignment.steps_sha256 else {}
    )
    return serialize_cbor(
        {
            1: STEPPED_FORMAT_VERSION if steps else MESSAGE_FORMAT_VERSION,
            2: assignment.product,
            3: assignment.hardware_class,
            4: assignment.sequence,
            5: assignment.manifest_sha256,
            6: assignment.campaign,
            7: assignment.salt,
            8: assignment.drawn_ppm,
            9: sorted(assignment.pinned_serial_numbers),
            10: assignment.is_halted,
            11: assignment.issued_at_s,
            12: assignment.expires_at_s,
            **steps,
        }
    )


def parse_assignment(verified_bytes: bytes) -> Assignment:
    """Return the assignment in a payload whose signature was verified.

    Raises:
        DeviceMessageError: A field is missing, unknown, of another type or out of its bounds.
    """
    version, fields = parse_versioned_message(
        verified_bytes, where="assignment", latest=STEPPED_FORMAT_VERSION
    )
    assignment = Assignment(
        product=fields.read_text(2, "product", maximum=PRODUCT_MAX_LENGTH),
        hardware_class=fields.read_text(3, "hardware class", maximum=NAME_MAX_LENGTH),
        sequence=fields.read_int(4, "sequence", minimum=1),
        manifest_sha256=fields.read_digest(5, "manifest digest"),
        campaign=fields.read_text(6, "campaign", maximum=CAMPAIGN_MAX_LENGTH),
        salt=fields.read_bytes(7, "salt", minimum=SALT_BYTES, maximum=SALT_BYTES),
        drawn_ppm=fields.read_int(8, "share drawn", maximum=ALL_DEVICES_PPM),
        pinned_serial_numbers=fields.read_text_list(
            9, "pinned serial numbers", maximum=PINNED_MAX_COUNT, item_maximum=SERIAL_MAX_LENGTH
        ),
        is_halted=fields.read_bool(10, "halted"),
        issued_at_s=fields.read_int(11, "issued", maximum=TIME_MAX_S),
        expires_at_s=fields.read_int(12, "expires", maximum=TIME_MAX_S),
        steps_sha256=()
        if version == MESSAGE_FORMAT_VERSION
        else fields.read_digest_list(13, "steps", maximum=STEPS_MAX_COUNT),
    )
    fields.finish()
    if assignment.manifest_sha256 in assignment.steps_sha256:
        raise DeviceMessageError(
            "the assignment names a release as a step to itself",
            expected="other manifests than that of field 5",
            where="assignment, field 13 (steps)",
        )
    return assignment


def verify_assignment(untrusted_bytes: bytes, trust: TrustRecord) -> Assignment:
    """Return the assignment in a signed message: length, signature, then meaning.

    Raises:
        DeviceMessageError: Its length or a field is refused.
        TrustError: No key of the campaign role signed these bytes.
    """
    check_received_length(untrusted_bytes, where="assignment")
    payload = trust.verify(
        untrusted_bytes,
        Role.CAMPAIGN,
        content_type=ASSIGNMENT_CONTENT_TYPE,
        max_bytes=MESSAGE_MAX_BYTES,
    )
    assignment = parse_assignment(payload)
    if assignment.product != trust.product:
        raise DeviceMessageError(
            "the assignment is for another product",
            expected=trust.product,
            got=assignment.product,
            where="assignment, field 2",
        )
    return assignment
