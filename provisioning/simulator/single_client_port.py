"""A TCP port that serves one client at a time; the next one waits its turn.

One thread waits here for whatever its server serves, and another may wake it to end. What is said
on the connection is the server's business.
"""

from __future__ import annotations

import selectors
import socket
from typing import Final

from provisioning.errors import SimulatorError

_SEND_TIMEOUT_S: Final = 5.0
"""A client that takes nothing for this long is dropped."""


class SingleClientPort:
    """The listening socket, its client, and the wait for both.

    Args:
        name: What listens here, for errors.
        host: Address to listen on.
        port: TCP port, 0 for any free one.

    Attributes:
        port: The TCP port that it listens on.
        listener: What `wait` returns when a client is at the door.
        client: The connection; `None` while there is no client.

    Raises:
        SimulatorError: The port cannot be listened on.
    """

    def __init__(self, name: str, *, host: str, port: int) -> None:
        try:
            self.listener = socket.create_server((host, port), backlog=4)
        except OSError as error:
            raise SimulatorError(
                f"{name} cannot be opened",
                got=error.strerror,
                where=f"{host}:{port}",
                hint="choose another base port, or 0 for any free one",
            ) from error
        self.port: int = self.listener.getsockname()[1]
        self.client: socket.socket | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._is_woken = False

    def open(self, *, also: int | None = None) -> None:
        """Begin to listen.

        Args:
            also: A file descriptor that `wait` waits for, too.
        """
        self._selector.register(self.listener, selectors.EVENT_READ)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        if also is not None:
            self._selector.register(also, selectors.EVENT_READ)

    def wait(self, timeout_s: float | None = None) -> tuple[object, ...] | None:
        """Return what can be read from: listener, client, or the descriptor.

        Once woken, it returns what came before, and then `None`.
        """
        if self._is_woken:
            return None
        ready = tuple(key.fileobj for key, _ in self._selector.select(timeout_s))
        if self._wake_receiver in ready:
            self._is_woken = True
            return ready[: ready.index(self._wake_receiver)]
        return ready

    def wake(self) -> None:
        """Make `wait` return `None` soon."""
        self._wake_sender.send(b"\x00")

    def accept(self) -> bool:
        """Let the next client in; return whether it is still there."""
        try:
            client, _ = self.listener.accept()
        except OSError:
            return False
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(_SEND_TIMEOUT_S)
        self.client = client
        self._selector.unregister(self.listener)
        self._selector.register(client, selectors.EVENT_READ)
        return True

    def drop(self) -> None:
        """Close the client's connection, and listen for the next one."""
        assert self.client is not None
        self._selector.unregister(self.client)
        self.client.close()
        self.client = None
        self._selector.register(self.listener, selectors.EVENT_READ)

    def close(self) -> None:
        """Close every socket; nobody waits any more."""
        self._selector.close()
        for connection in (self.listener, self._wake_receiver, self._wake_sender, self.client):
            if connection is not None:
                connection.close()
        self.client = None
