"""Approvals and signed policies: only the policy role, only this table, only a current policy."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.approval import (
    APPROVAL_CONTENT_TYPE,
    build_approval,
    parse_approval,
    serialize_approval,
    sign_approval,
    sign_policy,
    verify_approval,
    verify_policy,
)
from firmware_images.errors import ApprovalError, WaveformTableError
from firmware_images.policy_signatures import add_signatures
from firmware_images.waveform_table import serialize_waveform_table
from signing.errors import SigningError, ThresholdError, UnknownKeyError
from signing.keys import Algorithm
from signing.roles import Role, RoleKeys
from signing.trust_record import TrustRecord
from tests.signing.fixed_keys import fixed_signer

from .waveform_builders import GOLDEN, ROOT, change_policy, flare_policy, flare_table

POLICY_KEYS = ("policy", "policy-2", "policy-3")
TABLE = (GOLDEN / "tighten.table").read_bytes()
PAYLOAD = (GOLDEN / "tighten.approval-payload.cbor").read_bytes()
APPROVAL = build_approval(TABLE)


def signer(name):
    return fixed_signer(name, Algorithm.ED25519)


def trust(*, threshold=1, minimum_policy_version=1) -> TrustRecord:
    def keys(count, *names):
        return RoleKeys(threshold=count, keys=tuple(signer(name).public_key for name in names))

    return TrustRecord(
        product="flare",
        version=1,
        roles={
            Role.ROOT: keys(1, "root", "root-2"),
            Role.POLICY: keys(threshold, *POLICY_KEYS),
            Role.RELEASE: keys(1, "release"),
        },
        minimum_policy_version=minimum_policy_version,
    )


def verify(signed, *, record=None, table=TABLE, hardware_class="flare-c3"):
    return verify_approval(
        signed, record or trust(), table_bytes=table, hardware_class=hardware_class
    )


def test_the_golden_approval_is_written_and_read():
    signed = (GOLDEN / "tighten.approval.cose").read_bytes()
    assert serialize_approval(APPROVAL) == PAYLOAD
    assert parse_approval(PAYLOAD) == APPROVAL
    assert sign_approval(APPROVAL, [signer("policy")]) == signed
    assert verify(signed) == APPROVAL


def test_the_golden_payload_is_what_another_library_makes_of_the_specification():
    assert cbor2.loads(PAYLOAD) == {
        1: 1,
        2: APPROVAL.table_digest,
        3: APPROVAL.policy_digest,
        4: 1,
        5: "flare-c3",
    }


def test_another_role_cannot_approve():
    with pytest.raises(UnknownKeyError, match="role policy"):
        verify(sign_approval(APPROVAL, [signer("release")]))


def test_a_threshold_counts_distinct_keys():
    one = sign_approval(APPROVAL, [signer("policy")])
    with pytest.raises(ThresholdError, match="too few keys"):
        verify(one, record=trust(threshold=2))
    two = add_signatures(one, PAYLOAD, [signer("policy-2")], content_type=APPROVAL_CONTENT_TYPE)
    assert verify(two, record=trust(threshold=2)) == APPROVAL
    with pytest.raises(SigningError):
        add_signatures(one, PAYLOAD, [signer("policy")], content_type=APPROVAL_CONTENT_TYPE)


def test_a_signature_is_not_added_to_another_approval():
    other = serialize_approval(replace(APPROVAL, policy_version=2))
    with pytest.raises(ApprovalError, match="something else"):
        add_signatures(
            sign_approval(APPROVAL, [signer("policy")]),
            other,
            [signer("policy-2")],
            content_type=APPROVAL_CONTENT_TYPE,
        )


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"table_digest": bytes(32)}, "another table"),
        ({"policy_digest": bytes(32)}, "another policy"),
        ({"policy_version": 2}, "another policy version"),
        ({"hardware_class": "flare-s3"}, "another hardware class"),
    ],
)
def test_an_approval_of_something_else_is_refused(changes, telling):
    with pytest.raises(ApprovalError, match=telling):
        verify(sign_approval(replace(APPROVAL, **changes), [signer("policy")]))


def test_an_approval_does_not_count_on_other_boards_or_with_other_tables():
    signed = sign_approval(APPROVAL, [signer("policy")])
    with pytest.raises(ApprovalError, match="hardware class"):
        verify(signed, hardware_class="flare-s3")
    with pytest.raises(ApprovalError, match="another table"):
        verify(signed, table=serialize_waveform_table(flare_table()))
    with pytest.raises(WaveformTableError):
        verify(signed, table=b"not a table")


def test_an_approval_under_an_old_policy_is_refused():
    signed = sign_approval(APPROVAL, [signer("policy")])
    with pytest.raises(ApprovalError, match="no longer counts") as caught:
        verify(signed, record=trust(minimum_policy_version=2))
    assert caught.value.expected == "policy version 2 or later"


@pytest.mark.parametrize("index", range(0, 224, 5))
def test_a_flipped_bit_is_refused(index):
    damaged = bytearray((GOLDEN / "tighten.approval.cose").read_bytes())
    damaged[index] ^= 0x08
    with pytest.raises(SigningError):
        verify(bytes(damaged))


@given(content=st.binary(max_size=120))
@settings(max_examples=80, deadline=None)
def test_arbitrary_payloads_raise_only_our_error(content):
    with pytest.raises(ApprovalError):
        parse_approval(content)


@pytest.mark.parametrize(
    "fields",
    [
        {1: 2},
        {1: True},
        {2: bytes(31)},
        {3: "text"},
        {4: 0},
        {4: True},
        {4: 2**32},
        {5: b"flare-c3"},
        {5: ""},
        {5: "f" * 33},
        {5: "flàre-c3"},
        {5: "flare\n"},
        {6: 1},
    ],
)
def test_a_payload_of_other_fields_is_refused(fields):
    changed = cbor2.dumps({**cbor2.loads(PAYLOAD), **fields}, canonical=True)
    with pytest.raises(ApprovalError, match="format 1"):
        parse_approval(changed)


def test_a_signed_policy_is_read_after_its_signature_is_verified():
    policy = flare_policy()
    assert verify_policy(sign_policy(policy, [signer("policy")]), trust()) == policy
    with pytest.raises(UnknownKeyError):
        verify_policy(sign_policy(policy, [signer("release")]), trust())
    with pytest.raises(SigningError):
        verify_policy(sign_approval(APPROVAL, [signer("policy")]), trust())


def test_an_old_policy_is_refused_even_when_it_is_signed():
    signed = sign_policy(flare_policy(), [signer("policy")])
    with pytest.raises(ApprovalError, match="no longer counts"):
        verify_policy(signed, trust(minimum_policy_version=2))
    newer = sign_policy(change_policy(flare_policy(), version=2), [signer("policy")])
    assert verify_policy(newer, trust(minimum_policy_version=2)).version == 2


def test_the_specification_prints_the_golden_payload_and_policy_digest():
    text = (ROOT / "docs" / "spec" / "policy-and-approval.md").read_text()
    block = text.partition("## 5. ")[2].partition("```\n")[2].partition("```")[0]
    assert bytes.fromhex("".join(block.split())) == PAYLOAD
    assert APPROVAL.policy_digest.hex() in text.partition("## 4. ")[0]
