"""Serves one simulated multimeter on TCP, as an instrument's raw socket does: lines ended by LF."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from provisioning.simulator.single_client_port import SingleClientPort

if TYPE_CHECKING:
    import socket

    from provisioning.simulator.meter import SimulatedMeter

_RECEIVE_BYTES: Final = 4096
_LINE_MAX_BYTES: Final = 4096


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
        self._door = SingleClientPort("the simulated meter's port", host=host, port=port)
        self.port = self._door.port
        self._pending = b""
        self._thread = threading.Thread(
            target=self._run, name=f"simulated meter {self.port}", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._door.open()
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, wait for the thread, and close every socket."""
        if self._thread.is_alive():
            self._door.wake()
            self._thread.join()
        self._door.close()

    def _run(self) -> None:
        while (ready := self._door.wait()) is not None:
            for source in ready:
                if source is not self._door.listener:
                    self._receive()
                elif self._door.accept():
                    self._pending = b""

    def _receive(self) -> None:
        client = self._door.client
        assert client is not None
        try:
            untrusted_bytes = client.recv(_RECEIVE_BYTES)
            *lines, self._pending = (self._pending + untrusted_bytes).split(b"\n")
            for line in lines:
                self._serve(client, line)
        except OSError:
            untrusted_bytes = b""
        if not untrusted_bytes or len(self._pending) > _LINE_MAX_BYTES:
            self._door.drop()

    def _serve(self, client: socket.socket, line: bytes) -> None:
        with self._lock:
            answer = self._meter.execute(line.decode("ascii", "replace").rstrip("\r"))
        if answer is not None:
            client.sendall(answer.encode("ascii") + b"\n")
