"""The socket that a server listens on."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from manifests.errors import ServerError
from manifests.http_host import BACKLOG

if TYPE_CHECKING:
    from manifests.server_plan import ServerPlan

KERNEL_UNSENT_MAX_BYTES = 256 << 10


def bind_listening(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """Return a socket that listens at an address.

    Args:
        host: Its address.
        port: TCP port; 0 takes a free one.
        option: What chooses another port, for the hint.

    Raises:
        ServerError: It cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Not SO_REUSEPORT: two servers would silently share the port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Inherited by every connection: what a peer that does not read makes the kernel hold.
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_UNSENT_MAX_BYTES)
        # Before it is said that the server is ready: who reads that may connect at once.
        bound.listen(BACKLOG)
        # At once: a copy of a blocking socket would make this one blocking again.
        bound.setblocking(False)
    except (OSError, OverflowError, TypeError, ValueError) as error:
        bound.close()
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise ServerError(
            "the address cannot be listened on",
            expected=f"a free port at {host}",
            got=getattr(error, "strerror", None) or error,
            where=f"{host}:{port}",
            hint=f"another server uses the port: stop it, or choose one with {option}"
            if is_taken
            else "choose an address of this machine with --host",
        ) from error
    return bound


def refuse_other_address(listening: socket.socket, plan: ServerPlan) -> None:
    """Refuse a socket that was handed over and is not where the plan wants to listen.

    Raises:
        ServerError: It listens at another port.
    """
    address, port, *_ = listening.getsockname()
    if plan.port not in {0, port}:
        raise ServerError(
            "the running server listens at another port",
            expected=plan.port,
            got=port,
            where=f"{address}:{port}",
            hint="a port is changed by stopping that server and starting this one",
        )
