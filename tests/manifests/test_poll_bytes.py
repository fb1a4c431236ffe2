"""What a poll with nothing new costs: counted in bytes at the socket, headers included."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

from manifests.http_transport import HttpTransport
from manifests.transfer import run_session
from manifests.update_outcome import UpdateResult, UpdateRules
from manifests.updater import update_device
from tests.manifests.server_process import running, whole_plan
from tests.manifests.world import NOW, make_device, make_publisher, new_bundle

POLL_MAX_BYTES = 1024


class CountingRelay:
    """Passes bytes on between clients and a server, and keeps them."""

    def __init__(self, url: str) -> None:
        self._to = (urlsplit(url).hostname, urlsplit(url).port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.asked = b""
        self.answered = b""
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        self.asked = self.answered = b""
        self.connections = 0

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._to)
            except OSError:
                client.close()
                return
            for source, sink, kept in ((client, server, "asked"), (server, client, "answered")):
                threading.Thread(target=self._pass, args=(source, sink, kept), daemon=True).start()

    def _pass(self, source, sink, kept) -> None:
        # Either end may be gone in the middle, at the end of a test above all.
        with suppress(OSError):
            while piece := source.recv(65536):
                setattr(self, kept, getattr(self, kept) + piece)
                sink.sendall(piece)
        sink.close()


@contextmanager
def relayed(tmp_path, **options):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    plan = whole_plan(publisher, tmp_path, **options)
    with running(plan) as server, closing(CountingRelay(server.url)) as relay:
        yield relay


def test_a_poll_with_nothing_new_is_one_request_and_at_most_a_kibibyte(tmp_path):
    with relayed(tmp_path, access_log=tmp_path / "access.jsonl") as relay:
        device = make_device()

        def poll():
            with closing(HttpTransport(relay.url)) as transport:
                return run_session(
                    update_device(device, UpdateRules(chunk_bytes=16_384)), transport
                )

        assert poll().result is UpdateResult.REBOOT_NEEDED
        device.board.boot()
        assert poll().result is UpdateResult.INSTALLED
        assert poll().result is UpdateResult.UP_TO_DATE
        for _ in range(3):
            relay.forget()
            assert poll().result is UpdateResult.UP_TO_DATE
            assert relay.connections == 1
            assert relay.asked.count(b" HTTP/1.1\r\n") == 1
            assert relay.answered.count(b"HTTP/1.1 ") == 1
            for header in (b"date: ", b"etag: ", b"content-length: ", b"cache-control: "):
                assert header in relay.answered
            assert 0 < len(relay.asked) + len(relay.answered) <= POLL_MAX_BYTES


def test_a_gateway_that_asks_again_is_answered_in_few_bytes(tmp_path):
    with relayed(tmp_path) as relay:
        address = (urlsplit(relay.url).hostname, urlsplit(relay.url).port)
        with closing(socket.create_connection(address)) as asking:
            asking.settimeout(5)
            asking.sendall(b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = asking.recv(65536)
            etag = answer.partition(b"etag: ")[2].partition(b"\r\n")[0]
            relay.forget()
            asking.sendall(
                b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: updates.example\r\n"
                b"Accept-Encoding: identity\r\nUser-Agent: gateway/1.0\r\n"
                b"If-None-Match: " + etag + b"\r\n\r\n"
            )
            assert asking.recv(65536).startswith(b"HTTP/1.1 304 ")
        assert len(relay.asked) + len(relay.answered) <= POLL_MAX_BYTES // 2
