"""A trust record replaces another one in C as in Python, and never takes anything back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signing.cose import sign_many
from signing.roles import Role, RoleKeys
from signing.trust import TRUST_RECORD_CONTENT_TYPE, serialize_trust_record, verify_trust_record
from signing.trust_record import TrustRecord
from tests.c_verifier.verdicts import our_codes
from tests.signing.fixed_keys import fixed_signer

ROOTS = tuple(fixed_signer(f"step root {number}") for number in range(1, 4))
NEW_ROOTS = tuple(fixed_signer(f"step new root {number}") for number in range(1, 4))
STRANGER, LOST, POLICY = (fixed_signer(f"step {name}") for name in ("stranger", "lost", "policy"))


def held(threshold, *signers) -> RoleKeys:
    return RoleKeys(threshold=threshold, keys=tuple(signer.public_key for signer in signers))


CURRENT = TrustRecord(
    product="flare",
    version=5,
    roles={Role.ROOT: held(2, *ROOTS), Role.POLICY: held(1, POLICY)},
    minimum_policy_version=3,
    revoked_key_ids=frozenset({LOST.public_key.key_id}),
)
NEXT = replace(CURRENT, version=6)
ROTATED = replace(NEXT, roles={Role.ROOT: held(2, *NEW_ROOTS)})
WITHOUT_FIRST = replace(
    NEXT,
    roles={Role.ROOT: held(2, *ROOTS[1:], NEW_ROOTS[0])},
    revoked_key_ids=NEXT.revoked_key_ids | {ROOTS[0].public_key.key_id},
)


def signed(record: TrustRecord, *signers) -> bytes:
    return sign_many(
        serialize_trust_record(record), signers, content_type=TRUST_RECORD_CONTENT_TYPE
    )


@pytest.mark.parametrize(
    ("record", "signers", "code"),
    [
        (NEXT, ROOTS[:2], "ok"),
        (replace(NEXT, version=90), ROOTS[1:], "ok"),
        (NEXT, (*ROOTS, STRANGER), "ok"),
        (NEXT, ROOTS[:1], "too-few-keys"),
        (NEXT, (ROOTS[0], STRANGER), "too-few-keys"),
        (NEXT, (POLICY, STRANGER), "no-key-of-role"),
        (CURRENT, ROOTS[:2], "record-version"),
        (replace(NEXT, version=4), ROOTS[:2], "record-version"),
        (replace(NEXT, minimum_policy_version=2), ROOTS[:2], "record-policy"),
        (replace(NEXT, minimum_policy_version=4), ROOTS[:2], "ok"),
        (replace(NEXT, revoked_key_ids=frozenset()), ROOTS[:2], "record-revocations"),
        (replace(NEXT, revoked_key_ids={b"x" * 32}), ROOTS[:2], "record-revocations"),
        (replace(NEXT, product="glow"), ROOTS[:2], "product"),
        (ROTATED, (*ROOTS[:2], *NEW_ROOTS[:2]), "ok"),
        (ROTATED, NEW_ROOTS[:2], "no-key-of-role"),
        (ROTATED, ROOTS[:2], "no-key-of-role"),
        (ROTATED, (ROOTS[0], *NEW_ROOTS[:2]), "too-few-keys"),
        (WITHOUT_FIRST, (ROOTS[1], ROOTS[2]), "ok"),
        (WITHOUT_FIRST, (ROOTS[0], ROOTS[1], NEW_ROOTS[0]), "ok"),
        (WITHOUT_FIRST, (ROOTS[0], NEW_ROOTS[0]), "revoked-key"),
        (WITHOUT_FIRST, (ROOTS[1], NEW_ROOTS[0]), "too-few-keys"),
    ],
)
def test_a_record_is_accepted_after_another_one_only_as_specified(
    c_verifier, record, signers, code
):
    message = signed(record, *signers)
    assert code in our_codes(lambda: verify_trust_record(message, current=CURRENT))
    current = signed(CURRENT, *ROOTS[:2])
    assert c_verifier.code("trust", message=message, current=current) == code


def test_a_revoked_key_signs_nothing_any_more_and_need_not_verify(c_verifier):
    from signing.canonical_cbor import parse_cbor, serialize_cbor

    message = signed(WITHOUT_FIRST, *ROOTS, NEW_ROOTS[0])
    document = parse_cbor(message[2:], max_bytes=4096)
    kid = ROOTS[0].public_key.key_id[:8]
    (entry,) = [entry for entry in document[3] if kid in entry[0]]
    entry[2] = bytes(64)
    broken = message[:2] + serialize_cbor(document)
    codes = our_codes(lambda: verify_trust_record(broken, current=WITHOUT_FIRST))
    assert c_verifier.code("trust", message=broken) == "ok"
    assert our_codes(lambda: verify_trust_record(broken, current=None)) == {"ok"}
    current = signed(WITHOUT_FIRST, *ROOTS[1:])
    assert c_verifier.code("trust", message=broken, current=current) in codes
