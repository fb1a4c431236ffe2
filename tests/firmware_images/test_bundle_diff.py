"""`bundle_diff`: what a reviewer is told of two releases."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from firmware_images.bundle_archive import parse_archive, serialize_archive
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.bundle_diff import diff_bundles
from firmware_images.bundle_diff_remarks import find_remarks
from firmware_images.errors import BundleError
from firmware_images.partitions import PartitionTable
from firmware_images.release_view import NO_TRUST_RECORD, NOT_SIGNED, read_release
from firmware_images.sbom import build_sbom, parse_sbom
from firmware_images.sbom_document import SbomPart
from tests.firmware_images.release_parts import (
    APP_1_5_0,
    FOREIGN_APP,
    build_inputs,
    build_parts,
    build_trust,
    signer,
)


def build(parts=None, **changes):
    return build_bundle(build_inputs(parts, **changes))


def compare(first: bytes, second: bytes, trust=None):
    return diff_bundles(read_release(first, trust=trust), read_release(second, trust=trust))


def find(diff, section, subject, what):
    (change,) = [
        c for c in diff.changes if (c.section, c.subject, c.what) == (section, subject, what)
    ]
    return change.before, change.after


@pytest.fixture(scope="module")
def first() -> bytes:
    return build()


def test_a_release_does_not_differ_from_itself_signed_or_not(first):
    signed = sign_bundle(first, [signer("release-1")])
    diff = compare(first, signed)
    assert diff.is_same
    assert (diff.changes, diff.waveform, diff.remarks) == ((), (), ())
    document = diff.to_json()
    assert document["schema"] == "ampforge.bundle-diff/1"
    assert document["same"] is True


def test_a_new_app_is_told_in_facts(first):
    diff = compare(first, build(build_parts(app=APP_1_5_0), release_counter=2))
    assert find(diff, "release", "", "version") == ("1.4.0", "1.5.0")
    assert find(diff, "release", "", "release_counter") == (1, 2)
    assert find(diff, "app", "", "version") == ("1.4.0", "1.5.0")
    assert find(diff, "parts", "app.bin", "sha256")
    assert diff.waveform == ()
    assert diff.remarks == ()


def test_another_app_entirely_is_told_by_segment(first):
    diff = compare(first, build(build_parts(app=FOREIGN_APP), release_counter=2))
    subjects = {change.subject for change in diff.changes if change.section == "app"}
    assert any(subject.startswith("segment ") for subject in subjects)
    assert "hello_world" in find(diff, "app", "", "project_name")


def test_a_waveform_is_told_in_numbers_per_level(first):
    diff = compare(first, build(build_parts(peak_na=120_000), release_counter=2))
    peaks = {c.level: (c.before, c.after) for c in diff.waveform if c.what == "peak_ua"}
    assert peaks == {1: (50.0, 60.0), 2: (100.0, 120.0)}
    assert diff.to_json()["waveform"][0]["mode"] == "PULSE"


def test_a_wider_limit_is_named_by_its_rule(monkeypatch, first):
    from tests.firmware_images import release_parts

    monkeypatch.setitem(release_parts._LIMITS, "JRMS", "2.5")
    monkeypatch.setitem(release_parts._LIMITS, "DOSE", "0.9")
    monkeypatch.setitem(release_parts._LIMITS, "VC_LOAD", "11000")
    diff = compare(first, build(build_parts(policy_version=2), release_counter=2))
    assert find(diff, "policy", "limit JRMS", "value") == ("2 mA/cm2", "2.5 mA/cm2")
    assert find(diff, "policy", "", "version") == (1, 2)
    assert set(diff.remarks) == {
        "limit JRMS is wider: 2 to 2.5 mA/cm2",
        "limit DOSE is tighter: 1 to 0.9 mA*min",
    }
    back = compare(build(build_parts(policy_version=2), release_counter=2), first)
    assert any("an older one: version 2 to 1" in remark for remark in back.remarks)
    same_version = compare(first, build(build_parts(), release_counter=2))
    assert any("another one under the same version" in r for r in same_version.remarks)


def test_partitions_that_move_are_told_with_what_that_means(first):
    table = build_inputs().partition_table
    nvs, *others = table.partitions
    shorter = replace(nvs, size_bytes=nvs.size_bytes - 4096)
    moved = PartitionTable(partitions=(shorter, *others))
    diff = compare(first, build(partition_table=moved, release_counter=2))
    assert find(diff, "partitions", "nvs", "size_bytes") == (0x5000, 0x4000)
    assert any("only the factory writes it" in remark for remark in diff.remarks)
    last = others[-1]
    spare = replace(last, name="spare", offset_bytes=last.end_bytes, subtype=0x50)
    added = build(partition_table=PartitionTable(partitions=(*table.partitions, spare)))
    before, after = find(compare(first, added), "partitions", "spare", "added")
    assert before is None
    assert f"offset_bytes {last.end_bytes}" in after
    assert find(compare(added, first), "partitions", "spare", "removed")[1] is None


def carry_bill(*components):
    project = parse_sbom(
        json.dumps(
            {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}
        ).encode()
    )
    part = SbomPart(member="app.bin", name="flare", version="1", is_firmware=True, content=b"")
    return build(sbom=build_sbom(product="flare", version="1", parts=[part], project=project))


def test_components_are_told_by_name():
    lwip = {"type": "library", "name": "lwip", "version": "2.1"}
    first = carry_bill(lwip, {"type": "library", "name": "old"}, {"type": "file", "name": "old"})
    second = carry_bill(lwip | {"version": "2.2"}, {"type": "library", "name": "new"})
    diff = compare(first, second)
    assert find(diff, "components", "lwip", "version") == ("2.1", "2.2")
    assert find(diff, "components", "new", "added") == (None, "")
    assert find(diff, "components", "old", "removed") == ("", None)
    assert find(diff, "components", "old (2)", "removed") == ("", None)
    unreadable = compare(first, build(sbom=b"{}"))
    assert "not a software bill" in find(unreadable, "components", "sbom.json", "added")[1]


def test_a_counter_that_does_not_rise_and_a_dropped_revision_are_remarked(first):
    diff = compare(first, build(hardware_revision_min=2))
    assert any("counter does not rise (1 to 1)" in remark for remark in diff.remarks)
    assert "hardware revision 1 is no longer covered" in diff.remarks


def test_another_product_is_remarked_and_refused_under_a_trust_record(first):
    other = build(product="glow", release_counter=2)
    assert any("the product is another one" in r for r in compare(first, other).remarks)
    with pytest.raises(BundleError, match="another product"):
        compare(first, other, build_trust())


def test_who_signed_is_told_as_far_as_it_is_known(first):
    trust = build_trust()
    one = sign_bundle(first, [signer("release-1")])
    both = sign_bundle(one, [signer("release-3")])
    assert read_release(first, trust=trust).problems == (NOT_SIGNED,)
    assert read_release(one, trust=None).problems == (NO_TRUST_RECORD,)
    view = read_release(one, trust=trust)
    assert not view.is_verified
    assert view.kids == (signer("release-1").public_key.key_id[:8],)
    verified = read_release(both, trust=trust)
    assert verified.is_verified
    assert verified.signed_by == {
        signer(name).public_key.key_id for name in ("release-1", "release-3")
    }


def test_an_approval_that_does_not_count_is_a_problem_of_that_side():
    raw = build(build_parts(approver="release-1"))
    view = read_release(raw, trust=build_trust())
    assert view.problems[0] == NOT_SIGNED
    assert "policy" in view.problems[1]
    older = build_trust(minimum_policy_version=2)
    assert "no longer counts" in read_release(build(), trust=older).problems[1]


def test_a_bundle_that_is_not_what_it_states_is_not_compared(first):
    members = parse_archive(first)
    changed = serialize_archive(members | {"app.bin": members["app.bin"][:-1] + b"x"})
    with pytest.raises(BundleError, match="not the one that was signed"):
        read_release(changed, trust=None)


def with_secure_version(view, secure_version):
    app = replace(view.statement.app, secure_version=secure_version)
    return replace(view, statement=replace(view.statement, app=app))


@pytest.mark.parametrize(
    ("before", "after", "remark"),
    [
        (2, 1, "falls from 2 to 1: a board with anti-rollback that counted to the first one"),
        (None, 1, "rises from 0 to 1: a board with anti-rollback never starts the first"),
    ],
)
def test_a_secure_version_is_remarked_with_what_boards_do(first, before, after, remark):
    view = read_release(first, trust=None)
    remarks = find_remarks(with_secure_version(view, before), with_secure_version(view, after))
    assert any(remark in text for text in remarks)


def test_another_app_under_the_same_version_is_remarked(first):
    view = read_release(first, trust=None)
    image = replace(view.contents.image, image_sha256=bytes(32))
    other = replace(view, contents=replace(view.contents, image=image))
    assert find_remarks(view, other) == ("the app is another one under the same version 1.4.0",)


def test_a_mode_that_may_now_jump_is_remarked(first):
    view = read_release(first, trust=None)

    def limit_slope(is_slope_limited):
        modes = {
            name: replace(mode, is_slope_limited=is_slope_limited)
            for name, mode in view.contents.policy.modes.items()
        }
        policy = replace(view.contents.policy, modes=modes)
        return replace(view, contents=replace(view.contents, policy=policy))

    remarks = find_remarks(limit_slope(True), limit_slope(False))
    assert "limit SLOPE no longer applies to mode PULSE" in remarks
    assert not any("SLOPE" in text for text in find_remarks(limit_slope(False), limit_slope(True)))
