"""The server's end of HTTP/1.1, as raw sockets, other clients and hostile peers see it."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, closing, suppress
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import http_connection, http_requests
from manifests.http_host import TURNED_AWAY_MAX, HttpHost
from manifests.http_requests import RequestMemory, RequestReader, RequestRefusal
from manifests.paced_connection import PacedConnection
from manifests.server import ServerPlan, serve_in_background
from manifests.server_app import MEMORY_ANSWER_MAX_BYTES, RepositoryApp
from tests.free_port import find_free_port

TIMESTAMP = b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /api/nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
LAST = b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LARGE_BYTES = (5 << 20) + 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    (root / "metadata").mkdir()
    (root / "metadata" / "timestamp.json").write_bytes(b"{}")
    (root / "targets").mkdir()
    (root / "targets" / "large.bin").write_bytes(bytes(range(256)) * (LARGE_BYTES // 256) + b"end")
    return root


@asynccontextmanager
async def hosting(folder, **options):
    host = HttpHost(RepositoryApp(folder), **options)
    server = await asyncio.get_running_loop().create_server(
        lambda: PacedConnection(host), "127.0.0.1", 0
    )
    try:
        yield host, server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def talk(port, *pieces):
    """Send pieces, each in a segment of its own, and return all that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    received = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return received


async def until(is_so):
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - the host tells nobody
            await asyncio.sleep(0)


def statuses(received):
    """Return the status of each answer, walking by Content-Length."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        found.append(int(lines[0].split(" ")[1]))
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        if found[-1] != 304:
            received = received[int(fields["content-length"]) :]
    return found


def run(scenario):
    return asyncio.run(scenario)


def test_pipelined_requests_are_answered_in_order(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            missing = TIMESTAMP.replace(b"timestamp", b"missing")
            return await talk(port, TIMESTAMP + missing + POST + TIMESTAMP + LAST)

    assert statuses(run(scenario())) == [200, 404, 404, 200, 200]


def test_a_request_in_single_bytes_is_one_request(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            return await talk(port, *(bytes([byte]) for byte in POST + LAST))

    assert statuses(run(scenario())) == [404, 200]


def test_nothing_after_a_last_request_is_answered(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            return await talk(port, LAST + TIMESTAMP)

    received = run(scenario())
    assert statuses(received) == [200]
    assert b"connection: close" in received


@pytest.mark.parametrize(
    ("sent", "status", "telling"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, b"not an HTTP/1.1 request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, b"one Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, b"one Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, b"not an HTTP"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, b""),
        (
            POST.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: chunked"),
            400,
            b"",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n bad: folded\r\n\r\n", 400, b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 9 + b"\r\n", 404, b""),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n"
            + b"".join(b"x%d: y\r\n" % n for n in range(200))
            + b"\r\n",
            431,
            b"at most 100 headers",
        ),
    ],
)
def test_bytes_that_are_no_request_end_the_connection(folder, sent, status, telling):
    async def scenario():
        async with hosting(folder) as (_, port):
            # A second request in the same bytes must not be taken for one (request smuggling).
            ending = b"" if status == 404 else TIMESTAMP
            return await talk(port, sent + ending + (LAST if status == 404 else b""))

    received = run(scenario())
    assert statuses(received)[0] == status
    assert telling in received
    assert len(statuses(received)) == (2 if status == 404 else 1)


def test_an_endless_head_is_cut_off_and_its_answer_arrives(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            pieces = [b"GET / HTTP/1.1\r\nHost: a\r\nx: "] + [b"y" * 4096] * 40
            return await talk(port, *pieces)

    received = run(scenario())
    assert statuses(received) == [431]
    assert b"at most 65536 bytes" in received


def test_a_body_that_is_too_long_is_refused_before_it_is_sent(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            head = b"POST /api/reports HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
            return await talk(port, head, b"z" * 200_000)

    received = run(scenario())
    assert statuses(received) == [404]
    assert b"connection: close" in received


def test_a_client_that_asks_first_is_told_to_go_on(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head, body = POST[:-3], POST[-3:]
            writer.write(head[:-2] + b"Expect: 100-continue\r\n\r\n")
            assert await reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body + LAST)
            return await reader.read()

    assert statuses(run(scenario())) == [404, 200]


def test_an_upgrade_is_ignored_and_what_follows_it_is_not_read(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            upgrade = TIMESTAMP[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            return await talk(port, upgrade + TIMESTAMP)

    assert statuses(run(scenario())) == [200]


def test_the_absolute_form_an_old_version_and_a_query_are_understood(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            absolute = TIMESTAMP.replace(b"GET /", b"GET http://a/").replace(b".json", b".json?x=1")
            old = b"GET /metadata/timest%61mp.json HTTP/1.0\r\n\r\n"
            return await talk(port, absolute + b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" + old)

    assert statuses(run(scenario())) == [200, 405, 200]


def test_a_peer_that_does_not_read_is_read_no_further(folder):
    """Thousands of requests for a large file, and nobody takes the answers."""
    large = TIMESTAMP.replace(b"metadata/timestamp.json", b"targets/large.bin")

    async def scenario():
        async with hosting(folder) as (host, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.pause_reading()
            for _ in range(200):
                writer.write(large * 100)
                await asyncio.sleep(0)
            (connection,) = host._connections
            assert len(connection._reader.ready) < 100 * (256 << 10) // len(large)
            unsent_bytes = connection._transport.get_write_buffer_size()
            assert unsent_bytes <= http_connection.UNSENT_MAX_BYTES + (256 << 10)
            assert len(asyncio.all_tasks()) == 1
            writer.transport.abort()

    run(scenario())


def test_nothing_is_sent_into_the_body_of_an_answer_that_is_owed(folder):
    """Whoever waits for a 100 Continue behind a large download gets it after that."""
    large = TIMESTAMP.replace(b"metadata/timestamp.json", b"targets/large.bin")
    waiting = POST[:-5] + b"Expect: 100-continue\r\n\r\n"

    async def scenario():
        async with hosting(folder) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(large + waiting)
            await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(LARGE_BYTES)
            assert body == (folder / "targets" / "large.bin").read_bytes()
            assert await reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc" + LAST)
            return await reader.read()

    assert statuses(run(scenario())) == [404, 200]


def test_a_body_that_came_unasked_is_not_asked_for_any_more(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            unasked = POST[:-5] + b"Expect: 100-continue\r\n\r\nabc"
            return await talk(port, unasked + LAST)

    assert statuses(run(scenario())) == [404, 200]


@pytest.mark.parametrize("path", [b"/targets/none.bin", b"/api/health", b"/api/nothing"])
def test_head_has_no_body_whatever_its_status(folder, path):
    async def scenario():
        async with hosting(folder) as (_, port):
            head = b"HEAD " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            return await talk(port, head)

    assert run(scenario()).endswith(b"\r\n\r\n")


def test_more_pipelined_requests_than_one_request_may_have_bytes_are_all_answered(folder):
    padded = TIMESTAMP.replace(b"Host: a", b"Host: a\r\nX: " + b"y" * 80)
    stream = padded * 1000 + LAST
    pieces = [stream[start : start + 1460] for start in range(0, len(stream), 1460)]

    async def scenario():
        async with hosting(folder) as (_, port):
            return await talk(port, *pieces)

    assert statuses(run(scenario())) == [200] * 1001


def test_a_peer_that_reads_slowly_and_steadily_gets_all_of_it(folder):
    """Time runs out for who makes no progress, not for who is slow."""
    now_s = [100.0]
    large = LAST.replace(b"metadata/timestamp.json", b"targets/large.bin")

    async def scenario():
        async with hosting(folder, clock_s=lambda: now_s[0]) as (host, port):
            narrow = socket.socket()
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
            narrow.connect(("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=narrow, limit=512)
            writer.write(large)
            received_bytes = 0
            while piece := await reader.read(8 << 10):
                received_bytes += len(piece)
                now_s[0] += 0.125
                host.sweep()
            return received_bytes

    assert run(scenario()) > LARGE_BYTES


def test_a_large_file_arrives_whole_and_the_connection_goes_on(folder):
    async def scenario():
        async with hosting(folder) as (_, port):
            large = TIMESTAMP.replace(b"metadata/timestamp.json", b"targets/large.bin")
            return await talk(
                port, large + TIMESTAMP + large.replace(b"a\r\n", b"a\r\nConnection: close\r\n", 1)
            )

    received = run(scenario())
    content = (folder / "targets" / "large.bin").read_bytes()
    assert received.count(content) == 2
    assert statuses(received) == [200, 200, 200]
    assert len(content) > MEMORY_ANSWER_MAX_BYTES


def test_a_file_that_shrinks_while_it_is_sent_ends_in_a_broken_connection(tmp_path):
    """Never a short body that looks whole."""
    (tmp_path / "targets").mkdir()
    large = tmp_path / "targets" / "large.bin"
    large.write_bytes(b"x" * LARGE_BYTES)

    async def scenario():
        async with hosting(tmp_path) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=512)
            writer.write(TIMESTAMP.replace(b"metadata/timestamp.json", b"targets/large.bin"))
            await reader.readuntil(b"\r\n\r\n")
            large.write_bytes(b"")
            received_bytes = 0
            with suppress(ConnectionResetError):
                while piece := await reader.read(1 << 16):
                    received_bytes += len(piece)
            assert received_bytes < LARGE_BYTES
            gone = await talk(port, LAST.replace(b"metadata/timestamp", b"targets/gone"))
            assert statuses(gone) == [404]

    run(scenario())


def test_peers_have_a_bounded_time_to_ask_and_to_read(folder):
    now_s = [100.0]
    large = TIMESTAMP.replace(b"metadata/timestamp.json", b"targets/large.bin")

    async def scenario():
        async with hosting(folder, clock_s=lambda: now_s[0]) as (host, port):
            idle, slow, deaf = [
                await asyncio.open_connection("127.0.0.1", port, limit=512) for _ in range(3)
            ]
            idle[1].write(TIMESTAMP)
            await idle[0].readuntil(b"{}")
            slow[1].write(TIMESTAMP[:-1])
            deaf[1].transport.pause_reading()
            deaf[1].write(large)
            await asyncio.sleep(0.05)
            for wait_s, left in (
                (http_connection.REQUEST_TIMEOUT_S - 1, 3),
                (2, 2),
                (http_connection.STALLED_TIMEOUT_S, 1),
                (http_connection.IDLE_TIMEOUT_S, 0),
            ):
                now_s[0] += wait_s
                host.sweep()
                await asyncio.sleep(0.05)
                assert len(host._connections) == left, wait_s
            for _, writer in (idle, slow, deaf):
                writer.transport.abort()

    run(scenario())


def test_more_connections_than_there_may_be_are_turned_away(folder):
    async def scenario():
        async with hosting(folder, connections_max=2) as (_, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in held:
                writer.write(TIMESTAMP)
                await reader.readuntil(b"{}")
            turned_away = await talk(port)
            for _, writer in held:
                writer.close()
            await asyncio.sleep(0.05)
            return statuses(turned_away), statuses(await talk(port, LAST))

    assert run(scenario()) == ([503], [200])


def test_who_was_turned_away_takes_no_place_and_few_are_told_at_once(folder):
    """A flood of silent peers must not keep others out after the first of them have gone."""
    now_s = [100.0]

    async def scenario():
        async with hosting(folder, connections_max=2, clock_s=lambda: now_s[0]) as (host, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in held:
                writer.write(TIMESTAMP)
                await reader.readuntil(b"{}")
            flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
            await until(lambda: host.counts.refused["all"] == len(flood))
            await asyncio.sleep(0)
            assert len(host._turned_away) == TURNED_AWAY_MAX
            held[0][1].close()
            await until(lambda: len(host._connections) == 1)
            served = statuses(await talk(port, LAST))
            left = len(host._turned_away)
            ends_at_s = now_s[0] + http_connection.DRAIN_TIMEOUT_S

            def are_answered():
                # As far as the kernel has heard, which takes it a moment.
                host.sweep()
                return all(one._deadline_s <= ends_at_s for one in host._turned_away)

            await until(are_answered)
            now_s[0] = ends_at_s + 1
            host.sweep()
            await until(lambda: not host._turned_away)
            for _, writer in (held[1], *flood):
                writer.transport.abort()
            return served, left

    assert run(scenario()) == ([200], TURNED_AWAY_MAX)


def read_all(pieces):
    reader = RequestReader(RequestMemory())
    for piece in pieces:
        reader.feed(piece)
    return list(reader.ready), reader.is_ended


REQUESTS = st.lists(
    st.sampled_from(
        [
            TIMESTAMP,
            POST,
            b"HEAD /x?y HTTP/1.1\r\nhost: b\r\nRange: bytes=1-2\r\n\r\n",
            b"\r\n" + TIMESTAMP,
            b"GET / HTTP/1.0\r\n\r\n",
            b"nonsense\r\n\r\n",
            POST.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        ]
    ),
    max_size=6,
)


@given(REQUESTS, st.lists(st.integers(0, 600), max_size=8))
def test_how_the_bytes_are_cut_changes_nothing(requests, cuts):
    """Nor does it change anything that the same bytes have come before."""
    data = b"".join(requests)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    whole = read_all([data])
    assert read_all([piece for piece in pieces if piece]) == whole
    memory, found = RequestMemory(), []
    for _ in range(2):
        reader = RequestReader(memory)
        for request in requests:
            reader.feed(request)
        found.append((list(reader.ready), reader.is_ended))
    assert found == [whole, whole]


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_arbitrary_bytes_give_requests_or_one_refusal_at_the_end(pieces):
    ready, is_ended = read_all(pieces)
    assert all(not isinstance(item, RequestRefusal) for item in ready[:-1])
    if ready and isinstance(ready[-1], RequestRefusal):
        assert is_ended


def test_the_trailers_of_a_body_that_is_not_read_are_no_headers():
    """A proxy that passes them on vouches for none: they would say who the client is."""
    chunked = (
        b"POST /api/reports HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        b"X-Forwarded-For: 198.51.100.9\r\nContent-Length: 5\r\n\r\n"
    )
    for pieces in ([chunked], [bytes([byte]) for byte in chunked]):
        (request,), is_ended = read_all(pieces)
        assert is_ended
        assert request.headers == {
            "host": "a",
            "x-forwarded-for": "192.0.2.1",
            "transfer-encoding": "chunked",
        }


def test_the_memory_of_requests_is_bounded():
    memory = RequestMemory()
    for number in range(http_requests.REMEMBERED_MAX + 10):
        reader = RequestReader(memory)
        reader.feed(TIMESTAMP.replace(b"/metadata", b"/%d" % number))
        assert len(memory._known) <= http_requests.REMEMBERED_MAX
    reader.feed(TIMESTAMP.replace(b"/metadata", b"/" + b"x" * http_requests.REMEMBERED_MAX_BYTES))
    assert all(len(data) <= http_requests.REMEMBERED_MAX_BYTES for data in memory._known)


CURL = shutil.which("curl")


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_resumes_a_download_where_it_was_cut(folder, tmp_path):
    with serve_in_background(ServerPlan(folder=folder)) as url:
        partial = tmp_path / "large.bin"
        content = (folder / "targets" / "large.bin").read_bytes()
        partial.write_bytes(content[:1234567])
        subprocess.run(
            [CURL, "-sf", "-C", "-", "-o", str(partial), f"{url}/targets/large.bin"],
            check=True,
            timeout=20,
        )
        assert partial.read_bytes() == content


def test_an_answer_that_is_owed_is_given_before_the_server_stops(folder):
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from manifests.server import ServerPlan, run_server\n"
        "say = lambda url: print(url, flush=True)\n"
        f"run_server(ServerPlan(folder=Path({str(folder)!r})), on_ready=say)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    parts = urlsplit(server.stdout.readline().strip())
    with (
        closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)) as busy,
        closing(socket.create_connection((parts.hostname, parts.port), timeout=10)) as idle,
    ):
        busy.request("GET", "/targets/large.bin")
        answer = busy.getresponse()
        server.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        assert len(answer.read()) == LARGE_BYTES
        assert server.wait(10) == 0
    server.stdout.close()


def test_the_application_runs_under_granian_as_well(folder, tmp_path):
    """It is an RSGI application: its reference server gives the same answers."""
    asked = [
        ("GET", "/metadata/timestamp.json", {}),
        ("HEAD", "/metadata/timestamp.json", {}),
        ("GET", "/metadata/timestamp.json", {"If-None-Match": "*"}),
        ("GET", "/targets/large.bin", {}),
        ("GET", "/targets/large.bin", {"Range": "bytes=100-5000000"}),
        ("GET", "/targets/large.bin", {"Range": "bytes=-3"}),
        ("GET", "/targets/large.bin", {"Range": "bytes=99999999-"}),
        ("PUT", "/targets/large.bin", {}),
        ("GET", "/nothing", {}),
        ("GET", "/api/health", {}),
        ("POST", "/api/reports", {}),
    ]

    def answers(url):
        parts = urlsplit(url)
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)) as opened:
            for method, path, headers in asked:
                opened.request(method, path, headers=headers)
                got = opened.getresponse()
                fields = {key.lower(): value for key, value in got.getheaders()}
                yield got.status, {**fields, "date": None, "server": None}, got.read()

    port = find_free_port()
    script = tmp_path / "under_granian.py"
    script.write_text(
        "import sys\nfrom functools import partial\nfrom pathlib import Path\n"
        "from granian import Granian\nfrom granian.constants import Interfaces\n"
        "from manifests.server_app import RepositoryApp\n"
        f"server = Granian('x', port={port}, interface=Interfaces.RSGI, log_enabled=False)\n"
        f"build = partial(RepositoryApp, Path({str(folder)!r}))\n"
        "server.serve(target_loader=build, wrap_loader=False)\n"
    )
    granian = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    try:
        for _ in range(1000):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            with pytest.raises(subprocess.TimeoutExpired):
                granian.wait(0.02)
        with serve_in_background(ServerPlan(folder=folder)) as url:
            for ours, theirs, question in zip(
                answers(url), answers(f"http://127.0.0.1:{port}"), asked, strict=True
            ):
                assert ours == theirs, question
    finally:
        granian.terminate()
        granian.wait(20)
