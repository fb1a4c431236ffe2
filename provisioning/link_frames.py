r"""Framing of SMP messages on a UART that also carries log text.

A message travels as one or more lines of at most 127 bytes (docs/spec/serial-link.md §2):

| bytes | meaning |
|---|---|
| 2 | 06 09 on the first line, 04 14 on each further one |
| n | base64 of: length (2, big endian: message plus CRC), message, CRC-16/XMODEM (2, big endian) |
| 1 | 0A |

Everything else on the line is log text. `LineAssembler` separates the two, and never trusts what
it reads: a damaged frame is reported and dropped, and the next start marker begins afresh.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Final

from provisioning.errors import LinkFrameError

FRAME_START: Final = b"\x06\x09"
FRAME_CONTINUE: Final = b"\x04\x14"
LINE_MAX_BYTES: Final = 127
_SHOWN_BYTES: Final = 40
_BASE64_PER_LINE: Final = (LINE_MAX_BYTES - len(FRAME_START) - 1) // 4 * 4
_LENGTH: Final = struct.Struct("!H")
_CRC: Final = struct.Struct("!H")
_LENGTH_BYTES: Final = 2
_CRC_BYTES: Final = 2
assert _LENGTH.size == _LENGTH_BYTES
assert _CRC.size == _CRC_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of text that was not a frame, without its line end."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One whole SMP message whose length and CRC were right."""

    message_bytes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BadFrame:
    """A frame that was dropped."""

    error: LinkFrameError


def serialize_frame(message_bytes: bytes) -> bytes:
    """Wrap one SMP message into console lines.

    Args:
        message_bytes: SMP header and CBOR map, at most 65533 bytes.

    Returns:
        The lines, each ended by LF.
    """
    crc = _CRC.pack(binascii.crc_hqx(message_bytes, 0))
    body = base64.b64encode(_LENGTH.pack(len(message_bytes) + _CRC.size) + message_bytes + crc)
    lines = [
        body[start : start + _BASE64_PER_LINE] for start in range(0, len(body), _BASE64_PER_LINE)
    ]
    return b"".join(
        (FRAME_START if index == 0 else FRAME_CONTINUE) + line + b"\n"
        for index, line in enumerate(lines)
    )


class LineAssembler:
    """Turn received bytes into frames, log lines and reports of bad frames.

    Args:
        max_message_bytes: Longest message that is kept; a longer one is a bad frame.
    """

    def __init__(self, *, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._line = bytearray()
        self._frame: bytearray | None = None
        self._line_max_bytes = 4096

    def feed(self, untrusted_bytes: bytes) -> list[Frame | LogLine | BadFrame]:
        """Take bytes as they come, in any division.

        Returns:
            What was completed by them, in order.
        """
        items: list[Frame | LogLine | BadFrame] = []
        self._line += untrusted_bytes
        *lines, rest = self._line.split(b"\n")
        for line in lines:
            item = self._take_line(bytes(line))
            if item is not None:
                items.append(item)
        if len(rest) > self._line_max_bytes:
            items.append(LogLine(text=_as_text(bytes(rest))))
            rest = bytearray()
        self._line = bytearray(rest)
        return items

    def _take_line(self, line: bytes) -> Frame | LogLine | BadFrame | None:
        for marker in (FRAME_START, FRAME_CONTINUE):
            position = line.find(marker)
            if position >= 0:
                return self._take_fragment(
                    line[position + len(marker) :].rstrip(b"\r"), is_start=marker == FRAME_START
                )
        text = _as_text(line)
        return LogLine(text=text) if text else None

    def _take_fragment(self, fragment: bytes, *, is_start: bool) -> Frame | BadFrame | None:
        if is_start:
            self._frame = bytearray()
        elif self._frame is None:
            return BadFrame(error=_bad("frame has no start", expected="06 09", got="04 14"))
        try:
            message_bytes = self._extend_frame(fragment)
        except LinkFrameError as error:
            self._frame = None
            return BadFrame(error=error)
        if message_bytes is None:
            return None
        self._frame = None
        return Frame(message_bytes=message_bytes)

    def _extend_frame(self, fragment: bytes) -> bytes | None:
        assert self._frame is not None
        try:
            self._frame += base64.b64decode(fragment, validate=True)
        except binascii.Error as error:
            raise _bad(
                "frame is not base64",
                expected="base64 in groups of four",
                got=ascii(fragment[:_SHOWN_BYTES])[1:],
            ) from error
        if len(self._frame) < _LENGTH_BYTES:
            raise _bad("frame is cut short", expected="a length of two bytes", got="less")
        (content_bytes,) = _LENGTH.unpack_from(self._frame)
        if not _CRC_BYTES <= content_bytes <= self._max_message_bytes + _CRC_BYTES:
            limit = f"{_CRC_BYTES} to {self._max_message_bytes + _CRC_BYTES} bytes"
            raise _bad("frame length is not acceptable", expected=limit, got=content_bytes)
        content = bytes(self._frame[_LENGTH_BYTES:])
        if len(content) < content_bytes:
            return None
        if len(content) > content_bytes:
            raise _bad("frame is longer than it says", expected=content_bytes, got=len(content))
        message_bytes = content[:-_CRC_BYTES]
        (stated_crc,) = _CRC.unpack(content[-_CRC_BYTES:])
        actual_crc = binascii.crc_hqx(message_bytes, 0)
        if stated_crc != actual_crc:
            raise _bad(
                "frame CRC is wrong", expected=f"{actual_crc:#06x}", got=f"{stated_crc:#06x}"
            )
        return message_bytes


def _bad(what: str, *, expected: object, got: object) -> LinkFrameError:
    return LinkFrameError(
        what,
        expected=expected,
        got=got,
        where="serial link",
        hint="check the cable and the baud rate, then send the request again",
    )


def _as_text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace").strip("\x00")
