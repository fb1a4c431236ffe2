"""Reports are forwarded whatever the other server answers, and never more often than it allows."""

from __future__ import annotations

import json
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from cli.main import ampforge
from manifests.carried_reports import CARRIED_MAX, parse_carried_reports, serialize_outcomes
from manifests.errors import TransportError
from manifests.fleet import FleetStore
from manifests.http_transport import HttpTransport
from manifests.received_report import StoredMessage, receive_report
from manifests.report_forwarding import WAIT_MAX_S, WAITS_MAX, forward_reports
from tests.manifests.test_device_messages import REPORT
from tests.manifests.world import NOW

REPORTS = [StoredMessage(number, "FL26A000001", b"signed") for number in range(CARRIED_MAX + 1)]
STORED = (200, {}, None)


@contextmanager
def answering(*answers):
    """A server that gives these answers, the last for ever; yields its URL and the batches' sizes.

    An answer is its status, headers and body; `None` says that each report is stored.
    """
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies = parse_carried_reports(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, body = answers[min(len(received), len(answers) - 1)]
            received.append(len(bodies))
            body = serialize_outcomes([(201, "stored")] * len(bodies)) if body is None else body
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def busy(wait_s):
    return (429, {"Retry-After": wait_s}, b"too many requests")


def forward(url, waited):
    with closing(HttpTransport(url, timeout_s=10)) as transport:
        return forward_reports(REPORTS, transport, wait=waited.append)


def test_a_server_that_is_asked_too_often_is_asked_again_when_it_says():
    """Each report counts as a request: it is asked too often sooner or later."""
    waited = []
    with answering(STORED, busy("7"), busy("2"), STORED) as (url, received):
        done = forward(url, waited)
    assert (done.stored, done.total, waited) == (len(REPORTS), len(REPORTS), [7, 2])
    assert received == [CARRIED_MAX, 1, 1, 1]


def test_a_report_that_is_stored_after_a_later_one_is_not_left_out_the_next_time():
    """A nightly run may look while the last report of the day is on its way to the disk."""
    midnight_s = int(datetime(2026, 11, 27, tzinfo=UTC).timestamp())
    with answering(STORED) as (url, _), closing(HttpTransport(url)) as transport:
        late = [StoredMessage(midnight_s + 1, "FL26A000001", b"signed")]
        done = forward_reports(late, transport)
        assert done.next_since_s < midnight_s
        assert forward_reports([], transport).next_since_s is None


@pytest.mark.parametrize("wait_s", [str(WAIT_MAX_S + 1), "9" * 30, "-1", "", "Fri, 27 Nov 2026"])
def test_nobody_is_made_to_wait_longer_than_is_sensible(wait_s):
    waited = []
    with answering(busy(wait_s)) as (url, received), pytest.raises(TransportError, match="429"):
        forward(url, waited)
    assert (waited, received) == ([], [CARRIED_MAX])


def test_a_server_that_is_always_busy_is_given_up():
    waited = []
    with answering(busy("1")) as (url, _), pytest.raises(TransportError, match="too often"):
        forward(url, waited)
    assert waited == [1] * WAITS_MAX


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"<html>"),
        (200, {}, serialize_outcomes([(201, "stored")])),
        (302, {"Location": "/elsewhere"}, b""),
        (413, {}, b"at most 1 byte"),
    ],
    ids=["garbage", "other_number", "redirect", "too_large"],
)
def test_another_answer_is_refused_and_nothing_more_is_sent(answer):
    with answering(answer) as (url, received), pytest.raises(TransportError):
        forward(url, [])
    assert received == [CARRIED_MAX]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_a_server_says_is_safe_to_print(tmp_path, options):
    path = tmp_path / "reports.sqlite"
    with closing(FleetStore(path)) as fleet:
        fleet.add_reports([receive_report(REPORT, b"signed", now=NOW)])
    said = json.dumps({"outcomes": [{"status": 400, "text": "\x1b[2J\n\ud800"}]}).encode()
    with answering((200, {}, said)) as (url, _):
        command = ["repo", "forward-reports", "--url", url, "--reports", str(path), *options]
        done = CliRunner().invoke(ampforge, command)
    assert done.exit_code == 4, done.exception
    text = json.loads(done.output)["refusals"][0]["text"] if options else done.output
    assert "400 \\x1b[2J\\n\\ud800" in text
    assert "\x1b" not in text
