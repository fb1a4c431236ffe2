"""May this release be published or assigned: its support, and what it costs the boards.

`publishing` asks before it signs (docs/spec/repository-layout.md §4.1); whether devices can come to
it is asked in `release_steps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from firmware_images.release_constraints import last_day_of
from firmware_images.secure_version import SecureVersionBudget, find_budget
from firmware_images.waiver_text import format_waiver
from manifests.assignment import ALL_DEVICES_PPM
from manifests.errors import RepositoryError
from manifests.published_releases import (
    find_release,
    name_extension,
    read_listed_manifest,
)
from manifests.release_verdict import verify_published
from manifests.repository_reading import load_repository
from manifests.withdrawal import list_withdrawals, refuse_withdrawn_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from firmware_images.bundle import Bundle
    from firmware_images.release_constraints import ReleaseConstraints
    from firmware_images.release_statement import ReleaseStatement
    from manifests.assignment import Assignment
    from manifests.manifest import Manifest
    from manifests.publication import AssignmentPlan
    from manifests.published_releases import PublishedRelease
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureVersionCost:
    """What a release does to the anti-rollback counter of each board that takes it.

    Attributes:
        budget: What is left after it.
        bits: eFuse bits that a board with the release before it burns.
    """

    budget: SecureVersionBudget
    bits: int


def refuse_more_devices(
    running: Assignment | None, published: PublishedRelease, plan: AssignmentPlan
) -> None:
    """Refuse to give a published release to more devices by publishing it again.

    Whoever repeats the command, after a crash or by mistake, means no wider campaign.

    Args:
        running: The assignment in force for its hardware class.
        published: The release.
        plan: Who would install it.

    Raises:
        RepositoryError: It is assigned to fewer devices, or halted.
    """
    if running is None or running.manifest_sha256 != published.manifest_sha256:
        return
    running_percent = f"{running.drawn_ppm / 10_000:g}"
    percent = f"{plan.drawn_ppm / 10_000:g}"
    is_drawn_anew = (
        plan.campaign != running.campaign
        and plan.drawn_ppm > 0
        and running.drawn_ppm < ALL_DEVICES_PPM
    )
    if running.is_halted and not plan.is_halted:
        expected, hint = "a halted campaign", "`ampforge campaign create` resumes it"
    elif plan.drawn_ppm > running.drawn_ppm or is_drawn_anew:
        expected = f"at most {running_percent} % in campaign {running.campaign!r}"
        hint = (
            f"for more devices: `ampforge repo promote {published.version} --percent N`; to repeat "
            f"the command: --campaign {running.campaign!r} --percent {running_percent}"
        )
    else:
        return
    raise RepositoryError(
        f"release {published.version} is published already, and not to so many devices",
        expected=expected,
        got=f"{percent} % in campaign {plan.campaign!r}",
        hint=hint,
    )


def refuse_unsupported(version: str, constraints: ReleaseConstraints, *, now: datetime) -> None:
    """Refuse to give a release to anybody after its support has ended.

    Raises:
        RepositoryError: It has.
    """
    ends_at = constraints.support_ends_at
    if ends_at is not None and not constraints.is_supported(now):
        raise RepositoryError(
            f"the support of release {version} has ended: it is given to nobody else",
            expected=f"a release that is supported at {now:%Y-%m-%d %H:%M} UTC",
            got=f"support until {last_day_of(ends_at)}",
            hint="set a later supported_until in [product], and build, sign and publish a release "
            "with a higher release_counter",
        )


def refuse_expired_waivers(release: PublishedRelease, *, now: datetime) -> None:
    """Refuse to give a release to anybody after one of its waivers has expired.

    Raises:
        RepositoryError: One has.
    """
    for waiver in release.waivers:
        if now >= datetime.fromisoformat(str(waiver["expires_at"])):
            raise RepositoryError(
                f"release {release.version} may be given to nobody else: its waiver has expired",
                expected=f"a release whose waivers hold at {now:%Y-%m-%d %H:%M} UTC",
                got=format_waiver(waiver, now=now),
                hint="halt the campaign, and publish a release that keeps to the limit",
            )


def expires_at(now: datetime, lifetime: timedelta, constraints: ReleaseConstraints) -> datetime:
    """Return until when a message about a release holds: never beyond its support.

    That is how a device without a clock learns of the end: freshness tells it the time, and
    manifest and assignment have expired (docs/spec/manifest.md §3.1).
    """
    ends_at = constraints.support_ends_at
    usual = now + lifetime
    return usual if ends_at is None else min(usual, ends_at)


def judge_secure_version(
    store: Store,
    metadata: RepositoryMetadata,
    releases: Sequence[PublishedRelease],
    statement: ReleaseStatement,
    *,
    bits: int | None,
) -> SecureVersionCost:
    """Return what a release costs the boards that run the one before, within the budget.

    Args:
        store: The repository.
        metadata: The repository's.
        releases: What `list_releases` says of that.
        statement: Of the release.
        bits: What the product uses of the chip's field; `None` for all of it.

    Raises:
        SecureVersionError: The release is beyond the budget.
    """
    secure_version = statement.app.secure_version or 0
    budget = find_budget(statement.chip, bits=bits, highest=secure_version)
    budget.refuse_beyond(secure_version, where=f"release {statement.version}")
    before = [
        release
        for release in releases
        if release.hardware_class == statement.hardware_class
        and release.release_counter < statement.release_counter
    ]
    burned = read_listed_manifest(store, metadata, before[-1]).app.secure_version if before else 0
    return SecureVersionCost(budget=budget, bits=max(secure_version - burned, 0))


def load_current_manifest(
    store: Store,
    trust: TrustRecord,
    version: str,
    *,
    now: datetime,
    hardware_class: str | None = None,
) -> Manifest:
    """Return the verified manifest of a published release that may be given to somebody now.

    Args:
        store: The repository.
        trust: The product's trust record.
        version: The release's version.
        now: The present, UTC.
        hardware_class: Which boards; needed where the version is published for several.

    Raises:
        RepositoryError: It is not published, was withdrawn, or it or its support, or a waiver of
            it, has expired.
        DeviceMessageError, SigningError, FirmwareImageError: Devices refuse it, or its table.
    """
    metadata = load_repository(store)
    refuse_withdrawn_version(metadata, version, hardware_class)
    release = find_release(metadata, version, hardware_class)
    return load_manifest_in_force(store, metadata, trust, release, now=now)


def load_manifest_in_force(
    store: Store,
    metadata: RepositoryMetadata,
    trust: TrustRecord,
    release: PublishedRelease,
    *,
    now: datetime,
) -> Manifest:
    """Return the verified manifest of a release, if it may be given to somebody now.

    Args:
        store: The repository.
        metadata: The repository's.
        trust: The product's trust record.
        release: The release.
        now: The present, UTC.

    Raises:
        RepositoryError: It or its support, or a waiver of it, has expired.
        DeviceMessageError, SigningError, FirmwareImageError: Devices refuse it, or its table.
    """
    manifest = verify_published(store, metadata, trust, release)
    refuse_unsupported(release.version, manifest.constraints, now=now)
    refuse_expired_waivers(release, now=now)
    refuse_expired(manifest, now=now)
    return manifest


def refuse_expired(manifest: Manifest, *, now: datetime) -> None:
    """Refuse to give a release to anybody after its manifest has expired.

    Raises:
        RepositoryError: It has.
    """
    if manifest.expires_at <= now:
        raise RepositoryError(
            f"the manifest of release {manifest.version} has expired: no device installs it",
            expected=f"a manifest valid at {now:%Y-%m-%d %H:%M} UTC",
            got=f"one that expired {manifest.expires_at:%Y-%m-%d %H:%M} UTC",
            hint=f"sign it again first: `{name_extension(manifest)}`",
        )


def is_first_constrained(before: Sequence[PublishedRelease], manifest: Manifest) -> bool:
    """Whether a release is the first for its hardware class that asks something of devices.

    Args:
        before: What is published, without it.
        manifest: The release's.
    """
    of_class = [
        release.constraints
        for release in before
        if release.hardware_class == manifest.hardware_class
    ]
    return (
        not manifest.constraints.is_empty
        and bool(of_class)
        and all(constraints.is_empty for constraints in of_class)
    )


def find_same(
    metadata: RepositoryMetadata, releases: Sequence[PublishedRelease], bundle: Bundle
) -> PublishedRelease | None:
    """Return the published release of a bundle, if it is published already.

    Args:
        metadata: The repository's.
        releases: What `list_releases` says of that.
        bundle: The verified bundle.

    Raises:
        RepositoryError: Another release has its counter, or a later one is published.
    """
    statement = bundle.statement
    for release in releases:
        if release.bundle_sha256 == bundle.digest:
            return release
    counters = [release.release_counter for release in releases]
    counters += [withdrawal.release_counter for withdrawal in list_withdrawals(metadata)]
    latest = max(counters, default=0)
    if statement.release_counter <= latest:
        raise RepositoryError(
            "a release with this counter, or a later one, is published already",
            expected=f"release counter {latest + 1} or later",
            got=f"{statement.release_counter} (version {statement.version})",
            hint="raise release_counter in [release], and build and sign the bundle again",
        )
    return None
