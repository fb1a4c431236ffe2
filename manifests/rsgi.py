"""The parts of RSGI's HTTP protocol that the server's applications use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK, CREATED, PARTIAL_CONTENT, NOT_MODIFIED = 200, 201, 206, 304
BAD_REQUEST, FORBIDDEN, NOT_FOUND = 400, 403, 404
METHOD_NOT_ALLOWED, LENGTH_REQUIRED = 405, 411
PRECONDITION_FAILED, TOO_LARGE, RANGE_NOT_SATISFIABLE, TOO_MANY_REQUESTS = 412, 413, 416, 429
UNAVAILABLE = 503
TEXT = "text/plain; charset=utf-8"

Headers = list[tuple[str, str]]


class FixedHeaders(Headers):
    """Headers that are sent again and again: the bytes that they become are made once.

    Args:
        headers: Names in lower case, and values.

    Attributes:
        encoded: A line for each.
    """

    __slots__ = ("encoded",)

    def __init__(self, headers: Headers) -> None:
        super().__init__(headers)
        self.encoded = encode_headers(headers)


def encode_headers(headers: Headers) -> bytes:
    """Return a line for each header."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")


class Scope(Protocol):
    """The parts of an RSGI HTTP scope that are read here."""

    proto: str
    method: str
    path: str
    client: str

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


def answer_text(exchange: Exchange, status: int, text: str, extra: Headers | None = None) -> None:
    """Answer with a line of text."""
    body = text.encode() + b"\n"
    headers = [("content-type", TEXT), ("content-length", str(len(body))), *(extra or [])]
    exchange.response_bytes(status, headers, body)
