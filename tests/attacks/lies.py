"""A mirror between readers and the real server, which repeats what the server says, or lies.

Below `/lies` it shows the lies of the scene, below `/truth` the truth; what neither names comes
from the real server, over loopback. It writes down which lies it told, so that a refusal can be
seen to be a refusal of something.
"""

from __future__ import annotations

import gzip
import http.server
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import urllib3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDLESS_MAX_BYTES = 64 << 20
PIECE_BYTES = 64 << 10
DRIP_S = 0.01
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Question:
    """What a reader asks the mirror."""

    handler: http.server.BaseHTTPRequestHandler
    mirror: LyingMirror
    path: str
    body: bytes

    def ask_server(self, body: bytes) -> bytes:
        """What the real server says to this, or to another body."""
        return self.mirror.ask(self.handler.command, self.path, body).data


class Lie:
    """What is shown in place of a file, beside other bytes, and `None` for no file."""

    def tell(self, question: Question) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Endless(Lie):
    """Never ends, whatever was asked for."""

    begin: bytes = b""

    def tell(self, question: Question) -> None:
        question.handler.send_response(200)
        question.handler.end_headers()
        question.handler.wfile.write(self.begin)
        for _ in range(ENDLESS_MAX_BYTES // PIECE_BYTES):
            question.handler.wfile.write(bytes(PIECE_BYTES))


@dataclass(frozen=True, slots=True)
class Broken(Lie):
    """Promises everything, and closes the connection where `kept_bytes` end."""

    content: bytes
    kept_bytes: int

    def tell(self, question: Question) -> None:
        _send_file(question.handler, self.content, kept_bytes=self.kept_bytes)


@dataclass(frozen=True, slots=True)
class Dripping(Lie):
    """Sends the last bytes one after the other, each after a while."""

    content: bytes
    prompt_bytes: int

    def tell(self, question: Question) -> None:
        _send(question.handler, 200, self.content[: self.prompt_bytes], length=len(self.content))
        for position in range(self.prompt_bytes, len(self.content)):
            if not question.mirror.closing.wait(DRIP_S):
                question.handler.wfile.write(self.content[position : position + 1])


@dataclass(frozen=True, slots=True)
class DrippingHead(Lie):
    """Sends a header byte after byte, and then all that was asked for."""

    content: bytes
    head_bytes: int

    def tell(self, question: Question) -> None:
        stream = question.handler.wfile
        stream.write(b"HTTP/1.1 200 OK\r\nx-drip: ")
        for _ in range(self.head_bytes):
            if not question.mirror.closing.wait(DRIP_S):
                stream.write(b".")
        stream.write(b"\r\ncontent-length: %d\r\n\r\n" % len(self.content) + self.content)


@dataclass(frozen=True, slots=True)
class Stalling(Lie):
    """Sends all but the last byte, and keeps the connection open."""

    content: bytes

    def tell(self, question: Question) -> None:
        if question.handler.headers.get("range") is None:
            _send(question.handler, 200, self.content[:-1], length=len(self.content))
        question.mirror.closing.wait()


@dataclass(frozen=True, slots=True)
class Zipped(Lie):
    """Compressed on the way, for who unpacks it."""

    content: bytes

    def tell(self, question: Question) -> None:
        _send(question.handler, 200, self.content, ("content-encoding", "gzip"))


@dataclass(frozen=True, slots=True)
class Answering(Lie):
    """Makes the answer of what was posted and of what the real server says to it."""

    make: Callable[[bytes, Callable[[bytes], bytes]], bytes]

    def tell(self, question: Question) -> None:
        answer = self.make(question.body, question.ask_server)
        _send(question.handler, 200, answer)


Tree = dict[str, Lie | bytes | None]


class LyingMirror:
    """See the module.

    Attributes:
        lies, truth: What is shown, by path; `None` is a file that is not there.
        told: The lies that were asked for since the scene began.
    """

    def __init__(self, server_url: str) -> None:
        self.lies: Tree = {}
        self.truth: Tree = {}
        self.told: list[str] = []
        self._server_url = server_url
        self._pool = urllib3.PoolManager(retries=False, maxsize=4)
        self.closing = threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self, b"")

            def do_POST(self) -> None:
                mirror.answer(self, self.rfile.read(int(self.headers["content-length"])))

            def log_message(self, *_) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_) -> None:
                """Readers hang up in the middle of a lie; that is what they should do."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def lying_url(self) -> str:
        return f"{self._url}/lies"

    @property
    def honest_url(self) -> str:
        return f"{self._url}/truth"

    def show(self, lies: Tree, truth: Tree) -> None:
        self.lies, self.truth, self.told = lies, truth, []

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._pool.clear()

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        _, view, path = handler.path.split("/", 2)
        shown = self.lies if view == "lies" else self.truth
        if view == "lies" and path in shown:
            self.told.append(path)
        if path not in shown:
            self._forward(handler, path, body)
            return
        match shown[path]:
            case None:
                _send(handler, NOT_FOUND, b"there is no such file here")
            case bytes(content):
                _send_file(handler, content)
            case lie:
                lie.tell(Question(handler, self, path, body))

    def ask(self, method, path, body, headers=()) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method, f"{self._server_url}/{path}", body=body or None, headers=dict(headers)
        )

    def _forward(self, handler, path: str, body: bytes) -> None:
        kept = [
            (n, v) for n, v in handler.headers.items() if n.lower() in {"range", "content-type"}
        ]
        told = self.ask(handler.command, path, body, kept)
        passed = [
            (name, value)
            for name, value in told.headers.items()
            if name.lower() in {"content-type", "content-range", "etag", "cache-control"}
        ]
        _send(handler, told.status, told.data, *passed)


def bomb(size_bytes: int) -> Zipped:
    """Zeros, a thousand times smaller than they are."""
    return Zipped(gzip.compress(bytes(size_bytes)))


def _send(handler, status: int, content: bytes, *headers, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(content) if length is None else length))
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def _send_file(handler, content: bytes, *, kept_bytes: int | None = None) -> None:
    asked = handler.headers.get("range")
    first, last, status, headers = 0, len(content) - 1, 200, []
    if asked is not None:
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        last = min(last, len(content) - 1)
        status, headers = 206, [("content-range", f"bytes {first}-{last}/{len(content)}")]
    part = content[:kept_bytes][first : last + 1]
    _send(handler, status, part, *headers, length=last + 1 - first)


@contextmanager
def mirroring(server_url: str) -> Iterator[LyingMirror]:
    mirror = LyingMirror(server_url)
    try:
        yield mirror
    finally:
        mirror.close()
