"""The manifest in a SUIT envelope: components, and what is to be done with them.

```
manifest = { 1: 1, 2: sequence number, 3: common, 4: reference URI,
             7: validate, 8: load, 9: invoke, 16: payload fetch, 20: install, 23: text }
common   = { 2: components, 4: shared sequence }
```

Sequences, common and text are CBOR wrapped in byte strings; 16, 20 and 23 may be a digest instead,
of what the envelope carries beside the manifest or has dropped. The subset is that of
docs/spec/suit-export.md §2: no dependencies and no uninstalling. Text is not interpreted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from manifests.errors import SuitError
from manifests.suit_commands import Sequence, parse_sequence, serialize_sequence
from manifests.suit_digest import SuitDigest, read_digest
from manifests.suit_parameters import is_integer
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVELOPE_MAX_BYTES: Final = 65_536
VALIDATE, LOAD, INVOKE, PAYLOAD_FETCH, INSTALL, TEXT = 7, 8, 9, 16, 20, 23
SEQUENCE_NAMES: Final[Mapping[int, str]] = {
    VALIDATE: "validate",
    LOAD: "load",
    INVOKE: "invoke",
    PAYLOAD_FETCH: "payload-fetch",
    INSTALL: "install",
}
SEVERABLE: Final = frozenset({PAYLOAD_FETCH, INSTALL, TEXT})
_COMPONENTS_MAX, _SEGMENTS_MAX, _SEGMENT_MAX_BYTES = 16, 8, 64
_URI_MAX, _UINT_MAX = 2048, 2**64 - 1
_REFERENCE_URI: Final = 4
_HINT: Final = "get the envelope again from its origin; do not edit or re-encode it"

ComponentId = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitManifest:
    """What an envelope says.

    Attributes:
        sequence_number: Rises with every release.
        components: What is installed, by identifier.
        shared: Run before every other sequence.
        sequences: The others, by number (`SEQUENCE_NAMES`).
        text: Text for people, encoded; empty if there is none.
        reference_uri: Where more is; empty if nowhere.
        severed: Members that the manifest gives by digest; what the envelope does not carry is in
            neither `sequences` nor `text`.
    """

    sequence_number: int
    components: tuple[ComponentId, ...]
    shared: Sequence
    sequences: Mapping[int, Sequence] = field(default_factory=dict)
    text: bytes = b""
    reference_uri: str = ""
    severed: Mapping[int, SuitDigest] = field(default_factory=dict)


def encoded_member(manifest: SuitManifest, key: int) -> bytes | None:
    """Return a sequence or the text as it is wrapped; `None` if it is not there."""
    if key == TEXT:
        return manifest.text or None
    sequence = manifest.sequences.get(key)
    return None if sequence is None else serialize_sequence(sequence)


def serialize_suit_manifest(manifest: SuitManifest) -> bytes:
    """Return the bytes that an envelope's digest is of."""
    common = {
        2: [list(component) for component in manifest.components],
        4: serialize_sequence(manifest.shared),
    }
    fields: dict[int, object] = {1: 1, 2: manifest.sequence_number, 3: serialize_cbor(common)}
    if manifest.reference_uri:
        fields[_REFERENCE_URI] = manifest.reference_uri
    for key in (*manifest.sequences, *((TEXT,) if manifest.text else ()), *manifest.severed):
        severed = manifest.severed.get(key)
        fields[key] = encoded_member(manifest, key) if severed is None else severed.to_cbor()
    return serialize_cbor(fields)


def parse_suit_manifest(verified_bytes: bytes, members: dict[int, bytes]) -> SuitManifest:
    """Return a manifest whose digest was compared.

    Args:
        verified_bytes: The manifest.
        members: What the envelope carries beside it; each is compared before it is looked at.

    Raises:
        SuitError: It says what is not known here, or a member is not its own.
    """
    fields = parse_cbor_of(verified_bytes, "manifest")
    known = {1, 2, 3, _REFERENCE_URI, *SEQUENCE_NAMES, TEXT}
    if not isinstance(fields, dict) or not {1, 2, 3} <= fields.keys() <= known:
        got = list(fields) if isinstance(fields, dict) else type(fields).__name__
        raise refused_envelope("its manifest", f"a map of {sorted(known)}", str(got)[:120])
    match fields[1], fields[2], fields[3], fields.get(_REFERENCE_URI, ""):
        case (1, int(number), bytes(common), str(uri)) if (
            fields[1] is not True
            and is_integer(number, 0, _UINT_MAX)
            and uri.isprintable()
            and (_REFERENCE_URI not in fields or 1 <= len(uri) <= _URI_MAX)
        ):
            components, shared = _parse_common(common)
        case _:
            raise refused_envelope(
                "its manifest", "version 1, a sequence number, common, a URI", "another shape"
            )
    severed: dict[int, SuitDigest] = {}
    contents: dict[int, bytes] = {}
    for key in sorted(fields.keys() - {1, 2, 3, _REFERENCE_URI}):
        value = fields[key]
        if isinstance(value, bytes):
            contents[key] = value
        elif key in SEVERABLE:
            severed[key] = read_digest(value, where=f"manifest, member {key}")
        else:
            raise refused_envelope(f"member {key}", "a wrapped sequence", type(value).__name__)
    contents |= _join(members, severed)
    return SuitManifest(
        sequence_number=number,
        components=components,
        shared=shared,
        sequences={
            key: parse_sequence(content, component_count=len(components), where=SEQUENCE_NAMES[key])
            for key, content in contents.items()
            if key != TEXT
        },
        text=contents.get(TEXT, b""),
        reference_uri=uri,
        severed=severed,
    )


def _join(members: dict[int, bytes], severed: Mapping[int, SuitDigest]) -> dict[int, bytes]:
    for key, content in members.items():
        if key not in severed or not severed[key].is_of(content):
            raise refused_envelope(
                f"its member {key} is not the one that was signed",
                severed[key].value.hex() if key in severed else "no such member",
                "another digest" if key in severed else f"{len(content)} bytes",
            )
    return members


def _parse_common(untrusted_bytes: bytes) -> tuple[tuple[ComponentId, ...], Sequence]:
    match parse_cbor_of(untrusted_bytes, "common"):
        case {2: [*listed], 4: bytes(shared), **others} if not others:
            pass
        case _:
            raise refused_envelope("common", "{2: components, 4: shared sequence}", "another shape")
    if not 1 <= len(listed) <= _COMPONENTS_MAX or not all(map(_is_component, listed)):
        raise refused_envelope(
            "components", f"1 to {_COMPONENTS_MAX} lists of bytes", repr(listed)[:120]
        )
    components = tuple(tuple(component) for component in listed)
    if len(set(components)) != len(components):
        raise refused_envelope("components", "each one once", repr(listed)[:120])
    return components, parse_sequence(
        shared, component_count=len(components), where="shared sequence", is_shared=True
    )


def _is_component(value: object) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= _SEGMENTS_MAX
        and all(isinstance(part, bytes) and len(part) <= _SEGMENT_MAX_BYTES for part in value)
    )


def parse_cbor_of(untrusted_bytes: bytes, what: str) -> object:
    """Return a part of an envelope, decoded.

    Raises:
        SuitError: It is not deterministic CBOR.
    """
    try:
        return parse_cbor(untrusted_bytes, max_bytes=ENVELOPE_MAX_BYTES)
    except CborError as error:
        raise refused_envelope(
            f"its {what} is not deterministic CBOR", "that", str(error)
        ) from error


def refused_envelope(what: str, expected: str, got: str) -> SuitError:
    """Return the refusal of an envelope."""
    return SuitError(
        f"a SUIT envelope is refused: {what}",
        expected=expected,
        got=got,
        where="SUIT envelope",
        hint=_HINT,
    )
