"""What a waveform partition holds: a table and its approval, side by side.

The device reads both from its own flash at every start and checks the approval against its trust
record before it generates anything (docs/spec/waveform-table.md §7). This module only lays the
bytes out; `approval.verify_approval` decides.

    offset  bytes  unit   meaning
       0      4    -      magic "AFWS"
       4      2    -      format version, 1
       6      2    -      header size, 16
       8      4    bytes  size of the table (t)
      12      4    bytes  size of the approval (a)
      16      t    -      waveform table
    16+t      a    -      approval, COSE_Sign1 or COSE_Sign
  16+t+a           -      0xFF to the end of the partition

Integers are little-endian.
"""

from __future__ import annotations

import struct
from typing import Final

from firmware_images.errors import WaveformTableError
from firmware_images.waveform_table import TABLE_BYTES_MAX

MAGIC: Final = b"AFWS"
FORMAT_VERSION: Final = 1
SLOT_BYTES: Final = 64 * 1024

_HEADER: Final = struct.Struct("<4sHHII")
_HEADER_BYTES: Final = 16
assert _HEADER.size == _HEADER_BYTES

APPROVAL_BYTES_MAX: Final = SLOT_BYTES - TABLE_BYTES_MAX - _HEADER.size


def serialize_waveform_slot(table_bytes: bytes, approval_bytes: bytes) -> bytes:
    """The image of a waveform partition, without the erased bytes that follow it.

    Raises:
        WaveformTableError: When either part is empty or too long.
    """
    _refuse_size("waveform table", len(table_bytes), TABLE_BYTES_MAX, "waveform slot")
    _refuse_size("table approval", len(approval_bytes), APPROVAL_BYTES_MAX, "waveform slot")
    header = _HEADER.pack(
        MAGIC, FORMAT_VERSION, _HEADER.size, len(table_bytes), len(approval_bytes)
    )
    return header + table_bytes + approval_bytes


def parse_waveform_slot(
    untrusted_bytes: bytes, *, where: str = "waveform slot"
) -> tuple[bytes, bytes]:
    """Splits a slot image, or a whole partition, into table bytes and approval bytes.

    Both are as untrusted as before.

    Raises:
        WaveformTableError: When it is erased, cut short, or anything but 0xFF follows.
    """
    if len(untrusted_bytes) < _HEADER.size:
        raise WaveformTableError(
            "the waveform slot is cut short",
            expected=f"at least {_HEADER.size} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
        )
    magic, version, header_bytes, table_size, approval_size = _HEADER.unpack_from(untrusted_bytes)
    expected = (MAGIC, FORMAT_VERSION, _HEADER.size)
    if (magic, version, header_bytes) != expected:
        erased = magic == b"\xff" * len(MAGIC)
        raise WaveformTableError(
            "the waveform slot is erased" if erased else "not a waveform slot",
            expected=expected,
            got=(magic, version, header_bytes),
            where=where,
            hint="flash the unit, or let it update again",
        )
    _refuse_size("waveform table", table_size, TABLE_BYTES_MAX, where)
    _refuse_size("table approval", approval_size, APPROVAL_BYTES_MAX, where)
    approval_at = _HEADER.size + table_size
    end = approval_at + approval_size
    if end > len(untrusted_bytes):
        raise WaveformTableError(
            "the waveform slot is cut short",
            expected=f"{end} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
        )
    remainder = untrusted_bytes[end:]
    if remainder != b"\xff" * len(remainder):
        raise WaveformTableError(
            "something follows the approval in the waveform slot",
            expected="0xFF to the end",
            got=f"{len(remainder)} bytes that are not all 0xFF",
            where=where,
        )
    return untrusted_bytes[_HEADER.size : approval_at], untrusted_bytes[approval_at:end]


def _refuse_size(what: str, size_bytes: int, size_bytes_max: int, where: str) -> None:
    if not 0 < size_bytes <= size_bytes_max:
        raise WaveformTableError(
            f"the size of the {what} does not fit a waveform slot",
            expected=f"1 to {size_bytes_max} bytes",
            got=f"{size_bytes} bytes",
            where=where,
        )
