"""A waiver in the field: published and installed while it holds, halted ever, never sneaked in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from cli.device_output import format_device_waivers, read_approved_waivers
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.errors import ApprovalError, WaiverError
from firmware_images.flash_medium import SECTOR_BYTES
from manifests.errors import RepositoryError
from manifests.gateway import Gateway
from manifests.publication import AssignmentPlan
from manifests.published_releases import list_releases
from manifests.repository_reading import load_repository
from manifests.repository_status import describe_repository
from manifests.server import ServerPlan, serve_in_background
from manifests.status_words import format_status
from manifests.transfer import Fetch
from manifests.update_outcome import UpdateResult
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import APP_1_5_0, build_waived_inputs, signer
from tests.manifests.test_update_attacks import assert_refused, serve
from tests.manifests.world import NOW, RULES, make_device, make_publisher, new_bundle, trust

ISSUED = NOW - timedelta(days=190)
END = ISSUED + timedelta(days=200)
ALL = AssignmentPlan(campaign="all")


@pytest.fixture(scope="module")
def waived_bundle():
    inputs = build_waived_inputs(issued_at=ISSUED, app=APP_1_5_0.read_bytes(), release_counter=2)
    return sign_bundle(build_bundle(inputs), [signer("release-1"), signer("release-2-ed")])


@pytest.fixture
def publisher(tmp_path):
    return make_publisher(tmp_path / "repository")


def update(device, transport):
    from manifests.transfer import run_session
    from manifests.updater import update_device

    return run_session(update_device(device, RULES), transport)


def files_of(publisher):
    return {path: path.read_bytes() for path in publisher.store.root.rglob("*") if path.is_file()}


def test_a_waived_release_is_published_shown_and_installed(publisher, waived_bundle):
    publication = publisher.publish_bundle(waived_bundle, None, now=NOW)
    assert [waiver["rule"] for waiver in publication.waivers] == ["PEAK"]
    for now, telling in ((NOW, "until"), (END, "EXPIRED on")):
        status = describe_repository(publisher.store, trust(), now=now)
        assert f"WAIVED PEAK PULSE level 2 {telling}" in format_status(status)
    assert publisher.publish_plan("1.5.0", ALL, now=NOW).waivers == publication.waivers
    outcome = update(make_device(), serve(publisher))
    assert outcome.result is UpdateResult.REBOOT_NEEDED


def test_a_board_and_a_gateway_say_what_is_waived(publisher, waived_bundle, tmp_path):
    """The board from its own approval, by digest; the gateway from what the release role listed."""
    publication = publisher.publish_bundle(waived_bundle, ALL, now=NOW)
    (waiver,) = publication.waivers
    device = make_device()
    assert read_approved_waivers(device) is None
    assert update(device, serve(publisher)).result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    approved = read_approved_waivers(device)
    assert approved is not None
    assert [digest.hex() for digest in approved.digests] == [waiver["digest"]]
    document = {"approved_waivers": approved.to_json()}
    for now, telling in ((NOW, "until"), (END, "EXPIRED on")):
        (line,) = format_device_waivers(document, now=now)
        assert line.startswith(f"WAIVED by 1 waiver {telling} {waiver['last_day']}: ")
    device.medium.erase(device.waveform_partition(1).offset_bytes, SECTOR_BYTES)
    assert read_approved_waivers(device) is None
    (release,) = list_releases(load_repository(publisher.store))
    root = (publisher.store.root / "metadata" / "1.root.json").read_bytes()
    with (
        serve_in_background(ServerPlan(folder=publisher.store.root)) as url,
        closing(Gateway(url, trusted_root=root, cache=tmp_path / "c")) as gateway,
    ):
        assert gateway.waivers == ()
        gateway.fetch(Fetch(path=f"device/{release.target_path}", max_bytes=4096))
        assert gateway.waivers == publication.waivers
        (line,) = format_device_waivers({"waivers": list(gateway.waivers)}, now=NOW)
        assert line.startswith("WAIVED PEAK PULSE level 2 until")


def test_an_expired_waiver_is_not_published(publisher, waived_bundle):
    before = files_of(publisher)
    with pytest.raises(WaiverError, match="has expired"):
        publisher.publish_bundle(waived_bundle, None, now=END)
    assert files_of(publisher) == before


def test_a_release_whose_waiver_expired_is_given_to_nobody_else_and_can_be_halted(
    publisher, waived_bundle
):
    publisher.publish_bundle(waived_bundle, None, now=NOW)
    before = files_of(publisher)
    with pytest.raises(RepositoryError, match="given to nobody else"):
        publisher.publish_plan("1.5.0", ALL, now=END)
    assert files_of(publisher) == before
    halted = publisher.publish_plan("1.5.0", replace(ALL, is_halted=True), now=END)
    assert halted.assignment.is_halted


def test_a_device_does_not_install_after_the_waiver_has_expired(publisher, waived_bundle):
    publisher.publish_bundle(waived_bundle, None, now=NOW)
    publisher.renew(now=END)
    # The assignment and the manifest still hold: only what policy signed has ended.
    assert_refused(make_device(), serve(publisher, now=END), "with a waiver, and that has expired")


def test_a_release_under_an_outdated_policy_is_not_published(publisher):
    stricter = replace(publisher, trust=replace(trust(), version=2, minimum_policy_version=2))
    before = files_of(publisher)
    with pytest.raises(ApprovalError, match="no longer counts"):
        stricter.publish_bundle(new_bundle(), None, now=NOW)
    assert files_of(publisher) == before


def test_a_device_with_a_later_trust_record_does_not_install_under_an_outdated_policy(publisher):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    stricter = replace(trust(), version=2, minimum_policy_version=2)
    device.record.trust.save(sign_trust_record(stricter, [signer("root-1")]))
    assert_refused(device, serve(publisher), "no longer counts")
