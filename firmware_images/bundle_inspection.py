"""What a bundle says about itself, as a document for scripts and people; nothing is verified.

Use it to look at a bundle, never to decide about one: `bundle.verify_bundle` decides. The document
is versioned by its `schema`; docs/spec/release-statement-and-bundle.md §5 lists its keys.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_contents import SIGNED_STATEMENT, TABLE, judge_contents
from firmware_images.bundle_statement import find_statement, read_signed_statement
from firmware_images.errors import FirmwareImageError
from firmware_images.release_constraints import describe_constraints
from firmware_images.release_statement import parse_statement
from firmware_images.release_waivers import describe_waivers
from firmware_images.waveform_table import parse_waveform_table
from signing.cose_message import ALGORITHM_IDS
from signing.errors import SigningError
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.release_statement import ReleaseStatement

SCHEMA = "ampforge.bundle/1"
_ALGORITHM_NAMES = {number: str(algorithm) for algorithm, number in ALGORITHM_IDS.items()}


def inspect_bundle(
    untrusted_bytes: bytes, *, where: str = "bundle", is_judged: bool = False
) -> dict[str, object]:
    """Return the document; what is wrong inside is listed under `problems`.

    Args:
        untrusted_bytes: The bundle file.
        is_judged: Whether its content was judged a moment ago and nothing was wrong: whoever just
            built or signed it need not wait for that twice.
        where: Its name, for messages.

    Raises:
        BundleError: The archive or the statement cannot be read at all.
        SigningError: The signed statement cannot be read at all.
    """
    with refusing_in(where):
        return _inspect_bundle(untrusted_bytes, where=where, is_judged=is_judged)


def _inspect_bundle(untrusted_bytes: bytes, *, where: str, is_judged: bool) -> dict[str, object]:
    members = parse_archive(untrusted_bytes, where=where)
    name, raw = find_statement(members)
    signatures: list[dict[str, object]] = []
    payload = raw
    if name == SIGNED_STATEMENT:
        message = read_signed_statement(raw)
        payload = message.payload
        signatures = [
            {
                "key": signature.kid.hex(),
                "algorithm": _ALGORITHM_NAMES.get(signature.algorithm_id, "unknown"),
            }
            for signature in message.signatures
        ]
    statement = parse_statement(payload, where=name)
    parts = {member: content for member, content in members.items() if member != name}
    return {
        "schema": SCHEMA,
        "verified": False,
        "signed": bool(signatures),
        "digest": hashlib.sha256(payload).hexdigest(),
        "bundle_sha256": hashlib.sha256(untrusted_bytes).hexdigest(),
        "size_bytes": len(untrusted_bytes),
        **_describe_statement(statement),
        "waivers": describe_waivers(parts),
        "parts": _describe_parts(statement, parts),
        "waveform": _describe_table(parts.get(TABLE)),
        "signatures": signatures,
        "problems": [] if is_judged else _find_problems(statement, parts),
    }


def describe_release(statement: ReleaseStatement) -> dict[str, int | str | bool | None]:
    """Return what a statement says of the release itself, for scripts: what it is, and for whom."""
    return {
        "product": statement.product,
        "version": statement.version,
        "release_counter": statement.release_counter,
        "hardware_class": statement.hardware_class,
        "hardware_revision_min": statement.hardware_revision_min,
        "hardware_revision_max": statement.hardware_revision_max,
        "chip": statement.chip,
        "flash_size_bytes": statement.flash_size_bytes,
        **describe_constraints(statement.constraints),
    }


def _describe_statement(statement: ReleaseStatement) -> dict[str, object]:
    app = statement.app
    return {
        **describe_release(statement),
        "app": {
            "project_name": app.project_name,
            "version": app.version,
            "secure_version": app.secure_version,
            "elf_sha256": None if app.elf_sha256 is None else app.elf_sha256.hex(),
        },
        "policy": {
            "version": statement.policy_version,
            "digest": statement.policy_digest.hex(),
        },
    }


def _describe_parts(
    statement: ReleaseStatement, parts: Mapping[str, bytes]
) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "size_bytes": part.size_bytes,
            "sha256": part.sha256.hex(),
            "matches": name in parts and hashlib.sha256(parts[name]).digest() == part.sha256,
        }
        for name, part in sorted(statement.parts.items())
    ]


def _describe_table(table_bytes: bytes | None) -> dict[str, object] | None:
    try:
        table = parse_waveform_table(table_bytes or b"", where=TABLE)
    except FirmwareImageError:
        return None  # `problems` says why
    return {
        "hardware_class": table.hardware_class,
        "tick_us": table.tick_us,
        "clamp_na": table.clamp_na,
        "modes": [
            {
                "name": mode.name,
                "balance": str(mode.balance),
                "regulation": str(mode.regulation),
                "peaks_na": [level.peak_na for level in mode.levels],
            }
            for mode in table.modes
        ],
    }


def _find_problems(statement: ReleaseStatement, parts: Mapping[str, bytes]) -> list[str]:
    try:
        judge_contents(statement, parts, trust=None)
    except (FirmwareImageError, SigningError) as error:
        return [str(error)]
    return []
