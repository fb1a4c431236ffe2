"""The audit of releases and assignments: what devices read is what TUF lists."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from firmware_images.bundle import verify_bundle
from firmware_images.errors import FirmwareImageError
from firmware_images.release_constraints import last_day_of
from manifests.assignment import verify_assignment
from manifests.errors import DeviceMessageError, RepositoryError
from manifests.manifest import verify_manifest
from manifests.published_releases import (
    assignment_target_path,
    find_bundle,
    list_artifacts,
    list_releases,
    name_extension,
    name_withdrawal,
)
from manifests.release_files import derive_manifest, describe_revisions, list_differing_facts
from manifests.release_steps import plan_steps
from manifests.release_words import SUPPORT_ENDS_SOON
from manifests.repository_reading import TARGET_MAX_BYTES
from manifests.withdrawal import list_withdrawals
from signing.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from manifests.manifest import Manifest
    from manifests.published_releases import PublishedRelease
    from manifests.repository_audit import Audit
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord


def audit_releases(
    audit: Audit,
    store: Store,
    metadata: RepositoryMetadata,
    *,
    trust: TrustRecord,
    contents: Mapping[str, bytes],
    now: datetime,
) -> None:
    """Add what is wrong with the releases, then with the assignments.

    Args:
        audit: What is added to.
        store: The repository.
        metadata: The repository's, verified.
        trust: The product's trust record.
        contents: The messages among the targets, by path; one that is missing was told already.
        now: The present, UTC.
    """
    releases = list_releases(metadata)
    for release in releases:
        _audit_release(
            audit, store, metadata, release, releases, trust=trust, contents=contents, now=now
        )
    for path in metadata.campaign.signed.targets:
        _audit_assignment(
            audit, store, metadata, path, releases, trust=trust, contents=contents, now=now
        )


def _audit_release(
    audit: Audit,
    store: Store,
    metadata: RepositoryMetadata,
    release: PublishedRelease,
    releases: Sequence[PublishedRelease],
    *,
    trust: TrustRecord,
    contents: Mapping[str, bytes],
    now: datetime,
) -> None:
    """Add what is wrong with a release: manifest, artifacts, bundle, and the devices' copies."""
    audit.counts["releases"] = audit.counts.get("releases", 0) + 1
    where = release.target_path
    message = contents.get(where)
    if message is None:
        return  # told already: the target itself is missing or damaged
    try:
        manifest = verify_manifest(message, trust)
    except (DeviceMessageError, SigningError) as error:
        audit.error(
            f"devices refuse the manifest of release {release.version}: {error}",
            where=where,
            hint=f"publish its content as a new release, and take this one back: "
            f"`{name_withdrawal(release)}`",
        )
        _audit_copy(audit, store, f"device/{where}", message)
        return
    custom = metadata.targets.signed.targets[where].custom or {}
    told = {"secure_version": manifest.app.secure_version} | describe_revisions(manifest)
    audit.require(
        f"the list of releases says something else than the manifest of {release.version}",
        is_met=(release.version, release.release_counter, release.hardware_class)
        == (manifest.version, manifest.release_counter, manifest.hardware_class)
        and (release.bundle_sha256, release.constraints)
        == (manifest.bundle_sha256, manifest.constraints)
        # Earlier publishers did not tell all of it.
        and all(custom.get(name, value) == value for name, value in told.items()),
        where=where,
    )
    _audit_constraints(audit, store, metadata, release, releases, trust=trust, now=now)
    if manifest.expires_at <= now:
        audit.notice(
            f"the manifest of release {release.version} has expired: no device installs it",
            where=where,
            hint=f"sign it again: `{name_extension(release)}`",
        )
    if manifest.waveform.policy_version < trust.minimum_policy_version:
        audit.notice(
            f"release {release.version} rests on limits policy {manifest.waveform.policy_version}, "
            f"below the least that counts ({trust.minimum_policy_version}): devices refuse it",
            where=where,
            hint=f"publish its content under a later policy, and take this one back: "
            f"`{name_withdrawal(release)}`",
        )
    _audit_copy(audit, store, f"device/{where}", message)
    _audit_artifacts(audit, store, metadata, manifest, where)
    _audit_bundle(audit, metadata, manifest, trust=trust, contents=contents, where=where)


def _audit_constraints(
    audit: Audit,
    store: Store,
    metadata: RepositoryMetadata,
    release: PublishedRelease,
    releases: Sequence[PublishedRelease],
    *,
    trust: TrustRecord,
    now: datetime,
) -> None:
    constraints, where = release.constraints, release.target_path
    ends_at = constraints.support_ends_at
    if ends_at is not None and ends_at - now <= SUPPORT_ENDS_SOON:
        words = "has ended" if ends_at <= now else "ends soon"
        audit.notice(
            f"the support of release {release.version} {words}: {last_day_of(ends_at)} is its "
            "last day, and no device installs it afterwards",
            where=where,
            hint="publish a release with a later supported_until",
        )
    for gap in plan_steps(store, metadata, trust, releases, release, now=now).gaps:
        audit.notice(
            f"no release that devices still take leads to release {release.version}: {gap} cannot "
            "take it",
            where=where,
            hint="publish a step with a higher counter, and the release again after it",
        )


def _audit_assignment(
    audit: Audit,
    store: Store,
    metadata: RepositoryMetadata,
    path: str,
    releases: Sequence[PublishedRelease],
    *,
    trust: TrustRecord,
    contents: Mapping[str, bytes],
    now: datetime,
) -> None:
    """Add what is wrong with an assignment: its place, its release, and the devices' copy."""
    audit.counts["assignments"] = audit.counts.get("assignments", 0) + 1
    message = contents.get(path)
    if message is None:
        if not path.startswith("campaigns/"):
            audit.error("the campaign role lists something else than an assignment", where=path)
        return
    try:
        assignment = verify_assignment(message, trust)
    except (DeviceMessageError, SigningError) as error:
        audit.error(
            f"devices refuse the assignment: {error}",
            where=path,
            hint="run `ampforge repo rotate` if a key was rotated, else `ampforge campaign create`",
        )
        _audit_copy(audit, store, f"device/{path.removeprefix('campaigns/')}", message)
        return
    audit.require(
        "the assignment of one hardware class lies in the place of another",
        is_met=path == assignment_target_path(assignment.hardware_class),
        where=path,
    )
    fitting = {
        release.manifest_sha256
        for release in releases
        if release.hardware_class == assignment.hardware_class
    }
    withdrawn = {one.manifest_sha256 for one in list_withdrawals(metadata)}
    audit.require(
        "the assignment names a manifest that the release role does not list for this hardware",
        is_met=assignment.manifest_sha256 in fitting
        or (assignment.is_halted and assignment.manifest_sha256 in withdrawn),
        where=path,
        hint="assign a published release with `ampforge campaign create`",
    )
    if not assignment.is_halted:
        audit.require(
            "the assignment names a step that the release role does not list for this hardware",
            is_met=fitting.issuperset(assignment.steps_sha256),
            where=path,
            hint="assign the release again with `ampforge campaign create`",
        )
    if assignment.expires_at <= now and not assignment.is_halted:
        audit.notice(
            "the assignment has expired: no device installs from it",
            where=path,
            hint="sign it again with `ampforge campaign create`",
        )
    _audit_copy(audit, store, f"device/{assignment.hardware_class}/assignment.cose", message)


def _audit_copy(audit: Audit, store: Store, path: str, expected: bytes) -> None:
    audit.named.add(path)
    is_same = store.read(path, max_bytes=TARGET_MAX_BYTES) == expected
    _require_same(audit, path, is_same=is_same)


def _require_same(audit: Audit, path: str, *, is_same: bool) -> None:
    audit.require(
        "devices are shown something else than TUF lists",
        is_met=is_same,
        where=path,
        hint="publish again: it writes the devices' copies anew",
    )


def _audit_artifacts(
    audit: Audit, store: Store, metadata: RepositoryMetadata, manifest: Manifest, where: str
) -> None:
    targets = metadata.targets.signed.targets
    for digest, size_bytes in list_artifacts(manifest):
        entry = targets.get(f"artifacts/{digest.hex()}")
        is_listed = (
            entry is not None
            and entry.hashes["sha256"] == digest.hex()
            and entry.length == size_bytes
        )
        audit.require(
            f"the manifest names artifact {digest.hex()[:16]}… and targets does not",
            is_met=is_listed,
            where=where,
        )
        path = f"device/artifacts/{digest.hex()}"
        if path in audit.named or entry is None:
            continue
        audit.named.add(path)
        copy = store.read(path, max_bytes=TARGET_MAX_BYTES)
        # The target itself was compared with this digest already.
        is_same = copy is not None and hashlib.sha256(copy).hexdigest() == entry.hashes["sha256"]
        _require_same(audit, path, is_same=is_same)


def _audit_bundle(
    audit: Audit,
    metadata: RepositoryMetadata,
    manifest: Manifest,
    *,
    trust: TrustRecord,
    contents: Mapping[str, bytes],
    where: str,
) -> None:
    try:
        path, _ = find_bundle(metadata, manifest.release_counter)
    except RepositoryError as error:
        audit.error(error.what, where=where)
        return
    if path not in contents:
        return  # told already
    try:
        bundle = verify_bundle(contents[path], trust, where=path)
    except (SigningError, FirmwareImageError) as error:
        audit.error(
            f"the bundle does not verify: {error}",
            where=path,
            hint="have what is refused signed again, publish its content as a new release, and "
            f"take this one back: `{name_withdrawal(manifest)}`",
        )
        return
    derived = derive_manifest(bundle, issued_at=manifest.issued_at, expires_at=manifest.expires_at)
    differing = list_differing_facts(derived, manifest)
    audit.require(
        f"the manifest says something else than its bundle: {', '.join(differing)}",
        is_met=not differing,
        where=where,
    )
    custom = metadata.targets.signed.targets[where].custom or {}
    audit.require(
        "the list of releases says something else than the bundle of what was waived",
        is_met=list(custom.get("waivers", ())) == [one.to_json() for one in bundle.waivers],
        where=where,
        hint="gateways show what is listed: publish its content as a new release",
    )
