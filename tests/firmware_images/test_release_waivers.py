"""A release with a waiver: shown everywhere, exactly the approved ones, and only while it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firmware_images.approval import build_approval, refuse_expired_approval, sign_approval
from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.bundle_diff import diff_bundles
from firmware_images.bundle_inspection import inspect_bundle
from firmware_images.errors import BundleError, LimitError, WaiverError
from firmware_images.release_view import read_release
from firmware_images.waiver import sign_waiver
from signing.errors import UnknownKeyError

from .release_parts import (
    ISSUED,
    build_claim_waiver,
    build_inputs,
    build_parts,
    build_trust,
    build_waived_inputs,
    signer,
)

TRUST = build_trust(release_threshold=1)
PARTS = build_parts(peak_na=300_000)
WAIVER = build_claim_waiver(PARTS.table)
END = WAIVER.expires_at


def approve(*waivers):
    signed = sign_approval(build_approval(PARTS.table, waivers), [signer("policy-1")])
    return replace(PARTS, approval=signed)


def sign(unsigned, **options):
    return sign_bundle(unsigned, [signer("release-1")], trust=TRUST, **options)


@pytest.fixture(scope="module")
def unsigned():
    return build_bundle(build_waived_inputs())


def test_a_waived_release_verifies_and_carries_its_waiver_as_a_part(unsigned):
    with pytest.raises(LimitError, match="PEAK"):
        build_bundle(build_inputs(PARTS))
    bundle = verify_bundle(sign(unsigned, now=ISSUED), TRUST)
    assert bundle.waivers == (WAIVER,)
    name = f"waivers/{WAIVER.digest.hex()[:16]}.cose"
    assert name in bundle.statement.parts
    assert inspect_bundle(unsigned)["waivers"] == [WAIVER.to_json()]
    assert build_bundle(build_waived_inputs()) == unsigned


def test_a_release_is_signed_only_while_its_waiver_holds(unsigned):
    sign(unsigned, now=END - timedelta(seconds=1))
    with pytest.raises(WaiverError, match="has expired"):
        sign(unsigned, now=END)
    with pytest.raises(WaiverError, match="not in force yet"):
        sign(unsigned, now=ISSUED - timedelta(days=1))


def test_a_waiver_by_another_role_is_refused_wherever_there_is_a_trust_record():
    unsigned = build_bundle(build_waived_inputs(signed_by="release-1"))
    with pytest.raises(UnknownKeyError, match="role policy"):
        sign(unsigned, now=ISSUED)
    signed = sign_bundle(unsigned, [signer("release-1")])
    with pytest.raises(UnknownKeyError, match="role policy"):
        verify_bundle(signed, TRUST)
    assert "role policy" in read_release(signed, trust=TRUST).problems[0]


def test_the_release_carries_exactly_the_waivers_of_its_approval():
    other = sign_waiver(replace(WAIVER, reason="another"), [signer("policy-1")])
    mine = sign_waiver(WAIVER, [signer("policy-1")])
    for parts, waivers in (
        (approve(WAIVER), ()),
        (approve(WAIVER), (other,)),
        (approve(WAIVER), (mine, other)),
        (approve(), (mine,)),
    ):
        with pytest.raises(WaiverError, match="with other waivers"):
            build_bundle(build_inputs(parts, waivers=waivers))
    with pytest.raises(WaiverError, match="given twice"):
        build_bundle(build_inputs(approve(WAIVER), waivers=(mine, mine)))


def test_an_approval_that_outlasts_its_waiver_is_refused():
    approval = replace(build_approval(PARTS.table, [WAIVER]), waivers_expire_at_s=2**33)
    parts = replace(PARTS, approval=sign_approval(approval, [signer("policy-1")]))
    signed = sign_waiver(WAIVER, [signer("policy-1")])
    with pytest.raises(WaiverError, match="does not end with"):
        build_bundle(build_inputs(parts, waivers=(signed,)))


def test_a_waiver_under_another_name_is_refused(unsigned):
    from firmware_images.bundle_contents import UNSIGNED_STATEMENT, judge_contents
    from firmware_images.release_statement import describe_part, parse_statement

    members = parse_archive(unsigned)
    statement = parse_statement(members.pop(UNSIGNED_STATEMENT))
    (name,) = (name for name in members if name.startswith("waivers/"))
    members["waivers/mine.cose"] = members.pop(name)
    parts = {member: describe_part(content) for member, content in members.items()}
    with pytest.raises(WaiverError, match="not under its own name"):
        judge_contents(replace(statement, parts=parts), members, trust=None)


def test_a_changed_or_missing_waiver_is_refused(unsigned):
    from firmware_images.bundle_archive import serialize_archive

    members = parse_archive(sign(unsigned, now=ISSUED))
    (name,) = (name for name in members if name.startswith("waivers/"))
    changed = bytearray(members[name])
    changed[-1] ^= 1
    with pytest.raises(BundleError, match="not the one that was signed"):
        verify_bundle(serialize_archive(members | {name: bytes(changed)}), TRUST)
    without = {member: content for member, content in members.items() if member != name}
    with pytest.raises(BundleError, match="do not list the same parts"):
        verify_bundle(serialize_archive(without), TRUST)


def test_a_comparison_says_what_is_waived_now(unsigned):
    plain = read_release(build_bundle(build_inputs()), trust=None)
    waived = read_release(unsigned, trust=None)
    diff = diff_bundles(plain, waived)
    assert any("a limit is waived: WAIVED PEAK PULSE level 2" in text for text in diff.remarks)
    (change,) = (change for change in diff.changes if change.section == "waivers")
    assert (change.subject, change.what) == ("PEAK PULSE level 2 (CLAIM)", "added")
    assert diff.to_json()["after"]["waivers"] == [WAIVER.to_json()]
    assert not any("waived" in text for text in diff_bundles(waived, waived).remarks)


def test_an_approval_without_its_waivers_still_knows_when_they_end():
    approval = build_approval(PARTS.table, [WAIVER])
    refuse_expired_approval(approval, now=END - timedelta(seconds=1))
    with pytest.raises(WaiverError, match="that has expired"):
        refuse_expired_approval(approval, now=END)
    refuse_expired_approval(build_approval(PARTS.table), now=END)
