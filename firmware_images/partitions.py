"""The partition table: ESP-IDF's CSV in, ESP-IDF's binary out and back.

Binary table, at 0x8000 in flash, 0xC00 bytes, little endian (ESP-IDF `esp_partition_info_t`):

| offset | bytes | field | meaning |
|---|---|---|---|
| 0 | 2 | magic | AA 50 |
| 2 | 1 | type | 0 app, 1 data, 0x40-0xFE the product's own |
| 3 | 1 | subtype | meaning depends on the type |
| 4 | 4 | offset | bytes from the start of flash |
| 8 | 4 | size | bytes |
| 12 | 16 | label | UTF-8, padded with zero bytes |
| 28 | 4 | flags | bit 0 encrypted, bit 1 read-only |

After the entries one row EB EB, fourteen FF, and the MD5 of all entry rows; then FF to the end.

What a table may contain is in `partition_model`, the CSV in `partition_csv`.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import PartitionTableError
from firmware_images.partition_csv import (
    CSV_MAX_BYTES,
    decode_partition_csv,
    parse_partition_csv,
)
from firmware_images.partition_model import (
    ENTRY_BYTES,
    FIRST_PARTITION_OFFSET_BYTES,
    FLAG_ENCRYPTED,
    FLAG_READ_ONLY,
    SUBTYPE_APP_OTA_0,
    SUBTYPE_DATA_OTA,
    TABLE_OFFSET_BYTES,
    TABLE_SIZE_BYTES,
    TYPE_APP,
    TYPE_DATA,
    Partition,
    PartitionTable,
    judge_partitions,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "CSV_MAX_BYTES",
    "FIRST_PARTITION_OFFSET_BYTES",
    "FLAG_ENCRYPTED",
    "FLAG_READ_ONLY",
    "SUBTYPE_APP_OTA_0",
    "SUBTYPE_DATA_OTA",
    "TABLE_OFFSET_BYTES",
    "TABLE_SIZE_BYTES",
    "TYPE_APP",
    "TYPE_DATA",
    "Partition",
    "PartitionTable",
    "is_binary_table",
    "judge_partitions",
    "load_partition_table",
    "parse_partition_csv",
    "parse_partition_table",
    "serialize_partition_table",
]

_ENTRY = struct.Struct("<2sBBII16sI")
assert _ENTRY.size == ENTRY_BYTES
_ENTRY_MAGIC = b"\xaa\x50"
_MD5_MAGIC = b"\xeb\xeb" + b"\xff" * 14


def load_partition_table(path: Path) -> PartitionTable:
    """Load a partition table from its CSV or its binary.

    Raises:
        PartitionTableError: The file cannot be read, or is not an acceptable table.
    """
    content = read_bounded(path, CSV_MAX_BYTES, PartitionTableError)
    if is_binary_table(content):
        return parse_partition_table(content, where=str(path))
    return decode_partition_csv(content, where=str(path))


def is_binary_table(untrusted_bytes: bytes) -> bool:
    """Whether bytes begin like a binary table; no text does, AA is not UTF-8."""
    return untrusted_bytes.startswith(_ENTRY_MAGIC)


def serialize_partition_table(table: PartitionTable) -> bytes:
    """Return the 0xC00 bytes that go to flash at 0x8000."""
    rows = b"".join(
        _ENTRY.pack(
            _ENTRY_MAGIC,
            partition.type,
            partition.subtype,
            partition.offset_bytes,
            partition.size_bytes,
            partition.name.encode(),
            partition.flags,
        )
        for partition in table.partitions
    )
    digest = hashlib.md5(rows, usedforsecurity=False).digest()
    return (rows + _MD5_MAGIC + digest).ljust(TABLE_SIZE_BYTES, b"\xff")


def parse_partition_table(
    untrusted_bytes: bytes, *, where: str = "partition table"
) -> PartitionTable:
    """Parse a binary table of exactly 0xC00 bytes with its MD5 row.

    Raises:
        PartitionTableError: It is not exactly what `serialize_partition_table` writes.
    """
    if len(untrusted_bytes) != TABLE_SIZE_BYTES:
        raise PartitionTableError(
            "the partition table has the wrong size",
            expected=f"{TABLE_SIZE_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
        )
    partitions: list[Partition] = []
    for offset in range(0, TABLE_SIZE_BYTES, _ENTRY.size):
        row = untrusted_bytes[offset : offset + _ENTRY.size]
        if row.startswith(_MD5_MAGIC[:2]):
            break
        partitions.append(_parse_entry(row, where=f"{where}, byte {offset:#x}"))
    table = judge_partitions(tuple(partitions), where=where)
    if serialize_partition_table(table) != untrusted_bytes:
        raise PartitionTableError(
            "the partition table is damaged",
            expected="its rows, their MD5, and FF to the end",
            where=where,
            hint="generate the table again from its CSV",
        )
    return table


def _parse_entry(row: bytes, *, where: str) -> Partition:
    magic, kind, subtype, offset_bytes, size_bytes, label, flags = _ENTRY.unpack(row)
    if magic != _ENTRY_MAGIC:
        raise PartitionTableError(
            "a row does not start like a partition",
            expected=_ENTRY_MAGIC.hex(),
            got=magic.hex(),
            where=where,
        )
    try:
        name = label.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError as error:
        raise PartitionTableError(
            "a partition's name is not UTF-8", got=label.hex(), where=where
        ) from error
    return Partition(
        name=name,
        type=kind,
        subtype=subtype,
        offset_bytes=offset_bytes,
        size_bytes=size_bytes,
        flags=flags,
    )
