"""Serves one simulated multimeter on TCP, as an instrument's raw socket does: lines ended by LF."""

from __future__ import annotations

import selectors
import socket
import threading
from typing import TYPE_CHECKING, Final

from provisioning.errors import SimulatorError

if TYPE_CHECKING:
    from provisioning.simulator.meter import SimulatedMeter

_RECEIVE_BYTES: Final = 4096
_LINE_MAX_BYTES: Final = 4096
_SEND_TIMEOUT_S: Final = 5.0


class MeterServer:
    """The instrument's socket; one dialogue at a time.

    Args:
        meter: The instrument.
        lock: Held while a line is carried out: the board's lock, because both share its output.
        host: Address to listen on.
        port: TCP port, 0 for any free one.

    Raises:
        SimulatorError: The port cannot be listened on.
    """

    def __init__(
        self, meter: SimulatedMeter, *, lock: threading.RLock, host: str, port: int
    ) -> None:
        self._meter = meter
        self._lock = lock
        try:
            self._listener = socket.create_server((host, port), backlog=4)
        except OSError as error:
            raise SimulatorError(
                "the simulated meter's port cannot be opened",
                got=error.strerror,
                where=f"{host}:{port}",
                hint="choose another base port, or 0 for any free one",
            ) from error
        self.port: int = self._listener.getsockname()[1]
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._client: socket.socket | None = None
        self._pending = b""
        self._thread = threading.Thread(
            target=self._run, name=f"simulated meter {self.port}", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, wait for the thread, and close every socket."""
        if self._thread.is_alive():
            self._wake_sender.send(b"\x00")
            self._thread.join()
        self._selector.close()
        for connection in (self._listener, self._wake_receiver, self._wake_sender, self._client):
            if connection is not None:
                connection.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake_receiver:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._receive()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(_SEND_TIMEOUT_S)
        self._client = client
        self._pending = b""
        self._selector.unregister(self._listener)
        self._selector.register(client, selectors.EVENT_READ)

    def _receive(self) -> None:
        assert self._client is not None
        try:
            untrusted_bytes = self._client.recv(_RECEIVE_BYTES)
            *lines, self._pending = (self._pending + untrusted_bytes).split(b"\n")
            for line in lines:
                self._serve(self._client, line)
        except OSError:
            untrusted_bytes = b""
        if not untrusted_bytes or len(self._pending) > _LINE_MAX_BYTES:
            self._selector.unregister(self._client)
            self._client.close()
            self._client = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _serve(self, client: socket.socket, line: bytes) -> None:
        with self._lock:
            answer = self._meter.execute(line.decode("ascii", "replace").rstrip("\r"))
        if answer is not None:
            client.sendall(answer.encode("ascii") + b"\n")
