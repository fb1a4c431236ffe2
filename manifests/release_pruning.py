"""Images and patches that no published release names any more leave the list of releases.

A release that is withdrawn leaves them listed: another may name them, and a withdrawal must not
wait until every manifest was read. Here they all are. What was withdrawn, with which counter and
why, stays listed for ever: counters are not given again, and devices that run it still exist. No
file is removed, and no assignment changes. Implements docs/spec/repository-layout.md §13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.metadata_room import measure_fill
from manifests.published_releases import list_artifacts, list_releases, read_listed_manifest
from manifests.publisher_clock import refuse_wrong_clock
from manifests.repository import publish_files
from manifests.repository_reading import load_repository
from manifests.tuf_metadata import serialize_document

if TYPE_CHECKING:
    from datetime import datetime

    from manifests.publishing import Publisher
    from manifests.tuf_metadata import RepositoryMetadata

_ARTIFACTS = "artifacts/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What left the list of releases.

    Attributes:
        paths: TUF paths of the images and patches, rising; none if nothing was signed.
        fill_before: How full the list was, 0 to 1.
        fill_after: How full it is now.
    """

    paths: tuple[str, ...]
    fill_before: float
    fill_after: float


def prune_releases(publisher: Publisher, *, now: datetime) -> Pruning:
    """Take what no published release names out of the list, if there is any.

    Args:
        publisher: The repository, and the keys of release, snapshot and timestamp.
        now: The present, UTC.

    Raises:
        RepositoryError: A published manifest cannot be read, the clock cannot be right, or keys are
            missing. Nothing changed.
    """
    with publisher.store.exclusively():
        before = after = load_repository(publisher.store)
        refuse_wrong_clock(publisher.store, before, publisher.settings, now=now)
        needed = {
            f"{_ARTIFACTS}{digest.hex()}"
            for release in list_releases(before)
            for digest, _ in list_artifacts(read_listed_manifest(publisher.store, before, release))
        }
        listed = (path for path in before.targets.signed.targets if path.startswith(_ARTIFACTS))
        paths = tuple(sorted(path for path in listed if path not in needed))
        if paths:
            after = publish_files(
                publisher.store,
                publisher.signers,
                publisher.settings,
                before=before,
                withdrawn_paths=paths,
                now=now,
            )
    return Pruning(paths=paths, fill_before=_fill_of(before), fill_after=_fill_of(after))


def _fill_of(metadata: RepositoryMetadata) -> float:
    return measure_fill(serialize_document(metadata.targets))
