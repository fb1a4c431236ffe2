"""What `ampforge bundle` prints: a bundle as a document for scripts and as lines for people."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from firmware_images.release_constraints import last_day_of
from firmware_images.waiver_text import format_waiver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.bundle import Bundle

_SHOWN_DIGITS = 16


def describe_verified(bundle: Bundle) -> dict[str, object]:
    """Return a verified bundle as a document, versioned by `schema`."""
    statement = bundle.statement
    return {
        "schema": "ampforge.bundle-verification/1",
        "verified": True,
        "digest": bundle.digest.hex(),
        "product": statement.product,
        "version": statement.version,
        "release_counter": statement.release_counter,
        "hardware_class": statement.hardware_class,
        "app_sha256": bundle.image.image_sha256.hex(),
        "table_sha256": bundle.approval.table_digest.hex(),
        "policy_version": bundle.policy.version,
        "waivers": [waiver.to_json() for waiver in bundle.waivers],
        "release_signatures": len(bundle.signed_by),
        "release_threshold": bundle.threshold,
        "release_key_count": bundle.release_key_count,
        "signed_by": sorted(key_id.hex() for key_id in bundle.signed_by),
        "flash_regions": [
            {
                "name": region.name,
                "offset_bytes": region.offset_bytes,
                "size_bytes": len(region.content),
            }
            for region in bundle.flash_regions()
        ],
    }


def format_verified(bundle: Bundle, *, now: datetime) -> str:
    """Return a verified bundle as lines; `now` marks what has expired."""
    statement = bundle.statement
    keys = ", ".join(sorted(key_id.hex()[:_SHOWN_DIGITS] for key_id in bundle.signed_by))
    modes = ", ".join(mode.name for mode in bundle.waveform_table.modes)
    app = statement.app.project_name or "an app without descriptor"
    rows = (
        ("signatures", f"{len(bundle.signed_by)} of {bundle.threshold} needed: {keys}"),
        ("approval", f"{modes} under policy version {bundle.policy.version}"),
        ("table", bundle.approval.table_digest.hex()),
        ("app", f"{app}, {len(bundle.app)} bytes"),
        ("app SHA-256", bundle.image.image_sha256.hex()),
    )
    head = f"{statement.product} {statement.version}, release counter {statement.release_counter}"
    return "\n".join(
        (
            f"verified: {head}",
            *format_waiver_lines(describe_verified(bundle), now=now),
            *(f"  {name:<12} {value}" for name, value in rows),
            "  flash",
            *(
                f"    {region.offset_bytes:#010x}  {len(region.content):>8} bytes  {region.name}"
                for region in bundle.flash_regions()
            ),
        )
    )


def format_waiver_lines(document: Mapping[str, Any], *, now: datetime) -> list[str]:
    """Return one line for each waiver of a release, of any document that lists `waivers`."""
    return [f"  {format_waiver(waiver, now=now)}" for waiver in document["waivers"]]


def format_inspection(document: Mapping[str, Any], *, now: datetime) -> str:
    """Return the document of `inspect_bundle` as lines; `now` marks what has expired."""
    app, policy = document["app"], document["policy"]
    revisions = f"{document['hardware_revision_min']} to {document['hardware_revision_max']}"
    rows = [
        ("digest", document["digest"]),
        ("hardware", f"{document['hardware_class']}, revisions {revisions}"),
        ("chip", f"{document['chip']}, {document['flash_size_bytes']} bytes of flash"),
        ("app", f"{app['project_name'] or 'no descriptor'} {app['version'] or ''}".rstrip()),
        ("policy", f"version {policy['version']}, {policy['digest']}"),
    ]
    if minimum := document["minimum_current_counter"]:
        rows.append(("step", f"only for boards with release counter {minimum} or later"))
    if ends_at := document["support_ends_at"]:
        rows.append(("supported until", last_day_of(datetime.fromisoformat(ends_at))))
    rows += [
        (mode["name"], f"{', '.join(f'{peak_na / 1000:g}' for peak_na in mode['peaks_na'])} µA")
        for mode in (document["waveform"] or {"modes": ()})["modes"]
    ]
    head = f"{document['product']} {document['version']}"
    lines = [f"{head}, release counter {document['release_counter']} (nothing verified)"]
    lines += format_waiver_lines(document, now=now)
    lines += [f"  {name:<16} {value}" for name, value in rows]
    lines.append("  parts")
    for part in document["parts"]:
        outcome = "as stated" if part["matches"] else "NOT AS STATED"
        digest = part["sha256"][:_SHOWN_DIGITS]
        lines.append(f"    {part['name']:<24} {part['size_bytes']:>9}  {digest}  {outcome}")
    lines.append("  signatures" if document["signatures"] else "  not signed")
    lines += [f"    {entry['key']}  {entry['algorithm']}" for entry in document["signatures"]]
    lines += [f"  problem: {problem}" for problem in document["problems"]]
    return "\n".join(lines)
