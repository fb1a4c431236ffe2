"""The server's side of RFC 2217: Telnet (RFC 854) with the COM-PORT-OPTION, as a codec.

Bytes from the client become events in the order in which they arrived; each event may carry a
reply, which is to be sent after the event took effect, because the client waits for exactly that.
This module does no I/O, and it never waits: a client that asks for the same settings again is
answered at once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_IAC: Final = b"\xff"
_IAC_IAC: Final = b"\xff\xff"
_SE, _SB, _WILL, _WONT, _DO, _DONT = 240, 250, 251, 252, 253, 254
_OPTION_BINARY: Final = 0
_OPTION_SGA: Final = 3
_OPTION_COM_PORT: Final = 44
_SUPPORTED: Final = frozenset({_OPTION_BINARY, _OPTION_SGA, _OPTION_COM_PORT})
_SUBNEGOTIATION_MAX_BYTES: Final = 256
_SERVER_REPLY: Final = 100

_SIGNATURE, _SET_BAUDRATE, _SET_DATASIZE, _SET_PARITY, _SET_STOPSIZE = 0, 1, 2, 3, 4
_SET_CONTROL, _SET_LINESTATE_MASK, _SET_MODEMSTATE_MASK, _PURGE_DATA = 5, 10, 11, 12
_NOTIFY_MODEMSTATE: Final = 107
_MODEM_READY: Final = 0xB0
"""CTS, DSR and carrier detect."""
_SETTING_DEFAULT: Final = {_SET_DATASIZE: 8, _SET_PARITY: 1, _SET_STOPSIZE: 1}
_CONTROL_BREAK, _CONTROL_DTR, _CONTROL_RTS = 4, 7, 10
"""Control values come in threes: query, on, off."""
_PURGE_RECEIVE: Final = frozenset({1, 3})


class EventKind(Enum):
    """What the client did."""

    DATA = auto()
    BAUD = auto()
    DTR = auto()
    RTS = auto()
    PURGE = auto()
    """Drop what is on its way to the client."""
    REPLY = auto()
    """Nothing but a reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event.

    Attributes:
        kind: What happened.
        data: Bytes for the UART (DATA).
        value: Baud rate (BAUD), or 1 and 0 for asserted and released (DTR, RTS).
        reply: To be sent once the event took effect.
    """

    kind: EventKind
    data: bytes = b""
    value: int = 0
    reply: bytes = b""


def serialize_data(data: bytes) -> bytes:
    """Escape UART bytes for the Telnet stream."""
    return data.replace(_IAC, _IAC_IAC)


class Rfc2217Session:
    """One client's session.

    Attributes:
        negotiation_count: How often the client set the baud rate: a client that renegotiates at
            each change of its own timeout shows here.
    """

    def __init__(self) -> None:
        self.negotiation_count = 0
        self._unparsed = b""
        self._ours: set[int] = set()
        self._theirs: set[int] = set()
        self._baud = 115200
        self._settings = dict(_SETTING_DEFAULT)
        self._lines = {_CONTROL_BREAK: False, _CONTROL_DTR: False, _CONTROL_RTS: False}

    def greet(self) -> bytes:
        """Return what the server says first."""
        self._ours |= {_OPTION_BINARY, _OPTION_SGA}
        self._theirs |= {_OPTION_BINARY, _OPTION_COM_PORT}
        return bytes(
            [
                *(255, _WILL, _OPTION_BINARY),
                *(255, _WILL, _OPTION_SGA),
                *(255, _DO, _OPTION_BINARY),
                *(255, _DO, _OPTION_COM_PORT),
            ]
        )

    def feed(self, untrusted_bytes: bytes) -> Iterator[Event]:
        """Take bytes from the client; yield what they mean, in order.

        A damaged command is skipped; the rest of the stream is read on.
        """
        buffer = self._unparsed + untrusted_bytes if self._unparsed else untrusted_bytes
        self._unparsed = b""
        position = 0
        data: list[bytes] = []
        while position < len(buffer):
            mark = buffer.find(_IAC, position)
            if mark != position:
                end = mark if mark >= 0 else len(buffer)
                data.append(buffer[position:end])
                position = end
                continue
            if buffer.startswith(_IAC_IAC, position):
                data.append(_IAC)
                position += 2
                continue
            command_bytes = _command_size_bytes(buffer, position)
            if command_bytes == 0:
                self._unparsed = buffer[position:]
                break
            if data:
                yield Event(kind=EventKind.DATA, data=b"".join(data))
                data = []
            yield from self._take_command(buffer[position : position + command_bytes])
            position += command_bytes
        if data:
            yield Event(kind=EventKind.DATA, data=b"".join(data))

    def _take_command(self, command: bytes) -> Iterator[Event]:
        verb = command[1]
        if verb in {_WILL, _WONT, _DO, _DONT}:
            yield Event(kind=EventKind.REPLY, reply=self._negotiate(verb, command[2]))
        elif verb == _SB:
            body = command[2:-2].replace(_IAC_IAC, _IAC)
            if len(body) > 1 and body[0] == _OPTION_COM_PORT:
                yield self._take_port_option(body[1], body[2:])

    def _negotiate(self, verb: int, option: int) -> bytes:
        side = self._ours if verb in {_DO, _DONT} else self._theirs
        yes, no = (_WILL, _WONT) if verb in {_DO, _DONT} else (_DO, _DONT)
        is_wanted = verb in {_DO, _WILL}
        if is_wanted and option not in _SUPPORTED:
            return bytes([255, no, option])
        if is_wanted == (option in side):
            return b""
        if is_wanted:
            side.add(option)
        else:
            side.discard(option)
        reply = bytes([255, yes if is_wanted else no, option])
        if option == _OPTION_COM_PORT and is_wanted:
            reply += _serialize_option(_NOTIFY_MODEMSTATE, bytes([_MODEM_READY]))
        return reply

    def _take_port_option(self, option: int, value: bytes) -> Event:
        if option == _SET_BAUDRATE and len(value) == 4:  # noqa: PLR2004 - a 32-bit number
            return self._set_baud(value)
        if option in _SETTING_DEFAULT and len(value) == 1:
            if value[0]:
                self._settings[option] = value[0]
            value = bytes([self._settings[option]])
        elif option == _SET_CONTROL and len(value) == 1:
            return self._set_control(value[0])
        elif option == _PURGE_DATA and len(value) == 1:
            kind = EventKind.PURGE if value[0] in _PURGE_RECEIVE else EventKind.REPLY
            return Event(kind=kind, reply=_serialize_option(option + _SERVER_REPLY, value))
        elif option == _SIGNATURE:
            value = b"ampforge"
        elif option not in {_SET_LINESTATE_MASK, _SET_MODEMSTATE_MASK}:
            return Event(kind=EventKind.REPLY)
        return Event(kind=EventKind.REPLY, reply=_serialize_option(option + _SERVER_REPLY, value))

    def _set_baud(self, value: bytes) -> Event:
        (baud,) = struct.unpack("!I", value)
        if baud:
            self._baud = baud
            self.negotiation_count += 1
        reply = _serialize_option(_SET_BAUDRATE + _SERVER_REPLY, struct.pack("!I", self._baud))
        return Event(kind=EventKind.BAUD, value=self._baud, reply=reply)

    def _set_control(self, value: int) -> Event:
        answer, kind, state = value, EventKind.REPLY, 0
        for line, line_kind in (
            (_CONTROL_BREAK, EventKind.REPLY),
            (_CONTROL_DTR, EventKind.DTR),
            (_CONTROL_RTS, EventKind.RTS),
        ):
            if value == line:
                answer = line + (1 if self._lines[line] else 2)
            elif value in {line + 1, line + 2}:
                self._lines[line] = value == line + 1
                kind, state = line_kind, int(self._lines[line])
        reply = _serialize_option(_SET_CONTROL + _SERVER_REPLY, bytes([answer]))
        return Event(kind=kind, value=state, reply=reply)


def _command_size_bytes(buffer: bytes, start: int) -> int:
    """Return the length of the command at `start`, or 0 if its end has not arrived."""
    if start + 1 >= len(buffer):
        return 0
    verb = buffer[start + 1]
    if verb in {_WILL, _WONT, _DO, _DONT}:
        return 3 if start + 2 < len(buffer) else 0
    if verb != _SB:
        return 2
    position = start + 2
    while True:
        mark = buffer.find(_IAC, position)
        if mark < 0 or mark + 1 >= len(buffer):
            too_long = len(buffer) - start > _SUBNEGOTIATION_MAX_BYTES
            return 2 if too_long else 0
        if buffer[mark + 1] == _SE:
            return mark + 2 - start
        position = mark + 2


def _serialize_option(option: int, value: bytes) -> bytes:
    body = value.replace(_IAC, _IAC_IAC)
    return bytes([255, _SB, _OPTION_COM_PORT, option]) + body + bytes([255, _SE])
