"""What an update session asks of the outside: bytes by path, whatever carries them.

The updater is a generator that yields `Fetch` and is sent the bytes. `run_session` drives it over
a `Transport` (HTTP here; SMP messages from a gateway through `relay`). Nothing here trusts what a
transport returns; the transport only promises never to return more than it was asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from manifests.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One wish of a session.

    Attributes:
        path: Below the server's root, without a leading slash.
        offset_bytes: Where in the resource to begin; 0 for a message.
        max_bytes: The most that is wanted; fewer come only at the end of the resource.
        is_part: Whether a part of a resource is wanted; otherwise more than `max_bytes` is an
            error.
        body: When not `None`, the bytes to POST; the answer's body is what comes back.
    """

    path: str
    offset_bytes: int = 0
    max_bytes: int
    is_part: bool = False
    body: bytes | None = None


Session = Generator[Fetch, bytes, Result]


class Transport(Protocol):
    """Carries a session's wishes."""

    def fetch(self, fetch: Fetch) -> bytes:
        """Return at most `fetch.max_bytes` bytes.

        Raises:
            TransportError: The bytes cannot be had, or there are more than asked for.
        """
        ...


def run_session(
    session: Session[Result],
    transport: Transport,
    *,
    on_fetch: Callable[[Fetch], None] | None = None,
) -> Result:
    """Drive a session to its end and return its result.

    A transport's error is thrown into the session, which may live with it (a report that cannot
    be delivered now) or let it through.

    Args:
        session: The generator.
        transport: Where bytes come from.
        on_fetch: Called before each wish is carried out, for progress.

    Raises:
        Refusal: What the session refused, or could not get.
    """
    try:
        fetch = next(session)
        while True:
            if on_fetch is not None:
                on_fetch(fetch)
            try:
                content = transport.fetch(fetch)
            except TransportError as error:
                fetch = session.throw(error)
            else:
                fetch = session.send(content)
    except StopIteration as stop:
        result: Result = stop.value
        return result
