"""What an RSGI application is, and what it answers one request with.

Of RSGI's HTTP protocol the parts in use: no body that is read piece by piece, no stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from manifests.http_requests import Request
    from manifests.rsgi import Headers


class Application(Protocol):
    """An RSGI application."""

    def __rsgi__(self, scope: Any, exchange: Any, /) -> Coroutine[Any, Any, None]:
        """Answer one request."""
        ...


class Answering(Protocol):
    """What sends answers: a connection."""

    def write_answer(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer whose body is here."""
        ...

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
        """Send an answer whose body is a part of a file."""
        ...


class Exchange:
    """What an application answers one request with: the parts of RSGI's HTTP protocol in use."""

    __slots__ = ("_connection", "_request")

    def __init__(self, connection: Answering, request: Request) -> None:
        self._connection = connection
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body's pieces."""
        if self._request.body:
            yield self._request.body

    def response_empty(self, status: int, headers: Headers) -> None:
        """Answer without a body."""
        self._connection.write_answer(self._request, status, headers, b"")

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer with bytes."""
        self._connection.write_answer(self._request, status, headers, body)

    def response_file(self, status: int, headers: Headers, file: str) -> None:
        """Answer with a whole file, as long as its Content-Length says."""
        size_bytes = int(dict(headers)["content-length"])
        self.response_file_range(status, headers, file, 0, size_bytes)

    def response_file_range(
        self, status: int, headers: Headers, file: str, start: int, end: int
    ) -> None:
        """Answer with a part of a file, from `start` to before `end`."""
        self._connection.write_file_answer(
            self._request, status, headers, file=file, start_bytes=start, end_bytes=end
        )
