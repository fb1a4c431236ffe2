"""What a manifest must not say, although each of its fields is within its bounds.

Implements docs/spec/manifest.md §3, for `manifest.parse_manifest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.errors import DeviceMessageError

if TYPE_CHECKING:
    from manifests.manifest import Manifest


def refuse_contradictions(manifest: Manifest, *, is_constrained: bool) -> None:
    """Refuse a manifest whose fields contradict each other.

    Args:
        manifest: Every field within its own bounds.
        is_constrained: Whether it has the format that states step and support.

    Raises:
        DeviceMessageError: They do.
    """
    if manifest.hardware_revision_min > manifest.hardware_revision_max:
        raise DeviceMessageError(
            "no hardware revision fits the manifest",
            expected="lowest <= highest",
            got=f"{manifest.hardware_revision_min} to {manifest.hardware_revision_max}",
            where="manifest, fields 6 and 7",
        )
    _refuse_useless_deltas(manifest)
    if is_constrained:
        _refuse_odd_constraints(manifest)


def _refuse_useless_deltas(manifest: Manifest) -> None:
    bases = [delta.base_sha256 for delta in manifest.deltas]
    for what, expected, is_refused in (
        ("are not sorted, or name a base twice", "ascending bases", bases != sorted(set(bases))),
        ("start from their own result", "earlier applications", manifest.app.sha256 in bases),
        (
            "are not smaller than their result",
            f"patches below {manifest.app.size_bytes} bytes",
            any(d.patch_size_bytes >= manifest.app.size_bytes for d in manifest.deltas),
        ),
    ):
        if is_refused:
            raise DeviceMessageError(
                f"the deltas of a manifest {what}",
                expected=expected,
                where="manifest, field 13 (deltas)",
            )


def _refuse_odd_constraints(manifest: Manifest) -> None:
    constraints = manifest.constraints
    for what, expected, got, key, is_refused in (
        (
            "asks nothing and should have format 1",
            "a lowest current release counter, or an end of support",
            "neither",
            "14 and 15",
            constraints.is_empty,
        ),
        (
            "asks for a step that does not come before it",
            f"a lowest current release counter below {manifest.release_counter}",
            constraints.minimum_current_counter,
            "14",
            constraints.minimum_current_counter >= manifest.release_counter,
        ),
        (
            "outlives the support of its release",
            f"an end of support at or after the expiry, {manifest.expires_at_s}",
            constraints.support_ends_at_s,
            "15",
            0 < constraints.support_ends_at_s < manifest.expires_at_s,
        ),
    ):
        if is_refused:
            raise DeviceMessageError(
                f"the manifest {what}",
                expected=expected,
                got=got,
                where=f"manifest, field {key}",
            )
