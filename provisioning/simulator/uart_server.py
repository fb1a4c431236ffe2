"""Serves one board's UART: RFC 2217 on TCP, and on request a pseudo terminal.

One thread per board, which sleeps until something happens: bytes, a connection, the next second of
a running application, or the end. One RFC 2217 client at a time; the next one waits its turn. When
a client leaves, DTR and RTS are released, as a real port does.

With `pace`, every transfer takes the time that it would take at the line's baud rate.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from provisioning.simulator.board import BoardMode
from provisioning.simulator.link_noise import LinkNoise
from provisioning.simulator.rfc2217 import Event, EventKind, Rfc2217Session, serialize_data
from provisioning.simulator.single_client_port import SingleClientPort

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.simulator.board import SimulatedBoard

_RECEIVE_BYTES: Final = 1 << 16
_BITS_PER_BYTE: Final = 10
_BANNER_PERIOD_S: Final = 1.0
_PTY_PATIENCE_S: Final = 0.2


class UartServer:
    """The serial port of one board.

    Args:
        board: The board.
        host: Address to listen on.
        port: TCP port, 0 for any free one.
        monotonic: Clock of the once-a-second banner, in seconds.
        wait: Called with seconds to wait when pacing; `None`: no pacing.
        has_pty: Also offer a pseudo terminal (without reset lines).

    Raises:
        SimulatorError: The port cannot be listened on.
    """

    def __init__(
        self,
        board: SimulatedBoard,
        *,
        host: str,
        port: int,
        monotonic: Callable[[], float],
        wait: Callable[[float], None] | None = None,
        has_pty: bool = False,
    ) -> None:
        self._board = board
        self._monotonic = monotonic
        self._wait = wait
        self.negotiation_count = 0
        self._door = SingleClientPort("the simulated serial port", host=host, port=port)
        self.port = self._door.port
        self.pty_path: str | None = None
        self._pty: int | None = None
        self._pty_peer: int | None = None
        if has_pty:
            self._open_pty()
        self._session = Rfc2217Session()
        self._baud = 115200
        link = board.faults.link
        self._noise = None if link is None else LinkNoise(link, wait=time.sleep)
        self._leaves_bus_at_reset = link is not None and link.leaves_bus_at_reset
        self._next_banner_s: float | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"simulated board {board.index}", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._door.open(also=self._pty)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, wait for the thread, and close every socket."""
        if self._thread.is_alive():
            self._door.wake()
            self._thread.join()
        self._door.close()
        for descriptor in (self._pty, self._pty_peer):
            if descriptor is not None:
                os.close(descriptor)
        self._pty = self._pty_peer = None

    def _open_pty(self) -> None:
        import tty

        self._pty, self._pty_peer = os.openpty()
        tty.setraw(self._pty_peer)
        os.set_blocking(self._pty, False)
        self.pty_path = os.ttyname(self._pty_peer)

    def _run(self) -> None:
        while (ready := self._door.wait(self._seconds_to_banner())) is not None:
            for source in ready:
                if source is self._door.listener:
                    if self._door.accept():
                        self._greet()
                elif source is self._door.client:
                    self._receive_client()
                else:
                    self._receive_pty()
            self._print_banner()

    def _seconds_to_banner(self) -> float | None:
        if self._board.application is None or (self._door.client is None and self._pty is None):
            self._next_banner_s = None
            return None
        now_s = self._monotonic()
        if self._next_banner_s is None:
            self._next_banner_s = now_s + _BANNER_PERIOD_S
        return max(0.0, self._next_banner_s - now_s)

    def _print_banner(self) -> None:
        now_s = self._monotonic()
        if self._next_banner_s is not None and now_s >= self._next_banner_s:
            self._next_banner_s = now_s + _BANNER_PERIOD_S
            self._send(self._board.tick())

    def _greet(self) -> None:
        self._session = Rfc2217Session()
        self._baud = 115200
        if self._noise is not None:
            self._noise.reseat()
        self._send_raw(self._session.greet())

    def _drop_client(self) -> None:
        self._door.drop()
        self._board.set_rts(is_asserted=False)
        self._board.set_dtr(is_asserted=False)

    def _receive_client(self) -> None:
        client = self._door.client
        assert client is not None
        try:
            untrusted_bytes = client.recv(_RECEIVE_BYTES)
        except OSError:
            untrusted_bytes = b""
        if not untrusted_bytes:
            self._drop_client()
            return
        for event in self._session.feed(untrusted_bytes):
            self._take(event)
            if self._door.client is None:
                return

    def _take(self, event: Event) -> None:
        output = b""
        match event.kind:
            case EventKind.DATA:
                self._spend(len(event.data))
                if data := self._on_cable(event.data):
                    output = self._board.receive(data, line_baud=self._baud)
            case EventKind.BAUD:
                self._baud = event.value
                self.negotiation_count += 1
            case EventKind.DTR:
                output = self._board.set_dtr(is_asserted=bool(event.value))
            case EventKind.RTS:
                boot_count = self._board.boot_count
                output = self._board.set_rts(is_asserted=bool(event.value))
                has_restarted = self._board.boot_count != boot_count
                # On the way into the loader it stays: esptool keeps the port open there.
                if (
                    self._leaves_bus_at_reset
                    and has_restarted
                    and self._board.mode is not BoardMode.ROM
                ):
                    self._drop_client()
                    return
            case EventKind.PURGE | EventKind.REPLY:
                pass
        if event.reply:
            self._send_raw(event.reply)
        self._send(output)

    def _receive_pty(self) -> None:
        assert self._pty is not None
        with suppress(OSError):
            untrusted_bytes = os.read(self._pty, _RECEIVE_BYTES)
            self._spend(len(untrusted_bytes))
            self._send(self._board.receive(self._on_cable(untrusted_bytes)))

    def _on_cable(self, content: bytes) -> bytes:
        return content if self._noise is None else self._noise.carry(content, baud=self._baud)

    def _send(self, output: bytes) -> None:
        output = self._on_cable(output)
        if not output:
            return
        self._spend(len(output))
        self._send_raw(serialize_data(output))
        if self._pty is not None:
            self._send_pty(self._pty, output)

    def _send_pty(self, descriptor: int, output: bytes) -> None:
        # Nobody may be reading: what does not fit is lost, as on a wire. Only a reader that kept up
        # until now is waited for.
        patience_s = 0.0
        while output:
            _, writable, _ = select.select([], [descriptor], [], patience_s)
            if not writable:
                return
            patience_s = _PTY_PATIENCE_S
            with suppress(OSError):
                output = output[os.write(descriptor, output) :]

    def _send_raw(self, content: bytes) -> None:
        client = self._door.client
        if client is None or not content:
            return
        try:
            client.sendall(content)
        except OSError:
            self._drop_client()

    def _spend(self, size_bytes: int) -> None:
        if self._wait is not None:
            self._wait(size_bytes * _BITS_PER_BYTE / self._baud)
