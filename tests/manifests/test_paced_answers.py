"""A server that drips, babbles or points elsewhere gets nothing of a reader by it."""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import closing, contextmanager

import pytest

from manifests.errors import RepositoryError, TransportError
from manifests.gateway import Gateway
from manifests.http_transport import HttpTransport
from manifests.transfer import Fetch
from manifests.url_store import UrlStore
from tests.manifests.world import make_publisher

TIMEOUT_S = 0.2
MESSAGE = Fetch(path="device/flare-c3/assignment.cose", max_bytes=1024)
OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status line": b"HTTP/1.1 200 ",
    "headers": OK + b"X-Long: ",
    "body": OK + b"Content-Length: 900\r\n\r\n",
    "size of a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n1;",
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ",
    "text of an error": b"HTTP/1.1 503 No\r\nContent-Length: 900\r\n\r\n",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@contextmanager
def answering(pieces, *, every_s):
    """A server that answers everybody so, piece by piece, until they have gone."""
    ended = threading.Event()

    def answer(connection):
        with closing(connection):
            connection.recv(4096)
            for piece in pieces():
                try:
                    connection.sendall(piece)
                except OSError:
                    return
                if ended.wait(every_s):
                    return

    def serve():
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        threads = [threading.Thread(target=serve)]
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            # Closing alone does not wake a thread that waits for the next connection.
            with closing(socket.create_connection(listening.getsockname())):
                threads[0].join()
    for thread in threads[1:]:
        thread.join()


def drip(start):
    return lambda: itertools.chain([start], itertools.repeat(b"1", 400))


@pytest.mark.parametrize("where", DRIPS)
def test_an_updater_leaves_an_answer_that_drips(where):
    with (
        answering(drip(DRIPS[where]), every_s=TIMEOUT_S / 4) as url,
        closing(HttpTransport(url, timeout_s=TIMEOUT_S)) as transport,
        pytest.raises(TransportError, match="sends too slowly to go on with") as refused,
    ):
        transport.fetch(MESSAGE)
    assert refused.value.hint


@pytest.mark.parametrize("where", ["headers", "trailers"])
def test_a_gateway_and_an_auditor_leave_an_answer_that_drips(where, tmp_path):
    store = make_publisher(tmp_path / "repository").store
    root = (store.root / "metadata/1.root.json").read_bytes()
    with answering(drip(DRIPS[where]), every_s=TIMEOUT_S / 4) as url:
        gateway = Gateway(url, trusted_root=root, cache=tmp_path / "c", timeout_s=TIMEOUT_S)
        with closing(gateway), pytest.raises(TransportError):
            gateway.refresh()
        with pytest.raises(RepositoryError, match="cannot be fetched"):
            UrlStore(url, timeout_s=TIMEOUT_S).read("metadata/timestamp.json", max_bytes=1024)


def test_no_reader_asks_another_server_because_one_says_so(tmp_path):
    """A gateway stands in somebody's network, and would ask whatever is there."""
    store = make_publisher(tmp_path / "repository").store
    root = (store.root / "metadata/1.root.json").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        there = f"http://127.0.0.1:{other.getsockname()[1]}/x".encode()
        answer = b"HTTP/1.1 302 Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % there
        with answering(lambda: [answer], every_s=0.0) as url:
            gateway = Gateway(url, trusted_root=root, cache=tmp_path / "cache")
            with (
                closing(gateway),
                pytest.raises(TransportError, match="redirects are not followed"),
            ):
                gateway.refresh()
            with closing(HttpTransport(url)) as transport, pytest.raises(TransportError):
                transport.fetch(MESSAGE)
            with pytest.raises(RepositoryError, match="status 302"):
                UrlStore(url).read("metadata/timestamp.json", max_bytes=1024)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_a_server_that_asks_to_go_on_for_ever_is_left_at_any_speed():
    """No more bytes buy time than the answer can have; these come by the megabyte."""
    with (
        answering(lambda: itertools.repeat(CONTINUE * 400, 10_000), every_s=0.0) as url,
        closing(HttpTransport(url, timeout_s=TIMEOUT_S, minimum_bytes_per_s=50_000)) as transport,
        pytest.raises(TransportError, match="sends too slowly to go on with"),
    ):
        transport.fetch(MESSAGE)
