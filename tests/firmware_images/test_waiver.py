"""Waivers as bytes: golden, by another library, bounded, signed by the policy role alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.approval import build_approval, parse_approval, serialize_approval
from firmware_images.errors import ApprovalError, FirmwareImageError, WaiverError
from firmware_images.limits_texts import RULE_TEXTS
from firmware_images.waiver import (
    LIFETIME_MAX,
    parse_waiver,
    read_waiver,
    serialize_waiver,
    sign_waiver,
    verify_waiver,
)
from firmware_images.waiver_rules import NEVER_WAIVED, WAIVABLE
from firmware_images.waiver_text import format_waiver
from signing.errors import SigningError, ThresholdError, UnknownKeyError

from .test_approval import TABLE, signer, trust
from .waveform_builders import GOLDEN, ROOT

PAYLOAD = (GOLDEN / "tighten.waiver-payload.cbor").read_bytes()
SIGNED = (GOLDEN / "tighten.waiver.cose").read_bytes()
APPROVAL_PAYLOAD = (GOLDEN / "tighten.waived-approval-payload.cbor").read_bytes()
WAIVER = parse_waiver(PAYLOAD)
LINE = (
    "WAIVED JDC TIGHTEN level 1 until 2027-01-31: study 12 "
    "(0.571429 mA/cm², limit 0.5; asked for by R. Engineer)"
)


def test_the_golden_waiver_is_written_and_read():
    assert serialize_waiver(WAIVER) == PAYLOAD
    assert sign_waiver(WAIVER, [signer("policy")]) == SIGNED
    assert verify_waiver(SIGNED, trust()) == WAIVER == read_waiver(SIGNED)
    assert serialize_approval(build_approval(TABLE, [WAIVER])) == APPROVAL_PAYLOAD
    assert parse_approval(APPROVAL_PAYLOAD) == build_approval(TABLE, [WAIVER])


def test_the_golden_payloads_are_what_another_library_makes_of_the_specification():
    assert cbor2.loads(PAYLOAD) == {
        1: 1,
        2: WAIVER.table_digest,
        3: WAIVER.policy_digest,
        4: 1,
        5: "flare-c3",
        6: "JDC",
        7: "JDC",
        8: "TIGHTEN",
        9: 1,
        10: "0.571429",
        11: "0.5",
        12: "study 12",
        13: "R. Engineer",
        14: 1782864000,
        15: 1801440000,
    }
    approval = cbor2.loads(APPROVAL_PAYLOAD)
    assert (approval[6], approval[7]) == ([WAIVER.digest], 1801440000)


def test_the_specification_prints_the_golden_payloads():
    text = (ROOT / "docs" / "spec" / "policy-and-approval.md").read_text()
    blocks = text.partition("## 8. ")[2].split("```")
    assert bytes.fromhex("".join(blocks[1].split())) == PAYLOAD
    assert bytes.fromhex("".join(blocks[3].split())) == APPROVAL_PAYLOAD[-42:]


def test_every_rule_is_either_waivable_or_says_why_not():
    waivable = {rule for rule, _ in WAIVABLE.values()}
    assert waivable | NEVER_WAIVED.keys() == {text.rule for text in RULE_TEXTS}
    assert waivable & NEVER_WAIVED.keys() == {"PEAK"}  # the claim, never the ceiling


def test_a_waiver_is_one_line_and_says_when_it_has_ended():
    document = WAIVER.to_json()
    assert format_waiver(document, now=WAIVER.expires_at - timedelta(seconds=1)) == LINE
    assert "EXPIRED on 2027-01-31" in format_waiver(document, now=WAIVER.expires_at)
    every = format_waiver(replace(WAIVER, level=None).to_json(), now=None)
    assert "WAIVED JDC TIGHTEN all levels until 2027-01-31" in every


def test_the_policy_role_alone_and_its_threshold_count():
    with pytest.raises(UnknownKeyError, match="role policy"):
        verify_waiver(sign_waiver(WAIVER, [signer("release")]), trust())
    with pytest.raises(ThresholdError, match="too few keys"):
        verify_waiver(SIGNED, trust(threshold=2))
    both = sign_waiver(WAIVER, [signer("policy"), signer("policy-2")])
    assert verify_waiver(both, trust(threshold=2)) == WAIVER
    with pytest.raises(SigningError, match="another kind"):
        verify_waiver((GOLDEN / "tighten.approval.cose").read_bytes(), trust())


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"rule": "PEAK", "limit_key": "PEAK"}, "'PEAK' cannot be waived"),
        ({"rule": "IEC_RMS", "limit_key": "IEC_RMS_DC"}, "'IEC_RMS' cannot be waived"),
        ({"rule": "VC", "limit_key": "JDC"}, "'VC' cannot be waived"),
        ({"value": Decimal("0.49")}, "value of a waiver"),
        ({"value": Decimal("0.5714291")}, "value of a waiver"),
        ({"hardware_class": ""}, "hardware class of a waiver"),
        ({"hardware_class": "f" * 33}, "hardware class of a waiver"),
        ({"hardware_class": "flàre-c3"}, "hardware class of a waiver"),
        ({"reason": " "}, "reason of a waiver"),
        ({"reason": "x" * 301}, "reason of a waiver"),
        ({"reason": "fine\n\x1b[2JWAIVED nothing"}, "reason of a waiver"),
        ({"requested_by": ""}, "applicant of a waiver"),
        ({"level": 0}, "level of a waiver"),
        ({"level": 17}, "level of a waiver"),
        ({"mode": ""}, "mode of a waiver"),
        ({"table_digest": bytes(31)}, "digests of a waiver"),
        ({"policy_version": 0}, "policy version of a waiver"),
        ({"expires_at_s": WAIVER.issued_at_s}, "expiry of a waiver"),
        ({"expires_at_s": 2**40}, "expiry of a waiver"),
        (
            {"expires_at_s": WAIVER.issued_at_s + int(LIFETIME_MAX.total_seconds()) + 1},
            "does not last that long",
        ),
    ],
)
def test_what_a_waiver_cannot_say_is_refused(changes, telling):
    with pytest.raises(WaiverError, match=telling):
        replace(WAIVER, **changes)


@pytest.mark.parametrize(
    "fields",
    [
        {1: 2},
        {1: True},
        {2: "text"},
        {4: True},
        {6: b"JDC"},
        {9: True},
        {9: "1"},
        {10: "0.5714290"},
        {10: "NaN"},
        {10: "words"},
        {11: 0.5},
        {14: True},
        {16: 1},
    ],
)
def test_a_payload_of_other_fields_is_refused(fields):
    changed = cbor2.dumps({**cbor2.loads(PAYLOAD), **fields}, canonical=True)
    with pytest.raises(WaiverError, match="waiver"):
        parse_waiver(changed)


@pytest.mark.parametrize(
    "fields",
    [
        {6: []},
        {6: [bytes(31)]},
        {6: [bytes(32), bytes(32)]},
        {6: [b"\1" * 32, bytes(32)]},
        {6: [bytes([n]) * 32 for n in range(9)]},
        {6: None},
        {7: 0},
        {7: True},
        {7: None},
    ],
)
def test_an_approval_with_other_waiver_fields_is_refused(fields):
    changed = cbor2.dumps({**cbor2.loads(APPROVAL_PAYLOAD), **fields}, canonical=True)
    with pytest.raises(ApprovalError, match="format 1"):
        parse_approval(changed)


@pytest.mark.parametrize("missing", [6, 7])
def test_an_approval_names_waivers_and_their_end_or_neither(missing):
    fields = cbor2.loads(APPROVAL_PAYLOAD)
    del fields[missing]
    with pytest.raises(ApprovalError, match="format 1"):
        parse_approval(cbor2.dumps(fields, canonical=True))


@given(bit=st.integers(0, 8 * len(SIGNED) - 1))
@settings(max_examples=60, deadline=None)
def test_any_flipped_bit_is_refused(bit):
    damaged = bytearray(SIGNED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SigningError):
        verify_waiver(bytes(damaged), trust())


@given(content=st.binary(max_size=160))
@settings(max_examples=80, deadline=None)
def test_arbitrary_bytes_raise_only_our_errors(content):
    with pytest.raises(WaiverError):
        parse_waiver(content)
    with pytest.raises((SigningError, FirmwareImageError)):
        read_waiver(content)
