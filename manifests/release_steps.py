"""Which release leads to which: what devices must have taken before, and what still leads there.

Judges values and reads manifests; `publishing` asks before it signs, status and audit tell it
(docs/spec/repository-layout.md §4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.release_constraints import describe_span, last_day_of
from manifests.errors import DeviceMessageError, RepositoryError
from manifests.published_releases import list_releases
from manifests.release_admission import SUPPORT_ENDS_SOON, load_manifest_in_force
from signing.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from manifests.manifest import Manifest
    from manifests.published_releases import PublishedRelease
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord


def describe_asked(
    step: PublishedRelease | None, release: Manifest | PublishedRelease, *, now: datetime
) -> tuple[str, ...]:
    """Return in words what a release asks of devices, and whether that can still be had.

    Args:
        step: What `find_step` found.
        release: The release.
        now: The present, UTC.
    """
    lines = []
    if minimum := release.constraints.minimum_current_counter:
        lines.append(
            f"only for devices with release counter {minimum} or later; others take "
            f"{step.version} (counter {step.release_counter}) first"
            if step
            else f"only for devices with release counter {minimum} or later; NOTHING PUBLISHED "
            "LEADS TO IT: publish a step"
        )
    if ends_at := release.constraints.support_ends_at:
        day = last_day_of(ends_at)
        remedy = "publish a release with a later supported_until"
        if now >= ends_at:
            lines.append(f"SUPPORT ENDED on {day}: no device installs it; {remedy}")
        elif ends_at - now <= SUPPORT_ENDS_SOON:
            lines.append(f"supported until {day}, which is soon: {remedy}")
        else:
            lines.append(f"supported until {day}")
    return tuple(lines)


def find_step(
    store: Store,
    metadata: RepositoryMetadata,
    trust: TrustRecord,
    releases: Sequence[PublishedRelease],
    release: Manifest | PublishedRelease,
    *,
    now: datetime,
) -> PublishedRelease | None:
    """Return the published release that devices take before one; `None` if none leads to it.

    None does whose support or a waiver has ended, whose manifest has expired, or that the trust
    record refuses since a key was revoked or the lowest policy version was raised.

    Args:
        store: The repository.
        metadata: The repository's.
        trust: The product's trust record.
        releases: What `list_releases` says of the metadata.
        release: The one that is led to.
        now: The present, UTC.
    """
    minimum = release.constraints.minimum_current_counter
    steps = [
        step
        for step in releases
        if minimum
        and step.hardware_class == release.hardware_class
        and minimum <= step.release_counter < release.release_counter
    ]
    # The one that asks for least: a step may have a step of its own.
    steps.sort(key=lambda step: step.constraints.minimum_current_counter)
    return next((step for step in steps if _is_taken(store, metadata, trust, step, now)), None)


def _is_taken(
    store: Store,
    metadata: RepositoryMetadata,
    trust: TrustRecord,
    release: PublishedRelease,
    now: datetime,
) -> bool:
    try:
        manifest = load_manifest_in_force(store, metadata, trust, release, now=now)
    except (RepositoryError, DeviceMessageError, SigningError):
        return False
    return manifest.waveform.policy_version >= trust.minimum_policy_version


def list_unled(
    store: Store, metadata: RepositoryMetadata, trust: TrustRecord, *, now: datetime
) -> tuple[PublishedRelease, ...]:
    """Return the published releases that ask for a step which no device can take any more."""
    releases = list_releases(metadata)
    return tuple(
        release
        for release in releases
        if release.constraints.minimum_current_counter
        and find_step(store, metadata, trust, releases, release, now=now) is None
    )


def refuse_missing_step(
    step: PublishedRelease | None, releases: Sequence[PublishedRelease], manifest: Manifest
) -> None:
    """Refuse a release with a step that nobody can take.

    Args:
        step: What `find_step` found.
        releases: What is published.
        manifest: The release's.

    Raises:
        RepositoryError: No published release leads to it.
    """
    minimum = manifest.constraints.minimum_current_counter
    if not minimum or step is not None:
        return
    published = [
        str(release.release_counter)
        for release in releases
        if release.hardware_class == manifest.hardware_class
    ]
    raise RepositoryError(
        f"no published release leads to release {manifest.version}: devices below its step "
        "could never take it",
        expected=f"a published release that {manifest.hardware_class} boards still take, with "
        f"counter {describe_span(minimum, manifest.release_counter - 1)}",
        got=f"counters {', '.join(published)}" if published else "none",
        hint="publish the step first, or correct minimum_current_counter in [release]; a step "
        "whose manifest has expired is signed again with `ampforge repo extend`",
    )
