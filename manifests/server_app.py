"""The repository over HTTP, as an RSGI application.

| request | answer |
|---|---|
| `GET`, `HEAD` of `metadata/`, `targets/`, `device/` | the file: 200, 206, 304, 404, 412 or 416 |
| `POST /api/freshness` | a signed answer to a device's nonce (docs/spec/freshness.md) |
| `POST /api/reports` | 201 when it was stored, 200 when it was known, 403 if denied |
| `POST /api/report-batches` | 200, with the same for each report of the batch |
| `GET /api/health` | 200 while metadata holds and reports can be stored |
| `GET /api/openapi.json` | the description of these services (docs/spec/openapi.json) |

Every response has a Content-Length and none is chunked: the partial download of ESP-IDF needs
both. Errors are short texts: what, expected, got. `GET` and `HEAD` are answered without waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manifests.rsgi import (
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_MODIFIED,
    OK,
    PARTIAL_CONTENT,
    PRECONDITION_FAILED,
    RANGE_NOT_SATISFIABLE,
    UNAVAILABLE,
    answer_text,
)
from manifests.served_files import (
    ByteRange,
    ServedFile,
    ServedFiles,
    UnreadableFileError,
    UnsatisfiableRangeError,
    is_match,
    is_not_modified,
    parse_range,
)
from manifests.server_services import ServerServices
from manifests.service_parts import ServiceParts

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.rsgi import Exchange, Scope

MEMORY_ANSWER_MAX_BYTES = 1 << 20
"""Larger answers are streamed from the file: one from memory is held once for each client."""

_NO_FILE = "there is no such file here"
_FRONT = (
    "this is an update server, and has no page here; /api/health says how it is, and "
    "/api/openapi.json what it offers"
)
"""For the person who opens the address that `ampforge serve` prints in a browser."""


class RepositoryApp:
    """Serves one repository.

    Args:
        folder: The repository's folder.
        parts: What the services beside the files work with; `None` leaves them out.
    """

    def __init__(self, folder: Path, parts: ServiceParts | None = None) -> None:
        self._files = ServedFiles(folder)
        self._services = ServerServices(self._files, parts or ServiceParts())

    def close(self) -> None:
        """Store the reports that wait; nothing may be asked afterwards."""
        self._services.close()

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            method, path = scope.method, scope.path
            if method == "GET" or method == "HEAD":  # noqa: PLR1714 - twice as fast as a set, on every request
                served = self._files.find(path)
                if served is not None:
                    _answer_file(exchange, served, scope.headers, is_head=method == "HEAD")
                    return
            if path.startswith("/api/"):
                await self._services.answer(scope, exchange)
            elif method in {"GET", "HEAD"}:
                answer_text(exchange, NOT_FOUND, _FRONT if path == "/" else _NO_FILE)
            else:
                allow = ("allow", "GET, HEAD")
                answer_text(exchange, METHOD_NOT_ALLOWED, "use GET or HEAD", [allow])
        except UnreadableFileError as error:
            answer_text(exchange, UNAVAILABLE, f"the file cannot be read now: {error}")


def _answer_file(exchange: Exchange, served: ServedFile, headers: Any, *, is_head: bool) -> None:
    if_match = headers.get("if-match")
    if if_match is not None and not is_match(if_match, served.etag):
        # RFC 9110 §13.2.2 step 1: before If-None-Match.
        text = "the file is another one by now"
        answer_text(exchange, PRECONDITION_FAILED, text, [("etag", served.etag)])
        return
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
            answer_text(exchange, RANGE_NOT_SATISFIABLE, "outside the file", [content_range])
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
    content_type, _, etag, cache_control, *_ = served.headers
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
