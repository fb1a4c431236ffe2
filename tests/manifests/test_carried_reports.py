"""Reports that others carry are taken as if their devices had sent them, each for itself."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.carried_reports import (
    CARRIED_MAX,
    CARRIED_MAX_BYTES,
    parse_carried_reports,
    parse_outcomes,
    serialize_carried_reports,
    serialize_outcomes,
    split_into_batches,
)
from manifests.denied_devices import DeniedDevices
from manifests.errors import DeviceMessageError, FleetStoreError, TransportError
from manifests.fleet import FleetStore
from manifests.rate_limit import RateLimit
from manifests.received_report import StoredMessage
from manifests.report_verifiers import ReportVerifiers
from manifests.server_app import RepositoryApp
from manifests.server_metrics import ServerCounts
from manifests.service_parts import ServiceParts
from signing.trust import verify_trust_record
from tests.manifests.golden_messages import FOLDER, SIGNING
from tests.manifests.test_device_messages import REPORT, signed_report
from tests.manifests.world import NOW, Request, ask, trust, trust_bytes

PATH = "/api/report-batches"
REPORTS = [signed_report(replace(REPORT, freshness_sequence=number)) for number in range(4)]
FORGED = REPORTS[0][:-1] + bytes([REPORTS[0][-1] ^ 1])


@pytest.fixture
def fleet(tmp_path):
    with closing(FleetStore(tmp_path / "reports.sqlite")) as opened:
        yield opened


def app_with(tmp_path, fleet, **parts):
    return RepositoryApp(
        tmp_path, ServiceParts(trust=trust(), fleet=fleet, clock=lambda: NOW, **parts)
    )


def post(app, bodies):
    return ask(app, Request("POST", PATH, body=serialize_carried_reports(bodies)))


def statuses(answer):
    assert (answer.status, answer.fields["content-type"]) == (200, "application/json")
    return [entry["status"] for entry in json.loads(answer.content)["outcomes"]]


def test_each_report_of_a_batch_has_its_own_outcome_and_what_is_forged_is_not_stored(
    tmp_path, fleet
):
    app = app_with(tmp_path, fleet)
    assert ask(app, Request("POST", "/api/reports", body=REPORTS[0])).status == 201
    answer = post(app, [REPORTS[0], FORGED, REPORTS[1], b"", REPORTS[1], REPORTS[2]])
    assert statuses(answer) == [200, 400, 201, 400, 200, 201]
    entries = json.loads(answer.content)["outcomes"]
    assert "does not match the signed bytes" in entries[1]["text"]
    stored = [message.message for message in fleet.read_messages(since_s=0)]
    assert sorted(stored) == sorted(REPORTS[:3])


def test_a_denied_device_is_denied_whoever_carries_its_report(tmp_path, fleet):
    path = tmp_path / "denied"
    path.write_text(f"serial {REPORT.serial_number}\n", encoding="ascii")
    answer = post(app_with(tmp_path, fleet, denials=DeniedDevices(path)), [REPORTS[0], FORGED])
    assert statuses(answer) == [403, 400]
    assert list(fleet.read_messages(since_s=0)) == []


def test_what_cannot_be_stored_is_to_be_sent_again_and_what_is_forged_is_not(
    tmp_path, fleet, monkeypatch
):
    def refuse(_):
        raise FleetStoreError("a device report cannot be stored", where="/secret/place")

    monkeypatch.setattr(fleet, "add_reports", refuse)
    answer = post(app_with(tmp_path, fleet), [REPORTS[0], FORGED])
    assert statuses(answer) == [503, 400]
    assert b"/secret/place" not in answer.content


@pytest.mark.parametrize(
    "body",
    [
        b"\x80",
        serialize_carried_reports([b""] * (CARRIED_MAX + 1)),
        cbor2.dumps(["text"]),
        cbor2.dumps([[b""]]),
        cbor2.dumps({1: b""}),
        cbor2.dumps(b""),
        serialize_carried_reports([REPORTS[0]]) + b"\x00",
        serialize_carried_reports([REPORTS[0]])[:-1],
    ],
    ids=["none", "65", "text", "list", "map", "bytes", "longer", "cut"],
)
def test_what_is_no_batch_is_refused_whole(tmp_path, fleet, body):
    counts = ServerCounts()
    answer = ask(app_with(tmp_path, fleet, counts=counts), Request("POST", PATH, body=body))
    assert (answer.status, answer.fields["cache-control"]) == (400, "no-store")
    assert b"batch of device reports" in answer.content
    assert counts.reports == {"refused": 1}
    assert list(fleet.read_messages(since_s=0)) == []


def test_a_batch_that_is_too_long_is_not_read(tmp_path, fleet):
    body = bytes(CARRIED_MAX_BYTES + 1)
    assert ask(app_with(tmp_path, fleet), Request("POST", PATH, body=body)).status == 413


def test_a_report_that_is_too_long_is_refused_before_it_waits_for_a_process(tmp_path, fleet):
    """Thousands may wait, and each could be as long as a batch."""
    verifiers = ReportVerifiers(trust_bytes(), processes=1)
    app = app_with(tmp_path, fleet, verifiers=verifiers)
    answer = post(app, [bytes(CARRIED_MAX_BYTES - 4)])
    assert statuses(answer) == [400]
    assert b"expected 1 to 3072 bytes" in answer.content
    assert not verifiers._tasks


def test_a_batch_counts_as_many_requests_as_it_has_reports(tmp_path, fleet):
    now_s = 0.0
    limit = RateLimit(10, clock_s=lambda: now_s)
    app = app_with(tmp_path, fleet, limit=limit)
    for _ in range(3):
        assert statuses(post(app, REPORTS)) in ([201] * 4, [200] * 4)
    refused = post(app, REPORTS)
    assert refused.status == 429
    # Twelve requests of ten a minute: the next is allowed after two and one more intervals.
    assert int(refused.fields["retry-after"]) == 18
    now_s = 18.0
    assert post(app, REPORTS).status == 200


def test_a_server_without_reports_takes_no_batches(tmp_path):
    app = RepositoryApp(tmp_path, ServiceParts(trust=trust()))
    assert post(app, REPORTS).status == 404


def test_the_golden_batch_has_the_outcomes_of_the_specification(tmp_path, fleet):
    record = (SIGNING / "trust-record-1.cose").read_bytes()
    parts = ServiceParts(
        trust=verify_trust_record(record, current=None),
        fleet=fleet,
        clock=lambda: datetime(2026, 6, 1, tzinfo=UTC),
    )
    body = (FOLDER / "report-batch.cbor").read_bytes()
    answer = ask(RepositoryApp(tmp_path, parts), Request("POST", PATH, body=body))
    assert statuses(answer) == [201, 400, 200]


@given(st.lists(st.binary(max_size=3072), min_size=1, max_size=200))
def test_every_report_is_in_one_batch_in_its_place_and_every_batch_is_taken(bodies):
    reports = [StoredMessage(0, "FL26A000001", body) for body in bodies]
    batches = list(split_into_batches(reports))
    assert [one for batch in batches for one in batch] == reports
    for batch in batches:
        messages = [one.message for one in batch]
        assert parse_carried_reports(serialize_carried_reports(messages)) == messages


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_batch_or_refused(content):
    try:
        bodies = parse_carried_reports(content)
    except DeviceMessageError:
        return
    assert serialize_carried_reports(bodies) == content


@given(st.binary(max_size=100), st.integers(1, 3))
def test_arbitrary_answers_are_outcomes_or_refused(content, count):
    try:
        outcomes = parse_outcomes(content, count=count)
    except TransportError:
        return
    assert len(outcomes) == count


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b'{"outcomes": 1}',
        b'{"outcomes": [1]}',
        b'{"outcomes": [{"status": true, "text": ""}]}',
        b'{"outcomes": [{"status": 200}]}',
        b"[" * 100_000,
        serialize_outcomes([(200, "known")] * 2),
        b"<html>",
    ],
)
def test_an_answer_that_does_not_name_each_report_is_refused(content):
    with pytest.raises(TransportError, match="cannot be read"):
        parse_outcomes(content, count=1)


def test_an_outcome_comes_back_as_it_was():
    outcomes = [(201, "stored"), (400, "ä: \u2028 refused")]
    assert parse_outcomes(serialize_outcomes(outcomes), count=2) == outcomes
