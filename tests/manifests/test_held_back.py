"""A device that cannot come to a release says so, once, and changes nothing by it."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import pytest

from cli.held_back import describe_held_back, format_held_back
from manifests.device_report import ReportedResult, verify_device_report
from manifests.errors import TransportError, UpdateRefusedError
from manifests.fleet import FleetStore
from manifests.poll_memory import PollMemory
from manifests.received_report import receive_report
from manifests.release_life import withdraw_release
from manifests.repository_status import describe_repository
from manifests.transfer import run_session
from manifests.updater import update_device
from tests.manifests.test_release_steps import device_at, publish
from tests.manifests.test_update_attacks import assert_refused, serve
from tests.manifests.world import NOW, RULES, SERIAL, make_publisher, trust


class Reports:
    """A server's application, and a fleet's memory that takes what is posted to it."""

    def __init__(self, inner, fleet):
        self.inner, self.fleet, self.posted = inner, fleet, []
        self.is_up = True

    def fetch(self, fetch):
        if fetch.path != "api/reports":
            return self.inner.fetch(fetch)
        if not self.is_up:
            raise TransportError("no server")
        self.posted.append(fetch.body)
        report = verify_device_report(fetch.body, trust(), now=NOW)
        self.fleet.add_reports([receive_report(report, fetch.body, now=NOW)])
        return b"ok"


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publish(publisher, (1, 0, 1, 3), (2, 0, 1, 3), (3, 2, 1, 3))
    withdraw_release(publisher, "1.4.0", release_counter=2, reason="drawn", now=NOW)
    return publisher


@pytest.fixture
def fleet(tmp_path):
    with closing(FleetStore(tmp_path / "reports.sqlite")) as fleet:
        yield fleet


def stuck(device, transport):
    """One session that is refused, without a change of the flash."""
    assert_refused(device, transport, "must take a step before this release")


def test_a_device_before_a_missing_step_reports_it_once_for_each_boot(publisher, fleet):
    transport, device = Reports(serve(publisher), fleet), device_at(2, 1)
    for _ in range(3):
        stuck(device, transport)
    assert len(transport.posted) == 1
    (stored,) = fleet.list_reports(SERIAL)
    assert stored.report.result is ReportedResult.HELD_BACK
    assert stored.report.reason == "step: counter 2, revision 2"
    assert stored.report.release_counter == 1
    assert fleet.list_held_back(stored.report.manifest_sha256) == {
        "step: counter 2, revision 2": (SERIAL,)
    }
    stuck(replace(device, memory=PollMemory()), transport)  # after a boot
    assert len(transport.posted) == 2
    assert len(fleet.list_reports(SERIAL)) == 1, "the same words are one report"


def test_a_report_that_nobody_takes_is_said_again_and_changes_nothing(publisher, fleet):
    transport, device = Reports(serve(publisher), fleet), device_at(1, 1)
    transport.is_up = False
    stuck(device, transport)
    assert fleet.list_reports() == ()
    transport.is_up = True
    stuck(device, transport)
    assert len(fleet.list_reports()) == 1


def test_a_device_that_went_on_is_held_back_no_longer(publisher, fleet):
    transport, device = Reports(serve(publisher), fleet), device_at(1, 1)
    stuck(device, transport)
    (stored,) = fleet.list_reports()
    publish(publisher, (4, 0, 1, 3), (5, 2, 1, 3))
    transport.inner = serve(publisher)
    while True:
        before = device.record.load_update_state().release_counter
        run_session(update_device(device, RULES), transport)
        device.board.boot()
        run_session(update_device(device, RULES), transport)
        if device.record.load_update_state().release_counter == before:
            break
    assert before == 5
    assert fleet.list_held_back(stored.report.manifest_sha256) == {}


class Configured:
    """A configuration whose reports lie in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def resolve(self, path):
        return self.folder / path

    def section(self, _name, model):
        return model()


def test_status_lists_who_is_held_back_and_what_is_missing(publisher, fleet, tmp_path):
    status = describe_repository(publisher.store, trust(), now=NOW)
    assert describe_held_back(Configured(tmp_path / "elsewhere"), status) is None
    assert describe_held_back(Configured(tmp_path), status) == []
    stuck(device_at(2, 1), Reports(serve(publisher), fleet))
    (entry,) = held_back = describe_held_back(Configured(tmp_path), status)
    assert json.dumps(held_back)
    assert (entry["version"], entry["serial_numbers"]) == ("1.4.0", [SERIAL])
    text = format_held_back(held_back)
    assert (
        f"1 device says that a step to 1.4.0 is missing (step: counter 2, revision 2): {SERIAL}"
        in text
    )
    assert format_held_back([]) == format_held_back(None) == ""


def test_a_refusal_for_another_reason_reports_nothing(publisher, fleet):
    transport, device = Reports(serve(publisher), fleet), device_at(9, 1)
    with pytest.raises(UpdateRefusedError, match="not for this hardware revision"):
        run_session(update_device(device, RULES), transport)
    assert transport.posted == []
