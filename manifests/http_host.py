"""Listens, and looks after the connections: how many, how long, and their end.

One thread, one event loop: uvloop where it is installed, asyncio's own elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from manifests.http_connection import HttpConnection
from manifests.http_requests import RequestMemory

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from manifests.http_connection import Application

CONNECTIONS_MAX = 8192
DESCRIPTORS_SPARE = 64
"""File descriptors kept for files and the database."""
SWEEP_S = 1.0
STOP_TIMEOUT_S = 10.0
BACKLOG = 1024


class HttpHost:
    """Serves one application on one listening socket; see `ConnectionHost`.

    Args:
        app: An RSGI application that never waits.
        connections_max: How many connections at once; more are turned away with 503.
        clock_s: Monotonic clock, seconds.

    Attributes:
        app: The application.
        now_s: What the clock said at the last sweep, seconds.
        date_line: The `Date` header of that moment.
        memory: The requests that its connections have read.
    """

    def __init__(
        self,
        app: Application,
        *,
        connections_max: int = CONNECTIONS_MAX,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.memory = RequestMemory()
        self._connections: set[HttpConnection] = set()
        self._connections_max = connections_max
        self._clock_s = clock_s
        self._all_ended: asyncio.Event | None = None
        self.now_s = 0.0
        self.date_line = ""
        self.sweep()

    def add(self, connection: HttpConnection) -> bool:
        """Take note of a new connection; `False` when there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= self._connections_max

    def discard(self, connection: HttpConnection) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)
        if self._all_ended is not None and not self._connections:
            self._all_ended.set()

    def sweep(self) -> None:
        """Tell the time, and end the connections whose peers had theirs."""
        self.now_s = self._clock_s()
        self.date_line = f"date: {formatdate(usegmt=True)}\r\n"
        for connection in [one for one in self._connections if one.is_overdue()]:
            connection.abort()

    async def serve(
        self, listening: socket.socket, stop: asyncio.Event, *, stop_timeout_s: float
    ) -> None:
        """Serve until `stop` is set; then give the answers that are owed, for a bounded time.

        Args:
            listening: A listening socket; closed at the end.
            stop: Ends it.
            stop_timeout_s: How long a peer may take for its last answer.
        """
        server = await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(self), sock=listening, backlog=BACKLOG
        )
        try:
            while not stop.is_set():
                self.sweep()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), SWEEP_S)
        finally:
            server.close()
            await self._end_connections(stop_timeout_s)

    async def _end_connections(self, timeout_s: float) -> None:
        self._all_ended = asyncio.Event()
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_ended.wait(), timeout_s)
        for connection in list(self._connections):
            connection.abort()


def serve_until_signalled(
    app: Application, listening: socket.socket, *, on_ready: Callable[[], None]
) -> None:
    """Serve an application until SIGINT or SIGTERM.

    Args:
        app: An RSGI application that never waits.
        listening: A listening socket.
        on_ready: Called once connections are taken.
    """
    host = HttpHost(app, connections_max=min(CONNECTIONS_MAX, _raise_descriptor_limit()))
    _runner()(_serve(host, listening, on_ready))


def _raise_descriptor_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A connection that downloads a large file holds two: its socket and the file.
    wished = 2 * CONNECTIONS_MAX + DESCRIPTORS_SPARE
    if soft != resource.RLIM_INFINITY and soft < wished:
        soft = wished if hard == resource.RLIM_INFINITY else min(wished, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    usable = wished if soft == resource.RLIM_INFINITY else soft
    return max(1, (usable - DESCRIPTORS_SPARE) // 2)


def _runner() -> Callable[..., object]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


async def _serve(host: HttpHost, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    on_ready()
    await host.serve(listening, stop, stop_timeout_s=STOP_TIMEOUT_S)
