"""The last checks before a switch, and what is counted when: each guards what no other one does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_images.bundle import verify_bundle
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.otadata import OtaState, mark_state
from manifests.assignment import verify_assignment
from manifests.errors import UpdateRefusedError
from manifests.manifest import message_digest
from manifests.poll_memory import PollMemory
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult
from manifests.update_sources import manifest_path
from manifests.updater import update_device
from tests.attacks.stolen_keys import sign_assignment, sign_manifest
from tests.manifests.test_update_attacks import (
    ASSIGNMENT_PATH,
    assert_refused,
    regions,
    serve,
)
from tests.manifests.world import (
    NOW,
    PARTITIONS,
    RULES,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    old_bundle,
    trust,
)


@pytest.fixture
def publisher(tmp_path):
    return make_publisher(tmp_path / "repository")


def run(device, transport):
    return run_session(update_device(device, RULES), transport)


@pytest.mark.parametrize(
    ("begin", "why"),
    [
        (lambda board: setattr(board, "session", True), "in a session"),
        (lambda board: setattr(board, "battery", 29), "battery is too low"),
    ],
    ids=["session", "battery"],
)
def test_nothing_is_switched_when_the_device_is_needed_after_its_last_chunk(
    publisher, monkeypatch, begin, why
):
    """The waveforms alone change: no chunk of an application is asked for in between."""
    publisher.publish_bundle(bundle(release_counter=2, peak_na=200_000), None, now=NOW)
    device = make_device()
    before = regions(device)
    erase = device.medium.erase

    def taken_up(offset_bytes, size_bytes):
        begin(device.board)
        erase(offset_bytes, size_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(device.medium, "erase", taken_up)
        with pytest.raises(UpdateRefusedError, match=why):
            run(device, serve(publisher))
    assert regions(device) == before
    assert device.board.is_output_on
    assert device.record.load_update_state().pending is None
    device.board.session, device.board.battery = False, 80
    assert run(device, serve(publisher)).result is UpdateResult.REBOOT_NEEDED


def test_a_flash_that_loses_the_application_while_the_table_is_written_is_noticed(publisher):
    """Each write was read back, and a worn address line took one of them back later."""
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    before = regions(device)
    app, wave = PARTITIONS.find("ota_1"), PARTITIONS.find("wave_1")
    erase = device.medium.erase

    def erase_two(offset_bytes, size_bytes):
        erase(offset_bytes, size_bytes)
        if offset_bytes == wave.offset_bytes:
            erase(app.offset_bytes, size_bytes)

    device.medium.erase = erase_two
    with pytest.raises(UpdateRefusedError, match="does not hold what was written") as refused:
        run(device, serve(publisher))
    assert "ota_1" in refused.value.where
    assert regions(device) == before
    assert device.record.load_update_state().pending is None


def test_nothing_of_a_longer_waveform_image_is_left_behind_a_shorter_one(publisher):
    """Whoever reads the partition refuses what follows the image, a self-test among them."""
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    wave = PARTITIONS.find("wave_1")
    device.medium.write(wave.offset_bytes, bytes(3 * SECTOR_BYTES))
    device.medium.write(wave.offset_bytes + wave.size_bytes - 1, b"\0")
    assert run(device, serve(publisher)).result is UpdateResult.REBOOT_NEEDED
    table, _ = device.read_waveform_slot(1)
    assert table == verify_bundle(new_bundle(), trust()).table_bytes


def test_a_flash_that_keeps_what_lay_behind_the_image_is_noticed(publisher):
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    last = PARTITIONS.find("wave_1").offset_bytes + PARTITIONS.find("wave_1").size_bytes
    device.medium.write(last - 1, b"\0")
    before, erase = regions(device), device.medium.erase

    def erase_but_the_last(offset_bytes, size_bytes):
        if offset_bytes + size_bytes != last:
            erase(offset_bytes, size_bytes)

    device.medium.erase = erase_but_the_last
    with pytest.raises(UpdateRefusedError, match="did not give up what lay behind") as refused:
        run(device, serve(publisher))
    assert "wave_1, offset 0xf000" in refused.value.where
    assert regions(device) == before


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("digest", {"table_sha256": bytes(32)}),
        ("policy version", {"policy_version": 2}),
        ("highest peak in nA", {"peak_na": 100_001}),
    ],
)
def test_a_table_that_its_manifest_describes_otherwise_is_refused(publisher, what, change):
    """By whoever holds the release and campaign keys; policy has approved the table."""
    done = publisher.publish_bundle(new_bundle(), None, now=NOW)
    facts = replace(done.manifest.waveform, **change)
    message = sign_manifest(replace(done.manifest, waveform=facts))
    digest = message_digest(message)
    (publisher.store.root / manifest_path(digest)).write_bytes(message)
    shown = sign_assignment(replace(done.assignment, manifest_sha256=digest))
    (publisher.store.root / ASSIGNMENT_PATH).write_bytes(shown)
    assert_refused(make_device(), serve(publisher), f"the waveform table has another {what}")


def test_a_switch_counts_what_it_was_shown_and_not_yet_the_release(publisher):
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    assert run(device, serve(publisher)).result is UpdateResult.REBOOT_NEEDED
    shown = verify_assignment((publisher.store.root / ASSIGNMENT_PATH).read_bytes(), trust())
    state = device.record.load_update_state()
    assert state.assignment_sequence == shown.sequence > 1
    assert state.freshness_sequence == int(NOW.timestamp())
    assert (state.release_counter, state.policy_version_floor) == (0, 0)
    device.board.boot()
    assert run(device, serve(publisher)).result is UpdateResult.INSTALLED
    state = device.record.load_update_state()
    assert (state.release_counter, state.policy_version_floor) == (2, 1)


@pytest.mark.parametrize("state", [OtaState.NEW, OtaState.PENDING_VERIFY])
def test_a_release_that_has_not_proved_itself_takes_no_counter(publisher, state):
    """It runs already, with nothing pending: somebody else switched to it."""
    publisher.publish_bundle(old_bundle(), None, now=NOW)
    device = make_device()
    mark_state(device.medium, device.otadata, state)
    assert run(device, serve(publisher)).result is UpdateResult.UP_TO_DATE
    assert device.record.load_update_state().release_counter == 0
    mark_state(device.medium, device.otadata, OtaState.VALID)
    after_a_boot = replace(device, memory=PollMemory())
    assert run(after_a_boot, serve(publisher)).result is UpdateResult.UP_TO_DATE
    assert device.record.load_update_state().release_counter == 1
