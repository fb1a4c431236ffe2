"""The server over real HTTP, as a partial downloader and as an attacker see it."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest

from manifests.device_report import verify_device_report
from manifests.errors import ServerError, TransportError
from manifests.fleet import FleetStore
from manifests.freshness import serialize_freshness_request, verify_freshness
from manifests.http_transport import HttpTransport
from manifests.manifests_settings import ServeSettings
from manifests.running_server import build_app
from manifests.server import ServerPlan, run_server, serve_in_background
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from manifests.transfer import Fetch, run_session
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.updater import update_device
from signing.roles import Role
from tests.firmware_images.release_parts import APP_1_5_0, signer
from tests.manifests.server_process import whole_plan
from tests.manifests.test_device_messages import REQUEST, signed_report
from tests.manifests.trust_steps import first_step, next_step
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    Request,
    ask,
    make_device,
    make_publisher,
    new_bundle,
    trust,
)

APP = APP_1_5_0.read_bytes()
APP_PATH = f"/device/artifacts/{hashlib.sha256(APP).hexdigest()}"
ASSIGNMENT_PATH = f"/device/{HARDWARE_CLASS}/assignment.cose"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    publisher = make_publisher(folder / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    plan = whole_plan(publisher, folder)
    with serve_in_background(plan) as url:
        yield publisher, url, plan


@pytest.fixture
def connection(served):
    parts = urlsplit(served[1])
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as opened:
        yield opened


def get(connection, path, method="GET", body=None, **headers):
    connection.request(
        method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


def test_every_answer_has_a_length_and_none_is_chunked(connection):
    for method, path, headers, status in (
        ("GET", "/metadata/timestamp.json", {}, 200),
        ("GET", APP_PATH, {}, 200),
        ("HEAD", APP_PATH, {}, 200),
        ("GET", APP_PATH, {"Range": "bytes=10-19"}, 206),
        ("GET", APP_PATH, {"Range": "bytes=99999999-"}, 416),
        ("GET", "/nothing", {}, 404),
        ("PUT", APP_PATH, {}, 405),
        ("GET", "/api/health", {}, 200),
        ("GET", "/api/reports", {}, 405),
        ("GET", "/api/nothing", {}, 404),
    ):
        got, fields, body = get(connection, path, method, **headers)
        assert got == status, path
        assert "transfer-encoding" not in fields, path
        assert method == "HEAD" or int(fields["content-length"]) == len(body), path


def test_a_file_comes_with_a_strong_etag_and_is_not_sent_again(connection):
    for path, content in ((APP_PATH, APP), ("/metadata/timestamp.json", None)):
        status, fields, body = get(connection, path)
        assert status == 200
        assert content is None or body == content
        etag = fields["etag"]
        assert etag.startswith('"')
        assert get(connection, path, If_None_Match=etag)[0] == 304
        assert get(connection, path, If_None_Match=f'"x", W/{etag}')[0] == 304
        assert get(connection, path, If_None_Match="*")[0] == 304
        assert get(connection, path, If_None_Match='"x"')[0] == 200
        status, head, nothing = get(connection, path, "HEAD")
        assert (status, nothing) == (200, b"")
        assert (head["content-length"], head["etag"]) == (str(len(body)), etag)


def test_ranges_are_exact(connection):
    etag = get(connection, APP_PATH)[1]["etag"]
    size = len(APP)
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=10-99", 10, 99),
        (f"bytes={size - 5}-", size - 5, size - 1),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes=100-{size + 1000}", 100, size - 1),
        (f"bytes=-{size + 1000}", 0, size - 1),
    ):
        status, fields, body = get(connection, APP_PATH, Range=asked, If_Range=etag)
        assert status == 206, asked
        assert body == APP[first : last + 1], asked
        assert fields["content-range"] == f"bytes {first}-{last}/{size}"
    # Without it a cache in front asks for all of it, and sends all of it.
    assert get(connection, APP_PATH)[1]["accept-ranges"] == "bytes"
    small = get(connection, ASSIGNMENT_PATH)[2]
    assert get(connection, ASSIGNMENT_PATH, Range="bytes=3-8")[2] == small[3:9]


def test_a_range_that_cannot_be_served_is_416_and_nonsense_is_ignored(connection):
    for asked in (f"bytes={len(APP)}-", "bytes=-0", "bytes=999999999999-9999999999999"):
        status, fields, _ = get(connection, APP_PATH, Range=asked)
        assert (status, fields["content-range"]) == (416, f"bytes */{len(APP)}"), asked
    for asked in ("bytes=0-1,4-5", "items=0-1", "bytes=5-2", "bytes=-", "bytes=a-b"):
        assert get(connection, APP_PATH, Range=asked)[0] == 200, asked
    assert get(connection, APP_PATH, Range="bytes=0-1", If_Range='"other"')[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../reports.sqlite",
        "/metadata/../repository.json",
        "/metadata/%2e%2e/repository.json",
        "/metadata/..%2frepository.json",
        "/repository.json",
        "/.publishing.lock",
        "/metadata/.hidden",
        "/metadata",
        "/metadata/",
        "/metadata//timestamp.json",
        "//metadata/timestamp.json",
        "/metadata/timestamp.json/",
        "/metadata/timestamp.json%00",
        "/metadata/a\\..\\b",
        "/device/a/b/c/d/e/f",
        "/metadata/" + "a" * 300,
    ],
)
def test_path_tricks_find_nothing(connection, path):
    assert get(connection, path)[0] == 404


def test_who_opens_the_address_in_a_browser_is_told_where_to_look(connection):
    status, _, body = get(connection, "/")
    assert status == 404
    for path in (b"/api/health", b"/api/openapi.json"):
        assert path in body
        assert get(connection, path.decode())[0] == 200


def test_a_link_out_of_the_folder_is_not_followed(served, connection):
    link = served[0].store.root / "metadata" / "secret.json"
    link.symlink_to("/etc/hostname")
    assert get(connection, "/metadata/secret.json")[0] == 404
    link.unlink()


def test_a_linked_folder_is_not_followed(tmp_path):
    """Nor is one that takes the place of a folder whose files were served before."""
    outside, inside = tmp_path / "outside", tmp_path / "repository" / "targets"
    for folder in (outside, inside):
        (folder / "linked").mkdir(parents=True)
        (folder / "linked" / "file").write_bytes(b"x")
    app = RepositoryApp(tmp_path / "repository")
    assert ask(app, Request("GET", "/targets/linked/file")).status == 200
    (inside / "linked").rename(inside / "was")
    (inside / "linked").symlink_to(outside / "linked")
    assert ask(app, Request("GET", "/targets/linked/file")).status == 404
    assert ask(app, Request("GET", "/targets/was/file")).status == 200


def test_a_replaced_file_is_served_at_once(served, connection):
    before = get(connection, "/metadata/timestamp.json")
    served[0].renew(now=NOW)
    after = get(connection, "/metadata/timestamp.json", If_None_Match=before[1]["etag"])
    assert after[0] == 200
    assert after[2] != before[2]
    assert after[1]["cache-control"] == "no-cache"
    assert "immutable" in get(connection, "/metadata/1.root.json")[1]["cache-control"]
    assert "immutable" in get(connection, APP_PATH)[1]["cache-control"]


def test_a_nonce_is_answered_with_the_assignment_in_force(connection):
    status, fields, message = get(
        connection, "/api/freshness", "POST", serialize_freshness_request(REQUEST)
    )
    assert (status, fields["cache-control"]) == (200, "no-store")
    assert verify_freshness(message, trust(), request=REQUEST).assignment_sequence == 1


def test_a_report_is_stored_once_and_only_if_it_verifies(served, connection):
    message = signed_report()
    verify_device_report(message, trust(), now=NOW)
    assert get(connection, "/api/reports", "POST", message)[0] == 201
    assert get(connection, "/api/reports", "POST", message)[0] == 200
    flipped = message[:-1] + bytes([message[-1] ^ 1])
    status, _, text = get(connection, "/api/reports", "POST", flipped)
    assert (status, b"signature" in text) == (400, True)
    with closing(FleetStore(served[2].reports_path)) as fleet:
        assert len(fleet.list_reports()) == 1


def test_a_body_without_length_or_too_long_is_refused(connection, served):
    status, _, _ = get(connection, "/api/freshness", "POST", b"x" * 2000)
    assert status == 413
    connection.close()
    connection.request("POST", "/api/freshness", iter([b"ab"]), {"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 411
    assert get_after_close(served)[0] == 400


def get_after_close(served):
    parts = urlsplit(served[1])
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as opened:
        return get(opened, "/api/freshness", "POST", b"\xa0")


def test_a_device_updates_over_http(served):
    device = make_device()
    with closing(HttpTransport(served[1])) as transport:
        rules = UpdateRules(chunk_bytes=16_384)
        written = run_session(update_device(device, rules), transport)
        assert written.result is UpdateResult.REBOOT_NEEDED
        device.board.boot()
        settled = run_session(update_device(device, rules), transport)
    assert (settled.result, settled.is_report_due) == (UpdateResult.INSTALLED, False)


def test_the_port_of_a_running_server_is_not_shared(served):
    parts = urlsplit(served[1])
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        taken = ServerPlan(folder=served[2].folder, port=other.getsockname()[1])
        with pytest.raises(ServerError, match="cannot be listened on"):
            run_server(taken, on_ready=print)
    with pytest.raises(ServerError, match="cannot be listened on") as refused:
        run_server(ServerPlan(folder=served[2].folder, port=parts.port), on_ready=print)
    assert "another server uses the port" in refused.value.hint
    with (
        pytest.raises(ServerError),
        serve_in_background(ServerPlan(folder=served[2].folder, host="192.0.2.1")),
    ):
        pass


def test_a_plan_that_cannot_work_starts_no_server(tmp_path):
    with (
        pytest.raises(ServerError, match="did not start"),
        serve_in_background(ServerPlan(folder=tmp_path, trust_record=b"not a trust record")),
    ):
        pass


def test_a_server_ends_with_its_parent(tmp_path):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from manifests.server import ServerPlan, serve_in_background\n"
        f"with serve_in_background(ServerPlan(folder=Path({str(tmp_path)!r}))) as url:\n"
        "    print(url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    url = parent.stdout.readline().strip()
    parent.kill()
    parent.wait()
    parts = urlsplit(url)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex((parts.hostname, parts.port)) != 0:
                return
    os.kill(parent.pid, signal.SIGKILL)
    raise AssertionError("the server outlived its parent")


async def ask_in_a_loop(files, path):
    assert files.find(path) is files.find(path)


class TestApplication:
    """The same application without a socket, for what is awkward to provoke from outside."""

    def test_an_app_without_trust_offers_files_only(self, tmp_path):
        app = RepositoryApp(tmp_path)
        assert ask(app, Request("POST", "/api/freshness", body=b"x")).status == 404
        assert ask(app, Request("POST", "/api/reports", body=b"x")).status == 404
        assert ask(app, Request("GET", "/api/health")).status == 503
        assert ask(app, Request("DELETE", "/api/health")).status == 405

    def test_a_body_longer_than_it_said_is_cut_off(self, served):
        app = build_app(served[2])
        request = Request("POST", "/api/freshness", {"content-length": "10"}, b"x" * 5000)
        assert ask(app, request).status == 413
        assert ask(app, Request("POST", "/api/freshness", {"content-length": "²"})).status == 411

    def test_a_hardware_class_without_assignment_is_answered_with_none(self, served):
        app = build_app(served[2])
        from dataclasses import replace

        request = replace(REQUEST, hardware_class="glow-c3")
        answer = ask(
            app, Request("POST", "/api/freshness", body=serialize_freshness_request(request))
        )
        assert verify_freshness(answer.content, trust(), request=request).assignment_sequence == 0

    def test_an_assignment_by_a_revoked_key_is_no_fault_of_who_asks(self, served):
        """Until the operator has it signed again nobody is told what is in force."""
        step = next_step(first_step(), Role.CAMPAIGN, "campaign-1", "campaign-2")
        fresh = signer("freshness-1")
        app = RepositoryApp(
            served[2].folder, ServiceParts(trust=step.record, freshness_signer=fresh)
        )
        answer = ask(
            app, Request("POST", "/api/freshness", body=serialize_freshness_request(REQUEST))
        )
        assert (answer.status, answer.fields["cache-control"]) == (503, "no-store")
        assert b"repo status" in answer.content

    def test_no_nonce_is_answered_once_the_timestamp_has_expired(self, served):
        """By it devices would be told that a state which stands still is the present."""
        content = (served[2].folder / "metadata/timestamp.json").read_bytes()
        expires_at = datetime.fromisoformat(json.loads(content)["signed"]["expires"])
        body = serialize_freshness_request(REQUEST)
        for now, status in ((expires_at - timedelta(seconds=1), 200), (expires_at, 503)):
            parts = ServiceParts(
                trust=trust(), freshness_signer=signer("freshness-1"), clock=lambda now=now: now
            )
            app = RepositoryApp(served[2].folder, parts)
            answer = ask(app, Request("POST", "/api/freshness", body=body))
            assert (answer.status, answer.fields["cache-control"]) == (status, "no-store")
        assert b"repo status" in answer.content

    def test_the_sequence_never_falls_when_the_clock_is_set_back(self, served):
        times = iter([NOW, NOW - timedelta(hours=1)])
        app = RepositoryApp(
            served[2].folder,
            ServiceParts(
                trust=trust(), freshness_signer=signer("freshness-1"), clock=lambda: next(times)
            ),
        )
        body = serialize_freshness_request(REQUEST)
        first, second = (
            verify_freshness(
                ask(app, Request("POST", "/api/freshness", body=body)).content,
                trust(),
                request=REQUEST,
            )
            for _ in range(2)
        )
        assert second.sequence == first.sequence
        assert second.time_s < first.time_s

    def test_a_store_that_cannot_write_says_so(self, served, tmp_path):
        fleet = FleetStore(tmp_path / "reports.sqlite")
        app = RepositoryApp(
            served[2].folder, ServiceParts(trust=trust(), fleet=fleet, clock=lambda: NOW)
        )
        fleet.close()
        assert ask(app, Request("POST", "/api/reports", body=signed_report())).status == 503

    def test_files_are_answered_from_memory_in_part_and_whole(self, served):
        app = build_app(served[2])
        whole = ask(app, Request("GET", ASSIGNMENT_PATH))
        part = ask(app, Request("GET", ASSIGNMENT_PATH, {"range": "bytes=2-4"}))
        assert (whole.status, part.status) == (200, 206)
        assert part.content == whole.content[2:5]
        big = ask(app, Request("GET", APP_PATH, {"range": "bytes=2-4"}))
        assert big.content == APP[2:5]
        assert ask(app, Request("GET", APP_PATH)).content == APP
        assert ask(app, Request("HEAD", APP_PATH)).content == b""
        etag = whole.fields["etag"]
        assert ask(app, Request("GET", ASSIGNMENT_PATH, {"if-none-match": etag})).status == 304
        assert ask(app, Request("GET", APP_PATH, {"range": "bytes=-0"})).status == 416

    def test_a_large_file_is_streamed_and_its_tag_changes_when_it_is_replaced(self, tmp_path):
        from manifests.served_files import KEPT_FILE_MAX_BYTES

        content = b"x" * (KEPT_FILE_MAX_BYTES + 1)
        (tmp_path / "targets").mkdir()
        (tmp_path / "targets" / "large.zip").write_bytes(content)
        app = RepositoryApp(tmp_path)
        answer = ask(app, Request("GET", "/targets/large.zip"))
        assert answer.content == content
        etag = answer.fields["etag"]
        assert ask(app, Request("GET", "/targets/large.zip")).fields["etag"] == etag
        part = ask(app, Request("GET", "/targets/large.zip", {"range": "bytes=1-"}))
        assert (part.status, len(part.content)) == (206, KEPT_FILE_MAX_BYTES)
        (tmp_path / "targets" / "next").write_bytes(content)
        (tmp_path / "targets" / "next").replace(tmp_path / "targets" / "large.zip")
        headers = {"range": "bytes=1-", "if-range": etag, "if-none-match": etag}
        assert ask(app, Request("GET", "/targets/large.zip", headers)).status == 200

    def test_a_replaced_file_is_seen_at_once_and_one_that_never_changes_after_a_second(
        self, tmp_path
    ):
        from manifests.served_files import RECHECK_IMMUTABLE_S, ServedFiles

        folder, now_s = tmp_path / "metadata", [0.0]
        folder.mkdir()
        files = ServedFiles(tmp_path, clock_s=lambda: now_s[0])
        assert files.find("/metadata/timestamp.json") is None
        (folder / "timestamp.json").write_bytes(b"1")
        (folder / "1.root.json").write_bytes(b"1")
        first = files.find("/metadata/timestamp.json")
        assert files.find("/metadata/timestamp.json") is first
        root = files.find("/metadata/1.root.json")
        for name in ("timestamp.json", "1.root.json"):
            (folder / name).write_bytes(b"22")
        assert files.find("/metadata/timestamp.json").content == b"22"
        assert files.find("/metadata/1.root.json") is root
        now_s[0] += RECHECK_IMMUTABLE_S
        assert files.find("/metadata/1.root.json").content == b"22"
        for name in ("timestamp.json", "1.root.json"):
            (folder / name).unlink()
            (folder / name).mkdir()
        now_s[0] += RECHECK_IMMUTABLE_S
        assert files.find("/metadata/timestamp.json") is None
        assert files.find("/metadata/1.root.json") is None
        assert not files._kept
        assert files._kept_bytes == 0

    def test_a_file_that_is_replaced_is_looked_at_once_in_a_turn_of_the_loop(
        self, tmp_path, monkeypatch
    ):
        from manifests import served_files

        path, looks, stat = "/metadata/timestamp.json", [], os.stat
        (tmp_path / "metadata").mkdir()
        (tmp_path / path[1:]).write_bytes(b"1")
        files = served_files.ServedFiles(tmp_path)
        files.find(path)

        def look(*arguments, **options):
            looks.append(arguments)
            return stat(*arguments, **options)

        monkeypatch.setattr(served_files.os, "stat", look)

        async def ask_twice_in_each_of_two_turns():
            for content in (b"1", b"22"):
                (tmp_path / path[1:]).write_bytes(content)
                looks.clear()
                assert files.find(path).content == content
                assert files.find(path).content == content
                await asyncio.sleep(0)
            return len(looks)

        # The second time it was replaced: then the new one is what was looked at.
        assert asyncio.run(ask_twice_in_each_of_two_turns()) == 2
        looks.clear()
        for _ in range(2):
            asyncio.run(ask_in_a_loop(files, path))
        assert len(looks) == 2

    def test_no_more_is_kept_in_memory_than_the_bounds(self, tmp_path, monkeypatch):
        from manifests import served_files

        monkeypatch.setattr(served_files, "KEPT_MAX_FILES", 3)
        monkeypatch.setattr(served_files, "KEPT_MAX_BYTES", 50)
        folder = tmp_path / "metadata"
        folder.mkdir()
        files = served_files.ServedFiles(tmp_path)
        for number, size in enumerate((10, 10, 10, 10, 45)):
            (folder / f"{number}.json").write_bytes(b"x" * size)
            assert files.find(f"/metadata/{number}.json") is not None
        assert list(files._kept) == ["/metadata/4.json"]
        assert files._kept_bytes == 45


def test_the_default_address_is_this_machine_only():
    assert ServeSettings().host == "127.0.0.1"


class EvilServer:
    """A server that says what a test tells it to, byte for byte, once for each connection."""

    def __init__(self, *answers):
        self.answers = answers
        self.requests = []

    def __enter__(self):
        import threading

        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def run(self):
        # The client may have gone, or the test be over: on a busy machine both come early.
        with suppress(OSError):
            for answer in self.answers:
                peer, _ = self.socket.accept()
                with peer, suppress(OSError):
                    self.requests.append(peer.recv(65_536).decode())
                    for piece in [answer] if isinstance(answer, bytes) else answer:
                        peer.sendall(piece)

    def __exit__(self, *_):
        self.socket.close()


def fetch_from(server, **fields):
    wish = {"path": "device/x", "max_bytes": 10} | fields
    with closing(HttpTransport(server.url, timeout_s=5, attempts=3)) as transport:
        return transport.fetch(Fetch(**wish))


HEAD_200 = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class TestTransport:
    """What comes from a server is bounded, whatever it is."""

    def test_a_broken_connection_is_taken_up_where_it_broke(self):
        rest = b"HTTP/1.1 206 P\r\nContent-Length: 6\r\nContent-Range: bytes 4-9/10\r\n\r\nefghij"
        with EvilServer(HEAD_200 % 10 + b"abcd", rest) as server:
            assert fetch_from(server) == b"abcdefghij"
        assert "Range: bytes=4-9" in server.requests[1]

    def test_a_server_that_never_stops_is_cut_off(self):
        def endless():
            yield b"HTTP/1.1 200 OK\r\n\r\n"
            for _ in range(20_000):
                yield b"x" * 1000

        with EvilServer(endless()) as server, pytest.raises(TransportError, match="more than"):
            fetch_from(server)

    def test_a_server_that_ignores_range_is_refused(self):
        with (
            EvilServer(HEAD_200 % 10 + b"abcdefghij") as server,
            pytest.raises(TransportError, match="does not send the part"),
        ):
            fetch_from(server, offset_bytes=5, is_part=True)

    def test_another_part_than_the_one_asked_for_is_refused(self):
        answer = b"HTTP/1.1 206 P\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/10\r\n\r\nab"
        with EvilServer(answer) as server, pytest.raises(TransportError, match="does not send"):
            fetch_from(server, offset_bytes=5, is_part=True)

    def test_a_redirect_is_not_followed(self):
        answer = b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
        with EvilServer(answer) as server, pytest.raises(TransportError, match="302"):
            fetch_from(server)

    def test_garbage_is_an_error_of_ours(self):
        with (
            EvilServer(b"\x00\xffnonsense\r\n\r\n" * 3, b"", b"") as server,
            pytest.raises(TransportError, match="broke off"),
        ):
            fetch_from(server)

    def test_a_post_is_sent_once(self):
        with EvilServer(b"", b"HTTP/1.1 200 OK\r\n\r\n") as server, pytest.raises(TransportError):
            fetch_from(server, body=b"report")
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "url", ["", "ftp://x", "http://", "http://x:99999", "x:80", "http://["]
    )
    def test_a_url_that_cannot_be_used_is_refused(self, url):
        with pytest.raises(TransportError, match="URL cannot be used"):
            HttpTransport(url)
