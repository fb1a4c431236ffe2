"""The binary waveform table (docs/spec/waveform-table.md).

Little-endian, no padding, no alignment. One header, then each mode with its levels, then the
SHA-256 of everything before it. The bytes of one table are unique: what `parse_waveform_table`
accepts, `serialize_waveform_table` reproduces.

    header  (104 bytes)
    offset  bytes  unit   meaning
       0      4    -      magic "AFWT"
       4      2    -      format version, 1
       6      2    -      header size, 104
       8      4    bytes  size of the whole table, SHA-256 included
      12      4    us     tick
      16      4    nA     clamp
      20      4    ticks  hard stop
      24      4    mm2    smallest contact area
      28      4    -      policy version
      32     32    -      policy digest (SHA-256)
      64     32    -      hardware class, ASCII, zero padded
      96      2    -      number of modes
      98      6    -      reserved, zero

    mode    (40 bytes)
       0     16    -      name, ASCII, zero padded
      16      1    -      balance: 0 balanced, 1 galvanic
      17      1    -      regulation: 0 current, 1 voltage
      18      1    -      1 if the polarity flips each burst, else 0
      19      1    -      number of levels
      20      4    -      pulses per burst
      24      4    ticks  rest after the burst
      28      4    ticks  session
      32      4    -      pulses of the soft start, 0 for none
      36      4    -      pulses of the soft stop, 0 for none

    level   (8 bytes)
       0      4    nA     peak
       4      2    -      number of segments
       6      2    -      reserved, zero

    segment (12 bytes)
       0      4    ticks  duration
       4      4    nA     start, signed
       8      4    nA     end, signed
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

from firmware_images.errors import WaveformError, WaveformTableError
from firmware_images.waveform import (
    DIGEST_BYTES,
    HARDWARE_CLASS_BYTES_MAX,
    MODE_NAME_BYTES_MAX,
    Balance,
    Level,
    Mode,
    Regulation,
    Segment,
    WaveformTable,
)

MAGIC: Final = b"AFWT"
FORMAT_VERSION: Final = 1
TABLE_BYTES_MAX: Final = 60 * 1024

_HEADER: Final = struct.Struct("<4sHHIIIIII32s32sH6s")
_MODE: Final = struct.Struct("<16sBBBBIIIII")
_LEVEL: Final = struct.Struct("<IHH")
_SEGMENT: Final = struct.Struct("<Iii")
assert (_HEADER.size, _MODE.size, _LEVEL.size, _SEGMENT.size) == (104, 40, 8, 12)

_BALANCES: Final = (Balance.BALANCED, Balance.GALVANIC)
_REGULATIONS: Final = (Regulation.CURRENT, Regulation.VOLTAGE)


def table_digest(table_bytes: bytes) -> bytes:
    """SHA-256 of the whole table: what an approval and a device's info name it by."""
    return hashlib.sha256(table_bytes).digest()


def serialize_waveform_table(table: WaveformTable) -> bytes:
    """The bytes of `table`. Implements docs/spec/waveform-table.md §2 to §5.

    Raises:
        WaveformTableError: When it would not fit a waveform slot.
    """
    body = b"".join(_serialize_mode(mode) for mode in table.modes)
    size_bytes = _HEADER.size + len(body) + DIGEST_BYTES
    if size_bytes > TABLE_BYTES_MAX:
        raise WaveformTableError(
            "the waveform table does not fit a waveform slot",
            expected=f"at most {TABLE_BYTES_MAX} bytes",
            got=f"{size_bytes} bytes",
            hint="use fewer levels or segments; a segment takes 12 bytes at each level",
        )
    header = _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        _HEADER.size,
        size_bytes,
        table.tick_us,
        table.clamp_na,
        table.hard_stop_ticks,
        table.contact_area_mm2,
        table.policy_version,
        table.policy_digest,
        table.hardware_class.encode("ascii"),
        len(table.modes),
        bytes(6),
    )
    content = header + body
    return content + hashlib.sha256(content).digest()


def parse_waveform_table(untrusted_bytes: bytes, *, where: str = "waveform table") -> WaveformTable:
    """Reads a table back. Implements docs/spec/waveform-table.md §6.

    The trailing digest is checked first; it finds damage, not forgery (an approval does that).

    Args:
        untrusted_bytes: The whole table, nothing after it.
        where: What errors call it: a file name, a slot.

    Raises:
        WaveformTableError: When the bytes are damaged, or not exactly one table of format 1.
    """
    reader = _TableReader(untrusted_bytes, where)
    fields = reader.read_header()
    (_, _, _, _, tick_us, clamp_na, hard_stop, area, version, digest, name, count, reserved) = (
        fields
    )
    if reserved != bytes(6):
        raise reader.refuse("reserved header bytes", expected="zeros", got=reserved.hex())
    try:
        table = WaveformTable(
            hardware_class=reader.parse_text(name, HARDWARE_CLASS_BYTES_MAX),
            tick_us=tick_us,
            clamp_na=clamp_na,
            hard_stop_ticks=hard_stop,
            contact_area_mm2=area,
            policy_version=version,
            policy_digest=digest,
            modes=tuple(reader.read_mode() for _ in range(count)),
        )
    except WaveformTableError:
        raise
    except WaveformError as error:
        place = where if error.where is None else f"{where}, {error.where}"
        raise WaveformTableError(
            error.what, expected=error.expected, got=error.got, where=place, hint=error.hint
        ) from error
    reader.refuse_remainder()
    return table


def _serialize_mode(mode: Mode) -> bytes:
    parts = [
        _MODE.pack(
            mode.name.encode("ascii"),
            _BALANCES.index(mode.balance),
            _REGULATIONS.index(mode.regulation),
            int(mode.flips_each_burst),
            len(mode.levels),
            mode.pulses_per_burst,
            mode.burst_off_ticks,
            mode.session_ticks,
            mode.soft_start_pulses,
            mode.soft_stop_pulses,
        )
    ]
    for level in mode.levels:
        parts.append(_LEVEL.pack(level.peak_na, len(level.segments), 0))
        parts.extend(_SEGMENT.pack(s.duration_ticks, s.start_na, s.end_na) for s in level.segments)
    return b"".join(parts)


class _TableReader:
    """A cursor over the content between the header and the trailing digest."""

    def __init__(self, untrusted_bytes: bytes, where: str) -> None:
        self._bytes = untrusted_bytes
        self._where = where
        self._offset_bytes = 0
        self._end_bytes = len(untrusted_bytes) - DIGEST_BYTES

    def refuse(self, what: str, *, expected: object, got: object) -> WaveformTableError:
        return WaveformTableError(
            what,
            expected=expected,
            got=got,
            where=f"{self._where}, offset {self._offset_bytes}",
            hint="compile the table again from its source",
        )

    def read_header(self) -> tuple[Any, ...]:
        size_bytes = len(self._bytes)
        if not _HEADER.size + DIGEST_BYTES <= size_bytes <= TABLE_BYTES_MAX:
            raise self.refuse(
                "not a waveform table: its size is out of range",
                expected=f"{_HEADER.size + DIGEST_BYTES} to {TABLE_BYTES_MAX} bytes",
                got=f"{size_bytes} bytes",
            )
        fields = _HEADER.unpack_from(self._bytes)
        identity = (MAGIC, FORMAT_VERSION, _HEADER.size, size_bytes)
        names = ("magic", "format version", "header size", "table size")
        for name, expected, got in zip(names, identity, fields[:4], strict=True):
            if expected != got:
                raise self.refuse(f"not a waveform table: wrong {name}", expected=expected, got=got)
        digest = hashlib.sha256(self._bytes[: self._end_bytes]).digest()
        if digest != self._bytes[self._end_bytes :]:
            raise self.refuse(
                "the waveform table is damaged: its trailing SHA-256 does not match",
                expected=digest.hex(),
                got=self._bytes[self._end_bytes :].hex(),
            )
        self._offset_bytes = _HEADER.size
        return fields

    def read_mode(self) -> Mode:
        name, balance, regulation, flips, level_count, *counts = self._take(_MODE)
        pulses, off, session, soft_start, soft_stop = counts
        for label, code in (("balance", balance), ("regulation", regulation), ("flips", flips)):
            if code > 1:
                raise self.refuse(f"unknown {label} code", expected="0 or 1", got=code)
        return Mode(
            name=self.parse_text(name, MODE_NAME_BYTES_MAX),
            balance=_BALANCES[balance],
            regulation=_REGULATIONS[regulation],
            flips_each_burst=bool(flips),
            pulses_per_burst=pulses,
            burst_off_ticks=off,
            session_ticks=session,
            soft_start_pulses=soft_start,
            soft_stop_pulses=soft_stop,
            levels=tuple(self._read_level() for _ in range(level_count)),
        )

    def _read_level(self) -> Level:
        peak_na, segment_count, reserved = self._take(_LEVEL)
        if reserved != 0:
            raise self.refuse("reserved level bytes", expected="zeros", got=reserved)
        segments = []
        for _ in range(segment_count):
            duration_ticks, start_na, end_na = self._take(_SEGMENT)
            segments.append(
                Segment(duration_ticks=duration_ticks, start_na=start_na, end_na=end_na)
            )
        return Level(peak_na=peak_na, segments=tuple(segments))

    def parse_text(self, padded: bytes, size_bytes: int) -> str:
        text = padded.rstrip(b"\0")
        if not text.isascii() or text.ljust(size_bytes, b"\0") != padded:
            raise self.refuse("a name is not zero-padded ASCII", expected="ASCII", got=padded.hex())
        return text.decode("ascii")

    def refuse_remainder(self) -> None:
        if self._offset_bytes != self._end_bytes:
            raise self.refuse(
                "bytes follow the last mode",
                expected=f"{self._offset_bytes} bytes of content",
                got=f"{self._end_bytes} bytes",
            )

    def _take(self, layout: struct.Struct) -> tuple[Any, ...]:
        if self._offset_bytes + layout.size > self._end_bytes:
            raise self.refuse(
                "the waveform table ends too early",
                expected=f"{layout.size} more bytes",
                got=f"{self._end_bytes - self._offset_bytes} bytes",
            )
        fields = layout.unpack_from(self._bytes, self._offset_bytes)
        self._offset_bytes += layout.size
        return fields
