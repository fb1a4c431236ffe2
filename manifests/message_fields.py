"""Reads the fields of a device message: a CBOR map with small integer keys, each field bounded.

A `FieldReader` hands out each field once, by key, and finally refuses any field that nobody asked
for: a message holds exactly what its format says (docs/spec/manifest.md §2). It knows nothing of
signatures: the bytes it is given were verified before.
"""

from __future__ import annotations

from manifests.errors import DeviceMessageError
from signing.canonical_cbor import parse_cbor
from signing.errors import CborError

MESSAGE_FORMAT_VERSION = 1
MESSAGE_MAX_BYTES = 1024
DIGEST_BYTES = 32
MESSAGE_MAX_DEPTH = 4
UINT32_MAX = 2**32 - 1
TIME_MAX_S = 253_402_300_799
"""9999-12-31T23:59:59Z in seconds since 1970-01-01T00:00:00Z: the last time that has a date."""


class FieldReader:
    """The fields of one map that have not been read yet.

    Args:
        fields: The parsed map.
        where: Which message, for errors: `manifest`, `manifest, field 8 (app)`.
    """

    def __init__(self, fields: object, *, where: str) -> None:
        if not isinstance(fields, dict):
            raise DeviceMessageError(
                "a device message is not a map",
                expected="a CBOR map with integer keys",
                got=type(fields).__name__,
                where=where,
            )
        self._fields: dict[object, object] = dict(fields)
        self._where = where

    def read_int(self, key: int, name: str, *, minimum: int = 0, maximum: int = UINT32_MAX) -> int:
        """Return an integer field within its bounds, both inclusive."""
        value = self._take(key, name)
        # bool is an int in Python and another major type in CBOR.
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong_type(key, name, "an integer", value)
        if not minimum <= value <= maximum:
            raise DeviceMessageError(
                f"{name} is out of range",
                expected=f"{minimum} to {maximum}",
                got=value,
                where=self._place(key, name),
            )
        return value

    def read_bool(self, key: int, name: str) -> bool:
        """Return a boolean field."""
        value = self._take(key, name)
        if not isinstance(value, bool):
            raise self._wrong_type(key, name, "true or false", value)
        return value

    def read_bytes(self, key: int, name: str, *, minimum: int, maximum: int) -> bytes:
        """Return a byte string whose length is within its bounds, both inclusive."""
        value = self._take(key, name)
        if not isinstance(value, bytes):
            raise self._wrong_type(key, name, "a byte string", value)
        self._check_length(key, name, len(value), minimum, maximum)
        return value

    def read_digest(self, key: int, name: str) -> bytes:
        """Return a SHA-256 digest."""
        return self.read_bytes(key, name, minimum=DIGEST_BYTES, maximum=DIGEST_BYTES)

    def read_optional_digest(self, key: int, name: str) -> bytes:
        """Return a SHA-256 digest, or no bytes where there is none."""
        value = self.read_bytes(key, name, minimum=0, maximum=DIGEST_BYTES)
        if len(value) not in {0, DIGEST_BYTES}:
            raise DeviceMessageError(
                f"{name} has a wrong length",
                expected=f"0 or {DIGEST_BYTES}",
                got=len(value),
                where=self._place(key, name),
            )
        return value

    def read_digest_list(self, key: int, name: str, *, maximum: int) -> tuple[bytes, ...]:
        """Return a list of distinct SHA-256 digests in the order given; at least one."""
        value = self._take(key, name)
        if not isinstance(value, list):
            raise self._wrong_type(key, name, "a list of digests", value)
        self._check_length(key, name, len(value), 1, maximum)
        items = FieldReader(dict(enumerate(value)), where=self._place(key, name))
        digests = tuple(items.read_digest(number, name) for number in range(len(value)))
        if len(set(digests)) != len(digests):
            raise DeviceMessageError(
                f"{name} repeats an entry",
                expected="distinct entries",
                where=self._place(key, name),
            )
        return digests

    def read_text(self, key: int, name: str, *, maximum: int, minimum: int = 1) -> str:
        """Return printable ASCII text whose length is within its bounds, both inclusive."""
        return self._as_text(key, name, self._take(key, name), minimum, maximum)

    def read_text_list(
        self, key: int, name: str, *, maximum: int, item_maximum: int
    ) -> tuple[str, ...]:
        """Return a list of distinct, sorted texts; possibly empty."""
        value = self._take(key, name)
        if not isinstance(value, list):
            raise self._wrong_type(key, name, "a list of texts", value)
        self._check_length(key, name, len(value), 0, maximum)
        texts = tuple(self._as_text(key, name, item, 1, item_maximum) for item in value)
        if list(texts) != sorted(set(texts)):
            raise DeviceMessageError(
                f"{name} is not sorted, or repeats an entry",
                expected="distinct entries in ascending order",
                where=self._place(key, name),
            )
        return texts

    def read_map(self, key: int, name: str) -> FieldReader:
        """Return a reader for a map within the map."""
        return FieldReader(self._take(key, name), where=self._place(key, name))

    def read_map_list(self, key: int, name: str, *, maximum: int) -> tuple[FieldReader, ...]:
        """Return a reader for each map of a list; possibly none."""
        value = self._take(key, name)
        if not isinstance(value, list):
            raise self._wrong_type(key, name, "a list of maps", value)
        self._check_length(key, name, len(value), 0, maximum)
        place = self._place(key, name)
        return tuple(
            FieldReader(item, where=f"{place}, entry {number}")
            for number, item in enumerate(value, 1)
        )

    def has(self, key: int) -> bool:
        """Whether a field that may be absent is there."""
        return key in self._fields

    def finish(self) -> None:
        """Refuse the message if a field is left that its format does not know."""
        if self._fields:
            raise DeviceMessageError(
                "a device message has a field that its format does not know",
                got=", ".join(repr(key) for key in list(self._fields)[:8]),
                where=self._where,
                hint="an unknown field is refused, never skipped: the board would not obey it",
            )

    def _take(self, key: int, name: str) -> object:
        try:
            return self._fields.pop(key)
        except KeyError:
            raise DeviceMessageError(
                f"{name} is missing", expected=f"field {key}", where=self._where
            ) from None

    def _as_text(self, key: int, name: str, value: object, minimum: int, maximum: int) -> str:
        if not isinstance(value, str):
            raise self._wrong_type(key, name, "a text", value)
        self._check_length(key, name, len(value), minimum, maximum)
        if not (value.isascii() and value.isprintable()):
            raise DeviceMessageError(
                f"{name} has a character that a board cannot show",
                expected="printable ASCII",
                got=repr(value),
                where=self._place(key, name),
            )
        return value

    def _check_length(self, key: int, name: str, length: int, minimum: int, maximum: int) -> None:
        if not minimum <= length <= maximum:
            raise DeviceMessageError(
                f"{name} has a wrong length",
                expected=f"{minimum}" if minimum == maximum else f"{minimum} to {maximum}",
                got=length,
                where=self._place(key, name),
            )

    def _wrong_type(self, key: int, name: str, expected: str, value: object) -> DeviceMessageError:
        return DeviceMessageError(
            f"{name} has a wrong type",
            expected=expected,
            got=type(value).__name__,
            where=self._place(key, name),
        )

    def _place(self, key: int, name: str) -> str:
        return f"{self._where}, field {key} ({name})"


def parse_message(verified_bytes: bytes, *, where: str) -> FieldReader:
    """Return the fields of a message payload whose signature was verified, all but the first.

    As `parse_versioned_message`, of the one format that most messages have.
    """
    return parse_versioned_message(verified_bytes, where=where, latest=MESSAGE_FORMAT_VERSION)[1]


def parse_versioned_message(
    verified_bytes: bytes, *, where: str, latest: int
) -> tuple[int, FieldReader]:
    """Return format version and further fields of a payload whose signature was verified.

    Field 1 of each message is its format version and is read here (docs/spec/manifest.md §2).

    Args:
        verified_bytes: The payload.
        where: Which message, for errors.
        latest: The latest format that is known here; from 1 on, all are.

    Raises:
        DeviceMessageError: The bytes are not one deterministic CBOR map of a known format.
    """
    try:
        fields = parse_cbor(
            verified_bytes, max_bytes=MESSAGE_MAX_BYTES, max_depth=MESSAGE_MAX_DEPTH
        )
    except CborError as error:
        raise DeviceMessageError(
            "a device message is not deterministic CBOR", got=error, where=where
        ) from error
    reader = FieldReader(fields, where=where)
    version = reader.read_int(1, "format version")
    if not MESSAGE_FORMAT_VERSION <= version <= latest:
        raise DeviceMessageError(
            "a device message has a format that is not known here",
            expected=f"{MESSAGE_FORMAT_VERSION} to {latest}"
            if latest > MESSAGE_FORMAT_VERSION
            else MESSAGE_FORMAT_VERSION,
            got=version,
            where=where,
            hint="update this software, or publish for the format that the fleet knows",
        )
    return version, reader


def check_received_length(untrusted_bytes: bytes, *, where: str) -> None:
    """Refuse a signed message by its length, before anything of it is looked at.

    Raises:
        DeviceMessageError: It is empty, or longer than a board's buffer.
    """
    if not 1 <= len(untrusted_bytes) <= MESSAGE_MAX_BYTES:
        raise DeviceMessageError(
            f"the {where} has a length that no valid one has",
            expected=f"1 to {MESSAGE_MAX_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
        )
