"""What NVS, ESP-IDF's key-value storage in flash, can hold.

Limits from ESP-IDF's documentation of NVS: keys and namespace names of at most 15 characters,
strings of at most 4000 bytes with their terminator, 254 namespaces.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from firmware_images.errors import NvsError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PAGE_BYTES: Final = 4096
PARTITION_MIN_BYTES: Final = 3 * PAGE_BYTES
NAME_MAX_CHARACTERS: Final = 15
STRING_MAX_BYTES: Final = 4000
NAMESPACE_MAX: Final = 254
BLOB_MAX_BYTES: Final = 64 * 1024


class NvsType(IntEnum):
    """Type byte of an entry; what a plan writes is the name in lower case."""

    U8 = 0x01
    U16 = 0x02
    U32 = 0x04
    U64 = 0x08
    I8 = 0x11
    I16 = 0x12
    I32 = 0x14
    I64 = 0x18
    STRING = 0x21
    BLOB = 0x42

    @property
    def is_integer(self) -> bool:
        """Whether the value is a number."""
        return self < NvsType.STRING

    @property
    def value_bytes(self) -> int:
        """How many bytes a number of this type takes."""
        assert self.is_integer
        return self & 0x0F

    @property
    def integer_range(self) -> range:
        """The numbers that fit."""
        bits = 8 * self.value_bytes
        if self & 0x10:
            return range(-(1 << bits - 1), 1 << bits - 1)
        return range(1 << bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class NvsEntry:
    """One key with its value.

    Attributes:
        namespace: Namespace that the key is in.
        key: The key.
        type: Its type.
        value: A number, a text, or bytes, as the type says.
    """

    namespace: str
    key: str
    type: NvsType
    value: int | str | bytes

    @property
    def place(self) -> tuple[str, str]:
        """Namespace and key: what no two entries share."""
        return self.namespace, self.key

    @property
    def name(self) -> str:
        """Namespace and key, for messages and events."""
        return f"{self.namespace}/{self.key}"


def refuse_name(name: str, *, what: str, where: object) -> None:
    """Refuse a key or a namespace that a board could not look up.

    Raises:
        NvsError: It is empty, too long, or not plain ASCII.
    """
    if not 0 < len(name) <= NAME_MAX_CHARACTERS or not name.isascii() or not name.isprintable():
        raise NvsError(
            f"a {what} of NVS has a name that a board cannot look up",
            expected=f"1 to {NAME_MAX_CHARACTERS} ASCII characters",
            got=repr(name[:40]),
            where=where,
        )


def judge_entries(entries: Iterable[NvsEntry], *, where: object) -> tuple[NvsEntry, ...]:
    """Return the entries, if a board can hold each of them, and each only once.

    Raises:
        NvsError: One of them cannot be held.
    """
    judged: dict[tuple[str, str], NvsEntry] = {}
    for entry in entries:
        _judge_entry(entry, where=where)
        if entry.place in judged:
            raise NvsError("a key stands twice in NVS", got=entry.name, where=where)
        judged[entry.place] = entry
    count = len({entry.namespace for entry in judged.values()})
    if count > NAMESPACE_MAX:
        raise NvsError(
            "there are too many namespaces in NVS",
            expected=f"at most {NAMESPACE_MAX}",
            got=count,
            where=where,
        )
    return tuple(judged.values())


def find_differences(
    entries: Iterable[NvsEntry], found: Mapping[tuple[str, str], NvsEntry]
) -> tuple[str, ...]:
    """Return the names of entries that are not there as they should be; values stay unnamed."""
    return tuple(entry.name for entry in entries if found.get(entry.place) != entry)


def _judge_entry(entry: NvsEntry, *, where: object) -> None:
    refuse_name(entry.namespace, what="namespace", where=where)
    refuse_name(entry.key, what="key", where=where)
    place = f"{where}, {entry.name}"
    if entry.type.is_integer:
        allowed = entry.type.integer_range
        if not isinstance(entry.value, int) or entry.value not in allowed:
            raise NvsError(
                "a number does not fit its NVS type",
                expected=f"{entry.type.name.lower()}: {allowed[0]} to {allowed[-1]}",
                got=entry.value,
                where=place,
            )
        return
    if entry.type is NvsType.STRING:
        assert isinstance(entry.value, str)
        size_bytes, most_bytes = len(entry.value.encode()) + 1, STRING_MAX_BYTES
        if "\0" in entry.value:
            raise NvsError("a text for NVS has a NUL in it", where=place)
    else:
        assert isinstance(entry.value, bytes)
        size_bytes, most_bytes = len(entry.value), BLOB_MAX_BYTES
        if not size_bytes:
            raise NvsError("a blob for NVS is empty", expected="at least 1 byte", where=place)
    if size_bytes > most_bytes:
        raise NvsError(
            "a value is too long for NVS",
            expected=f"at most {most_bytes} bytes",
            got=f"{size_bytes} bytes",
            where=place,
        )
