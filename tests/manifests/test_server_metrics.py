"""What the operator sees: metrics and an access log, and no device in either."""

from __future__ import annotations

import http.client
import json
import resource
import signal
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from manifests.access_log import AccessLog
from manifests.freshness import serialize_freshness_request
from manifests.server_metrics import REPORT_OUTCOMES, MetricsApp, ServerCounts
from tests.free_port import find_free_port
from tests.manifests.server_process import running, whole_plan
from tests.manifests.test_device_messages import REQUEST, signed_report
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    SERIAL,
    Request,
    make_publisher,
    new_bundle,
)
from tests.manifests.world import ask as rsgi_ask


def ask(port, method, path, body=None, **headers):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as opened:
        opened.request(method, path, body, headers)
        answer = opened.getresponse()
        return answer.status, answer.read()


def test_metrics_and_log_tell_of_requests_and_never_of_devices(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    log, metrics_port = tmp_path / "access.jsonl", find_free_port()
    plan = whole_plan(
        publisher,
        tmp_path,
        metrics=("127.0.0.1", metrics_port),
        access_log=log,
        trusted_proxies=("127.0.0.1",),
    )
    with running(plan) as server:
        port = server.port
        assignment = f"/device/{HARDWARE_CLASS}/assignment.cose"
        forwarded = {"X-Forwarded-For": "203.0.113.77"}
        assert ask(port, "GET", f"{assignment}?token=secret", **forwarded)[0] == 200
        assert ask(port, "GET", assignment, **{"If-None-Match": "*"})[0] == 304
        assert ask(port, "GET", f"/device/{SERIAL}", Authorization="secret")[0] == 404
        nonce = serialize_freshness_request(REQUEST)
        assert ask(port, "POST", "/api/freshness", nonce)[0] == 200
        assert [ask(port, "POST", "/api/reports", signed_report())[0] for _ in "ab"] == [201, 200]
        assert ask(port, "POST", "/api/reports", b"x")[0] == 400
        assert ask(port, "GET", "/metrics")[0] == 404
        status, text = ask(metrics_port, "GET", "/metrics")
        assert status == 200
        assert ask(metrics_port, "GET", "/other")[0] == 404
        rotated = tmp_path / "access.1.jsonl"
        log.rename(rotated)
        server.process.send_signal(signal.SIGHUP)
        while not log.exists():
            assert server.process.poll() is None
        assert ask(port, "GET", "/api/health")[0] == 200
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert samples["ampforge_http_answers_total", "200"] == 3
    assert samples["ampforge_http_answers_total", "304"] == 1
    assert samples["ampforge_device_reports_total", "stored"] == 1
    assert samples["ampforge_device_reports_total", "known"] == 1
    assert samples["ampforge_device_reports_total", "refused"] == 1
    assert samples["ampforge_device_report_commits_total",] == 2
    assert samples["ampforge_service_duration_seconds_count", "/api/reports"] == 3
    assert samples["process_resident_memory_bytes",] > 1 << 20
    lines = [json.loads(line) for line in rotated.read_text().splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", assignment, 200),
        ("GET", assignment, 304),
        ("GET", None, 404),
        ("POST", "/api/freshness", 200),
        ("POST", "/api/reports", 201),
        ("POST", "/api/reports", 200),
        ("POST", "/api/reports", 400),
        ("GET", None, 404),
    ]
    assert lines[0]["client_network"] == "203.0.113.0/24"
    assert [json.loads(line)["path"] for line in log.read_text().splitlines()] == ["/api/health"]
    logged = rotated.read_text() + text.decode()
    for secret in (SERIAL, "secret", REQUEST.nonce.hex(), "203.0.113.77"):
        assert secret not in logged
    assert rotated.stat().st_mode & 0o007 == 0


def test_every_count_is_told_under_its_name():
    counts = ServerCounts()
    counts.answers.update({200: 2, 404: 3})
    counts.refused.update({"all": 4, "address": 5})
    counts.reports.update(dict(zip(REPORT_OUTCOMES, range(6, 11), strict=True)))
    counts.connections, counts.failed_handshakes, counts.sent_bytes = 11, 12, 13
    counts.limited, counts.failed_reloads = 14, 15
    counts.batches, counts.lost_log_lines, counts.open_connections = (
        (lambda: 16),
        (lambda: 17),
        (lambda: 18),
    )
    counts.timestamp_expiry = lambda: datetime.fromtimestamp(19, UTC)
    counts.are_reports_failing = counts.is_database_damaged = lambda: True
    counts.database_checked_at = lambda: datetime.fromtimestamp(20, UTC)
    for duration_s in (0.0005, 0.02, 60.0):
        counts.observe("/api/reports", duration_s)
    answer = rsgi_ask(MetricsApp(counts), Request("GET", "/metrics"))
    samples = {
        (sample.name.removeprefix("ampforge_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
        if sample.name.startswith("ampforge_")
    }
    buckets = {key: samples.pop(key) for key in list(samples) if key[0].endswith("_bucket")}
    assert samples == {
        ("http_answers_total", "200"): 2,
        ("http_answers_total", "404"): 3,
        ("http_connections_refused_total", "all"): 4,
        ("http_connections_refused_total", "address"): 5,
        **{
            ("device_reports_total", outcome): value
            for value, outcome in enumerate(REPORT_OUTCOMES, 6)
        },
        ("http_connections_total",): 11,
        ("tls_handshakes_failed_total",): 12,
        ("http_sent_bytes_total",): 13,
        ("http_rate_limited_total",): 14,
        ("reload_failures_total",): 15,
        ("device_report_commits_total",): 16,
        ("access_log_lost_lines_total",): 17,
        ("http_open_connections",): 18,
        ("timestamp_expires_seconds",): 19,
        ("device_reports_failing",): 1,
        ("report_database_damaged",): 1,
        ("report_database_checked_seconds",): 20,
        ("service_duration_seconds_count", "/api/reports"): 3,
        ("service_duration_seconds_sum", "/api/reports"): 60.0205,
    }
    told = {(set(labels) - {"/api/reports"}).pop(): n for (_, *labels), n in buckets.items()}
    assert [told[edge] for edge in ("0.0005", "0.01", "0.025", "5.0", "+Inf")] == [1, 1, 2, 2, 3]


@contextmanager
def files_of_at_most(size_bytes):
    """The kernel refuses this process every byte beyond that, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room_bytes", [0, 1, 100, -1, -2])
def test_a_line_that_was_cut_off_by_a_full_disk_costs_no_other(tmp_path, room_bytes):
    """Half a line, and the next one behind it, would be two that nobody can read."""
    path = tmp_path / "log"
    log = AccessLog(path)

    def add(status):
        log.add(client="192.0.2.1", method="GET", path="/metadata/x", status=status, body_bytes=1)
        log.flush()

    add(200)
    line_bytes = path.stat().st_size
    for room_for_next_bytes in (room_bytes % (line_bytes + 1), 0):
        with files_of_at_most(path.stat().st_size + room_for_next_bytes):
            add(206)
    add(304)
    log.close()
    whole = []
    for line in path.read_text().splitlines():
        with suppress(ValueError):
            whole.append(json.loads(line)["status"])
    assert [status for status in whole if status != 206] == [200, 304]
    # With -1 there is room for all of the first line.
    assert log.lost_lines == (1 if room_bytes == -1 else 2)


def test_a_log_that_cannot_be_written_costs_lines_and_nothing_else(tmp_path):
    log = AccessLog(tmp_path / "log")
    import os

    os.close(log._descriptor)
    log.add(client="192.0.2.1", method="GET", path="/metadata/x", status=200, body_bytes=1)
    log.flush()
    assert log.lost_lines == 1
