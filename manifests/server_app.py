"""The repository over HTTP, as an RSGI application.

| request | answer |
|---|---|
| `GET`, `HEAD` of `metadata/`, `targets/`, `device/` | the file: 200, 206, 304, 404 or 416 |
| `POST /api/freshness` | a signed answer to a device's nonce (docs/spec/freshness.md) |
| `POST /api/reports` | 201 when the report was stored, 200 when it was known |
| `GET /api/health` | 200 while metadata can be served |

Every response has a Content-Length and none is chunked: the partial download of ESP-IDF needs
both. Errors are short texts: what, expected, got. Nothing a client sends is trusted: bodies are
bounded, and a report is verified before it is stored.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from manifests.assignment import verify_assignment
from manifests.device_report import REPORT_MAX_BYTES, verify_device_report
from manifests.errors import FleetStoreError
from manifests.freshness import Freshness, parse_freshness_request, sign_freshness
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.served_files import (
    ByteRange,
    ServedFile,
    ServedFiles,
    UnreadableFileError,
    UnsatisfiableRangeError,
    is_not_modified,
    parse_range,
)
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from manifests.fleet import FleetStore
    from signing.signers import Signer
    from signing.trust_record import TrustRecord

OK, CREATED, PARTIAL_CONTENT, NOT_MODIFIED = 200, 201, 206, 304
BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED, LENGTH_REQUIRED = 400, 404, 405, 411
TOO_LARGE, RANGE_NOT_SATISFIABLE, UNAVAILABLE = 413, 416, 503
BODY_MAX_BYTES = {"/api/freshness": MESSAGE_MAX_BYTES, "/api/reports": REPORT_MAX_BYTES}
MEMORY_ANSWER_MAX_BYTES = 1 << 20
"""Larger answers are streamed from the file: one from memory is held once for each client."""
TIMESTAMP_PATH = "/metadata/timestamp.json"
_COSE = "application/cose"
_TEXT = "text/plain; charset=utf-8"

Headers = list[tuple[str, str]]


class Scope(Protocol):
    """The parts of an RSGI HTTP scope that are read here."""

    proto: str
    method: str
    path: str

    @property
    def headers(self) -> Any:
        """The request's headers, by lower-case name."""
        ...


class Exchange(Protocol):
    """The parts of an RSGI HTTP protocol that are used here."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body's pieces."""
        ...

    def response_empty(self, status: int, headers: Headers) -> None:
        """Answer without a body."""
        ...

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer with bytes."""
        ...

    def response_file(self, status: int, headers: Headers, file: str) -> None:
        """Answer with a file, sent by the server itself."""
        ...

    def response_file_range(
        self, status: int, headers: Headers, file: str, start: int, end: int
    ) -> None:
        """Answer with a part of a file, from `start` to before `end`."""
        ...


class RepositoryApp:
    """Serves one repository.

    Args:
        folder: The repository's folder.
        trust: The product's trust record: devices' factory CA, and who signs assignments.
        freshness_signer: Signs answers to nonces; `None` leaves `/api/freshness` out.
        fleet: Where reports go; `None` leaves `/api/reports` out.
        clock: The present, UTC.
    """

    def __init__(
        self,
        folder: Path,
        *,
        trust: TrustRecord | None = None,
        freshness_signer: Signer | None = None,
        fleet: FleetStore | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._files = ServedFiles(folder)
        self._trust = trust
        self._freshness_signer = freshness_signer
        self._fleet = fleet
        self._clock = clock
        self._last_sequence = 0

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            await self._answer(scope, exchange)
        except UnreadableFileError as error:
            _answer_text(exchange, UNAVAILABLE, f"the file cannot be read now: {error}")

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        method, path = scope.method, scope.path
        if method == "GET" or method == "HEAD":  # noqa: PLR1714 - twice as fast as a set, on every request
            served = self._files.find(path)
            if served is not None:
                _answer_file(exchange, served, scope.headers, is_head=method == "HEAD")
                return
        if path.startswith("/api/"):
            await self._answer_api(scope, exchange)
        elif method in {"GET", "HEAD"}:
            _answer_text(exchange, NOT_FOUND, "there is no such file here")
        else:
            _answer_text(exchange, METHOD_NOT_ALLOWED, "use GET or HEAD", [("allow", "GET, HEAD")])

    async def _answer_api(self, scope: Scope, exchange: Exchange) -> None:
        if scope.path == "/api/health":
            self._answer_health(scope, exchange)
            return
        is_offered = {
            "/api/freshness": self._freshness_signer is not None and self._trust is not None,
            "/api/reports": self._fleet is not None and self._trust is not None,
        }.get(scope.path, False)
        if not is_offered:
            _answer_text(exchange, NOT_FOUND, "this server offers no such service")
            return
        if scope.method != "POST":
            _answer_text(exchange, METHOD_NOT_ALLOWED, "use POST", [("allow", "POST")])
            return
        body = await _read_body(scope, exchange)
        if body is None:
            return
        try:
            if scope.path == "/api/freshness":
                self._answer_freshness(exchange, body)
            else:
                self._take_report(exchange, body)
        except FleetStoreError as error:
            _answer_text(exchange, UNAVAILABLE, str(error))
        except Refusal as error:
            _answer_text(exchange, BAD_REQUEST, str(error))

    def _answer_health(self, scope: Scope, exchange: Exchange) -> None:
        if scope.method not in {"GET", "HEAD"}:
            _answer_text(exchange, METHOD_NOT_ALLOWED, "use GET or HEAD", [("allow", "GET, HEAD")])
            return
        is_ready = self._files.find(TIMESTAMP_PATH) is not None
        document = {"status": "ok" if is_ready else "no repository to serve"}
        body = json.dumps(document).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        exchange.response_bytes(OK if is_ready else UNAVAILABLE, headers, body)

    def _answer_freshness(self, exchange: Exchange, body: bytes) -> None:
        assert self._freshness_signer is not None
        assert self._trust is not None
        request = parse_freshness_request(body)
        now_s = int(self._clock().timestamp())
        # Never falls while this server runs, even when the clock is set back.
        self._last_sequence = max(self._last_sequence, now_s)
        served = self._files.find(f"/device/{request.hardware_class}/assignment.cose")
        sequence = 0
        if served is not None and served.content is not None:
            sequence = verify_assignment(served.content, self._trust).sequence
        message = sign_freshness(
            Freshness(
                nonce=request.nonce,
                sequence=self._last_sequence,
                time_s=now_s,
                hardware_class=request.hardware_class,
                assignment_sequence=sequence,
            ),
            self._freshness_signer,
        )
        headers = [
            ("content-type", _COSE),
            ("content-length", str(len(message))),
            ("cache-control", "no-store"),
        ]
        exchange.response_bytes(OK, headers, message)

    def _take_report(self, exchange: Exchange, body: bytes) -> None:
        assert self._fleet is not None
        assert self._trust is not None
        now = self._clock()
        report = verify_device_report(body, self._trust, now=now)
        is_new = self._fleet.add_report(report, body, received_at=now)
        _answer_text(exchange, CREATED if is_new else OK, "stored" if is_new else "known")


def _answer_file(exchange: Exchange, served: ServedFile, headers: Any, *, is_head: bool) -> None:
    if_none_match = headers.get("if-none-match")
    if if_none_match is not None and is_not_modified(if_none_match, served.etag):
        exchange.response_empty(NOT_MODIFIED, served.not_modified_headers)
        return
    if is_head:
        exchange.response_empty(OK, served.headers)
        return
    asked = headers.get("range")
    if asked is not None and headers.get("if-range", served.etag) == served.etag:
        try:
            part = parse_range(asked, served.size_bytes)
        except UnsatisfiableRangeError:
            content_range = ("content-range", f"bytes */{served.size_bytes}")
            _answer_text(exchange, RANGE_NOT_SATISFIABLE, "outside the file", [content_range])
            return
        if part is not None:
            _answer_part(exchange, served, part)
            return
    if served.content is not None and served.size_bytes <= MEMORY_ANSWER_MAX_BYTES:
        exchange.response_bytes(OK, served.headers, served.content)
    else:
        exchange.response_file(OK, served.headers, served.file_path)


def _answer_part(exchange: Exchange, served: ServedFile, part: ByteRange) -> None:
    start, end = part.start_bytes, part.end_bytes
    content_type, _, etag, cache_control = served.headers
    headers = [
        content_type,
        ("content-length", str(end - start)),
        ("content-range", f"bytes {start}-{end - 1}/{served.size_bytes}"),
        etag,
        cache_control,
    ]
    if served.content is not None and end - start <= MEMORY_ANSWER_MAX_BYTES:
        exchange.response_bytes(PARTIAL_CONTENT, headers, served.content[start:end])
    else:
        exchange.response_file_range(PARTIAL_CONTENT, headers, served.file_path, start, end)


async def _read_body(scope: Scope, exchange: Exchange) -> bytes | None:
    limit_bytes = BODY_MAX_BYTES[scope.path]
    length = scope.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        _answer_text(exchange, LENGTH_REQUIRED, "a Content-Length is needed")
        return None
    received = bytearray()
    if int(length[:18]) <= limit_bytes:
        async for piece in exchange:
            received += piece
            if len(received) > limit_bytes or not piece:
                break
    if int(length[:18]) > limit_bytes or len(received) > limit_bytes:
        _answer_text(exchange, TOO_LARGE, f"at most {limit_bytes} bytes")
        return None
    return bytes(received)


def _answer_text(exchange: Exchange, status: int, text: str, extra: Headers | None = None) -> None:
    body = text.encode() + b"\n"
    headers = [("content-type", _TEXT), ("content-length", str(len(body))), *(extra or [])]
    exchange.response_bytes(status, headers, body)
