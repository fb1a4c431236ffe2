"""What a publication, or a manifest that was extended, is said to be: a document, and words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.delta_output import describe_delta, format_worth
from firmware_images.release_constraints import describe_constraints
from firmware_images.waiver_text import format_waiver
from manifests.release_words import describe_asked

if TYPE_CHECKING:
    from manifests.publication import Publication
    from manifests.release_admission import SecureVersionCost
    from manifests.release_extension import Extension


def describe_publication(publication: Publication) -> dict[str, object]:
    """Return a publication as a document for scripts."""
    manifest, assignment = publication.manifest, publication.assignment
    return {
        "schema": "ampforge.publication/1",
        **_describe_manifest(publication),
        "is_new_release": publication.is_new_release,
        "app_sha256": manifest.app.sha256.hex(),
        "deltas": [
            {"base_version": one.base_version, **describe_delta(one.delta)}
            for one in publication.deltas
        ],
        "campaign": assignment.campaign,
        "assignment_sequence": assignment.sequence,
        "drawn_ppm": assignment.drawn_ppm,
        "pinned_serial_numbers": list(assignment.pinned_serial_numbers),
        "is_halted": assignment.is_halted,
        "assignment_expires_at": assignment.expires_at.isoformat(),
        "waivers": list(publication.waivers),
        **describe_constraints(manifest.constraints),
        "steps": [
            {"version": step.version, "release_counter": step.release_counter}
            for step in publication.way.steps
        ],
        "is_first_constrained": publication.is_first_constrained,
        "secure_version": manifest.app.secure_version,
        "secure_version_budget": _describe_cost(publication.cost),
    }


def format_publication(publication: Publication) -> str:
    """Return a publication as a person reads it."""
    manifest, assignment = publication.manifest, publication.assignment
    what = "published" if publication.is_new_release else "assigned"
    who = f"{assignment.drawn_ppm / 10_000:g} % of the {manifest.hardware_class} devices"
    if assignment.pinned_serial_numbers:
        who += f" and {', '.join(assignment.pinned_serial_numbers)}"
    state = "HALTED: nobody installs it" if assignment.is_halted else f"for {who}"
    issued_at = datetime.fromtimestamp(assignment.issued_at_s, UTC)
    waived = "".join(
        f"\n  {format_waiver(waiver, now=issued_at)}" for waiver in publication.waivers
    )
    patched = "".join(
        f"\n  from {one.base_version}: {format_worth(one.delta)}" for one in publication.deltas
    )
    words = describe_asked(publication.way, manifest, now=issued_at)
    asked = "".join(f"\n  {line}" for line in words)
    if publication.is_first_constrained:
        asked += (
            f"\n  the first for {manifest.hardware_class} in manifest format 2: boards whose "
            "firmware reads format 1 alone refuse it,\n    and need a release without step or "
            "support first"
        )
    cost = publication.cost
    spent = "" if cost is None else f"\n  {cost.budget}"
    if cost is not None and cost.bits:
        spent += f"; each board that takes it burns {cost.bits} more, for good"
    return (
        f"{what} release {manifest.version} (counter {manifest.release_counter}), {state}\n"
        f"  campaign {assignment.campaign!r}, assignment {assignment.sequence}, "
        f"until {assignment.expires_at:%Y-%m-%d}{waived}{asked}{patched}{spent}"
    )


def describe_extension(extension: Extension) -> dict[str, object]:
    """Return a manifest that was signed again as a document for scripts."""
    manifest, assignment = extension.manifest, extension.assignment
    return {
        "schema": "ampforge.extension/1",
        **_describe_manifest(extension),
        "expires_at": manifest.expires_at.isoformat(),
        "expired_at": extension.replaced.expires_at.isoformat(),
        "assignment_sequence": None if assignment is None else assignment.sequence,
        "assignment_expires_at": None if assignment is None else assignment.expires_at.isoformat(),
    }


def format_extension(extension: Extension, *, now: datetime) -> str:
    """Return a manifest that was signed again as a person reads it."""
    manifest, assignment = extension.manifest, extension.assignment
    name = (
        f"release {manifest.version} (counter {manifest.release_counter}, "
        f"{manifest.hardware_class})"
    )
    lines = [
        f"the manifest of {name} holds until {manifest.expires_at:%Y-%m-%d %H:%M} UTC",
        *describe_asked(extension.way, manifest, now=now),
    ]
    if assignment is None:
        lines.append("no assignment names it: give it out with `ampforge campaign create`")
    elif assignment.expires_at <= now:
        lines.append(
            f"campaign {assignment.campaign!r} has expired: nobody installs it until "
            "`ampforge campaign create`"
        )
    else:
        words = "stays HALTED" if assignment.is_halted else "goes on with it"
        lines.append(
            f"campaign {assignment.campaign!r} {words}, until "
            f"{assignment.expires_at:%Y-%m-%d %H:%M} UTC as before"
        )
    return "\n  ".join(lines)


def _describe_manifest(signed: Publication | Extension) -> dict[str, object]:
    manifest = signed.manifest
    return {
        "version": manifest.version,
        "release_counter": manifest.release_counter,
        "hardware_class": manifest.hardware_class,
        "manifest_sha256": signed.manifest_sha256.hex(),
    }


def _describe_cost(cost: SecureVersionCost | None) -> dict[str, int] | None:
    if cost is None:
        return None
    budget = cost.budget
    return {
        "highest": budget.highest,
        "bits": budget.bits,
        "left": budget.left,
        "costs": cost.bits,
    }
