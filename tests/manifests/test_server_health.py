"""Health and metrics tell of a timestamp that expires and of a report database that is broken."""

from __future__ import annotations

import json
import resource
import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from manifests import report_batches
from manifests.errors import FleetStoreError
from manifests.fleet import FleetStore
from manifests.freshness import serialize_freshness_request
from manifests.report_batches import PROBE_INTERVAL_S, SILENT_MAX_S, ReportBatches
from manifests.server_app import RepositoryApp
from manifests.server_health import SOON
from manifests.server_metrics import MetricsApp, ServerCounts
from manifests.service_parts import ServiceParts
from tests.firmware_images.release_parts import signer
from tests.free_port import find_free_port
from tests.manifests.server_process import running, whole_plan
from tests.manifests.test_device_messages import REQUEST, signed_report
from tests.manifests.test_server_metrics import ask as ask_port
from tests.manifests.world import NOW, Request, ask, make_publisher, new_bundle, trust
from tests.ordinary_rights import ordinary_rights


@pytest.fixture
def publisher(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    # The server's own clock judges: it must hold today.
    publisher.publish_bundle(
        new_bundle(), None, now=max(NOW, datetime.now(UTC).replace(microsecond=0))
    )
    return publisher


def expiry_of(publisher):
    content = (publisher.store.root / "metadata" / "timestamp.json").read_bytes()
    return datetime.fromisoformat(json.loads(content)["signed"]["expires"])


def health(app):
    answer = ask(app, Request("GET", "/api/health"))
    return answer.status, json.loads(answer.content)


def test_the_timestamp_is_told_by_the_present(publisher):
    expires_at, present = expiry_of(publisher), [NOW]
    app = RepositoryApp(publisher.store.root, ServiceParts(clock=lambda: present[0]))
    second = timedelta(seconds=1)
    for left, status, state in (
        (SOON + second, 200, "current"),
        (SOON, 200, "expires soon"),
        (second, 200, "expires soon"),
        (timedelta(0), 503, "expired"),
        (-SOON, 503, "expired"),
    ):
        present[0] = expires_at - left
        told = health(app)
        assert told[0] == status
        assert told[1] == {
            "status": "ok" if status == 200 else "the timestamp has expired",
            "timestamp": {"state": state, "expires_at": expires_at.isoformat()},
            "reports": "not offered",
        }


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"signed": {"expires": "soon"}}', b"[1]"])
def test_without_a_timestamp_there_is_nothing_to_serve(tmp_path, content):
    (tmp_path / "metadata").mkdir()
    if content is not None:
        (tmp_path / "metadata" / "timestamp.json").write_bytes(content)
    status, told = health(RepositoryApp(tmp_path))
    assert (status, told["status"]) == (503, "no repository to serve")
    assert told["timestamp"] == {"state": "missing or unreadable", "expires_at": None}


@contextmanager
def unreadable(folder):
    folder.chmod(0)
    try:
        with ordinary_rights():
            yield
    finally:
        folder.chmod(0o755)


def test_files_that_cannot_be_read_are_told_as_that_and_never_as_missing(publisher, tmp_path):
    """404 says to a TUF client that there is nothing newer; and a monitor asks just then."""
    fresh = signer("freshness-1")
    counts = ServerCounts()
    parts = ServiceParts(trust=trust(), freshness_signer=fresh, clock=lambda: NOW, counts=counts)
    app = RepositoryApp(publisher.store.root, parts)
    metrics = MetricsApp(counts)
    asked = serialize_freshness_request(REQUEST)
    ask(metrics, Request("GET", "/metrics"))
    with unreadable(publisher.store.root / "metadata"):
        answer = ask(app, Request("GET", "/metadata/timestamp.json"))
        told = health(app)
        nonce = ask(app, Request("POST", "/api/freshness", body=asked))
        samples = ask(metrics, Request("GET", "/metrics"))
    assert (answer.status, b"cannot be read now" in answer.content) == (503, True)
    assert told[0] == 503
    assert told[1]["timestamp"] == {"state": "missing or unreadable", "expires_at": None}
    assert nonce.status == 503
    assert samples.status == 200
    assert b"\nampforge_timestamp_expires_seconds 0.0\n" in samples.content
    assert ask(app, Request("POST", "/api/freshness", body=asked)).status == 200


@contextmanager
def serving(publisher, folder, **options):
    metrics_port = find_free_port()
    plan = whole_plan(publisher, folder, metrics=("127.0.0.1", metrics_port), **options)
    with running(plan) as server:

        def look():
            status, body = ask_port(server.port, "GET", "/api/health")
            _, text = ask_port(metrics_port, "GET", "/metrics")
            samples = {
                sample.name: sample.value
                for family in text_string_to_metric_families(text.decode())
                for sample in family.samples
            }
            return status, json.loads(body), samples

        yield server, plan.reports_path, look


def wait_until(look, reports):
    """Ask as a monitor does, until it is told so; it is written to the database every 5 s."""
    deadline_s = time.monotonic() + 25
    while True:
        status, told, samples = look()
        if told["reports"] == reports:
            return status, told, samples
        assert time.monotonic() < deadline_s, told
        time.sleep(0.1)


def test_a_whole_server_is_well_and_says_until_when(publisher, tmp_path):
    with serving(publisher, tmp_path) as (_, _, look):
        status, told, samples = look()
    assert (status, told["status"], told["reports"]) == (200, "ok", "stored")
    assert told["timestamp"]["state"] == "current"
    assert samples["ampforge_timestamp_expires_seconds"] == expiry_of(publisher).timestamp()
    assert samples["ampforge_device_reports_failing"] == 0


def test_a_full_disk_is_told_without_any_report_and_so_is_its_end(publisher, tmp_path):
    """The kernel refuses the server's process every byte beyond what its files have."""
    with serving(publisher, tmp_path) as (server, _, look):
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
        status, told, samples = wait_until(look, "cannot be stored")
        assert (status, told["status"]) == (503, "device reports cannot be stored")
        assert samples["ampforge_device_reports_failing"] == 1
        assert ask_port(server.port, "POST", "/api/reports", signed_report())[0] == 503
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert wait_until(look, "stored")[0] == 200
        assert ask_port(server.port, "POST", "/api/reports", signed_report())[0] == 201


def test_a_deleted_database_takes_no_report_that_would_be_lost(publisher, tmp_path):
    """SQLite itself would go on in a file without a name, and say that all is well."""
    with serving(publisher, tmp_path) as (server, path, look):
        assert look()[0] == 200
        path.unlink()
        status, body = ask_port(server.port, "POST", "/api/reports", signed_report())
        assert status == 503
        assert b"taken away" in body
        assert str(path).encode() not in body
        status, told, _ = look()
        assert (status, told["reports"]) == (503, "cannot be stored")


def test_a_locked_database_is_told_and_so_is_its_end(publisher, tmp_path):
    with serving(publisher, tmp_path) as (_, path, look):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert wait_until(look, "cannot be stored")[0] == 503
            other.execute("ROLLBACK")
        assert wait_until(look, "stored")[0] == 200


def test_a_database_that_became_read_only_is_told(tmp_path):
    """SQLite's own read-only mode: the file's permissions do not stop a superuser."""
    store = FleetStore(tmp_path / "reports.sqlite")
    store._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(FleetStoreError, match=r"cannot be stored.*readonly"):
        store.try_to_write()
    store._connection.execute("PRAGMA query_only = 0")
    store.try_to_write()
    store.close()


def test_a_commit_that_does_not_end_is_told_of(tmp_path):
    """Another connection's lock holds the commit up; only the clock is ours."""
    now_s = [0.0]
    store = FleetStore(tmp_path / "reports.sqlite")
    batches = ReportBatches(store, clock_s=lambda: now_s[0])
    with closing(sqlite3.connect(tmp_path / "reports.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert batches.find_failure(now_s=0.0) is None
        now_s[0] = SILENT_MAX_S + 1
        failure = batches.find_failure(now_s=now_s[0])
        assert failure is not None
        assert "does not answer" in str(failure)
        other.execute("ROLLBACK")
    batches.close()
    store.close()


def test_whoever_asks_often_does_not_have_it_written_more_often(tmp_path, monkeypatch):
    now_s, writes = [0.0], []
    store = FleetStore(tmp_path / "reports.sqlite")
    monkeypatch.setattr(store, "try_to_write", lambda: writes.append(now_s[0]))
    batches = ReportBatches(store, clock_s=lambda: now_s[0])
    for asked_s in (0.0, 0.1, PROBE_INTERVAL_S - 0.1, PROBE_INTERVAL_S, PROBE_INTERVAL_S + 0.1):
        now_s[0] = asked_s
        batches.find_failure(now_s=asked_s)
        while batches._busy_since_s is not None:
            time.sleep(0.001)
    batches.close()
    store.close()
    assert writes == [0.0, PROBE_INTERVAL_S]
    assert report_batches.SILENT_MAX_S > PROBE_INTERVAL_S
