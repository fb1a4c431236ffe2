"""A device message has room for the signatures that a trust record lets its role make."""

from __future__ import annotations

import pytest

from manifests.assignment import (
    ASSIGNMENT_CONTENT_TYPE,
    CAMPAIGN_MAX_LENGTH,
    PINNED_MAX_COUNT,
    SALT_BYTES,
    SERIAL_MAX_LENGTH,
    parse_assignment,
)
from manifests.manifest import (
    APP_MAX_BYTES,
    MANIFEST_CONTENT_TYPE,
    NAME_MAX_LENGTH,
    PEAK_MAX_NA,
    PRODUCT_MAX_LENGTH,
    VERSION_MAX_LENGTH,
    WAVEFORM_SLOT_MAX_BYTES,
    parse_manifest,
)
from manifests.message_fields import MESSAGE_MAX_BYTES, TIME_MAX_S, UINT32_MAX
from signing.canonical_cbor import serialize_cbor
from signing.cose import sign_many
from signing.role_algorithms import ENTRY_BYTES, SIGNATURE_ROOM_BYTES
from signing.roles import Role
from tests.signing.fixed_keys import fixed_signer

DIGEST = bytes(32)
LONGEST_MANIFEST = serialize_cbor(
    {
        1: 2,
        2: "p" * PRODUCT_MAX_LENGTH,
        3: UINT32_MAX,
        4: "v" * VERSION_MAX_LENGTH,
        5: "h" * NAME_MAX_LENGTH,
        6: UINT32_MAX,
        7: UINT32_MAX,
        8: {1: APP_MAX_BYTES, 2: DIGEST, 3: DIGEST, 4: UINT32_MAX},
        9: {1: WAVEFORM_SLOT_MAX_BYTES, 2: DIGEST, 3: DIGEST, 4: UINT32_MAX, 5: PEAK_MAX_NA},
        10: DIGEST,
        11: TIME_MAX_S,
        12: TIME_MAX_S,
        # Deltas take room that signatures may need: publishing says so when both do not fit.
        13: [],
        14: UINT32_MAX - 1,
        15: TIME_MAX_S,
    }
)
LONGEST_ASSIGNMENT = serialize_cbor(
    {
        1: 1,
        2: "p" * PRODUCT_MAX_LENGTH,
        3: "h" * NAME_MAX_LENGTH,
        4: UINT32_MAX,
        5: DIGEST,
        6: "c" * CAMPAIGN_MAX_LENGTH,
        7: bytes(SALT_BYTES),
        8: 1_000_000,
        9: [f"{number:0{SERIAL_MAX_LENGTH}}" for number in range(PINNED_MAX_COUNT)],
        10: True,
        11: TIME_MAX_S,
        12: TIME_MAX_S,
    }
)


@pytest.mark.parametrize(
    ("role", "payload", "parse", "content_type"),
    [
        (Role.RELEASE, LONGEST_MANIFEST, parse_manifest, MANIFEST_CONTENT_TYPE),
        (Role.CAMPAIGN, LONGEST_ASSIGNMENT, parse_assignment, ASSIGNMENT_CONTENT_TYPE),
    ],
)
def test_the_longest_message_leaves_the_room_that_is_promised(role, payload, parse, content_type):
    assert parse(payload)
    signer = fixed_signer("one")
    message = sign_many(payload, [signer], content_type=content_type)
    without = len(message) - ENTRY_BYTES[signer.public_key.algorithm]
    assert without + SIGNATURE_ROOM_BYTES[role] <= MESSAGE_MAX_BYTES
