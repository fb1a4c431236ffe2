"""Looks after the connections of one server: how many, how long, and their end.

Connections come from a listening socket, or through `TlsAcceptor`. A peer can make this hold no
more connections than `connections_max`, nor more than `connections_per_address_max` by one address
(a /64 of IPv6; proxies are exempt: they carry many clients).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from manifests.client_address import ClientAddresses, limit_key
from manifests.http_requests import RequestMemory
from manifests.paced_connection import PacedConnection
from manifests.server_metrics import ServerCounts
from manifests.tls_acceptor import TlsAcceptor

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from manifests.access_log import AccessLog
    from manifests.http_connection import HttpConnection
    from manifests.http_exchange import Application

CONNECTIONS_MAX = 8192
TURNED_AWAY_MAX = 16
"""Of those who are turned away so many at once are told why; further ones are cut off."""
SWEEP_S = 1.0
SETTLE_S = 0.02
BACKLOG = 1024


class HttpHost:
    """Serves one application; see `ConnectionHost`.

    Args:
        app: An RSGI application; see `http_connection`.
        connections_max: How many connections at once; more are turned away with 503.
        connections_per_address_max: How many by one address; `None` sets no such limit.
        addresses: Says who the client is, and which peers are proxies.
        counts: Takes note of connections and answers.
        access_log: Takes note of each request; `None` for none.
        clock_s: Monotonic clock, seconds.

    Attributes:
        app: The application.
        now_s: What the clock said at the last sweep, seconds.
        starts: By status: the status line and the `Date` header of that moment.
        memory: The requests that its connections have read.
        addresses: As given.
        counts: As given.
        access_log: As given.
    """

    def __init__(
        self,
        app: Application,
        *,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_address_max: int | None = None,
        addresses: ClientAddresses | None = None,
        counts: ServerCounts | None = None,
        access_log: AccessLog | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.memory = RequestMemory()
        self.addresses = addresses or ClientAddresses()
        self.counts = counts or ServerCounts()
        self.counts.open_connections = lambda: len(self._connections)
        self.access_log = access_log
        self._connections: set[HttpConnection] = set()
        self._turned_away: set[HttpConnection] = set()
        self._by_address: Counter[str] = Counter()
        self._connections_max = connections_max
        self._per_address_max = connections_per_address_max
        self._clock_s = clock_s
        self._all_ended: asyncio.Event | None = None
        self._acceptor: TlsAcceptor | None = None
        self._is_replaced = False
        self.now_s = 0.0
        self.starts: dict[int, bytes] = {}
        self.sweep()

    def add(self, connection: HttpConnection) -> bool:
        """Take note of a new connection; `False` when there are too many."""
        self.counts.connections += 1
        if not self.is_admitted(connection.peer):
            # Not among the others: whoever comes while it is told so would be turned away for it.
            self._turned_away.add(connection)
            if len(self._turned_away) > TURNED_AWAY_MAX:
                asyncio.get_running_loop().call_soon(connection.abort)
            return False
        self._connections.add(connection)
        if self._per_address_max is not None:
            self._by_address[limit_key(connection.peer)] += 1
        if self._all_ended is not None:
            # Its handshake had begun before the end.
            connection.stop(is_replaced=self._is_replaced)
        return True

    def is_admitted(self, peer: str, *, pending: int = 0) -> bool:
        """Whether one more connection by this address may come; a refusal is counted.

        Args:
            peer: The address.
            pending: Connections that are not yet among those that were added.
        """
        if len(self._connections) + pending >= self._connections_max:
            self.counts.refused["all"] += 1
            return False
        if (
            self._per_address_max is not None
            and self._by_address[limit_key(peer)] >= self._per_address_max
            and not self.addresses.is_proxy(peer)
        ):
            self.counts.refused["address"] += 1
            return False
        return True

    def discard(self, connection: HttpConnection) -> None:
        """Forget a connection that has ended."""
        if connection in self._turned_away:
            self._turned_away.remove(connection)
            return
        self._connections.discard(connection)
        if self._per_address_max is not None:
            key = limit_key(connection.peer)
            self._by_address[key] -= 1
            if self._by_address[key] <= 0:
                del self._by_address[key]
        self.tell_if_ended()

    def tell_if_ended(self) -> None:
        """Go on with the end, if it was waiting for the last connection or handshake."""
        if self._all_ended is not None and not self._has_peers():
            self._all_ended.set()

    def _has_peers(self) -> bool:
        return bool(self._connections) or (self._acceptor is not None and self._acceptor.is_busy)

    def sweep(self) -> None:
        """Tell the time, and end the connections whose peers had theirs."""
        self.now_s = self._clock_s()
        date_line = f"date: {formatdate(usegmt=True)}\r\n"
        self.starts = {
            status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n{date_line}".encode()
            for status in HTTPStatus
        }
        held = (*self._connections, *self._turned_away)
        for connection in [one for one in held if one.is_overdue()]:
            connection.abort()
        if self.access_log is not None:
            self.access_log.flush()

    async def serve(
        self,
        listening: socket.socket,
        stop: asyncio.Event,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take connections until `stop` is set; then no more, and `end_connections` is due.

        Args:
            listening: A listening socket; closed at the end.
            stop: Ends it.
            tls: Whether and how connections are encrypted.
        """
        if tls is not None:
            self._acceptor = TlsAcceptor(self, listening, tls)
            try:
                await self._sweep_until(stop)
            finally:
                self._acceptor.close()
            return
        server = await asyncio.get_running_loop().create_server(
            lambda: PacedConnection(self), sock=listening, backlog=BACKLOG
        )
        try:
            await self._sweep_until(stop)
        finally:
            server.close()
            # What was accepted just now becomes a connection in the loop's next turns.
            await asyncio.sleep(SETTLE_S)

    async def _sweep_until(self, event: asyncio.Event) -> None:
        while not event.is_set():
            self.sweep()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), SWEEP_S)

    async def end_connections(
        self, timeout_s: float, *, at_once: asyncio.Event, is_replaced: bool = False
    ) -> None:
        """Give the answers that are owed, downloads to their end, for a bounded time.

        Args:
            timeout_s: How long all that may take.
            at_once: Cuts it short.
            is_replaced: Whether another process takes connections already.
        """
        self._all_ended = asyncio.Event()
        self._is_replaced = is_replaced
        if self._acceptor is not None and not is_replaced:
            # They came to a server that ends, as those who are refused from now on.
            self._acceptor.abort()
        for connection in list(self._connections):
            connection.stop(is_replaced=is_replaced)
        # Peers are still bounded in time while they are waited for.
        ending = asyncio.ensure_future(self._sweep_until(self._all_ended))
        if self._has_peers():
            hurry = asyncio.ensure_future(at_once.wait())
            await asyncio.wait(
                [ending, hurry], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            hurry.cancel()
        ending.cancel()
        if self._acceptor is not None:
            self._acceptor.abort()
        for connection in (*self._connections, *self._turned_away):
            connection.abort()
