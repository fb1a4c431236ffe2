"""Takes TLS connections: a handshake is bounded in time, and counts as a connection from its start.

The event loop's own server would count a connection when its handshake is over, and any number of
peers could hold sockets that never begin one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from manifests.client_address import limit_key
from manifests.http_connection import peer_address
from manifests.paced_connection import PacedConnection

if TYPE_CHECKING:
    import socket
    import ssl

    from manifests.http_host import HttpHost

HANDSHAKE_TIMEOUT_S = 10.0
SHUTDOWN_TIMEOUT_S = 86_400.0
"""None: TLS counts from the last write, and a slow peer reads long after it. The host ends who
makes no progress (`PacedConnection.is_overdue`)."""
HANDSHAKES_PER_ADDRESS_MAX = 64
"""Of these a peer that is no proxy has far fewer at once, unless it wants to hold sockets. A /64 of
IPv6 is one peer, as for the other limits."""
NO_DESCRIPTOR_WAIT_S = 0.5
ACCEPTED_AT_ONCE = 64


class TlsAcceptor:
    """Takes connections from a listening socket until it is closed.

    Args:
        host: Whose connections they become.
        listening: A listening socket; closed by `close`.
        tls: What they are encrypted with.
    """

    def __init__(self, host: HttpHost, listening: socket.socket, tls: ssl.SSLContext) -> None:
        self._host = host
        self._listening = listening
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._handshakes: dict[asyncio.Task[None], str] = {}
        listening.setblocking(False)
        self._resume()

    @property
    def is_busy(self) -> bool:
        """Whether handshakes have begun that are not over."""
        return bool(self._handshakes)

    def close(self) -> None:
        """Take no more. Handshakes that had begun go on."""
        descriptor = self._listening.fileno()
        self._listening.close()
        self._loop.remove_reader(descriptor)

    def abort(self) -> None:
        """End the handshakes that are not over."""
        for handshake in self._handshakes:
            handshake.cancel()

    def _resume(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, name = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor is left: those who wait in the queue are taken later.
                self._loop.remove_reader(self._listening.fileno())
                self._loop.call_later(NO_DESCRIPTOR_WAIT_S, self._resume)
                return
            self._begin(accepted, peer_address(name))

    def _begin(self, accepted: socket.socket, peer: str) -> None:
        key = limit_key(peer)
        begun = sum(1 for other in self._handshakes.values() if other == key)
        if begun >= HANDSHAKES_PER_ADDRESS_MAX and not self._host.addresses.is_proxy(peer):
            self._host.counts.refused["address"] += 1
            accepted.close()
            return
        if not self._host.is_admitted(peer, pending=len(self._handshakes)):
            accepted.close()
            return
        task = self._loop.create_task(self._shake_hands(accepted))
        self._handshakes[task] = key
        task.add_done_callback(self._end)

    def _end(self, handshake: asyncio.Task[None]) -> None:
        del self._handshakes[handshake]
        self._host.tell_if_ended()

    async def _shake_hands(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                lambda: PacedConnection(self._host),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
        except OSError:
            # TLS errors, timeouts, and a peer that goes away.
            self._host.counts.failed_handshakes += 1
