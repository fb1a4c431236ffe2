"""What becomes of a release after it was published: promoted to more devices, or withdrawn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from manifests.assignment import ALL_DEVICES_PPM
from manifests.assignment_sequence import succeed_assignment
from manifests.errors import RepositoryError
from manifests.publication import AssignmentPlan
from manifests.published_releases import find_bundle, find_release, read_listed_assignment
from manifests.repository import NewFile, publish_files
from manifests.repository_reading import load_repository
from manifests.withdrawal import (
    build_withdrawal_file,
    list_withdrawals,
    refuse_withdrawn_version,
)

if TYPE_CHECKING:
    from datetime import datetime

    from manifests.assignment import Assignment
    from manifests.publication import Publication
    from manifests.published_releases import PublishedRelease
    from manifests.publishing import Publisher
    from manifests.tuf_metadata import RepositoryMetadata
    from manifests.withdrawal import Withdrawal


def promote_release(
    publisher: Publisher,
    version: str,
    *,
    now: datetime,
    drawn_ppm: int = ALL_DEVICES_PPM,
    hardware_class: str | None = None,
) -> Publication:
    """Give a release that some devices have been assigned to more of them.

    The campaign goes on: the devices that were drawn, and those that are pinned, stay.

    Args:
        publisher: The repository and its keys.
        version: The release's version.
        drawn_ppm: Share of the devices from now on, parts per million; above what it is.
        now: The present, UTC.
        hardware_class: Which boards; needed where the version is published for several.

    Raises:
        RepositoryError: The release is not the one that is assigned now, it is halted, or the
            share would not grow.
    """
    with publisher.store.exclusively():
        current = load_repository(publisher.store)
        refuse_withdrawn_version(current, version, hardware_class)
        published = find_release(current, version, hardware_class)
        running = read_listed_assignment(publisher.store, current, published.hardware_class)
        plan = _promoted(running, published, drawn_ppm)
        return publisher.assign_release(current, published, plan, now=now)


def _promoted(
    running: Assignment | None, published: PublishedRelease, drawn_ppm: int
) -> AssignmentPlan:
    """Return the plan that goes on with a running campaign for more devices."""
    version = published.version
    if running is None or running.manifest_sha256 != published.manifest_sha256:
        raise RepositoryError(
            f"release {version} is assigned to nobody now, so it cannot be promoted",
            expected=f"a running campaign of {version} for {published.hardware_class}",
            got="no campaign" if running is None else f"{running.campaign!r} of another one",
            hint=f"start one: `ampforge campaign create --release {version} --name NAME`",
        )
    if running.is_halted or drawn_ppm <= running.drawn_ppm:
        raise RepositoryError(
            f"campaign {running.campaign!r} cannot be promoted so",
            expected="a campaign that runs, and a larger share than it has",
            got="it is halted"
            if running.is_halted
            else f"{drawn_ppm / 10_000:g} % after {running.drawn_ppm / 10_000:g} %",
            hint="`ampforge campaign create` halts, narrows and resumes under the same name",
        )
    return AssignmentPlan(
        campaign=running.campaign,
        drawn_ppm=drawn_ppm,
        pinned_serial_numbers=running.pinned_serial_numbers,
    )


def withdraw_release(
    publisher: Publisher,
    version: str,
    *,
    reason: str,
    now: datetime,
    hardware_class: str | None = None,
    release_counter: int | None = None,
) -> tuple[Withdrawal, bool]:
    """Take a release back: it is listed as withdrawn, and a campaign of it is halted.

    A campaign to which it is a step goes on without it.

    Args:
        publisher: The repository and its keys.
        version: The release's version.
        reason: Why, for people.
        now: The present, UTC.
        hardware_class: Which boards; needed where the version is published for several.
        release_counter: Which release; needed where the version is published with several.

    Returns:
        What is listed, and whether a campaign was halted.

    Raises:
        RepositoryError: No such release is published, it was withdrawn, or keys are missing.
    """
    with publisher.store.exclusively():
        current = load_repository(publisher.store)
        refuse_withdrawn_version(current, version, hardware_class)
        published = find_release(
            current, version, hardware_class, release_counter=release_counter, is_only=True
        )
        running = read_listed_assignment(publisher.store, current, published.hardware_class)
        digest = published.manifest_sha256
        is_halted = running is not None and running.manifest_sha256 == digest
        changed: tuple[NewFile, ...] = ()
        if running is not None and (is_halted or digest in running.steps_sha256):
            expires_at = now + publisher.settings.lifetime("campaign")
            following = replace(
                succeed_assignment(publisher.store, current, running, now=now),
                steps_sha256=tuple(one for one in running.steps_sha256 if one != digest),
            )
            if is_halted:
                # Nobody is selected: without steps and pins, no lack of room can keep the halt.
                following = replace(
                    following,
                    is_halted=True,
                    expires_at_s=int(expires_at.timestamp()),
                    steps_sha256=(),
                    pinned_serial_numbers=(),
                )
            changed = (publisher.assignment_file(following, current),)
        bundles, lies_at = _find_bundle(current, published)
        after = publish_files(
            publisher.store,
            publisher.signers,
            publisher.settings,
            before=current,
            releases=(
                build_withdrawal_file(published, reason=reason, now=now, bundle_path=lies_at),
            ),
            withdrawn_paths=(published.target_path, *bundles),
            assignments=changed,
            now=now,
        )
    (withdrawal,) = (
        one for one in list_withdrawals(after) if one.manifest_sha256 == published.manifest_sha256
    )
    return withdrawal, is_halted


def _find_bundle(
    metadata: RepositoryMetadata, release: PublishedRelease
) -> tuple[tuple[str, ...], str]:
    """Return the target of a release's bundle and where it lies; nothing if none is listed."""
    try:
        path, entry = find_bundle(metadata, release.release_counter)
    except RepositoryError:
        return (), ""  # `repo verify` says so; it must not keep a release from being taken back
    return (path,), f"targets/{entry.get_prefixed_paths()[0]}"
