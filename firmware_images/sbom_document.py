"""A CycloneDX bill of materials as received: bounded, strictly JSON, and its components.

JSON leaves much open that two readers take differently: a key twice, NaN, half a surrogate pair,
nesting without end. All of that is refused. What is inside a component beside its name, version,
identity and digests is carried on as it is.
"""

from __future__ import annotations

import json
from typing import Any, Final

from firmware_images.errors import BundleError
from signing.value_class import dataclass

SBOM_MAX_BYTES: Final = 1536 * 1024
DEPTH_MAX: Final = 32
COMPONENT_COUNT_MAX: Final = 10_000
SPEC_VERSION: Final = "1.6"
SPEC_VERSIONS: Final = ("1.4", "1.5", SPEC_VERSION)
OWN_PREFIX: Final = "ampforge:"
_KEYS: Final = frozenset(
    {
        *("$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata"),
        *("components", "services", "externalReferences", "dependencies", "compositions"),
        *("vulnerabilities", "annotations", "formulation", "declarations", "definitions"),
        *("properties", "signature"),
    }
)
"""The top level of CycloneDX 1.6."""
_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomPart:
    """One part of a bundle, to be listed in its bill of materials.

    Attributes:
        member: Its name in the bundle.
        name: What it calls itself.
        version: Its version, or `None`.
        is_firmware: Whether it is code, not data.
        content: Its bytes.
    """

    member: str
    name: str
    version: str | None
    is_firmware: bool
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What a bill says of one component.

    Attributes:
        name: With its group before it, if there is one.
        version: `None` if it states none.
        purl: Package URL, or `None`.
        sha256: SHA-256 in hex, or `None`.
        ref: Its `bom-ref`, or `None`.
    """

    name: str
    version: str | None
    purl: str | None
    sha256: str | None
    ref: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """A bill of materials.

    Attributes:
        document: All of it.
        components: Every component, nested ones included, in the order of the file.
        refs: Every `bom-ref` of a component, and every one that dependencies are stated of.
    """

    document: dict[str, Any]
    components: tuple[Component, ...]
    refs: frozenset[str]


def parse_sbom(untrusted_bytes: bytes, *, where: object = "bill of materials") -> Sbom:
    """Read a CycloneDX bill of version 1.4 to 1.6 in JSON.

    Raises:
        BundleError: It is anything else, or too large.
    """
    if len(untrusted_bytes) > SBOM_MAX_BYTES:
        raise not_an_sbom(f"more than {SBOM_MAX_BYTES} bytes", where=where)
    try:
        document = json.loads(
            untrusted_bytes.decode("utf-8"),
            object_pairs_hook=_refuse_twice,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
    except (ValueError, RecursionError) as error:
        raise not_an_sbom(f"not JSON: {str(error)[:120]}", where=where) from error
    if not isinstance(document, dict):
        raise not_an_sbom(f"JSON with a {type(document).__name__} outside", where=where)
    _judge_values(document, where)
    _judge_head(document, where)
    found: list[Component] = []
    _collect(document.get("components", []), found, where)
    root = document.get("metadata", {}).get("component")
    described: list[Component] = []
    _collect([] if root is None else [root], described, where)
    refs = [part.ref for part in (*described, *found) if part.ref is not None]
    if len(set(refs)) != len(refs):
        raise not_an_sbom("two components with one bom-ref", where=where)
    depended = {entry["ref"] for entry in document.get("dependencies", [])}
    return Sbom(document=document, components=tuple(found), refs=frozenset(depended.union(refs)))


def not_an_sbom(
    got: str, *, where: object = None, hint: str = "name the bill of materials, or leave sbom out"
) -> BundleError:
    """The refusal of a bill. A bundle is public: a file named by mistake must not travel in it."""
    return BundleError(
        "this is not a software bill of materials that a bundle can carry",
        expected=f"CycloneDX {' or '.join(SPEC_VERSIONS)} in JSON",
        got=got,
        where=where,
        hint=hint,
    )


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    return values


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _parse_float(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise ValueError("a number is out of range")
    return value


def _judge_values(document: dict[str, Any], where: object) -> None:
    layer: list[Any] = [document]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for value in layer:
            if isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and not _is_text(value):
                raise not_an_sbom("text with half a surrogate pair", where=where)
        if not inner:
            return
        layer = inner
    raise not_an_sbom(f"nested deeper than {DEPTH_MAX}", where=where)


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _judge_head(document: dict[str, Any], where: object) -> None:
    if document.get("bomFormat") != "CycloneDX":
        got = "SPDX" if "spdxVersion" in document else "no bomFormat CycloneDX"
        raise not_an_sbom(
            got,
            where=where,
            hint="have the tool write CycloneDX: `esp-idf-sbom create --format cyclonedx-json`",
        )
    if document.get("specVersion") not in SPEC_VERSIONS:
        raise not_an_sbom(
            f"specVersion {document.get('specVersion')!r}"[:_SHOWN_CHARACTERS], where=where
        )
    unknown = sorted(document.keys() - _KEYS)
    if unknown:
        raise not_an_sbom(f"a key {unknown[0]!r}"[:_SHOWN_CHARACTERS], where=where)
    for key, kind in (("metadata", dict), ("components", list), ("dependencies", list)):
        if key in document and not isinstance(document[key], kind):
            raise not_an_sbom(f"{key} that is no {kind.__name__}", where=where)
    for entry in document.get("dependencies", []):
        match entry:
            case {"ref": str()}:
                continue
        raise not_an_sbom("a dependency without ref", where=where)


def _collect(entries: object, found: list[Component], where: object) -> None:
    if not isinstance(entries, list):
        raise not_an_sbom("components that are no list", where=where)
    for entry in entries:
        found.append(_parse_component(entry, where))
        if len(found) > COMPONENT_COUNT_MAX:
            raise not_an_sbom(f"more than {COMPONENT_COUNT_MAX} components", where=where)
        _collect(entry.get("components", []), found, where)


def _parse_component(entry: Any, where: object) -> Component:
    match entry:
        case {"type": str(), "name": str(name)} if name:
            texts = {key: entry.get(key) for key in ("group", "version", "purl", "bom-ref")}
            if all(value is None or isinstance(value, str) for value in texts.values()):
                return Component(
                    name=f"{texts['group']}/{name}" if texts["group"] else name,
                    version=texts["version"],
                    purl=texts["purl"],
                    sha256=_find_sha256(entry.get("hashes", []), where),
                    ref=texts["bom-ref"],
                )
    raise not_an_sbom(
        "a component without type and name, or with a version that is no text", where=where
    )


def _find_sha256(hashes: object, where: object) -> str | None:
    if not isinstance(hashes, list):
        raise not_an_sbom("hashes that are no list", where=where)
    for entry in hashes:
        match entry:
            case {"alg": "SHA-256", "content": str(content)}:
                return content.lower()
    return None
