"""Builds an NVS partition with the official generator, and believes none of it.

The generator takes keys that a board cannot look up, the same key twice, and numbers that do not
fit; asked for a size it writes 4096 bytes more, into the next partition. So everything is judged
before, and what it made is read back by our own reader (`firmware_images.nvs`).

The key of an encrypted partition lies in one of subtype `nvs_keys`: 64 bytes, the CRC-32 over them,
FF to the end of the sector. Flash encryption must protect it: without, it lies open beside what it
encrypts.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

from firmware_images.errors import NvsError
from firmware_images.nvs import nvs_crc, parse_nvs
from firmware_images.nvs_values import (
    PAGE_BYTES,
    PARTITION_MIN_BYTES,
    NvsEntry,
    NvsType,
    find_differences,
    judge_entries,
)
from signing.errors import KeyFileError
from signing.xts import XTS_KEY_BYTES, refuse_xts_key

if TYPE_CHECKING:
    from collections.abc import Iterable

KEYS_PARTITION_BYTES: Final = PAGE_BYTES
_CRC: Final = struct.Struct("<I")


def build_nvs(
    entries: Iterable[NvsEntry],
    *,
    size_bytes: int,
    key: bytes | None = None,
    where: object = "NVS",
) -> bytes:
    """Return the content of an NVS partition.

    The same entries and key give the same bytes.

    Args:
        entries: What it holds.
        size_bytes: Size of the partition.
        key: 64 bytes to encrypt it with, or `None`.
        where: What to name in an error.

    Raises:
        NvsError: An entry is not acceptable, or they do not fit.
        KeyFileError: The key cannot be one.
    """
    judged = judge_entries(entries, where=where)
    if size_bytes < PARTITION_MIN_BYTES or size_bytes % PAGE_BYTES:
        raise NvsError(
            "an NVS partition cannot have this size",
            expected=f"whole pages of {PAGE_BYTES} bytes, at least {PARTITION_MIN_BYTES} bytes",
            got=f"{size_bytes} bytes",
            where=where,
        )
    if key is not None:
        refuse_xts_key(key)
    content = _generate(judged, size_bytes=size_bytes, key=key, where=where)
    if len(content) != size_bytes:
        raise NvsError(
            "the generator made a partition of another size",
            expected=f"{size_bytes} bytes",
            got=f"{len(content)} bytes",
            where=where,
        )
    found = parse_nvs(content, key=key, where=where)
    if wrong := find_differences(judged, found) or len(found) != len(judged):
        raise NvsError("the generator made something else than was asked", got=wrong, where=where)
    return content


def build_nvs_keys(key: bytes) -> bytes:
    """Return the content of the sector that holds an NVS key.

    Raises:
        KeyFileError: The key cannot be one.
    """
    refuse_xts_key(key)
    return (key + _CRC.pack(nvs_crc(key))).ljust(KEYS_PARTITION_BYTES, b"\xff")


def parse_nvs_keys(untrusted_bytes: bytes) -> bytes | None:
    """Return the key that a sector holds, or `None` if it holds none."""
    key = untrusted_bytes[:XTS_KEY_BYTES]
    try:
        whole = build_nvs_keys(key)
    except KeyFileError:
        return None
    return key if whole == untrusted_bytes[:KEYS_PARTITION_BYTES] else None


def _generate(
    entries: tuple[NvsEntry, ...], *, size_bytes: int, key: bytes | None, where: object
) -> bytes:
    from esp_idf_nvs_partition_gen import nvs_partition_gen as generator

    output = io.BytesIO()
    try:
        # One page less: the generator adds the page that NVS keeps free.
        with generator.nvs_open(
            output,
            size_bytes - PAGE_BYTES,
            version=generator.Page.VERSION2,
            is_encrypt=key is not None,
            key=key,
        ) as storage:
            for namespace in dict.fromkeys(entry.namespace for entry in entries):
                storage.write_namespace(namespace)
                for entry in entries:
                    if entry.namespace == namespace:
                        storage.write_entry(entry.key, *_as_generator_takes_it(entry))
    except (generator.InsufficientSizeError, generator.PageFullError) as error:
        raise NvsError(
            "the entries do not fit in the NVS partition",
            expected=f"at most {size_bytes} bytes, of which one page stays free",
            got=f"{len(entries)} entries",
            where=where,
            hint="make the partition larger, or the values smaller",
        ) from error
    return output.getvalue()


def _as_generator_takes_it(entry: NvsEntry) -> tuple[object, str]:
    if entry.type.is_integer:
        return entry.value, entry.type.name.lower()
    if entry.type is NvsType.STRING:
        return entry.value, "string"
    return entry.value, "binary"
