"""Publishes the trust record in force, so that boards in the field follow it by themselves.

The signed record lies at `device/trust/after-N.cose` for every version N that it follows in this
repository: from the record that was published before, or from the first one. The assignments are
signed again with it, with their next sequence: a board sees that something is new, and asks for the
record before it looks at anything else (docs/spec/repository-layout.md §11).

Not here: TUF's own root, which is `root_rotation`; making and signing the record (`signing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_images.errors import FirmwareImageError
from manifests.assignment_sequence import succeed_assignment
from manifests.errors import RepositoryError
from manifests.published_releases import list_releases, read_listed_assignment
from manifests.publisher_clock import refuse_clock_behind
from manifests.release_verdict import verify_published
from manifests.repository import NewFile, publish_files
from manifests.repository_reading import TRUST_VERSION_KEY, load_repository, read_target
from manifests.trust_renewal import trust_path
from manifests.tuf_metadata import entries_of_kind, list_differing_roles
from manifests.withdrawal import list_withdrawals
from signing.errors import SigningError
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from manifests.publishing import Publisher
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord

TRUST_KIND: Final = "trust record"
SKIPPED_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPublication:
    """What a publication of a trust record put in force.

    Attributes:
        version: The record's version.
        follows: The versions that boards follow it from; empty if nothing was to be done.
        hardware_classes: Whose assignments were signed again.
        refused_versions: Releases whose manifests or tables do not verify under this record:
            boards that have it refuse them until they are published anew, signed by keys in force.
    """

    version: int
    follows: tuple[int, ...]
    hardware_classes: tuple[str, ...]
    refused_versions: tuple[str, ...]


def publish_trust(
    publisher: Publisher, untrusted_record: bytes, *, now: datetime
) -> TrustPublication:
    """Publish a trust record to boards, and sign the assignments again.

    Publishing the record that is published already changes nothing.

    Args:
        publisher: The repository, and the keys of release, campaign, snapshot and timestamp.
        untrusted_record: The signed record, which is the publisher's.
        now: The present, UTC.

    Raises:
        SigningError: It does not follow the record that was published before.
        RepositoryError: Another record of its version is published, it is not the publisher's, or
            keys are missing.
    """
    record = verify_trust_record(untrusted_record, current=None)
    _refuse_other_record(publisher.trust, record)
    with publisher.store.exclusively():
        current = load_repository(publisher.store)
        refuse_clock_behind(publisher.store, current, publisher.settings, now=now)
        refused = _refused_releases(publisher, current)
        first = 1
        before = _read_published(publisher, current)
        if before == untrusted_record:
            return TrustPublication(
                version=record.version, follows=(), hardware_classes=(), refused_versions=refused
            )
        if before is not None:
            last = verify_trust_record(before, current=None)
            _refuse_same_version(last, record)
            verify_trust_record(untrusted_record, current=last)
            first = last.version
        _refuse_gap(first, record.version)
        follows = tuple(range(first, record.version))
        classes = {one.hardware_class for one in list_releases(current)}
        # Also where all releases were withdrawn: those boards must look for the record, too.
        classes |= {one.hardware_class for one in list_withdrawals(current)}
        assignments = tuple(
            succeed_assignment(publisher.store, current, assignment, now=now)
            for hardware_class in sorted(classes)
            if (assignment := read_listed_assignment(publisher.store, current, hardware_class))
        )
        if follows:
            publish_files(
                publisher.store,
                publisher.signers,
                publisher.settings,
                before=current,
                releases=tuple(_record_file(untrusted_record, record, n) for n in follows),
                assignments=tuple(publisher.assignment_file(one, current) for one in assignments),
                now=now,
            )
    return TrustPublication(
        version=record.version,
        follows=follows,
        hardware_classes=tuple(a.hardware_class for a in assignments) if follows else (),
        refused_versions=refused,
    )


def describe_lag(
    metadata: RepositoryMetadata, description: Mapping[str, object], trust: TrustRecord
) -> str:
    """Return that boards in the field cannot follow to the record in force; empty if they can.

    Where TUF's keys are another record's, too, the next root comes first, and brings it to boards.

    Args:
        metadata: The repository's.
        description: What `load_description` says.
        trust: The record in force.
    """
    versions = [
        version
        for _, _, custom in entries_of_kind(metadata.targets, TRUST_KIND)
        if isinstance(version := custom.get("version"), int)
    ]
    began = description.get(TRUST_VERSION_KEY)
    # Boards have the first from the factory. Where nothing tells which, nothing is said of it.
    versions += [began] if isinstance(began, int) else []
    last = max(versions, default=trust.version)
    if last >= trust.version or list_differing_roles(metadata, trust.roles):
        return ""
    return f"boards cannot follow to trust record {trust.version}: {last} is published"


def _record_file(content: bytes, record: TrustRecord, version: int) -> NewFile:
    device_path = trust_path(version)
    return NewFile(
        path=device_path.removeprefix("device/"),
        content=content,
        custom={"kind": TRUST_KIND, "version": record.version, "follows": version},
        device_path=device_path,
    )


def _read_published(publisher: Publisher, current: RepositoryMetadata) -> bytes | None:
    listed = [
        (custom["version"], entry)
        for _, entry, custom in entries_of_kind(current.targets, TRUST_KIND)
    ]
    if not listed:
        return None
    _, last = max(listed, key=lambda one: one[0])
    return read_target(publisher.store, last)


def _refused_releases(publisher: Publisher, current: RepositoryMetadata) -> tuple[str, ...]:
    refused = []
    for release in list_releases(current):
        try:
            verify_published(publisher.store, current, publisher.trust, release)
        except (SigningError, FirmwareImageError):
            refused.append(release.version)
    return tuple(refused)


def _refuse_other_record(trust: TrustRecord, record: TrustRecord) -> None:
    if record != trust:
        raise RepositoryError(
            "the trust record is not the one in force",
            expected=f"version {trust.version} of {trust.product}",
            got=f"version {record.version} of {record.product}",
            where="trust record",
            hint="publish the record that [signing] trust_record names",
        )


def _refuse_same_version(last: TrustRecord, record: TrustRecord) -> None:
    if last.version == record.version:
        raise RepositoryError(
            "another trust record of this version is published",
            expected=f"a version above {last.version}",
            got=record.version,
            where="trust record",
            hint="boards may hold the one that is published: sign the next version instead",
        )


def _refuse_gap(first: int, version: int) -> None:
    if version - first > SKIPPED_MAX:
        raise RepositoryError(
            "the trust record follows too many versions at once",
            expected=f"at most {SKIPPED_MAX}",
            got=f"{version - first}, from version {first} to {version}",
            where="trust record",
            hint="publish the records in between first",
        )
