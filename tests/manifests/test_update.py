"""The device's update, from assignment to signed report, over the real server application."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.otadata import OtaState, read_otadata
from firmware_images.signature_sector import SECTOR_BYTES
from firmware_images.waveform_slot import pad_waveform_slot, serialize_waveform_slot
from firmware_images.waveform_slot_signing import attach_slot_signatures, verify_signed_slot
from manifests.device_report import ReportedResult
from manifests.errors import TransportError, UpdateRefusedError
from manifests.fleet import FleetStore
from manifests.publication import AssignmentPlan
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.transfer import run_session
from manifests.update_outcome import (
    FIRST_BOOTS_MAX,
    UpdateResult,
    UpdateRules,
    unconfirmed_boots,
)
from manifests.updater import update_device
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    APP_1_5_0,
    build_inputs,
    build_parts,
    signer,
)
from tests.manifests.world import (
    NOW,
    PARTITIONS,
    RULES,
    SERIAL,
    AppTransport,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)

SHA_1_4_0 = hashlib.sha256(APP_1_4_0.read_bytes()).digest()
SHA_1_5_0 = hashlib.sha256(APP_1_5_0.read_bytes()).digest()


@pytest.fixture
def publisher(tmp_path):
    return make_publisher(tmp_path / "repository")


@pytest.fixture
def fleet(tmp_path):
    store = FleetStore(tmp_path / "reports.sqlite")
    yield store
    store.close()


@pytest.fixture
def transport(publisher, fleet):
    app = RepositoryApp(
        publisher.store.root,
        ServiceParts(
            trust=trust(), freshness_signer=signer("freshness-1"), fleet=fleet, clock=lambda: NOW
        ),
    )
    return AppTransport(app)


def run(device, transport, rules=RULES):
    return run_session(update_device(device, rules), transport)


def test_a_release_is_installed_confirmed_after_boot_and_reported(publisher, transport, fleet):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    assert device.board.running_app_sha256 == SHA_1_4_0

    written = run(device, transport)
    assert written.result is UpdateResult.REBOOT_NEEDED
    assert not device.board.is_output_on
    assert device.record.load_update_state().release_counter == 0

    device.board.boot()
    assert device.board.running_slot == 1
    assert device.board.running_app_sha256 == SHA_1_5_0
    settled = run(device, transport)
    assert settled.result is UpdateResult.INSTALLED
    assert (settled.release_counter, settled.is_report_due) == (2, False)
    entries = read_otadata(device.medium, PARTITIONS.find("otadata")).entries
    assert entries[1].state is OtaState.VALID or entries[1].state == OtaState.VALID

    (stored,) = fleet.list_reports(SERIAL)
    assert stored.report.result is ReportedResult.INSTALLED
    assert stored.report.app_sha256 == SHA_1_5_0
    assert run(device, transport).result is UpdateResult.UP_TO_DATE
    assert len(fleet.list_reports()) == 1


def test_a_waveform_slot_is_installed_with_its_signature_for_the_chip(publisher, transport):
    parts = build_parts(app=APP_1_5_0)
    slot = serialize_waveform_slot(parts.table, parts.approval)
    key = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    signed = attach_slot_signatures(slot, [(key.public_key, key.sign(pad_waveform_slot(slot)))])
    inputs = build_inputs(parts, release_counter=2, waveform_signature=signed[-SECTOR_BYTES:])
    signers = [signer("release-1"), signer("release-2-ed")]
    publisher.publish_bundle(sign_bundle(build_bundle(inputs), signers), None, now=NOW)
    device = make_device()
    run(device, transport)
    device.board.boot()
    assert run(device, transport).result is UpdateResult.INSTALLED
    partition = device.waveform_partition(1)
    content = device.medium.read(partition.offset_bytes, partition.size_bytes)
    assert content == signed.ljust(partition.size_bytes, b"\xff")
    assert verify_signed_slot(content).blocks[0].public_key == key.public_key


def test_the_switch_waits_for_its_reboot(publisher, transport):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    run(device, transport)
    before = bytes(device.medium.content)
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    assert bytes(device.medium.content) == before


def test_a_failed_self_test_goes_back_and_is_reported(publisher, transport, fleet):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    run(device, transport)
    device.board.boot()
    device.board.failure = "the DAC does not answer"
    assert "DAC" in run(device, transport).message
    device.board.boot()
    device.board.failure = None
    assert device.board.running_slot == 0
    # The report went out with the next poll, and the same release is not tried again by itself.
    with pytest.raises(Exception, match="tried this release before") as refused:
        run(device, transport)
    assert "DAC" in refused.value.got
    (stored,) = fleet.list_reports()
    assert (stored.report.result, stored.report.reason) == (
        ReportedResult.REVERTED,
        "the DAC does not answer",
    )
    assert stored.report.app_sha256 == SHA_1_4_0
    assert device.record.load_update_state().release_counter == 0
    again = run(device, transport, replace(RULES, allows_reinstall=True))
    assert again.result is UpdateResult.REBOOT_NEEDED


def test_a_release_that_never_confirms_is_tried_three_times_and_given_up(
    publisher, transport, fleet
):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    for first_boots in range(FIRST_BOOTS_MAX):
        assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
        state = device.record.load_update_state()
        assert unconfirmed_boots(state, state.last_manifest_digest) == first_boots
        device.board.boot()
        assert device.board.running_slot == 1
        device.board.boot()
        assert device.board.running_slot == 0
    reverted = run(device, transport)
    assert reverted.result is UpdateResult.REVERTED
    assert "did not confirm 3 first boots" in fleet.list_reports()[0].report.reason
    with pytest.raises(UpdateRefusedError, match="tried this release before"):
        run(device, transport)
    assert device.board.running_app_sha256 == SHA_1_4_0


def test_another_release_begins_with_all_its_first_boots(publisher, transport):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    for _ in range(FIRST_BOOTS_MAX - 1):
        run(device, transport)
        device.board.boot()
        device.board.boot()
    publisher.publish_bundle(bundle(release_counter=3, is_newer_app=True), None, now=NOW)
    for _ in range(FIRST_BOOTS_MAX - 1):
        assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
        device.board.boot()
        device.board.boot()
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    assert run(device, transport).release_counter == 3


def test_the_electrodes_stay_off_from_the_switch_until_the_self_test_has_passed(
    publisher, transport
):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    run(device, transport)
    assert not device.board.is_output_on
    device.board.boot()
    seen = []
    device.board.is_output_on = True
    device.board.self_test = lambda: seen.append(device.board.is_output_on)
    assert run(device, transport).result is UpdateResult.INSTALLED
    assert seen == [False]
    assert device.board.is_output_on


def test_a_switch_that_waits_does_not_reboot_a_device_in_use(publisher, transport):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    run(device, transport)
    before = bytes(device.medium.content)
    device.board.session = True
    with pytest.raises(UpdateRefusedError, match="in a session"):
        run(device, transport)
    device.board.session, device.board.battery = False, 29
    with pytest.raises(UpdateRefusedError, match="battery"):
        run(device, transport)
    assert bytes(device.medium.content) == before


def test_the_secure_version_rises_when_the_release_is_confirmed_and_not_before(
    publisher, transport
):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    raised = []
    device.board.raise_secure_version = lambda: raised.append(
        (device.boots_next(), device.record.load_update_state().release_counter)
    )
    run(device, transport)
    device.board.boot()
    device.board.failure = "the DAC does not answer"
    run(device, transport)
    assert raised == []
    device.board.boot()
    device.board.failure = None
    run(device, transport, replace(RULES, allows_reinstall=True))
    device.board.boot()
    run(device, transport)
    # otadata says VALID by then, and the counters follow.
    assert raised == [(1, 0)]
    assert device.record.load_update_state().release_counter == 2


def test_a_poll_with_nothing_new_is_one_request(publisher, transport):
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    device = make_device()
    first = run(device, transport)
    assert len(transport.paths) == 3
    transport.paths.clear()
    assert run(device, transport) == first
    assert transport.paths == ["device/flare-c3/assignment.cose"]
    publisher.publish_plan("1.4.0", AssignmentPlan(campaign="again"), now=NOW)
    transport.paths.clear()
    run(device, transport)
    assert len(transport.paths) == 3


def test_a_poll_of_a_device_that_is_not_selected_is_one_request_until_it_is(publisher, transport):
    plan = AssignmentPlan(campaign="pilot", drawn_ppm=0)
    publisher.publish_bundle(new_bundle(), plan, now=NOW)
    device = make_device()
    for _ in range(2):
        transport.paths.clear()
        assert run(device, transport).result is UpdateResult.NOT_SELECTED
    assert len(transport.paths) == 1
    publisher.publish_plan("1.5.0", AssignmentPlan(campaign="pilot"), now=NOW)
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED


def test_only_the_waveforms_change_and_the_application_is_not_fetched(publisher, transport):
    publisher.publish_bundle(bundle(release_counter=2, peak_na=200_000), None, now=NOW)
    device = make_device()
    run(device, transport)
    device.board.boot()
    assert run(device, transport).result is UpdateResult.INSTALLED
    assert device.board.running_slot == 1
    assert not [path for path in transport.paths if SHA_1_4_0.hex() in path]


def test_a_unit_fresh_from_the_factory_takes_the_counter_of_its_own_release(publisher, transport):
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    device = make_device()
    assert run(device, transport).result is UpdateResult.UP_TO_DATE
    assert device.record.load_update_state().release_counter == 1


def test_a_report_that_cannot_be_delivered_stays_due(publisher, transport, fleet, tmp_path):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    run(device, transport)
    device.board.boot()
    deaf = AppTransport(RepositoryApp(publisher.store.root, ServiceParts(trust=trust())))
    assert run(device, deaf).is_report_due
    assert run(device, transport).result is UpdateResult.UP_TO_DATE
    assert len(fleet.list_reports()) == 1


def test_a_cut_download_goes_on_where_it_was(publisher, transport):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    session = update_device(device, RULES)
    fetch = next(session)
    while fetch.offset_bytes < 3 * 4096 or SHA_1_5_0.hex() not in fetch.path:
        try:
            fetch = session.send(transport.fetch(fetch))
        except TransportError as error:
            fetch = session.throw(error)
    session.close()
    transport.paths.clear()
    offsets = []
    run_session(
        update_device(device, UpdateRules(chunk_bytes=4096)),
        transport,
        on_fetch=lambda wish: offsets.append((wish.path, wish.offset_bytes)),
    )
    app_offsets = [offset for path, offset in offsets if SHA_1_5_0.hex() in path]
    assert app_offsets[0] == 2 * 4096
    device.board.boot()
    assert device.board.running_app_sha256 == SHA_1_5_0
