"""Telnet as RFC 2217 uses it: takes a byte stream apart into data, negotiations and answers.

No I/O, no policy: `provisioning.serial_port` decides what to answer. Malformed sequences are
dropped as RFC 854 asks; the length of a subnegotiation is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SUBNEGOTIATION_END: Final = 0xF0
SUBNEGOTIATION_BEGIN: Final = 0xFA
WILL: Final = 0xFB
WONT: Final = 0xFC
DO: Final = 0xFD
DONT: Final = 0xFE
ESCAPE: Final = 0xFF
_VERBS: Final = frozenset({WILL, WONT, DO, DONT})
_ESCAPE_BYTE: Final = bytes([ESCAPE])

OPTION_BINARY: Final = 0
OPTION_ECHO: Final = 1
OPTION_SUPPRESS_GO_AHEAD: Final = 3
OPTION_COM_PORT: Final = 44

SUBNEGOTIATION_MAX_BYTES: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiation:
    """WILL, WONT, DO or DONT and the option it is about."""

    verb: int
    option: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnegotiation:
    """What stood between IAC SB and IAC SE, the option byte first."""

    content: bytes


def escape_data(data: bytes) -> bytes:
    """Return data as it travels: each 0xFF doubled."""
    return data.replace(_ESCAPE_BYTE, _ESCAPE_BYTE * 2)


def serialize_negotiation(verb: int, option: int) -> bytes:
    """Return the three bytes of a negotiation."""
    return bytes([ESCAPE, verb, option])


def serialize_subnegotiation(content: bytes) -> bytes:
    """Return a subnegotiation with its markers."""
    return (
        bytes([ESCAPE, SUBNEGOTIATION_BEGIN])
        + escape_data(content)
        + bytes([ESCAPE, SUBNEGOTIATION_END])
    )


class TelnetParser:
    """Takes a received stream apart, in whatever pieces it arrives."""

    def __init__(self) -> None:
        self._pending = b""
        self._subnegotiation: bytearray | None = None

    def feed(self, untrusted_bytes: bytes) -> tuple[bytes, list[Negotiation | Subnegotiation]]:
        """Take bytes as they come.

        Returns:
            The data among them, unescaped, and the telnet items, each in order.
        """
        stream = self._pending + untrusted_bytes
        self._pending = b""
        data = bytearray()
        items: list[Negotiation | Subnegotiation] = []
        position = 0
        while position < len(stream):
            found = stream.find(_ESCAPE_BYTE, position)
            end = len(stream) if found < 0 else found
            self._take_plain(stream[position:end], data)
            if found < 0:
                break
            used = self._take_command(stream[found:], data, items)
            if used == 0:
                self._pending = stream[found:]
                break
            position = found + used
        return bytes(data), items

    def _take_plain(self, plain: bytes, data: bytearray) -> None:
        if self._subnegotiation is None:
            data += plain
        elif len(self._subnegotiation) + len(plain) <= SUBNEGOTIATION_MAX_BYTES:
            self._subnegotiation += plain

    def _take_command(
        self, sequence: bytes, data: bytearray, items: list[Negotiation | Subnegotiation]
    ) -> int:
        """Take one sequence that begins with IAC; 0 when its end has not arrived yet."""
        if len(sequence) < 2:  # noqa: PLR2004 - IAC and a command
            return 0
        command = sequence[1]
        if command in _VERBS:
            if len(sequence) < 3:  # noqa: PLR2004 - IAC, verb, option
                return 0
            items.append(Negotiation(verb=command, option=sequence[2]))
            return 3
        if command == ESCAPE:
            self._take_plain(_ESCAPE_BYTE, data)
        elif command == SUBNEGOTIATION_BEGIN:
            self._subnegotiation = bytearray()
        elif command == SUBNEGOTIATION_END and self._subnegotiation is not None:
            items.append(Subnegotiation(content=bytes(self._subnegotiation)))
            self._subnegotiation = None
        return 2
