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

A slot may be signed for the chip's own keys, too: what is above, with 0xFF to the next multiple of
4096, and then one signature sector (`signature_sector`), 0xFF behind it. That costs a sector of the
64 KiB. This module recognises the sector; `waveform_slot_signing` signs and verifies.

Integers are little-endian.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from firmware_images.errors import WaveformTableError
from firmware_images.signature_sector import (
    BLOCK_MAGIC,
    SECTOR_BYTES,
    pad_to_sector,
    parse_signature_sector,
)
from firmware_images.waveform_table import TABLE_BYTES_MAX

MAGIC: Final = b"AFWS"
FORMAT_VERSION: Final = 1
SLOT_BYTES: Final = 64 * 1024

_HEADER: Final = struct.Struct("<4sHHII")
_HEADER_BYTES: Final = 16
assert _HEADER.size == _HEADER_BYTES

APPROVAL_BYTES_MAX: Final = SLOT_BYTES - TABLE_BYTES_MAX - _HEADER.size
SIGNED_CONTENT_BYTES_MAX: Final = SLOT_BYTES - SECTOR_BYTES
_ERASED: Final = b"\xff"


class WaveformSlot(NamedTuple):
    """The parts of a slot, each as untrusted as before.

    Attributes:
        table: The waveform table.
        approval: Its approval.
        signature_sector: The sector for the chip's keys, or `None`; none of it is verified.
    """

    table: bytes
    approval: bytes
    signature_sector: bytes | None


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


def pad_waveform_slot(slot_image: bytes, *, where: str = "waveform slot") -> bytes:
    """The image of a waveform partition up to where its signature sector goes.

    Raises:
        WaveformTableError: When the sector would not fit the partition any more.
    """
    padded = pad_to_sector(slot_image)
    if len(padded) > SIGNED_CONTENT_BYTES_MAX:
        raise WaveformTableError(
            "the waveform slot has no room for a signature sector",
            expected=f"at most {SIGNED_CONTENT_BYTES_MAX} bytes of header, table and approval",
            got=f"{len(slot_image)} bytes",
            where=where,
            hint="make the table smaller, or leave the slot without Secure Boot signatures",
        )
    return padded


def parse_waveform_slot(
    untrusted_bytes: bytes, *, where: str = "waveform slot"
) -> tuple[bytes, bytes]:
    """Splits a slot image, or a whole partition, into table bytes and approval bytes.

    Both are as untrusted as before. A signature sector is passed over: it is not the approval.

    Raises:
        WaveformTableError: As `split_waveform_slot`.
        SecureBootError: As `split_waveform_slot`.
    """
    table, approval, _ = split_waveform_slot(untrusted_bytes, where=where)
    return table, approval


def split_waveform_slot(untrusted_bytes: bytes, *, where: str = "waveform slot") -> WaveformSlot:
    """Splits a slot image, or a whole partition, into all of its parts.

    Raises:
        WaveformTableError: When it is erased, cut short, or anything but 0xFF or a signature
            sector follows.
        SecureBootError: When its signature sector is not what a signer writes.
    """
    if len(untrusted_bytes) < _HEADER.size:
        raise WaveformTableError(
            "the waveform slot is cut short",
            expected=f"at least {_HEADER.size} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
            hint="read the whole waveform partition, or sign the slot again",
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
            hint="read the whole waveform partition, or sign the slot again",
        )
    return WaveformSlot(
        table=untrusted_bytes[_HEADER.size : approval_at],
        approval=untrusted_bytes[approval_at:end],
        signature_sector=_split_remainder(untrusted_bytes, end, where=where),
    )


def _split_remainder(untrusted_bytes: bytes, end: int, *, where: str) -> bytes | None:
    padding_bytes = -end % SECTOR_BYTES
    padding = untrusted_bytes[end : end + padding_bytes]
    sector = untrusted_bytes[end + padding_bytes :][:SECTOR_BYTES]
    erased = untrusted_bytes[end + padding_bytes + SECTOR_BYTES :]
    is_signed = sector.startswith(bytes([BLOCK_MAGIC]))
    ends_erased = all(
        piece == _ERASED * len(piece) for piece in (padding, erased, b"" if is_signed else sector)
    )
    if not ends_erased:
        raise WaveformTableError(
            "something follows the approval in the waveform slot",
            expected="0xFF to the end, or one signature sector",
            got=f"{len(untrusted_bytes) - end} bytes that are neither",
            where=where,
        )
    if is_signed:
        parse_signature_sector(sector, where=where)
    return sector if is_signed else None


def _refuse_size(what: str, size_bytes: int, size_bytes_max: int, where: str) -> None:
    if not 0 < size_bytes <= size_bytes_max:
        raise WaveformTableError(
            f"the size of the {what} does not fit a waveform slot",
            expected=f"1 to {size_bytes_max} bytes",
            got=f"{size_bytes} bytes",
            where=where,
        )
