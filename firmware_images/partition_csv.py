"""The partition table as people write it: ESP-IDF's CSV.

`name, type, subtype, offset, size[, flags]`; `#` starts a comment line; type and subtype by name or
number; an empty offset continues after the row above, aligned; sizes may end in K or M.
"""

from __future__ import annotations

from firmware_images.errors import PartitionTableError
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.partition_model import (
    APP_ALIGNMENT_BYTES,
    FIRST_PARTITION_OFFSET_BYTES,
    FLAG_ENCRYPTED,
    FLAG_READ_ONLY,
    OTA_SLOT_MAX,
    SUBTYPE_APP_OTA_0,
    TYPE_APP,
    TYPE_DATA,
    Partition,
    PartitionTable,
    judge_partitions,
)

CSV_MAX_BYTES = 64 * 1024
_FIELDS_MIN = 5
_FIELDS_MAX = 6

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
        "esphttpd": 0x80,
        "fat": 0x81,
        "spiffs": 0x82,
        "littlefs": 0x83,
    },
}
_FLAGS = {"encrypted": FLAG_ENCRYPTED, "readonly": FLAG_READ_ONLY}
_HINT = "compare with the example product's partitions.csv"
_MULTIPLIERS = {"k": 1024, "m": 1024 * 1024}


def decode_partition_csv(untrusted_bytes: bytes, *, where: str) -> PartitionTable:
    """Parse the bytes of a partition CSV.

    Raises:
        PartitionTableError: They are not UTF-8, or not an acceptable table.
    """
    try:
        text = untrusted_bytes.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PartitionTableError(
            "the partition CSV is not UTF-8 text",
            got=f"byte {error.start}",
            where=where,
            hint="check that this is the file that was meant, and save it as UTF-8",
        ) from error
    return parse_partition_csv(text, where=where)


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
    while len(fields) > _FIELDS_MAX and not fields[-1]:
        fields.pop()
    if not _FIELDS_MIN <= len(fields) <= _FIELDS_MAX:
        raise PartitionTableError(
            "the row does not have the fields of a partition",
            expected="name, type, subtype, offset, size[, flags]",
            got=line[:80],
            where=where,
            hint=_HINT,
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
    for flag in filter(None, fields[5].split(":") if len(fields) == _FIELDS_MAX else ()):
        if flag not in _FLAGS:
            raise PartitionTableError(
                "the row has an unknown flag",
                expected=" or ".join(_FLAGS),
                got=flag,
                where=where,
                hint=_HINT,
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
            got=repr(text[:80]),
            where=where,
            hint=_HINT,
        ) from None
