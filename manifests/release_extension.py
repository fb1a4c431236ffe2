"""A release's manifest signed again for a longer time: the same release, under its own counter.

The new manifest says what the old one says, but for issued and expires. A device with the release
runs both images, and so is up to date; one without it takes the new manifest as it would have taken
the old one; the old one expires as it was going to. Implements docs/spec/repository-layout.md §12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firmware_images.bundle import verify_bundle
from firmware_images.waiver_judging import refuse_out_of_force
from manifests.assignment_sequence import succeed_assignment
from manifests.errors import RepositoryError
from manifests.manifest import Manifest, message_digest, verify_manifest
from manifests.published_releases import (
    find_bundle,
    find_release,
    list_releases,
    read_listed_assignment,
)
from manifests.publisher_clock import refuse_wrong_clock
from manifests.release_admission import expires_at, refuse_unsupported
from manifests.release_files import (
    build_manifest_file,
    derive_manifest,
    describe_revisions,
    list_differing_facts,
)
from manifests.release_steps import plan_steps
from manifests.repository import publish_files
from manifests.repository_reading import load_repository, read_target
from manifests.withdrawal import refuse_withdrawn_version

if TYPE_CHECKING:
    from datetime import datetime

    from manifests.assignment import Assignment
    from manifests.published_releases import PublishedRelease
    from manifests.publishing import Publisher
    from manifests.release_steps import StepPlan
    from manifests.tuf_metadata import RepositoryMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A manifest that took the place of another.

    Attributes:
        manifest: The new one.
        manifest_sha256: Names its signed message.
        replaced: The one before.
        assignment: The assignment in force, which names the new one now, as its release or as a
            step to it; `None` if it names neither.
        way: The releases that devices below its lowest current counter take first.
    """

    manifest: Manifest
    manifest_sha256: bytes
    replaced: Manifest
    assignment: Assignment | None
    way: StepPlan


def extend_release(
    publisher: Publisher,
    version: str,
    *,
    now: datetime,
    hardware_class: str | None = None,
    release_counter: int | None = None,
) -> Extension:
    """Sign the manifest of a published release again, to hold from now on for its whole lifetime.

    Args:
        publisher: The repository, and the keys of release, campaign, snapshot and timestamp.
        version: The release's version.
        now: The present, UTC.
        hardware_class: Which boards; needed where the version is published for several.
        release_counter: Which release; needed where the version is published with several.

    Raises:
        RepositoryError: No such release is published, its support has ended, its manifest would
            not hold for longer, it is not what its bundle says, or keys are missing.
        SigningError, FirmwareImageError: The trust record refuses its manifest or its bundle.
        WaiverError: What of the limits was waived for it no longer is.
    """
    with publisher.store.exclusively():
        current = load_repository(publisher.store)
        refuse_wrong_clock(publisher.store, current, publisher.settings, now=now)
        refuse_withdrawn_version(current, version, hardware_class)
        release = find_release(
            current, version, hardware_class, release_counter=release_counter, is_only=True
        )
        old = _verify_release(publisher, current, release, now=now)
        until = expires_at(now, publisher.settings.lifetime("manifest"), old.constraints)
        _refuse_no_gain(old, until)
        manifest = replace(
            old, issued_at_s=int(now.timestamp()), expires_at_s=int(until.timestamp())
        )
        message = publisher.sign_manifest(manifest)
        verify_manifest(message, publisher.trust)
        running = read_listed_assignment(publisher.store, current, release.hardware_class)
        assignment = None
        if running is not None:
            following = succeed_assignment(publisher.store, current, running, now=now)
            assignment = _renamed(following, release.manifest_sha256, message_digest(message))
        custom = current.targets.signed.targets[release.target_path].custom
        # A release of before is told with its hardware revisions from now on.
        told = describe_revisions(manifest) | {
            "replaces": [*custom.get("replaces", ()), release.manifest_sha256.hex()]
        }
        way = plan_steps(
            publisher.store, current, publisher.trust, list_releases(current), release, now=now
        )
        publish_files(
            publisher.store,
            publisher.signers,
            publisher.settings,
            before=current,
            releases=(build_manifest_file(message, custom | told),),
            withdrawn_paths=(release.target_path,),
            assignments=()
            if assignment is None
            else (publisher.assignment_file(assignment, current),),
            now=now,
        )
    return Extension(
        manifest=manifest,
        manifest_sha256=message_digest(message),
        replaced=old,
        assignment=assignment,
        way=way,
    )


def _renamed(following: Assignment, old_sha256: bytes, new_sha256: bytes) -> Assignment | None:
    """Return the assignment with the new manifest in place of the old; `None` without the old."""

    def renewed(digest: bytes) -> bytes:
        return new_sha256 if digest == old_sha256 else digest

    if old_sha256 not in {following.manifest_sha256, *following.steps_sha256}:
        return None
    # Share, draw, halt and end stay: the campaign's owner decides about those.
    return replace(
        following,
        manifest_sha256=renewed(following.manifest_sha256),
        steps_sha256=tuple(map(renewed, following.steps_sha256)),
    )


def _verify_release(
    publisher: Publisher, current: RepositoryMetadata, release: PublishedRelease, *, now: datetime
) -> Manifest:
    """Return a release's manifest, verified as when it was published: from its bundle."""
    targets = current.targets.signed.targets
    manifest = verify_manifest(
        read_target(publisher.store, targets[release.target_path]), publisher.trust
    )
    refuse_unsupported(release.version, manifest.constraints, now=now)
    path, entry = find_bundle(current, release.release_counter)
    bundle = verify_bundle(read_target(publisher.store, entry), publisher.trust, where=path)
    refuse_out_of_force(bundle.waivers, now=now)
    derived = derive_manifest(bundle, issued_at=manifest.issued_at, expires_at=manifest.expires_at)
    differing = list_differing_facts(derived, manifest)
    if differing:
        raise RepositoryError(
            "the manifest says something else than its bundle",
            expected="what the bundle says",
            got=f"another {', '.join(differing)}",
            where=release.target_path,
            hint="nothing was signed: run `ampforge repo verify`, and find out who changed it",
        )
    return manifest


def _refuse_no_gain(old: Manifest, until: datetime) -> None:
    if until <= old.expires_at:
        is_bound = old.expires_at == old.constraints.support_ends_at
        raise RepositoryError(
            f"the manifest of release {old.version} would not hold for longer",
            expected=f"an end after {old.expires_at:%Y-%m-%d %H:%M} UTC",
            got=f"{until:%Y-%m-%d %H:%M} UTC",
            hint="it holds until the end of its support: publish a release with a later "
            "supported_until"
            if is_bound
            else "extend it later, or raise manifest_expires_days in [repository]",
        )
