"""Deterministic CBOR: one value has exactly one encoding, and no other is read.

Implements docs/spec/cose.md §2, which is the core deterministic encoding of RFC 8949 §4.2.1 cut
down to what our formats hold:

======  ==========================  =====================================
major   holds                       Python
======  ==========================  =====================================
0, 1    integers -2^64 … 2^64-1     `int`
2       byte strings                `bytes`
3       text, valid UTF-8           `str`
4       arrays                      `list` (a `tuple` is written as one)
5       maps, keys integer or text  `dict`
7       false, true, null           `bool`, `None`
======  ==========================  =====================================

Not here: floating point, tags, undefined, other simple values, indefinite lengths. Map keys are
sorted by the bytes of their encoding; a repeated key, an argument that is longer than it needs to
be, and bytes after the item are refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from signing.errors import CborError

MAX_DEPTH: Final = 12
"""Default bound on nesting, for writing and for reading."""

_FIRST_NEGATIVE, _FIRST_BYTES, _FIRST_TEXT, _FIRST_ARRAY = 0x20, 0x40, 0x60, 0x80
_FIRST_SIMPLE: Final = 0xE0
_LONG_INTEGER: Final = b"\x18"
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 1, 2, 3, 4, 5, 7
_FALSE, _TRUE, _NULL = 20, 21, 22
_SIMPLE_VALUES: Final = {_FALSE: False, _TRUE: True, _NULL: None}
_SMALLEST_IN_FOLLOWING_BYTES: Final = {24: 24, 25: 0x100, 26: 0x1_0000, 27: 0x1_0000_0000}
_HINT: Final = "ask the sender for the original file; do not edit or re-encode signed content"


def serialize_cbor(value: object) -> bytes:
    """Write a value as deterministic CBOR (docs/spec/cose.md §2).

    Args:
        value: Integers, bytes, text, booleans, None, and lists and dictionaries of these.

    Returns:
        The one encoding of the value.

    Raises:
        CborError: The value holds something that our formats do not.
    """
    pieces: list[bytes] = []
    _write(value, pieces, depth=0)
    return b"".join(pieces)


def parse_cbor(untrusted_bytes: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> object:
    """Read exactly one deterministically encoded item (docs/spec/cose.md §2).

    Args:
        untrusted_bytes: The encoding, whole.
        max_bytes: Longest encoding that is looked at.
        max_depth: Deepest nesting of arrays and maps.

    Returns:
        The value; `serialize_cbor` of it gives the same bytes back.

    Raises:
        CborError: Anything else than one deterministic item in all of the bytes.
    """
    if len(untrusted_bytes) > max_bytes:
        raise CborError(
            "CBOR is too long",
            expected=f"at most {max_bytes} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            hint=_HINT,
        )
    reader = _Reader(bytes(untrusted_bytes), max_depth)
    value = reader.read_item(depth=0)
    if reader.offset_bytes != len(untrusted_bytes):
        raise CborError(
            "bytes follow the CBOR item",
            expected=f"{reader.offset_bytes} bytes in all",
            got=f"{len(untrusted_bytes)} bytes",
            where=f"offset {reader.offset_bytes}",
            hint=_HINT,
        )
    return value


def serialize_head(major: int, argument: int) -> bytes:
    """Write an item's first bytes: major type and shortest argument (RFC 8949 §3)."""
    if argument < 24:  # noqa: PLR2004 - RFC 8949 §3: smaller arguments lie in the first byte
        return bytes((major << 5 | argument,))
    for size_bytes, following in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if argument < 1 << (8 * size_bytes):
            return bytes((major << 5 | following,)) + argument.to_bytes(size_bytes, "big")
    raise CborError(
        "an integer does not fit CBOR",
        expected="-2^64 … 2^64-1",
        got=f"an integer of {argument.bit_length()} bits",
    )


def _write(value: object, pieces: list[bytes], *, depth: int) -> None:
    match value:
        case None:
            pieces.append(serialize_head(_SIMPLE, _NULL))
        case bool():
            pieces.append(serialize_head(_SIMPLE, _TRUE if value else _FALSE))
        case int():
            pieces.append(
                serialize_head(_UNSIGNED, value)
                if value >= 0
                else serialize_head(_NEGATIVE, -1 - value)
            )
        case bytes():
            pieces += (serialize_head(_BYTES, len(value)), value)
        case str():
            pieces.append(_serialize_text(value))
        case list() | tuple():
            _refuse_depth(depth, MAX_DEPTH, where=None)
            pieces.append(serialize_head(_ARRAY, len(value)))
            for element in value:
                _write(element, pieces, depth=depth + 1)
        case dict():
            _refuse_depth(depth, MAX_DEPTH, where=None)
            pieces.append(serialize_head(_MAP, len(value)))
            for key, element in sorted((_serialize_key(k), v) for k, v in value.items()):
                pieces.append(key)
                _write(element, pieces, depth=depth + 1)
        case _:
            raise CborError(
                "a value has no place in our CBOR",
                expected="int, bytes, str, bool, None, list or dict",
                got=type(value).__name__,
            )


@lru_cache(maxsize=256, typed=True)  # the keys of our formats are few; True is not 1 here
def _serialize_key(key: object) -> bytes:
    if isinstance(key, str):
        return _serialize_text(key)
    if isinstance(key, int) and not isinstance(key, bool):
        pieces: list[bytes] = []
        _write(key, pieces, depth=0)
        return pieces[0]
    raise CborError("a map key has the wrong type", expected="int or str", got=type(key).__name__)


def _serialize_text(text: str) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise CborError("text is not valid Unicode", got=ascii(text)) from error
    return serialize_head(_TEXT, len(encoded)) + encoded


def _refuse_depth(depth: int, max_depth: int, *, where: str | None) -> None:
    if depth >= max_depth:
        raise CborError(
            "CBOR is nested too deeply", expected=f"at most {max_depth} levels", where=where
        )


class _Reader:
    """One pass over the bytes; every length is checked against what is left before it is used."""

    def __init__(self, content: bytes, max_depth: int) -> None:
        self._content = content
        self._max_depth = max_depth
        self.offset_bytes = 0

    def read_item(self, *, depth: int) -> object:
        # Read for every message of every device: the usual item costs no call beyond this one.
        content, start_bytes = self._content, self.offset_bytes
        if start_bytes >= len(content):
            self._take(1)
        first = content[start_bytes]
        argument = first & 0x1F
        if argument < 24:  # noqa: PLR2004 - RFC 8949 §3: smaller arguments lie in the first byte
            begin_bytes = self.offset_bytes = start_bytes + 1
        elif (
            argument == 24  # noqa: PLR2004 - as above: the argument is the second byte
            and first < _FIRST_SIMPLE
            and content[start_bytes + 1 : start_bytes + 2] >= _LONG_INTEGER
        ):
            argument = content[start_bytes + 1]
            begin_bytes = self.offset_bytes = start_bytes + 2
        else:
            argument = self._read_long_argument(first >> 5, argument, start_bytes)
            begin_bytes = self.offset_bytes
        if first < _FIRST_NEGATIVE:
            return argument
        if first >= _FIRST_ARRAY:
            return self._read_others(first >> 5, argument, depth, start_bytes)
        if first < _FIRST_BYTES:
            return -1 - argument
        end_bytes = begin_bytes + argument
        if end_bytes > len(content):
            self._take(argument)
        self.offset_bytes = end_bytes
        value = content[begin_bytes:end_bytes]
        return value if first < _FIRST_TEXT else self._as_text(value, start_bytes)

    def _read_others(self, major: int, argument: int, depth: int, start_bytes: int) -> object:
        match major:
            case 4:
                self._refuse_count(argument, 1, depth, start_bytes)
                return [self.read_item(depth=depth + 1) for _ in range(argument)]
            case 5:
                self._refuse_count(argument, 2, depth, start_bytes)
                return self._read_map(argument, depth)
            case 6:
                raise self._error("a CBOR tag where none belongs", f"tag {argument}", start_bytes)
            case _:
                return self._simple_value(argument, start_bytes)

    def _simple_value(self, argument: int, start_bytes: int) -> object:
        if argument not in _SIMPLE_VALUES:
            raise self._error(
                "a CBOR simple or floating point value where none belongs",
                f"simple value {argument}",
                start_bytes,
            )
        return _SIMPLE_VALUES[argument]

    def _read_long_argument(self, major: int, short: int, start_bytes: int) -> int:
        self.offset_bytes = start_bytes + 1
        if major == _SIMPLE or short not in _SMALLEST_IN_FOLLOWING_BYTES:
            raise self._error(
                "CBOR of a kind that is not deterministic or not ours",
                f"initial byte 0x{self._content[start_bytes]:02x}",
                start_bytes,
            )
        argument = int.from_bytes(self._take(1 << (short - 24)), "big")
        if argument < _SMALLEST_IN_FOLLOWING_BYTES[short]:
            raise self._error(
                "CBOR is not deterministic: an argument is longer than it needs to be",
                f"{argument} in {1 << (short - 24)} bytes",
                start_bytes,
            )
        return argument

    def _as_text(self, encoded: bytes, start_bytes: int) -> str:
        try:
            return encoded.decode()
        except UnicodeDecodeError as error:
            raise self._error("CBOR text is not UTF-8", error.reason, start_bytes) from error

    def _read_map(self, count: int, depth: int) -> dict[int | str, object]:
        result: dict[int | str, object] = {}
        content, previous = self._content, b""
        for _ in range(count):
            start_bytes = self.offset_bytes
            encoded = content[start_bytes : start_bytes + 1]
            if previous < encoded < _LONG_INTEGER:
                # A small integer in its place, as in every map of ours.
                self.offset_bytes = start_bytes + 1
                previous = encoded
                result[encoded[0]] = self.read_item(depth=depth + 1)
                continue
            key = self.read_item(depth=depth + 1)
            encoded = self._content[start_bytes : self.offset_bytes]
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise self._error(
                    "a CBOR map key is neither integer nor text", encoded[:8].hex(), start_bytes
                )
            if encoded <= previous:
                what = (
                    "CBOR is not deterministic: a map key is repeated"
                    if encoded == previous
                    else "CBOR is not deterministic: map keys are not in order"
                )
                raise self._error(what, repr(key), start_bytes)
            previous = encoded
            result[key] = self.read_item(depth=depth + 1)
        return result

    def _refuse_count(self, count: int, items_each: int, depth: int, start_bytes: int) -> None:
        if depth >= self._max_depth:
            _refuse_depth(depth, self._max_depth, where=f"offset {start_bytes}")
        # Each item takes a byte at least: a huge count is refused before anything is allocated.
        if count * items_each > len(self._content) - self.offset_bytes:
            raise self._error("CBOR ends inside an item", f"a count of {count}", start_bytes)

    def _take(self, size_bytes: int) -> bytes:
        start_bytes = self.offset_bytes
        if size_bytes > len(self._content) - start_bytes:
            raise self._error(
                "CBOR ends inside an item",
                f"{len(self._content) - start_bytes} bytes of {size_bytes}",
                start_bytes,
            )
        self.offset_bytes = start_bytes + size_bytes
        return self._content[start_bytes : self.offset_bytes]

    @staticmethod
    def _error(what: str, got: str, offset_bytes: int) -> CborError:
        return CborError(what, got=got, where=f"offset {offset_bytes}", hint=_HINT)
