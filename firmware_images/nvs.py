"""Reads an NVS partition: what ESP-IDF's key-value storage holds, plain or encrypted.

A reader of its own, so that what the official generator wrote is not believed on its word. A
partition is whole pages of 4096 bytes, each with 126 entries of 32 bytes. Little endian.

Page header:

| offset | bytes | meaning |
|---|---|---|
| 0 | 4 | state: FFFFFFFF not used, FFFFFFFE active, FFFFFFFC full, FFFFFFF8 being freed |
| 4 | 4 | sequence number |
| 8 | 1 | version: FE for blobs in pieces |
| 9 | 19 | FF |
| 28 | 4 | CRC-32 of bytes 4 to 27 |
| 32 | 32 | two bits for each entry: 11 empty, 10 written, 00 erased |

Entry: namespace (1; 0 for the name of a namespace), type (1), span in entries (1), chunk (1),
CRC-32 of bytes 0 to 3 and 8 to 31 (4), key with NUL (16), value (8). Of a text or a piece of a blob
the value is: bytes (2), FFFF, CRC-32 of the data (4); the data follows in the next entries. Of a
blob's index: bytes (4), number of pieces (1), first piece (1), FFFF. CRC-32 begins with FFFFFFFF.

In an encrypted partition each entry is one unit of AES-256-XTS; its tweak is its offset in the
partition, 16 bytes. Headers stay plain. Source: ESP-IDF's documentation of NVS and NVS encryption.

It does not replay what a power cut left half-done: such a partition is refused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import field
from typing import TYPE_CHECKING, Final

from firmware_images.errors import NvsError
from firmware_images.nvs_values import (
    BLOB_MAX_BYTES,
    PAGE_BYTES,
    STRING_MAX_BYTES,
    NvsEntry,
    NvsType,
    refuse_name,
)
from signing.refusal import refusing_in
from signing.value_class import dataclass
from signing.xts import TWEAK_BYTES, decrypt_xts, refuse_xts_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PAGE: Final = struct.Struct("<IIB19sI")
_ENTRY: Final = struct.Struct("<BBBBI16s8s")
_PIECE: Final = struct.Struct("<HHI")
_INDEX: Final = struct.Struct("<IBBH")
_ENTRY_COUNT: Final = 126
_BITMAP: Final = slice(32, 64)
_FIRST_ENTRY: Final = 64
_UNUSED, _ACTIVE, _FULL, _FREEING = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8
_VERSION: Final = 0xFE
_WRITTEN: Final = 0b10
_ERASED: Final = 0b00
_TYPE_INDEX: Final = 0x48
_NO_CHUNK: Final = 0xFF
assert _PAGE.size == _ENTRY.size == 32  # noqa: PLR2004 - both are one entry long
assert _PIECE.size == _INDEX.size == 8  # noqa: PLR2004 - the value of an entry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    namespace: int
    type: int
    chunk: int
    key: str
    value: bytes
    data: bytes
    where: str


@dataclass(slots=True)
class _Content:
    namespaces: dict[int, str] = field(default_factory=dict)
    values: list[_Item] = field(default_factory=list)
    pieces: dict[tuple[int, str, int], _Item] = field(default_factory=dict)


def nvs_crc(content: bytes) -> int:
    """Return the checksum that NVS uses."""
    return zlib.crc32(content, 0xFFFFFFFF)


def parse_nvs(
    untrusted_bytes: bytes, *, key: bytes | None = None, where: object = "NVS"
) -> Mapping[tuple[str, str], NvsEntry]:
    """Return what an NVS partition holds, keyed by namespace and key.

    Args:
        untrusted_bytes: The whole partition.
        key: 64 bytes, if it is encrypted.
        where: What to name in an error.

    Raises:
        NvsError: It is not whole pages, or a page or an entry is damaged.
        KeyFileError: The key cannot be one.
    """
    if not untrusted_bytes or len(untrusted_bytes) % PAGE_BYTES:
        raise NvsError(
            "an NVS partition is not whole pages",
            expected=f"a multiple of {PAGE_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
        )
    if key is not None:
        refuse_xts_key(key)
    with refusing_in(where):
        content = _Content()
        for start in range(0, len(untrusted_bytes), PAGE_BYTES):
            page = untrusted_bytes[start : start + PAGE_BYTES]
            for item in _read_page(page, start, key):
                _sort_item(item, content)
        return _join(content)


def _read_page(page: bytes, start: int, key: bytes | None) -> Iterator[_Item]:
    where = f"page at {start:#x}"
    state, _, version, _, crc = _PAGE.unpack_from(page)
    if state == _UNUSED:
        if page.strip(b"\xff"):
            raise NvsError("an unused page is not erased", where=where)
        return
    if state not in {_ACTIVE, _FULL}:
        what = "a page was being freed" if state == _FREEING else "a page has no known state"
        raise NvsError(what, expected="active or full", got=f"{state:#010x}", where=where)
    if crc != nvs_crc(page[4:28]) or version != _VERSION:
        raise NvsError(
            "a page header is damaged",
            expected=f"version {_VERSION:#x} and CRC {nvs_crc(page[4:28]):#010x}",
            got=f"version {version:#x} and CRC {crc:#010x}",
            where=where,
        )
    bitmap = int.from_bytes(page[_BITMAP], "little")
    index = 0
    while index < _ENTRY_COUNT:
        state = bitmap >> 2 * index & 0b11
        if state == _WRITTEN:
            item, span = _read_item(page, start, index, bitmap, key)
            yield item
            index += span
        elif state in {_ERASED, 0b11}:
            index += 1
        else:
            raise NvsError("an entry has no known state", where=f"{where}, entry {index}")


def _read_item(
    page: bytes, start: int, index: int, bitmap: int, key: bytes | None
) -> tuple[_Item, int]:
    where = f"page at {start:#x}, entry {index}"

    def read(number: int) -> bytes:
        offset = _FIRST_ENTRY + _ENTRY.size * number
        raw = page[offset : offset + _ENTRY.size]
        if key is None:
            return raw
        return decrypt_xts(raw, key=key, tweak=(start + offset).to_bytes(TWEAK_BYTES, "little"))

    raw = read(index)
    namespace, kind, span, chunk, crc, name, value = _ENTRY.unpack(raw)
    if crc != nvs_crc(raw[:4] + raw[8:]):
        raise NvsError(
            "an entry is damaged, or encrypted with another key",
            expected=f"CRC {nvs_crc(raw[:4] + raw[8:]):#010x}",
            got=f"{crc:#010x}",
            where=where,
        )
    following = range(index + 1, index + span)
    if not span or index + span > _ENTRY_COUNT:
        raise NvsError("an entry leaves its page", got=f"span {span}", where=where)
    if any(bitmap >> 2 * number & 0b11 != _WRITTEN for number in following):
        raise NvsError("a value is not whole", expected=f"{span} written entries", where=where)
    text, _, rest = name.partition(b"\0")
    if rest.strip(b"\0") or not text.isascii():
        raise NvsError("a key is not a text", got=name.hex(), where=where)
    refuse_name(text.decode(), what="key", where=where)
    item = _Item(
        namespace=namespace,
        type=kind,
        chunk=chunk,
        key=text.decode(),
        value=value,
        data=b"".join(map(read, following)),
        where=where,
    )
    return item, span


def _sort_item(item: _Item, content: _Content) -> None:
    if item.namespace == 0:
        number = item.value[0]
        if item.type != NvsType.U8 or number in content.namespaces or not number:
            raise NvsError("the name of a namespace is not one", got=item.key, where=item.where)
        content.namespaces[number] = item.key
    elif item.type == NvsType.BLOB:
        place = (item.namespace, item.key, item.chunk)
        if place in content.pieces:
            raise NvsError("a piece of a blob stands twice", got=item.key, where=item.where)
        content.pieces[place] = item
    else:
        content.values.append(item)


def _join(content: _Content) -> Mapping[tuple[str, str], NvsEntry]:
    entries: dict[tuple[str, str], NvsEntry] = {}
    for item in content.values:
        namespace = content.namespaces.get(item.namespace)
        if namespace is None:
            raise NvsError("a key has no namespace", got=item.namespace, where=item.where)
        kind: NvsType
        value: int | str | bytes
        if item.type == _TYPE_INDEX:
            kind, value = NvsType.BLOB, _join_blob(item, content.pieces)
        else:
            kind, value = _read_value(item)
        entry = NvsEntry(namespace=namespace, key=item.key, type=kind, value=value)
        if entry.place in entries:
            raise NvsError("a key stands twice", got=entry.name, where=item.where)
        entries[entry.place] = entry
    if content.pieces:
        item = next(iter(content.pieces.values()))
        raise NvsError("a piece of a blob has no index", got=item.key, where=item.where)
    return entries


def _read_value(item: _Item) -> tuple[NvsType, int | str | bytes]:
    try:
        kind = NvsType(item.type)
    except ValueError as error:
        raise NvsError("an entry has no known type", got=item.type, where=item.where) from error
    if kind is NvsType.STRING:
        data = _read_data(item)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise NvsError("a text is not UTF-8", got=item.key, where=item.where) from error
        if not text.endswith("\0") or "\0" in text[:-1] or len(data) > STRING_MAX_BYTES:
            raise NvsError("a text does not end as one", got=item.key, where=item.where)
        return kind, text[:-1]
    if item.data:
        raise NvsError("a number takes more than one entry", got=item.key, where=item.where)
    is_signed = kind.integer_range[0] < 0
    return kind, int.from_bytes(item.value[: kind.value_bytes], "little", signed=is_signed)


def _read_data(item: _Item) -> bytes:
    size_bytes, _, crc = _PIECE.unpack(item.value)
    data = item.data[:size_bytes]
    if not len(item.data) - _ENTRY.size < size_bytes <= len(item.data) or nvs_crc(data) != crc:
        raise NvsError(
            "the data of a value is damaged",
            expected=f"CRC {nvs_crc(data):#010x} and {len(item.data)} bytes at most",
            got=f"{crc:#010x} and {size_bytes} bytes",
            where=item.where,
        )
    return data


def _join_blob(index: _Item, pieces: dict[tuple[int, str, int], _Item]) -> bytes:
    size_bytes, count, first, _ = _INDEX.unpack(index.value)
    data = bytearray()
    for chunk in range(first, first + count):
        piece = pieces.pop((index.namespace, index.key, chunk), None)
        if piece is None:
            raise NvsError("a blob lacks a piece", expected=chunk, got=index.key, where=index.where)
        data += _read_data(piece)
    if index.chunk != _NO_CHUNK or len(data) != size_bytes or size_bytes > BLOB_MAX_BYTES:
        raise NvsError(
            "a blob is not as long as its index says",
            expected=f"{size_bytes} bytes",
            got=f"{len(data)} bytes",
            where=index.where,
        )
    return bytes(data)
