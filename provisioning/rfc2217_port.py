"""RFC 2217 client with pyserial's interface, for a serial port on another machine or a simulator.

pyserial's own client negotiates all line parameters again whenever a timeout changes, and sleeps
50 ms at a time while it waits for an answer. esptool changes the timeout with each command, so most
of a flash run would be waiting. This client negotiates only what changed and wakes up when the
answer is there (docs/decisions/0053).
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import serial

from provisioning.telnet_stream import (
    DO,
    DONT,
    OPTION_BINARY,
    OPTION_COM_PORT,
    OPTION_ECHO,
    OPTION_SUPPRESS_GO_AHEAD,
    WILL,
    WONT,
    Negotiation,
    Subnegotiation,
    TelnetParser,
    escape_data,
    serialize_negotiation,
    serialize_subnegotiation,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

RFC2217_SCHEME: Final = "rfc2217"
_CONNECT_TIMEOUT_S: Final = 5.0
_ANSWER_TIMEOUT_S: Final = 3.0
_SEND_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 5.0
_RECEIVE_BYTES: Final = 65536

# RFC 2217 §2, commands from client to access server; the server answers with the command + 100.
_SET_BAUDRATE: Final = 1
_SET_DATASIZE: Final = 2
_SET_PARITY: Final = 3
_SET_STOPSIZE: Final = 4
_SET_CONTROL: Final = 5
_PURGE_DATA: Final = 12
_ANSWER_OFFSET: Final = 100
_CONTROL_NO_FLOW_CONTROL: Final = 1
_CONTROL_BREAK_ON, _CONTROL_BREAK_OFF = 5, 6
_CONTROL_DTR_ON, _CONTROL_DTR_OFF = 8, 9
_CONTROL_RTS_ON, _CONTROL_RTS_OFF = 11, 12
_PURGE_RECEIVED, _PURGE_TO_SEND = 1, 2
_PARITY: Final = {"N": 1, "O": 2, "E": 3, "M": 4, "S": 5}
_STOP_BITS: Final = {1: 1, 2: 2, 1.5: 3}
_LOCAL_OPTIONS: Final = frozenset({OPTION_BINARY, OPTION_SUPPRESS_GO_AHEAD, OPTION_COM_PORT})
_REMOTE_OPTIONS: Final = _LOCAL_OPTIONS | {OPTION_ECHO}


class Rfc2217Port(serial.SerialBase):
    """RFC 2217 client with pyserial's interface.

    Attributes:
        negotiation_count: How often line parameters were negotiated since the port was made.
    """

    BAUDRATES = (115_200, 230_400, 460_800, 921_600)

    def __init__(self) -> None:
        self.negotiation_count = 0
        self._socket: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self._changed = threading.Condition()
        self._send_lock = threading.Lock()
        self._received = bytearray()
        self._failure: str | None = None
        self._answers: dict[int, bytes] = {}
        self._local_options: dict[int, bool] = {}
        self._remote_options: dict[int, bool] = {}
        self._negotiated: tuple[int, int, str, float] | None = None
        super().__init__()

    def open(self) -> None:
        """Connect, agree on RFC 2217, and set line parameters and control lines.

        Raises:
            serial.SerialException: The server cannot be reached or does not speak RFC 2217.
        """
        if self.is_open:
            raise serial.SerialException("the port is open already")
        parts = urlsplit(self.port or "")
        if parts.scheme != RFC2217_SCHEME or parts.hostname is None or parts.port is None:
            raise serial.SerialException(f"expected rfc2217://HOST:PORT, got {self.port!r}")
        try:
            self._socket = socket.create_connection(
                (parts.hostname, parts.port), timeout=_CONNECT_TIMEOUT_S
            )
        except OSError as error:
            raise serial.SerialException(str(error)) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(_SEND_TIMEOUT_S)
        self._received.clear()
        self._answers.clear()
        self._local_options.clear()
        self._remote_options.clear()
        self._negotiated = None
        self._failure = None
        self.is_open = True
        self._reader = threading.Thread(
            target=self._receive, args=(self._socket,), name=f"rfc2217 {self.port}", daemon=True
        )
        self._reader.start()
        try:
            self._agree()
            self._reconfigure_port()
            self._control(_CONTROL_NO_FLOW_CONTROL)
            self._update_dtr_state()
            self._update_rts_state()
        except serial.SerialException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect; safe to call twice."""
        self.is_open = False
        connection, self._socket = self._socket, None
        if connection is not None:
            with suppress(OSError):  # the peer was faster
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        reader, self._reader = self._reader, None
        if reader is not None and reader is not threading.current_thread():
            reader.join(_CLOSE_TIMEOUT_S)

    @property
    def in_waiting(self) -> int:
        """Bytes that were received and not read yet."""
        with self._changed:
            self._require_alive()
            return len(self._received)

    def read(self, size: int = 1, /) -> bytes:
        """Return up to `size` bytes, fewer when the timeout passes first."""
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        with self._changed:
            while len(self._received) < size:
                if self._failure is not None and self._received:
                    break
                self._require_alive()
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    break
                self._changed.wait(remaining)
            taken = bytes(self._received[:size])
            del self._received[:size]
            return taken

    def write(self, data: Buffer, /) -> int:
        """Send all bytes."""
        content = bytes(data)
        self._send(escape_data(content))
        return len(content)

    def flush(self) -> None:
        """Return at once: nothing is held back here."""

    def reset_input_buffer(self) -> None:
        """Drop what was received, here and in the server."""
        self._exchange(_PURGE_DATA, bytes([_PURGE_RECEIVED]))
        with self._changed:
            self._received.clear()

    def reset_output_buffer(self) -> None:
        """Drop what the server has not sent to the board yet."""
        self._exchange(_PURGE_DATA, bytes([_PURGE_TO_SEND]))

    def _reconfigure_port(self) -> None:
        """Negotiate the line parameters that differ from the last agreed ones.

        pyserial calls this after every change, of a timeout too.
        """
        wanted = (self.baudrate, self.bytesize, self.parity, self.stopbits)
        if wanted == self._negotiated:
            return
        self.negotiation_count += 1
        old = (None,) * 4 if self._negotiated is None else self._negotiated
        self._negotiated = None
        values = (
            (_SET_BAUDRATE, struct.pack("!I", self.baudrate)),
            (_SET_DATASIZE, bytes([self.bytesize])),
            (_SET_PARITY, bytes([_PARITY[self.parity]])),
            (_SET_STOPSIZE, bytes([_STOP_BITS[self.stopbits]])),
        )
        for (command, value), before, now in zip(values, old, wanted, strict=True):
            if before != now:
                self._exchange(command, value)
        self._negotiated = wanted

    def _update_dtr_state(self) -> None:
        self._control(_CONTROL_DTR_ON if self.dtr else _CONTROL_DTR_OFF)

    def _update_rts_state(self) -> None:
        self._control(_CONTROL_RTS_ON if self.rts else _CONTROL_RTS_OFF)

    def _update_break_state(self) -> None:
        self._control(_CONTROL_BREAK_ON if self.break_condition else _CONTROL_BREAK_OFF)

    def _control(self, value: int) -> None:
        self._exchange(_SET_CONTROL, bytes([value]))

    def _agree(self) -> None:
        for option in _LOCAL_OPTIONS:
            self._send(serialize_negotiation(WILL, option))
            self._send(serialize_negotiation(DO, option))
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        with self._changed:
            while not (
                self._local_options.get(OPTION_COM_PORT) and self._local_options.get(OPTION_BINARY)
            ):
                self._require_alive()
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._local_options.get(OPTION_COM_PORT) is False:
                    raise serial.SerialException("the server does not speak RFC 2217")
                self._changed.wait(remaining)

    def _exchange(self, command: int, value: bytes) -> None:
        """Send one com port command and wait for its acknowledgement."""
        answer_to = command + _ANSWER_OFFSET
        with self._changed:
            self._answers.pop(answer_to, None)
        self._send(serialize_subnegotiation(bytes([OPTION_COM_PORT, command]) + value))
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        with self._changed:
            while answer_to not in self._answers:
                self._require_alive()
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise serial.SerialException(f"no answer to RFC 2217 command {command}")
                self._changed.wait(remaining)
            answer = self._answers.pop(answer_to)
        if answer[: len(value)] != value:
            raise serial.SerialException(
                f"RFC 2217 command {command}: asked for {value.hex()}, got {answer.hex()}"
            )

    def _send(self, content: bytes) -> None:
        connection = self._socket
        if connection is None:
            raise serial.PortNotOpenError
        try:
            with self._send_lock:
                connection.sendall(content)
        except OSError as error:
            raise serial.SerialException(f"connection lost: {error}") from error

    def _require_alive(self) -> None:
        if not self.is_open:
            raise serial.PortNotOpenError
        if self._failure is not None:
            raise serial.SerialException(self._failure)

    def _receive(self, connection: socket.socket) -> None:
        parser = TelnetParser()
        failure = "connection closed by the server"
        while True:
            try:
                piece = connection.recv(_RECEIVE_BYTES)
            except TimeoutError:
                continue
            except OSError as error:
                failure = f"connection lost: {error}"
                break
            if not piece:
                break
            data, items = parser.feed(piece)
            with self._changed:
                self._received += data
                answers = [answer for item in items if (answer := self._take(item)) is not None]
                self._changed.notify_all()
            try:
                for answer in answers:
                    self._send(answer)
            except serial.SerialException as error:
                failure = str(error)
                break
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _take(self, item: Negotiation | Subnegotiation) -> bytes | None:
        """Note what the server said; return what is to be answered, if anything."""
        if isinstance(item, Subnegotiation):
            if len(item.content) > 1 and item.content[0] == OPTION_COM_PORT:
                self._answers[item.content[1]] = item.content[2:]
            return None
        if item.verb in {DO, DONT}:
            states, ours, accept, refuse = self._local_options, _LOCAL_OPTIONS, WILL, WONT
        else:
            states, ours, accept, refuse = self._remote_options, _REMOTE_OPTIONS, DO, DONT
        is_wanted = item.verb in {DO, WILL}
        is_on = is_wanted and item.option in ours
        was_known = item.option in states
        if was_known and states[item.option] == is_on:
            return None  # RFC 854: an agreed state is not acknowledged again
        states[item.option] = is_on
        if not was_known and item.option in _LOCAL_OPTIONS:
            return None  # the answer to what we asked for when we connected
        return serialize_negotiation(accept if is_on else refuse, item.option)
