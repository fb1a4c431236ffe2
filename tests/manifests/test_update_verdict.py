"""The verdict on a release is noted first, counts only when it is noted, and is given once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_images.device_record import PendingUpdate, UpdateState
from firmware_images.otadata import OtaState, mark_state, read_otadata
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.update_outcome import FIRST_BOOTS_MAX, Remembered, UpdateResult, noted_verdict
from tests.firmware_images.power_cut import PowerCutError
from tests.firmware_images.release_parts import signer
from tests.manifests.test_update import fleet, publisher, run, transport  # noqa: F401 - fixtures
from tests.manifests.world import (
    NOW,
    PARTITIONS,
    RULES,
    AppTransport,
    Board,
    make_device,
    new_bundle,
    trust,
)

OTADATA = PARTITIONS.find("otadata")
PENDING = PendingUpdate(
    manifest_digest=bytes(32), release_counter=2, policy_version=1, slot=1, app_sha256=bytes(32)
)


class TestedBoard(Board):
    """A board that counts its self-tests."""

    __test__ = False
    tests = 0

    def self_test(self):
        self.tests += 1
        return self.failure


@pytest.fixture
def device(publisher, transport):  # noqa: F811 - the fixtures
    """A board that boots a new release for the first time."""
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    device = make_device()
    device = replace(device, board=TestedBoard(device.medium))
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    device.board.boot()
    assert device.board.running_slot == 1
    return device


def cut_before_otadata(device, transport, monkeypatch):  # noqa: F811 - the fixture
    """A session whose power fails when it first touches otadata."""
    erase = device.medium.erase

    def cut(offset_bytes, size_bytes):
        if 0 <= offset_bytes - OTADATA.offset_bytes < OTADATA.size_bytes:
            raise PowerCutError
        erase(offset_bytes, size_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(device.medium, "erase", cut)
        with pytest.raises(PowerCutError):
            run(device, transport)


def test_a_release_that_has_passed_is_not_tested_again_after_a_cut(
    device,
    transport,  # noqa: F811
):
    """Its secure version may be burned by then, and what ran before boot no more."""

    def cut():
        raise PowerCutError

    device.board.raise_secure_version = cut
    with pytest.raises(PowerCutError):
        run(device, transport)
    del device.board.raise_secure_version
    device.board.boot()
    assert device.board.running_slot == 1
    device.board.failure = "a second test would fail"
    assert run(device, transport).result is UpdateResult.INSTALLED
    assert device.board.tests == 1


def test_valid_that_nobody_noted_is_tested(device, transport):  # noqa: F811
    mark_state(device.medium, OTADATA, OtaState.VALID)
    device.board.boot()
    device.board.failure = "the DAC does not answer"
    assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
    assert device.board.tests == 1
    device.board.boot()
    assert device.board.running_slot == 0


def test_a_release_that_failed_is_not_tested_again_when_the_cut_came_before_otadata(
    device,
    transport,  # noqa: F811
    fleet,  # noqa: F811
    monkeypatch,
):
    device.board.failure = "the DAC does not answer"
    cut_before_otadata(device, transport, monkeypatch)
    device.board.boot()
    assert device.board.running_slot == 0
    assert run(device, transport).result is UpdateResult.REVERTED
    assert device.board.tests == 1
    (stored,) = fleet.list_reports()
    assert stored.report.reason == "the DAC does not answer"


def test_a_release_that_failed_and_still_runs_is_given_up_without_a_second_test(
    device,
    transport,  # noqa: F811
    monkeypatch,
):
    """A worn otadata sector did not take INVALID, say."""
    device.board.failure = "the DAC does not answer"
    cut_before_otadata(device, transport, monkeypatch)
    device.board.failure = None
    assert "DAC" in run(device, transport).message
    assert device.board.tests == 1
    assert read_otadata(device.medium, OTADATA).entries[1].state == OtaState.INVALID


def test_first_boots_count_that_end_between_the_note_and_otadata(
    device,
    transport,  # noqa: F811
    fleet,  # noqa: F811
    monkeypatch,
):
    """A release whose own updater crashes there is not tried for ever."""
    for _ in range(FIRST_BOOTS_MAX - 1):
        cut_before_otadata(device, transport, monkeypatch)
        device.board.boot()
        assert device.board.running_slot == 0
        assert run(device, transport).result is UpdateResult.REBOOT_NEEDED
        device.board.boot()
    cut_before_otadata(device, transport, monkeypatch)
    device.board.boot()
    assert run(device, transport).result is UpdateResult.REVERTED
    assert device.board.tests == FIRST_BOOTS_MAX
    assert "did not confirm 3 first boots" in fleet.list_reports()[0].report.reason


def test_what_is_remembered_of_a_release_is_no_verdict_when_it_is_installed_again(
    device,
    publisher,  # noqa: F811
    transport,  # noqa: F811
):
    """It was given up, its report is still due, and a service station installs it once more."""
    parts = ServiceParts(
        trust=trust(), freshness_signer=signer("freshness-1"), clock=lambda: NOW, fleet=None
    )
    deaf = AppTransport(RepositoryApp(publisher.store.root, parts))
    device.board.failure = "the DAC does not answer"
    run(device, deaf)
    device.board.boot()
    device.board.failure = None
    service = replace(RULES, allows_reinstall=True)
    assert run(device, deaf, service).result is UpdateResult.REBOOT_NEEDED
    state = device.record.load_update_state()
    assert state.pending is not None
    assert noted_verdict(state) is None
    device.board.boot()
    assert run(device, transport).result is UpdateResult.INSTALLED


@pytest.mark.parametrize(
    ("word", "digest", "pending", "verdict"),
    [
        ("passed", bytes(32), PENDING, Remembered.PASSED),
        ("passed: 2 of 3 boots", bytes(32), PENDING, Remembered.PASSED),
        ("reverted, report due: x", bytes(32), PENDING, Remembered.REVERTED_REPORT_DUE),
        ("passed", b"\1" * 32, PENDING, None),
        ("passed", b"", PENDING, None),
        ("passed", bytes(32), None, None),
        ("reverted: x", bytes(32), PENDING, None),
        ("installed, report due", bytes(32), PENDING, None),
        ("downloading", bytes(32), PENDING, None),
    ],
    ids=map(str, range(9)),
)
def test_a_verdict_is_about_the_pending_update_or_none(word, digest, pending, verdict):
    state = UpdateState(pending=pending, last_outcome=word, last_manifest_digest=digest)
    assert noted_verdict(state) is verdict
