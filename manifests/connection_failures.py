"""Why a server could not be asked, in the words of a person who has to do something about it.

The libraries wrap one failure several times, and some wrappings have no text at all: what counts is
at the end of the chain of causes.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from manifests.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator


def describe_cause(error: BaseException) -> str:
    """Return what happened: the last of an error's causes that says anything."""
    said = [text for cause in causes_of(error) if (text := _text(cause))]
    return said[-1] if said else type(error).__name__


def refuse_unreachable(error: BaseException, base_url: str) -> None:
    """Raise what a person needs to know, if nothing answers at a server's address.

    Args:
        error: What a library raised.
        base_url: The server's root.

    Raises:
        TransportError: No connection came about, or no TLS. Anything else is left to the caller.
    """
    import urllib3

    unconnected = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ConnectionRefusedError,
        socket.gaierror,
    )
    if any(isinstance(cause, unconnected) for cause in causes_of(error)):
        raise TransportError(
            f"cannot connect to {base_url}",
            expected="a server that answers there",
            got=describe_cause(error),
            where=base_url,
            hint="start it with `ampforge serve`, or correct the URL",
        ) from error
    if any("WRONG_VERSION_NUMBER" in str(cause) for cause in causes_of(error)):
        raise TransportError(
            "the server does not speak TLS",
            expected="TLS, as https:// says",
            got="an answer in the clear",
            where=base_url,
            hint="correct the URL to http://, or start `ampforge serve` with --tls-certificate",
        ) from error


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, as far back as anything tells."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        # urllib3 keeps the true cause of its last attempt in an attribute.
        reason = getattr(found, "reason", None)
        found = found.__cause__ or (reason if isinstance(reason, BaseException) else None)


def _text(error: BaseException) -> str:
    import urllib3

    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return "no answer in time"
    if isinstance(error, KeyError):
        return f"nothing under {error}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)[:300]
