"""Which published releases lead devices to one that asks for a step, and who is left behind.

A device may take a release if its own counter is not below the one that the release asks for. So
what a device with some counter can come to, one with a higher counter can, too, and the devices
that come to a release are all from some counter on: its *floor*. It is found backwards: each
release that devices still take, and from which the release can be reached, lowers the floor to what
it asks for itself. Hardware revisions have floors of their own, since a step may be for some only.

Implements docs/spec/repository-layout.md §4.1; the device's half is `update_steps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.errors import FirmwareImageError
from firmware_images.release_constraints import describe_span
from manifests.assignment import STEPS_MAX_COUNT
from manifests.errors import DeviceMessageError, RepositoryError
from manifests.manifest import Manifest
from manifests.published_releases import list_releases, read_listed_manifest
from manifests.release_admission import load_manifest_in_force
from manifests.withdrawal import list_withdrawals
from signing.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from manifests.published_releases import PublishedRelease
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StepGap:
    """Devices that nothing published leads to a release.

    Attributes:
        revision_min: Lowest hardware revision.
        revision_max: Highest hardware revision.
        floor: They have a lower release counter than this.
        is_whole: Whether they are of every revision that the release is for.
    """

    revision_min: int
    revision_max: int
    floor: int
    is_whole: bool = True

    def __str__(self) -> str:
        devices = f"devices with a release counter below {self.floor}"
        if self.is_whole:
            return devices
        revisions = describe_span(self.revision_min, self.revision_max)
        return f"{devices} and hardware revision {revisions}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """How devices come to a release.

    Attributes:
        steps: Releases that lead to it, of rising counter; for every hardware revision.
        gaps: Devices that may exist, and that none of them leads there.
    """

    steps: tuple[PublishedRelease, ...] = ()
    gaps: tuple[StepGap, ...] = ()

    def manifests_sha256(self) -> tuple[bytes, ...]:
        """Return what an assignment says of the steps.

        Raises:
            RepositoryError: There are more than it can say.
        """
        if len(self.steps) > STEPS_MAX_COUNT:
            raise RepositoryError(
                "too many releases lead to this one",
                expected=f"at most {STEPS_MAX_COUNT} steps",
                got=", ".join(f"{one.version} ({one.release_counter})" for one in self.steps),
                hint="publish a release for more hardware revisions, or one that asks for less",
            )
        return tuple(step.manifest_sha256 for step in self.steps)


class _Planner:
    """The releases that may be steps to one, and which of them devices still take."""

    def __init__(
        self,
        store: Store,
        metadata: RepositoryMetadata,
        trust: TrustRecord,
        releases: Sequence[PublishedRelease],
        target: Manifest,
        *,
        now: datetime,
    ) -> None:
        self._store, self._metadata, self._trust, self._now = store, metadata, trust, now
        self._target = target
        self._of_class = [one for one in releases if one.hardware_class == target.hardware_class]
        self._taken: dict[bytes, Manifest | None] = {}
        self.steps: dict[bytes, PublishedRelease] = {}

    def lead(self, revision_min: int, revision_max: int, floor: int) -> list[StepGap]:
        """Add steps for these hardware revisions; return where they lead from no further."""
        if not floor or revision_min > revision_max:
            return []
        options = [
            one
            for one in self._of_class
            if floor <= one.release_counter < self._target.release_counter
            and one.constraints.minimum_current_counter < floor
        ]
        # The one that asks for least, and of those the latest.
        options.sort(key=lambda one: one.release_counter, reverse=True)
        options.sort(key=lambda one: one.constraints.minimum_current_counter)
        for option in options:
            manifest = self.load_taken(option)
            if manifest is None:
                continue
            lowest = max(revision_min, manifest.hardware_revision_min)
            highest = min(revision_max, manifest.hardware_revision_max)
            if lowest > highest:
                continue
            self.steps[option.manifest_sha256] = option
            return [
                *self.lead(revision_min, lowest - 1, floor),
                *self.lead(lowest, highest, option.constraints.minimum_current_counter),
                *self.lead(highest + 1, revision_max, floor),
            ]
        return [StepGap(revision_min=revision_min, revision_max=revision_max, floor=floor)]

    def load_taken(self, release: PublishedRelease) -> Manifest | None:
        """Return the manifest of a release that devices still take; else `None`."""
        digest = release.manifest_sha256
        if digest not in self._taken:
            self._taken[digest] = _load_taken(
                self._store, self._metadata, self._trust, release, self._now
            )
        return self._taken[digest]

    def has_step(self) -> bool:
        """Whether devices still take any release from which this one is taken directly."""
        lowest = self._target.constraints.minimum_current_counter
        return any(
            lowest <= one.release_counter < self._target.release_counter
            and self.load_taken(one) is not None
            for one in self._of_class
        )

    def is_known_below(self, gap: StepGap) -> bool:
        """Whether devices were ever given a release from which nothing leads on."""
        if any(
            one.hardware_class == self._target.hardware_class and one.release_counter < gap.floor
            for one in list_withdrawals(self._metadata)
        ):
            return True  # for which hardware revisions is not known any more
        manifests = (
            read_listed_manifest(self._store, self._metadata, one)
            for one in self._of_class
            if one.release_counter < gap.floor
        )
        return any(
            manifest.hardware_revision_min <= gap.revision_max
            and gap.revision_min <= manifest.hardware_revision_max
            for manifest in manifests
        )


def plan_steps(
    store: Store,
    metadata: RepositoryMetadata,
    trust: TrustRecord,
    releases: Sequence[PublishedRelease],
    release: Manifest | PublishedRelease,
    *,
    now: datetime,
) -> StepPlan:
    """Return how devices below a release's step come to it, by what is published.

    None leads there whose support or a waiver has ended, whose manifest has expired, or that the
    trust record refuses since a key was revoked or the lowest policy version was raised. A gap is
    told if devices in it may exist: if a release for them was published, or if nothing at all
    leads directly to the release.

    Args:
        store: The repository.
        metadata: The repository's.
        trust: The product's trust record.
        releases: What `list_releases` says of the metadata.
        release: The one that is led to.
        now: The present, UTC.
    """
    floor = release.constraints.minimum_current_counter
    if not floor:
        return StepPlan()
    target = release
    if not isinstance(target, Manifest):
        target = read_listed_manifest(store, metadata, target)
    planner = _Planner(store, metadata, trust, releases, target, now=now)
    lowest, highest = target.hardware_revision_min, target.hardware_revision_max
    found = planner.lead(lowest, highest, floor)
    gaps = (
        StepGap(
            revision_min=gap.revision_min,
            revision_max=gap.revision_max,
            floor=gap.floor,
            is_whole=(gap.revision_min, gap.revision_max) == (lowest, highest),
        )
        for gap in found
    )
    is_led = not found or planner.has_step()
    return StepPlan(
        steps=tuple(sorted(planner.steps.values(), key=lambda one: one.release_counter)),
        gaps=tuple(gap for gap in gaps if not is_led or planner.is_known_below(gap)),
    )


def list_unled(
    store: Store, metadata: RepositoryMetadata, trust: TrustRecord, *, now: datetime
) -> tuple[PublishedRelease, ...]:
    """Return the published releases to which nothing leads some of the devices any more."""
    releases = list_releases(metadata)
    return tuple(
        release
        for release in releases
        if plan_steps(store, metadata, trust, releases, release, now=now).gaps
    )


def refuse_gaps(plan: StepPlan, releases: Sequence[PublishedRelease], manifest: Manifest) -> None:
    """Refuse a release that some devices could never come to.

    Args:
        plan: What `plan_steps` found.
        releases: What is published.
        manifest: The release's.

    Raises:
        RepositoryError: Nothing published leads some devices to it.
    """
    if not plan.gaps:
        return
    gap = plan.gaps[0]
    published = [
        str(release.release_counter)
        for release in releases
        if release.hardware_class == manifest.hardware_class
    ]
    revisions = describe_span(gap.revision_min, gap.revision_max)
    raise RepositoryError(
        f"no published release leads to release {manifest.version}: {gap} could never take it",
        expected=f"a published release that {manifest.hardware_class} boards of hardware revision "
        f"{revisions} still take, with counter "
        f"{describe_span(gap.floor, manifest.release_counter - 1)}",
        got=f"counters {', '.join(published)}" if published else "none",
        hint="publish the step first, or correct minimum_current_counter in [release]; a step "
        "whose manifest has expired is signed again with `ampforge repo extend`",
    )


def _load_taken(
    store: Store,
    metadata: RepositoryMetadata,
    trust: TrustRecord,
    release: PublishedRelease,
    now: datetime,
) -> Manifest | None:
    try:
        return load_manifest_in_force(store, metadata, trust, release, now=now)
    except (RepositoryError, DeviceMessageError, FirmwareImageError, SigningError):
        return None
