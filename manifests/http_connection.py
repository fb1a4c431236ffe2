"""One HTTP/1.1 connection: what it receives becomes requests, what the application says is sent.

The application is an RSGI application: it is given a request whose body is already here, and
answers through an `Exchange`. Only a POST may wait for something, in a task of its own; everything
else is answered at once. Answers keep the order of the requests. While a peer does not read what
it asked for, nothing more of it is read; and the time for a request, for the next one and for
reading an answer is bounded (`HttpConnection.is_overdue`, asked by the host).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from manifests.http_exchange import Exchange
from manifests.http_file_part import open_file_part
from manifests.http_requests import Request, RequestReader, RequestRefusal
from manifests.rsgi import TEXT, FixedHeaders, encode_headers

if TYPE_CHECKING:
    from manifests.access_log import AccessLog
    from manifests.client_address import ClientAddresses
    from manifests.http_exchange import Application
    from manifests.http_file_part import FilePart
    from manifests.http_requests import RequestMemory
    from manifests.rsgi import Headers
    from manifests.server_metrics import ServerCounts

UNSENT_MAX_BYTES = 256 << 10
"""What may wait for a peer before no more is answered. An artifact from memory costs no copy."""
JOINED_MAX_BYTES = 16 << 10
"""A body up to this size is copied behind its head, which costs less than a second buffer."""
REQUEST_TIMEOUT_S = 20.0
IDLE_TIMEOUT_S = 75.0
STALLED_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 5.0
DRAINED_MAX_BYTES = 1 << 20

STOPPING_IDLE_S = 5.0
"""How long a connection may idle after the server was told to stop and another took its place."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ConnectionHost(Protocol):
    """What the connections of one server share.

    Attributes:
        app: Answers the requests.
        now_s: Monotonic time, seconds, about a second old at most.
        starts: By status: the status line and the `Date` header of now.
        memory: The requests that were read before.
        addresses: Says who the client is.
        counts: Takes note of answers.
        access_log: Takes note of each request, if there is one.
    """

    app: Application
    now_s: float
    starts: dict[int, bytes]
    memory: RequestMemory
    addresses: ClientAddresses
    counts: ServerCounts
    access_log: AccessLog | None

    def add(self, connection: HttpConnection) -> bool:
        """Take note of a new connection; `False` when there are too many."""
        ...

    def discard(self, connection: HttpConnection) -> None:
        """Forget a connection that has ended."""
        ...


class HttpConnection(asyncio.Protocol):
    """One connection of a server.

    Args:
        host: What all connections share.
    """

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host
        self._reader = RequestReader(host.memory)
        self._transport: Any = None
        self._part: FilePart | None = None
        self._deadline_s = host.now_s + REQUEST_TIMEOUT_S
        self._written_bytes = 0
        self._sent_bytes = 0
        self._drained_bytes = 0
        self._is_paused = False
        self._is_reading = True
        self._is_ended = False
        self._is_stopping = False
        self._is_replaced = False
        self._waiting: asyncio.Task[None] | None = None
        self._answers = host.counts.answers
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away when there are too many."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=UNSENT_MAX_BYTES)
        self.peer = peer_address(self._transport.get_extra_info("peername"))
        if not self._host.add(self):
            text = "too many connections, try again"
            self._answer_refusal(RequestRefusal(HTTPStatus.SERVICE_UNAVAILABLE, text))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self._host.discard(self)
        self._host.counts.sent_bytes += self._written_bytes
        self._is_ended = True
        self._close_part()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and answer the requests that it completes."""
        if self._is_ended:
            self._drained_bytes += len(data)
            if self._drained_bytes > DRAINED_MAX_BYTES:
                self._transport.abort()
            return
        reader = self._reader
        was_in_request = reader.is_in_request
        reader.feed(data)
        if not reader.is_in_request:
            self._deadline_s = self._host.now_s + IDLE_TIMEOUT_S
        elif not was_in_request or reader.ready:
            self._deadline_s = self._host.now_s + REQUEST_TIMEOUT_S
        self._answer_ready()

    def pause_writing(self) -> None:
        """Stop answering: the peer does not read."""
        self._is_paused = True
        self._deadline_s = self._host.now_s + STALLED_TIMEOUT_S

    def resume_writing(self) -> None:
        """Go on answering."""
        self._is_paused = False
        self._deadline_s = self._host.now_s + IDLE_TIMEOUT_S
        self._answer_ready()

    def is_overdue(self) -> bool:
        """Whether the peer had its time: for a request, for the next one, or for reading on."""
        sent_bytes = self._written_bytes - self._transport.get_write_buffer_size()
        if sent_bytes > self._sent_bytes:
            self._deadline_s = max(self._deadline_s, self._host.now_s + STALLED_TIMEOUT_S)
        self._sent_bytes = sent_bytes
        return self._host.now_s > self._deadline_s

    def stop(self, *, is_replaced: bool = False) -> None:
        """Close as soon as the answers that are owed have been sent.

        Args:
            is_replaced: Whether another process takes connections at this address: then who is
                silent now may still ask once, so that no request meets a connection that closes.
        """
        self._is_stopping, self._is_replaced = True, is_replaced
        if not self._reader.ready and self._part is None and self._waiting is None:
            self._stop_idle()

    def _stop_idle(self) -> None:
        # The peer was not told that this connection ends: its next request may be under way.
        if self._is_replaced:
            is_read = not self._transport.get_write_buffer_size()
            wait_s = STOPPING_IDLE_S if is_read else STALLED_TIMEOUT_S
            self._deadline_s = min(self._deadline_s, self._host.now_s + wait_s)
        elif not self._reader.ready:
            self._is_ended = True
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _answer_ready(self) -> None:
        ready = self._reader.ready
        if self._part is not None:
            self._send_part()
        while (
            ready
            and not self._is_paused
            and self._part is None
            and self._waiting is None
            and not self._is_ended
        ):
            item = ready.popleft()
            if isinstance(item, Request):
                self._answer(item)
            else:
                self._answer_refusal(item)
        is_reading = not self._is_paused and self._part is None and self._waiting is None
        if is_reading and self._reader.is_body_awaited and not self._is_ended:
            # RFC 9110 §10.1.1. Answers that are owed come first.
            self._reader.is_body_awaited = False
            self._write(_CONTINUE)
        if is_reading is not self._is_reading and not self._transport.is_closing():
            self._is_reading = is_reading
            if is_reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _answer(self, request: Request) -> None:
        if request.method == "POST":
            # A copy: the request may be one that other connections sent as well.
            request = request.by(self.peer)
            answering = self._host.app.__rsgi__(request, Exchange(self, request))
            self._waiting = asyncio.get_running_loop().create_task(answering)
            self._waiting.add_done_callback(self._go_on)
            return
        answering = self._host.app.__rsgi__(request, Exchange(self, request))
        try:
            answering.send(None)
        except StopIteration:
            return
        answering.close()
        raise RuntimeError("the application waited for something while it answered")

    def _go_on(self, answered: asyncio.Task[None]) -> None:
        self._waiting = None
        if answered.cancelled() or answered.exception() is not None:
            # A bug: no answer is better than half of one.
            self._transport.abort()
            answered.result()
        self._answer_ready()

    def _answer_refusal(self, refusal: RequestRefusal) -> None:
        body = refusal.text.encode() + b"\n"
        headers = [
            ("content-type", TEXT),
            ("content-length", str(len(body))),
        ]
        self._note(None, refusal.status, len(body))
        self._write(self._head(refusal.status, headers, is_last=True) + body)
        self._end(is_unread=True)

    def _note(self, request: Request | None, status: int, body_bytes: int) -> None:
        self._answers[status] += 1
        log = self._host.access_log
        if log is not None:
            client = self.peer
            if request is not None:
                client = self._host.addresses.find(client, request.headers)
            log.add(
                client=client,
                method="" if request is None else request.method,
                path="" if request is None else request.path,
                status=status,
                body_bytes=body_bytes,
            )

    def write_answer(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer whose body is here.

        Args:
            request: What is answered.
            status: Status code.
            headers: The application's; Content-Length is its to give.
            body: Empty for HEAD and 304.
        """
        if self._is_ended:
            return
        is_last = request.is_last or self._is_stopping
        self._note(request, status, len(body))
        head = self._head(status, headers, is_last=is_last)
        if request.method == "HEAD":
            body = b""  # RFC 9110 §9.3.2, whatever the status
        if len(body) <= JOINED_MAX_BYTES:
            self._write(head + body)
        else:
            self._write(head)
            self._write(body)
        if is_last:
            self._end(is_unread=request.is_body_unread)

    def write_file_answer(
        self,
        request: Request,
        status: int,
        headers: Headers,
        *,
        file: str,
        start_bytes: int,
        end_bytes: int,
    ) -> None:
        """Send an answer whose body is a part of a file, read as the peer takes it.

        Args:
            request: What is answered.
            status: Status code.
            headers: The application's.
            file: Path of the file.
            start_bytes: Offset of the first byte.
            end_bytes: Offset of the byte after the last.
        """
        is_last = request.is_last or self._is_stopping
        part = open_file_part(
            file, request, start_bytes=start_bytes, end_bytes=end_bytes, is_last=is_last
        )
        if isinstance(part, RequestRefusal):
            self._answer_refusal(part)
            return
        self._note(request, status, end_bytes - start_bytes)
        self._part = part
        self._write(self._head(status, headers, is_last=is_last))
        self._send_part()

    def _send_part(self) -> None:
        while (part := self._part) is not None and not self._is_paused:
            if part.remaining_bytes:
                piece = part.read_piece()
                if not piece:
                    # A length was promised: a shorter body must not look like a whole one.
                    self._transport.abort()
                    return
                self._write(piece)
            if not part.remaining_bytes:
                self._close_part()
                if part.is_last:
                    self._end(is_unread=part.request.is_body_unread)
                elif self._is_stopping:
                    self._stop_idle()

    def _write(self, content: bytes) -> None:
        self._written_bytes += len(content)
        self._transport.write(content)

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

    def _head(self, status: int, headers: Headers, *, is_last: bool) -> bytes:
        fields = headers.encoded if type(headers) is FixedHeaders else encode_headers(headers)
        end = b"connection: close\r\n\r\n" if is_last else b"\r\n"
        return b"%b%b%b" % (self._host.starts[status], fields, end)

    def _end(self, *, is_unread: bool) -> None:
        self._is_ended = True
        if not is_unread:
            self._transport.close()
            return
        # RFC 9112 §9.6: closing over unread bytes resets the connection, and the answer with it.
        self._deadline_s = self._host.now_s + DRAIN_TIMEOUT_S
        if self._transport.can_write_eof():
            self._transport.write_eof()


def peer_address(peername: object) -> str:
    """Return the address in what a socket says of its peer."""
    return str(peername[0]) if isinstance(peername, tuple) and peername else ""
