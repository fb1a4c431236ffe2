"""What a repository holds, when what expires and who must act, as a document.

Its schema is `ampforge.repo-status/1` (docs/spec/repository-layout.md §6); `status_words` puts it
into words.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from firmware_images.errors import FirmwareImageError
from firmware_images.release_constraints import describe_constraints
from firmware_images.waiver_text import format_waiver
from manifests.assignment import verify_assignment
from manifests.errors import DeviceMessageError
from manifests.manifest import verify_manifest
from manifests.metadata_room import describe_fill
from manifests.published_releases import (
    assignment_target_path,
    list_releases,
    name_extension,
    open_listed_assignment,
    open_listed_manifest,
)
from manifests.release_steps import plan_steps
from manifests.release_verdict import verify_table
from manifests.release_words import describe_asked
from manifests.repository_reading import load_description, load_repository, read_target
from manifests.status_words import expiry_in_words
from manifests.trust_publication import describe_lag
from manifests.tuf_metadata import SIGNING_ROLES, list_differing_roles, serialize_document
from manifests.withdrawal import list_withdrawals
from signing.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from manifests.assignment import Assignment
    from manifests.published_releases import PublishedRelease
    from manifests.release_steps import StepPlan
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from manifests.withdrawal import Withdrawal
    from signing.trust_record import TrustRecord

STATUS_SCHEMA = "ampforge.repo-status/1"
SOON = timedelta(days=14)
_REFRESH = "whoever holds the snapshot and timestamp keys must run `ampforge repo refresh`"
_REMEDIES = {
    "root": "the root key holders must run `ampforge repo rotate`",
    "targets": "the release key holders must publish a release, or run `ampforge repo rotate`",
    "campaign": "whoever holds the campaign key must run `ampforge campaign create` again",
    "trust": "the release key holders must run `ampforge repo publish-trust`",
    "snapshot": _REFRESH,
    "timestamp": _REFRESH,
}
_LATER_SUPPORT = "publish a release with a later supported_until"
_NEW_TABLE = (
    "the policy key holders must approve its table again, under a policy that counts, and the "
    "release key holders publish it as a new release"
)
_NEW_RELEASE = "the release key holders must publish its content as a new release"


def describe_repository(store: Store, trust: TrustRecord, *, now: datetime) -> dict[str, object]:
    """Return the state of a repository, every document verified.

    Args:
        store: The repository.
        trust: The product's trust record.
        now: The present, UTC.

    Raises:
        RepositoryError: There is none, or it is damaged.
    """
    metadata = load_repository(store)
    description = load_description(store)
    releases = list_releases(metadata)
    withdrawals = list_withdrawals(metadata)
    classes = sorted(
        {release.hardware_class for release in releases}
        | {withdrawal.hardware_class for withdrawal in withdrawals}
    )
    ways = {
        release.target_path: plan_steps(store, metadata, trust, releases, release, now=now)
        for release in releases
    }
    remedies = _REMEDIES if releases else _REMEDIES | {"campaign": _REMEDIES["targets"]}
    documents = [
        _describe(name, document.signed.version, document.signed.expires, now, remedies[name])
        for name, document in metadata.documents.items()
    ]
    lag = describe_lag(metadata, description, trust)
    filled_percent, list_words = describe_fill(serialize_document(metadata.targets))
    return {
        "schema": STATUS_SCHEMA,
        "product": description.get("product"),
        "allows_test_keys": description.get("allows_test_keys"),
        "documents": documents,
        "list_filled_percent": filled_percent,
        "list_words": list_words,
        "superseded_keys": [
            f"the keys of {name} are not those of trust record version {trust.version}: "
            f"{_REMEDIES['root']}"
            for name in list_differing_roles(metadata, trust.roles)
        ],
        "trust_words": f"{lag}: {_REMEDIES['trust']}" if lag else "",
        "releases": [
            _describe_release(store, metadata, trust, release, now)
            | {"constraints": describe_asked(ways[release.target_path], release, now=now)}
            for release in releases
        ],
        "withdrawn": [
            {
                "version": withdrawal.version,
                "release_counter": withdrawal.release_counter,
                "hardware_class": withdrawal.hardware_class,
                "reason": withdrawal.reason,
                "withdrawn_at": withdrawal.withdrawn_at.isoformat(),
            }
            for withdrawal in withdrawals
        ],
        "assignments": [
            entry
            for hardware_class in classes
            if (
                entry := _describe_assignment(
                    store,
                    metadata,
                    trust,
                    hardware_class,
                    now,
                    releases=releases,
                    withdrawals=withdrawals,
                    ways=ways,
                )
            )
        ],
    }


def _describe(
    name: str, version: int, expires_at: datetime, now: datetime, remedy: str
) -> dict[str, object]:
    return {
        "name": name,
        "version": version,
        "signed_by": SIGNING_ROLES[name].value,
        "expires_at": expires_at.astimezone(UTC).isoformat(),
        "is_expired": expires_at <= now,
        "expiry": expiry_in_words(expires_at, now, remedy),
    }


def _describe_release(
    store: Store,
    metadata: RepositoryMetadata,
    trust: TrustRecord,
    release: PublishedRelease,
    now: datetime,
) -> dict[str, object]:
    message = read_target(store, metadata.targets.signed.targets[release.target_path])
    manifest = open_listed_manifest(message)
    expires_at = manifest.expires_at
    return {
        "version": release.version,
        "release_counter": release.release_counter,
        "hardware_class": release.hardware_class,
        "manifest_sha256": release.manifest_sha256.hex(),
        "waivers": list(release.waivers),
        "waived": [format_waiver(waiver, now=now) for waiver in release.waivers],
        **describe_constraints(release.constraints),
        "expires_at": expires_at.isoformat(),
        "expires_soon": expires_at - now <= SOON,
        "expiry": expiry_in_words(expires_at, now, _extension(release, expires_at)),
        "refused": _refused(lambda: verify_manifest(message, trust), _NEW_RELEASE)
        or _refused(lambda: verify_table(store, metadata, trust, manifest), _NEW_TABLE),
    }


def _extension(release: PublishedRelease, expires_at: datetime) -> str:
    if expires_at == release.constraints.support_ends_at:
        return _LATER_SUPPORT
    return f"the release key holders must run `{name_extension(release)}`"


def _refused(verify: Callable[[], object], remedy: str) -> str | None:
    """Return why devices with the trust record in force refuse a message, and who must act."""
    try:
        verify()
    except (SigningError, DeviceMessageError, FirmwareImageError) as error:
        return f"REFUSED by devices: {error.what}; {remedy}"
    return None


def _describe_assignment(
    store: Store,
    metadata: RepositoryMetadata,
    trust: TrustRecord,
    hardware_class: str,
    now: datetime,
    *,
    releases: Sequence[PublishedRelease],
    withdrawals: Sequence[Withdrawal],
    ways: Mapping[str, StepPlan],
) -> dict[str, object] | None:
    entry = metadata.campaign.signed.targets.get(assignment_target_path(hardware_class))
    if entry is None:
        return None
    message = read_target(store, entry)
    assignment = open_listed_assignment(message)
    named = [
        release for release in releases if release.manifest_sha256 == assignment.manifest_sha256
    ]
    share_percent = assignment.drawn_ppm / 10_000
    withdrawn = [
        withdrawal.version
        for withdrawal in withdrawals
        if withdrawal.manifest_sha256 == assignment.manifest_sha256
    ]
    version = named[0].version if named else "a release that is not published"
    if withdrawn:
        version = f"{withdrawn[0]}, which was withdrawn,"
    words = f"{version} to {share_percent:g} % of the devices"
    if assignment.pinned_serial_numbers:
        words += f" and {len(assignment.pinned_serial_numbers)} pinned"
    if assignment.is_halted:
        words = f"HALTED ({words})"
    remedy = _REMEDIES["campaign"]
    if named and assignment.expires_at == named[0].constraints.support_ends_at:
        remedy = _LATER_SUPPORT
    if withdrawn and assignment.is_halted:
        remedy = ""
    return {
        "hardware_class": hardware_class,
        "campaign": assignment.campaign,
        "sequence": assignment.sequence,
        "version": named[0].version if named else None,
        "manifest_sha256": assignment.manifest_sha256.hex(),
        "drawn_ppm": assignment.drawn_ppm,
        "pinned_serial_numbers": list(assignment.pinned_serial_numbers),
        "is_halted": assignment.is_halted,
        "expires_at": assignment.expires_at.isoformat(),
        "words": words,
        "expiry": expiry_in_words(assignment.expires_at, now, remedy),
        "refused": _refused(lambda: verify_assignment(message, trust), _REMEDIES["root"]),
        "steps": _describe_steps(assignment, named, releases, ways),
    }


def _describe_steps(
    assignment: Assignment,
    named: Sequence[PublishedRelease],
    releases: Sequence[PublishedRelease],
    ways: Mapping[str, StepPlan],
) -> dict[str, object]:
    """Return which steps are assigned, and whether they are those that lead to the release now."""
    counters = {release.manifest_sha256: release.release_counter for release in releases}
    wanted = [step.manifest_sha256 for one in named for step in ways[one.target_path].steps]
    is_current = assignment.is_halted or list(assignment.steps_sha256) == wanted
    return {
        "release_counters": [counters.get(digest) for digest in assignment.steps_sha256],
        "is_current": is_current,
        "words": ""
        if is_current
        else f"other steps lead to it now than are assigned: {_REMEDIES['campaign']}",
    }
