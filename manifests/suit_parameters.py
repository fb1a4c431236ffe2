"""Parameters of a SUIT manifest: what `directive-override-parameters` sets for a component.

Numbers and types are those of draft-ietf-suit-manifest-37 §8.4.8 and, for 4 and 26 to 28,
draft-ietf-suit-update-management-16 §4. A parameter that is not here is refused: an image that is
encrypted or packed is not what its digest says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from manifests.errors import SuitError
from manifests.suit_digest import SuitDigest, parse_digest
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError

VENDOR_ID, CLASS_ID, IMAGE_DIGEST, USE_BEFORE = 1, 2, 3, 4
IMAGE_SIZE, URI, SOURCE_COMPONENT, VERSION = 14, 21, 22, 28
GREATER_OR_EQUAL: Final = 2
"""How parameter 28 is compared with what is installed."""

PARAMETER_NAMES: Final = {
    VENDOR_ID: "vendor-id",
    CLASS_ID: "class-id",
    IMAGE_DIGEST: "image-digest",
    USE_BEFORE: "use-before",
    5: "component-slot",
    12: "strict-order",
    13: "soft-failure",
    IMAGE_SIZE: "image-size",
    18: "content",
    URI: "uri",
    SOURCE_COMPONENT: "source-component",
    23: "invoke-args",
    24: "device-id",
    26: "minimum-battery",
    27: "update-priority",
    VERSION: "version",
}
_UINT_MAX: Final = 2**64 - 1
_INT_MIN: Final = -(2**64)
_TEXT_MAX: Final = 2048
_COMPARISON_MAX: Final = 5
_UUID_BYTES: Final = 16
_UUIDS: Final = frozenset({VENDOR_ID, CLASS_ID, 24})
_INTEGERS: Final = {
    USE_BEFORE: (0, _UINT_MAX),
    5: (0, _UINT_MAX),  # component slot
    IMAGE_SIZE: (0, _UINT_MAX),
    26: (0, _UINT_MAX),  # minimum battery, mWh
    27: (_INT_MIN, _UINT_MAX),  # update priority
}
_FLAGS: Final = frozenset({12, 13})
"""Strict order, soft failure."""
_BYTES: Final = frozenset({18, 23})
"""Content, arguments of an invocation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionMatch:
    """Parameter 28: what an installed component's version is compared with.

    Attributes:
        comparison: 1 greater, 2 greater or equal, 3 equal, 4 lesser or equal, 5 lesser.
        version: Its integers.
    """

    comparison: int
    version: tuple[int, ...]


Parameter = int | bool | bytes | str | SuitDigest | VersionMatch


def parameter_to_cbor(value: Parameter) -> object:
    """Return a parameter as it is encoded."""
    match value:
        case SuitDigest():
            return serialize_cbor(value.to_cbor())
        case VersionMatch():
            return serialize_cbor([value.comparison, list(value.version)])
        case _:
            return value


def read_parameter(key: object, value: object, *, component_count: int, where: str) -> Parameter:
    """Return a decoded parameter.

    Args:
        key: Its number.
        value: What was decoded.
        component_count: How many components the manifest has.
        where: Of what, for errors.

    Raises:
        SuitError: The number is not known, or the value not one of its.
    """
    place = f"{where}, parameter {key!r}"[:200]
    read: Parameter | None = None
    match key, value:
        case 3, bytes():
            return parse_digest(value, where=place)
        case 28, bytes():
            return _parse_version(value, where=place)
        case 22, int() if is_integer(value, 0, component_count - 1):
            read = value
        case 21, str() if value.isprintable() and 1 <= len(value) <= _TEXT_MAX:
            read = value
        case int(), bytes() if key in _BYTES or (key in _UUIDS and len(value) == _UUID_BYTES):
            read = value
        case int(), bool() if key in _FLAGS:
            read = value
        case int(), int() if key in _INTEGERS and is_integer(value, *_INTEGERS[key]):
            read = value
    if read is None:
        raise SuitError(
            "a SUIT manifest has a parameter that is not known, or not of its type",
            expected="a parameter of the drafts that stands for an image as it is",
            got=repr(value)[:80],
            where=place,
        )
    return read


def is_integer(value: object, least: int, most: int) -> bool:
    """Whether a decoded value is an integer within bounds; a boolean is none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _parse_version(untrusted_bytes: bytes, *, where: str) -> VersionMatch:
    try:
        value = parse_cbor(untrusted_bytes, max_bytes=_TEXT_MAX)
    except CborError as error:
        raise SuitError("a version is not deterministic CBOR", got=error, where=where) from error
    match value:
        case [int(comparison), [*version]] if (
            is_integer(comparison, 1, _COMPARISON_MAX)
            and version
            and all(is_integer(number, _INT_MIN, _UINT_MAX) for number in version)
        ):
            return VersionMatch(comparison=comparison, version=tuple(version))  # type: ignore[arg-type]  # judged above
    raise SuitError(
        "a version to compare with is not one",
        expected=f"[1 to {_COMPARISON_MAX}, [integers]]",
        got=repr(value)[:80],
        where=where,
    )
