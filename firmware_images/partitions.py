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

What is stricter than ESP-IDF's generator: every partition starts and ends on a 4096-byte sector,
because an erase would otherwise reach into its neighbour; sizes are positive; offsets ascend.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.errors import PartitionTableError
from firmware_images.flash_medium import SECTOR_BYTES

if TYPE_CHECKING:
    from pathlib import Path

TABLE_OFFSET_BYTES = 0x8000
TABLE_SIZE_BYTES = 0xC00
FIRST_PARTITION_OFFSET_BYTES = 0x9000
APP_ALIGNMENT_BYTES = 0x10000
CSV_MAX_BYTES = 64 * 1024
LABEL_MAX_BYTES = 16

TYPE_APP = 0x00
TYPE_DATA = 0x01
SUBTYPE_APP_FACTORY = 0x00
SUBTYPE_APP_OTA_0 = 0x10
SUBTYPE_DATA_OTA = 0x00
SUBTYPE_DATA_NVS = 0x02
OTA_SLOT_MAX = 16
FLAG_ENCRYPTED = 1 << 0
FLAG_READ_ONLY = 1 << 1

_TYPES = {"app": TYPE_APP, "data": TYPE_DATA}
_SUBTYPES = {
    TYPE_APP: {"factory": 0x00, "test": 0x20}
    | {f"ota_{slot}": SUBTYPE_APP_OTA_0 + slot for slot in range(OTA_SLOT_MAX)},
    TYPE_DATA: {
        "ota": 0x00,
        "phy": 0x01,
        "nvs": 0x02,
        "coredump": 0x03,
        "nvs_keys": 0x04,
        "efuse": 0x05,
        "undefined": 0x06,
        "fat": 0x81,
        "spiffs": 0x82,
        "littlefs": 0x83,
    },
}
_FLAGS = {"encrypted": FLAG_ENCRYPTED, "readonly": FLAG_READ_ONLY}
_MULTIPLIERS = {"k": 1024, "m": 1024 * 1024}

_ENTRY = struct.Struct("<2sBBII16sI")
assert _ENTRY.size == 32  # noqa: PLR2004 - the size in the table above
_ENTRY_MAGIC = b"\xaa\x50"
_MD5_MAGIC = b"\xeb\xeb" + b"\xff" * 14
ENTRY_COUNT_MAX = TABLE_SIZE_BYTES // _ENTRY.size - 2
_UINT32_MAX = 0xFFFFFFFF
_UINT8_MAX = 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One row of the table; offset and size in bytes from the start of flash."""

    name: str
    type: int
    subtype: int
    offset_bytes: int
    size_bytes: int
    flags: int = 0

    @property
    def end_bytes(self) -> int:
        """The first offset after the partition."""
        return self.offset_bytes + self.size_bytes

    @property
    def ota_slot(self) -> int | None:
        """The OTA app slot number, or `None` for any other partition."""
        slot = self.subtype - SUBTYPE_APP_OTA_0
        return slot if self.type == TYPE_APP and 0 <= slot < OTA_SLOT_MAX else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionTable:
    """A judged table: nothing overlaps, names are unique, one otadata at most."""

    partitions: tuple[Partition, ...]

    def find(self, name: str) -> Partition:
        """Return the partition of that name.

        Raises:
            PartitionTableError: There is none.
        """
        for partition in self.partitions:
            if partition.name == name:
                return partition
        raise PartitionTableError(
            f"the partition table has no partition {name!r}",
            expected=name,
            got=", ".join(partition.name for partition in self.partitions) or "an empty table",
            hint=f"add {name} to the product's partition CSV",
        )

    @property
    def ota_slots(self) -> tuple[Partition, ...]:
        """The OTA app slots, ota_0 first."""
        slots = {p.ota_slot: p for p in self.partitions if p.ota_slot is not None}
        return tuple(slots[number] for number in sorted(slots))

    def check_fits(self, name: str, size_bytes: int) -> Partition:
        """Return the partition, if content of that size fits in it.

        Raises:
            PartitionTableError: There is no such partition, or it is too small.
        """
        partition = self.find(name)
        if size_bytes > partition.size_bytes:
            raise PartitionTableError(
                f"the content does not fit in partition {name}",
                expected=f"at most {partition.size_bytes} bytes",
                got=f"{size_bytes} bytes",
                hint="make the partition larger, or the content smaller",
            )
        return partition

    def check_flash_size(self, flash_size_bytes: int) -> None:
        """Refuse a table that needs more flash than the board has.

        Raises:
            PartitionTableError: A partition ends after the flash.
        """
        for partition in self.partitions:
            if partition.end_bytes > flash_size_bytes:
                raise PartitionTableError(
                    f"partition {partition.name} ends after the flash",
                    expected=f"an end at or before {flash_size_bytes:#x}",
                    got=f"{partition.end_bytes:#x}",
                    hint="correct flash_size_bytes in [product], or the partition CSV",
                )


def load_partition_table(path: Path) -> PartitionTable:
    """Load a partition CSV.

    Raises:
        PartitionTableError: The file cannot be read, or is not an acceptable table.
    """
    try:
        with path.open("rb") as file:
            content = file.read(CSV_MAX_BYTES + 1)
    except OSError as error:
        raise PartitionTableError(
            "the partition CSV cannot be read", got=error.strerror, where=path
        ) from error
    if len(content) > CSV_MAX_BYTES:
        raise PartitionTableError(
            "the partition CSV is too large",
            expected=f"at most {CSV_MAX_BYTES} bytes",
            where=path,
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PartitionTableError(
            "the partition CSV is not UTF-8 text", got=str(error), where=path
        ) from error
    return parse_partition_csv(text, where=str(path))


def parse_partition_csv(untrusted_text: str, *, where: str) -> PartitionTable:
    """Parse `name, type, subtype, offset, size[, flags]` rows; an empty offset continues.

    Args:
        untrusted_text: The CSV; `#` starts a comment line.
        where: The file, for messages.

    Raises:
        PartitionTableError: A row cannot be read, or the table is not acceptable.
    """
    partitions: list[Partition] = []
    next_offset_bytes = FIRST_PARTITION_OFFSET_BYTES
    for number, raw in enumerate(untrusted_text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        partition = _parse_row(line, next_offset_bytes, where=f"{where}, line {number}")
        next_offset_bytes = partition.end_bytes
        partitions.append(partition)
    return judge_partitions(tuple(partitions), where=where)


def _parse_row(line: str, next_offset_bytes: int, *, where: str) -> Partition:
    fields = [field.strip() for field in line.split(",")]
    while len(fields) > 6 and not fields[-1]:  # noqa: PLR2004 - name, type, subtype, offset, size, flags
        fields.pop()
    if not 5 <= len(fields) <= 6:  # noqa: PLR2004 - flags may be left out
        raise PartitionTableError(
            "the row does not have the fields of a partition",
            expected="name, type, subtype, offset, size[, flags]",
            got=line,
            where=where,
        )
    name, type_text, subtype_text, offset_text, size_text = fields[:5]
    kind = _parse_number(type_text, names=_TYPES, field="type", where=where)
    subtype = _parse_number(
        subtype_text, names=_SUBTYPES.get(kind, {}), field="subtype", where=where
    )
    if offset_text:
        offset_bytes = _parse_number(offset_text, names={}, field="offset", where=where)
    else:
        alignment = APP_ALIGNMENT_BYTES if kind == TYPE_APP else SECTOR_BYTES
        offset_bytes = -(-next_offset_bytes // alignment) * alignment
    size_bytes = _parse_number(size_text, names={}, field="size", where=where)
    flags = 0
    for flag in filter(None, fields[5].split(":") if len(fields) == 6 else ()):  # noqa: PLR2004
        if flag not in _FLAGS:
            raise PartitionTableError(
                "the row has an unknown flag", expected=" or ".join(_FLAGS), got=flag, where=where
            )
        flags |= _FLAGS[flag]
    return Partition(
        name=name,
        type=kind,
        subtype=subtype,
        offset_bytes=offset_bytes,
        size_bytes=size_bytes,
        flags=flags,
    )


def _parse_number(text: str, *, names: dict[str, int], field: str, where: str) -> int:
    if text in names:
        return names[text]
    digits, multiplier = text, 1
    if field in {"offset", "size"} and text[-1:].lower() in _MULTIPLIERS:
        digits, multiplier = text[:-1], _MULTIPLIERS[text[-1:].lower()]
    try:
        return int(digits, 0) * multiplier
    except ValueError:
        raise PartitionTableError(
            f"the {field} cannot be read",
            expected=", ".join(["a number", *names]),
            got=repr(text),
            where=where,
        ) from None


def judge_partitions(partitions: tuple[Partition, ...], *, where: str) -> PartitionTable:
    """Return the table, if every partition is whole, aligned and alone in its place.

    Raises:
        PartitionTableError: A name, alignment, size or order is not acceptable.
    """
    if not partitions:
        raise PartitionTableError("the partition table is empty", where=where)
    if len(partitions) > ENTRY_COUNT_MAX:
        raise PartitionTableError(
            "the partition table has too many partitions",
            expected=f"at most {ENTRY_COUNT_MAX}",
            got=len(partitions),
            where=where,
        )
    last_end_bytes = FIRST_PARTITION_OFFSET_BYTES
    names: set[str] = set()
    for partition in partitions:
        place = f"{where}, partition {partition.name!r}"
        _judge_fields(partition, where=place)
        if partition.name in names:
            raise PartitionTableError("two partitions have the same name", where=place)
        names.add(partition.name)
        if partition.offset_bytes < last_end_bytes:
            raise PartitionTableError(
                "a partition starts before the end of the one above it",
                expected=f"an offset of at least {last_end_bytes:#x}",
                got=f"{partition.offset_bytes:#x}",
                where=place,
                hint="sort the rows by offset and correct the sizes",
            )
        last_end_bytes = partition.end_bytes
    _judge_ota(partitions, where=where)
    return PartitionTable(partitions=partitions)


def _judge_fields(partition: Partition, *, where: str) -> None:
    if not partition.name or len(partition.name.encode()) > LABEL_MAX_BYTES:
        raise PartitionTableError(
            "a partition's name does not fit its field",
            expected=f"1 to {LABEL_MAX_BYTES} bytes",
            got=repr(partition.name),
            where=where,
        )
    if not partition.name.isprintable():
        raise PartitionTableError(
            "a partition's name has characters that cannot be printed", where=where
        )
    if not 0 <= partition.type < _UINT8_MAX or not 0 <= partition.subtype < _UINT8_MAX:
        raise PartitionTableError(
            "a partition's type or subtype is out of range",
            expected="0 to 254",
            got=f"{partition.type}, {partition.subtype}",
            where=where,
        )
    if partition.flags & ~(FLAG_ENCRYPTED | FLAG_READ_ONLY):
        raise PartitionTableError(
            "a partition has unknown flags", got=f"{partition.flags:#x}", where=where
        )
    alignment = APP_ALIGNMENT_BYTES if partition.type == TYPE_APP else SECTOR_BYTES
    if partition.offset_bytes % alignment:
        raise PartitionTableError(
            "a partition's offset is not aligned",
            expected=f"a multiple of {alignment:#x}",
            got=f"{partition.offset_bytes:#x}",
            where=where,
        )
    if partition.size_bytes <= 0 or partition.size_bytes % SECTOR_BYTES:
        raise PartitionTableError(
            "a partition's size is not a whole number of sectors",
            expected=f"a positive multiple of {SECTOR_BYTES:#x}",
            got=f"{partition.size_bytes:#x}",
            where=where,
        )
    if partition.end_bytes > _UINT32_MAX:
        raise PartitionTableError(
            "a partition ends beyond what the table can address",
            got=f"{partition.end_bytes:#x}",
            where=where,
        )


def _judge_ota(partitions: tuple[Partition, ...], *, where: str) -> None:
    otadata = [p for p in partitions if (p.type, p.subtype) == (TYPE_DATA, SUBTYPE_DATA_OTA)]
    if len(otadata) > 1:
        raise PartitionTableError(
            "there is more than one otadata partition",
            got=", ".join(p.name for p in otadata),
            where=where,
        )
    if otadata and otadata[0].size_bytes != 2 * SECTOR_BYTES:
        raise PartitionTableError(
            "the otadata partition must hold exactly its two sectors",
            expected=f"{2 * SECTOR_BYTES:#x} bytes",
            got=f"{otadata[0].size_bytes:#x}",
            where=where,
        )
    slots = [p.ota_slot for p in partitions if p.ota_slot is not None]
    if sorted(slots) != list(range(len(slots))):
        raise PartitionTableError(
            "the OTA slots are not numbered from ota_0 without gaps",
            got=", ".join(f"ota_{slot}" for slot in slots),
            where=where,
        )


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
