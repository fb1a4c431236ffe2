"""Where the parts of a release come from: an in-toto statement with SLSA provenance v1.

It names each part, each input that the parts were made from, and the tools, by digest and version.
It has no clock, host name or path, so the same inputs and tools give the same bytes. What it does
not do: prove who built it; that it travels in a signed bundle does. Implements
docs/spec/release-statement-and-bundle.md §10.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from signing.installed_version import find_version

if TYPE_CHECKING:
    from collections.abc import Mapping

PROVENANCE_MAX_BYTES: Final = 64 * 1024
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:ampforge:bundle-build:1"
BUILDER_ID: Final = "urn:ampforge:bundle-build"
_VERSION_MAX_CHARACTERS: Final = 64
_TOOLS: Final = ("ampforge", "esptool")


def find_tool_versions() -> dict[str, str]:
    """The versions of what turns inputs into parts, as installed."""
    return {name: find_version(name) for name in _TOOLS}


def build_provenance(
    *,
    parts: Mapping[str, bytes],
    materials: Mapping[str, bytes],
    parameters: Mapping[str, str | int],
    tools: Mapping[str, str],
) -> bytes:
    """Return the provenance of a release as canonical JSON text.

    Args:
        parts: What was made, by member name.
        materials: What it was made from, by the name of the input.
        parameters: What was asked for beside files.
        tools: Version by tool.
    """
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [_describe(name, content) for name, content in sorted(parts.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(parameters),
                "resolvedDependencies": [
                    _describe(name, content) for name, content in sorted(materials.items())
                ],
            },
            "runDetails": {"builder": {"id": BUILDER_ID, "version": dict(tools)}},
        },
    }
    return f"{json.dumps(document, indent=1, sort_keys=True)}\n".encode()


def read_tool_versions(untrusted_bytes: bytes | None) -> dict[str, str]:
    """The tools that a provenance names; none if it is no provenance of ours."""
    if untrusted_bytes is None or len(untrusted_bytes) > PROVENANCE_MAX_BYTES:
        return {}
    try:
        document = json.loads(untrusted_bytes)
    except (ValueError, RecursionError):
        return {}
    match document:
        case {
            "predicate": {"runDetails": {"builder": {"id": str(builder), "version": dict(tools)}}}
        }:
            if builder == BUILDER_ID:
                return {name: text for name, text in tools.items() if _is_version(text)}
    return {}


def _is_version(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _VERSION_MAX_CHARACTERS and text.isprintable()


def _describe(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
