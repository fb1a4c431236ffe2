"""The software bill of materials of a release: CycloneDX 1.6 in JSON.

The project's own bill (from ESP-IDF's tooling, or any other) is read strictly and merged with what
the bundle adds: application, waveform table, limits policy, partition table, bootloader, each with
its SHA-256. The same inputs give the same bytes: no clock, no random serial number. What this
module does not do: find components by itself, or check licences and vulnerabilities. Implements
docs/spec/release-statement-and-bundle.md §9.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from firmware_images.errors import BundleError
from firmware_images.sbom_document import (
    OWN_PREFIX,
    SBOM_MAX_BYTES,
    SPEC_VERSION,
    Sbom,
    not_an_sbom,
    parse_sbom,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.sbom_document import SbomPart

__all__ = ["Sbom", "build_sbom", "parse_sbom"]

RELEASE_REF: Final = f"{OWN_PREFIX}release"
PROJECT_REF: Final = f"{OWN_PREFIX}project"
_SCHEMA: Final = f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json"
_REPLACED: Final = frozenset(
    {
        *("$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata"),
        *("components", "dependencies", "signature"),
    }
)
"""What the merged bill says itself. A signature over the project's bill does not cover it."""


def build_sbom(
    *, product: str, version: str, parts: Sequence[SbomPart], project: Sbom | None = None
) -> bytes:
    """Return the bill of a release.

    Args:
        product: Product name.
        version: Version of the release.
        parts: What the bundle carries; the first one is what the project's bill describes.
        project: The project's own bill.

    Raises:
        BundleError: The project's bill was made by this function: merging it again would list
            the parts of an older release.
    """
    base: dict[str, Any] = {} if project is None else project.document
    if project is not None and any(ref.startswith(OWN_PREFIX) for ref in project.refs):
        raise not_an_sbom(
            "a bill that a bundle already carries", hint="name the bill of the project's own build"
        )
    metadata = dict(base.get("metadata", {}))
    metadata.pop("timestamp", None)  # another one each time that the project is built
    root = metadata.pop("component", None)
    described = [] if root is None else [root | {"bom-ref": root.get("bom-ref") or PROJECT_REF}]
    own = [_describe_part(part) for part in parts]
    components = [*own, *described, *base.get("components", [])]
    metadata["component"] = {
        "type": "firmware",
        "bom-ref": RELEASE_REF,
        "name": product,
        "version": version,
    }
    uses = [entry["bom-ref"] for entry in described] or _top_refs(base)
    dependencies = [
        {"ref": RELEASE_REF, "dependsOn": [entry["bom-ref"] for entry in own]},
        *base.get("dependencies", []),
    ]
    if uses:
        dependencies.append({"ref": own[0]["bom-ref"], "dependsOn": uses})
    document = {key: value for key, value in base.items() if key not in _REPLACED} | {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": dependencies,
    }
    document["serialNumber"] = f"urn:uuid:{_derive_uuid(_serialize(document))}"
    content = _serialize(document)
    if len(content) > SBOM_MAX_BYTES:
        raise not_an_sbom(f"{len(content)} bytes when merged, more than {SBOM_MAX_BYTES}")
    return content


def _describe_part(part: SbomPart) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "firmware" if part.is_firmware else "data",
        "bom-ref": f"{OWN_PREFIX}{part.member}",
        "name": part.name,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(part.content).hexdigest()}],
        "properties": [{"name": "ampforge:member", "value": part.member}],
    }
    if part.version:
        described["version"] = part.version
    return described


def _top_refs(base: dict[str, Any]) -> list[str]:
    return [entry["bom-ref"] for entry in base.get("components", []) if entry.get("bom-ref")]


def _serialize(document: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    except RecursionError as error:  # pragma: no cover - the parser bounds the depth
        raise BundleError("the bill of materials is nested too deeply") from error
    return f"{text}\n".encode()


def _derive_uuid(content: bytes) -> UUID:
    """A UUID of version 8 (RFC 9562 §5.8): what it is made of is ours, here SHA-256."""
    number = int.from_bytes(hashlib.sha256(content).digest()[:16])
    number = number & ~(0xF << 76) | (8 << 76)
    return UUID(int=number & ~(0x3 << 62) | (0x2 << 62))
