"""The requests of one HTTP/1.1 connection: bytes in, requests out, no I/O.

httptools (llhttp) parses; what is added here are bounds and the rules that a parser leaves to its
server. A peer can make nothing grow beyond `REQUEST_MAX_BYTES`. What comes out is in the order in
which it came in, and ends with a `RequestRefusal` or a request that `is_last` when nothing after it
may be read as a request (RFC 9112 §9.6).

Not served: request bodies without a Content-Length, and upgrades.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools

REQUEST_MAX_BYTES = 64 << 10
"""Head and body of one request; the longest that devices send is a few hundred bytes."""
HEADERS_MAX = 100
REMEMBERED_MAX = 1024
REMEMBERED_MAX_BYTES = 1024


@dataclass(slots=True)
class Request:
    """One request, as RSGI's HTTP scope.

    Attributes:
        method: Such as `GET`.
        path: Decoded, without the query.
        headers: By lower-case name; several of one name are joined (RFC 9110 §5.3).
        body: Its bytes; empty when there is none, or when it is not read.
        is_last: Whether the connection ends with the answer.
        is_body_unread: Whether a body was announced that is not read.
        client: The peer's address, where the application is told it.
        proto: RSGI's word for HTTP.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    is_last: bool
    is_body_unread: bool = False
    client: str = ""
    proto: str = "http"

    def by(self, client: str) -> Request:
        """Return the same request, with the client that sent it."""
        return Request(
            self.method,
            self.path,
            self.headers,
            self.body,
            self.is_last,
            self.is_body_unread,
            client,
        )


@dataclass(slots=True)
class RequestRefusal:
    """What is answered to bytes that are no request; nothing after them is read."""

    status: HTTPStatus
    text: str


class RequestMemory:
    """Requests without a body, by the very bytes that they came as.

    A fleet that polls sends the same bytes again and again; looking them up costs a tenth of
    parsing them. Bounded: when it is full, it starts anew.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Request] = {}
        self.find = self._known.get

    def keep(self, data: bytes, request: Request) -> None:
        """Remember what these bytes are; nothing may change the request from here on."""
        if len(data) <= REMEMBERED_MAX_BYTES:
            if len(self._known) == REMEMBERED_MAX:
                self._known.clear()
            self._known[data] = request


class RequestReader:
    """Parses what one connection receives.

    Args:
        memory: What the connections of one server have read before.

    Attributes:
        ready: What has been read and not yet taken.
        is_in_request: Whether a request has begun and not ended.
        is_ended: Whether everything from here on is to be thrown away.
        is_body_awaited: Whether the client waits for a `100 Continue` before it sends the body;
            whoever sends it sets it back.
    """

    def __init__(self, memory: RequestMemory) -> None:
        self.ready: deque[Request | RequestRefusal] = deque()
        self.is_in_request = False
        self.is_ended = False
        self.is_body_awaited = False
        self._memory = memory
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._header_count = 0
        self._has_body = False
        self._unfinished_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they came; what they complete is in `ready`."""
        if self.is_ended:
            return
        was_in_request = self.is_in_request
        if not was_in_request and (known := self._memory.find(data)) is not None:
            self.ready.append(known)
            return
        ready_before = len(self.ready)
        self._unfinished_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # RFC 9110 §7.8: Upgrade may be ignored. What follows it is of another protocol.
            self.is_ended = True
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")
        if was_in_request:
            self._bound_request()
        elif len(self.ready) == ready_before + 1 and not self._has_body:
            request = self.ready[-1]
            is_whole = not (self.is_in_request or self.is_ended) and data.endswith(b"\r\n\r\n")
            if isinstance(request, Request) and is_whole:
                self._memory.keep(data, request)

    def _bound_request(self) -> None:
        # Of a request that began in these bytes, the parser holds no more than these.
        if self.is_in_request and self._unfinished_bytes > REQUEST_MAX_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"expected at most {REQUEST_MAX_BYTES} bytes in a request",
            )

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.is_in_request = True
        self._unfinished_bytes = 0
        self._target = b""
        self._headers = {}
        self._header_count = 0
        self._has_body = False

    def on_url(self, part: bytes) -> None:
        """Take a part of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        if self.is_ended:
            # A trailer of a body that is not read: a proxy vouches for none of them, and joined to
            # the headers it would say who the client is (RFC 9110 §6.5.1).
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers:
            # RFC 9112 §3.2 wants exactly one Host; a joined one names none.
            text = f"{self._headers[key]}, {text}" if key != "host" else ""
        self._header_count += 1
        if self._header_count > HEADERS_MAX:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"expected at most {HEADERS_MAX} headers",
            )
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Decide about the body; one that is too long, or of unknown length, is not read."""
        headers = self._headers
        if self._parser.get_http_version() not in {"1.0", "1.1"}:
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "expected HTTP/1.1")
        if not headers.get("host") and self._parser.get_http_version() == "1.1":
            self._refuse(HTTPStatus.BAD_REQUEST, "expected one Host header")
        length = headers.get("content-length")
        self._has_body = bool(length) or "transfer-encoding" in headers
        if "transfer-encoding" in headers or (length and int(length) > REQUEST_MAX_BYTES):
            self._complete(is_last=True, is_body_unread=True)
        elif (
            length
            and headers.get("expect", "").lower() == "100-continue"
            and self._parser.get_http_version() == "1.1"  # RFC 9110 §10.1.1
        ):
            self.is_body_awaited = True

    def on_body(self, part: bytes) -> None:
        """Take a part of the body."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """End a request."""
        self.is_in_request = self.is_body_awaited = False
        parser = self._parser
        self._complete(is_last=not parser.should_keep_alive() or parser.should_upgrade())

    def _complete(self, *, is_last: bool, is_body_unread: bool = False) -> None:
        if self.is_ended:
            return
        path = self._target.partition(b"?")[0]
        if not path.startswith(b"/"):
            path = _origin_form(path)
        self.ready.append(
            Request(
                self._parser.get_method().decode("latin-1"),
                # Not UTF-8: such a path names nothing here, whatever it becomes.
                unquote(path) if b"%" in path else path.decode("latin-1"),
                self._headers,
                b"".join(self._body) if self._body else b"",
                is_last,
                is_body_unread,
            )
        )
        self._body = []
        self.is_ended = is_last

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        if not self.is_ended:
            self.is_ended = True
            self.ready.append(RequestRefusal(status, text))


def _origin_form(target: bytes) -> bytes:
    # RFC 9112 §3.2.2: the absolute form must be accepted; `*` and authorities name nothing here.
    try:
        return httptools.parse_url(target).path or b"/"
    except httptools.HttpParserInvalidURLError:
        return b"*"
