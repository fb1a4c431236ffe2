"""The audit of what lies in a repository and is named by nothing, or only by what was before.

Implements docs/spec/repository-layout.md §10.8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from manifests.published_releases import assignment_target_path, list_releases
from manifests.repository_reading import DESCRIPTION_PATH, TIMESTAMP_PATH
from manifests.tuf_metadata import CAMPAIGN
from manifests.withdrawal import list_withdrawals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from manifests.repository_audit import Audit
    from manifests.tuf_metadata import RepositoryMetadata

# What devices ask for by its place, and not by a digest that somebody signed.
_ASKED_FOR = re.compile(r"device/([^/]+/assignment|trust/after-[^/]+)\.cose")
_SCRATCH = (DESCRIPTION_PATH, ".publishing.lock")


def name_what_stays(audit: Audit, metadata: RepositoryMetadata) -> None:
    """Name what withdrawn and extended releases left: nothing is taken from under a reader."""
    withdrawals = list_withdrawals(metadata)
    left = [digest for one in withdrawals for digest in (one.manifest_sha256, *one.replaces)]
    left += [digest for one in list_releases(metadata) for digest in one.replaces]
    for digest in map(bytes.hex, left):
        audit.named |= {
            f"targets/manifests/{digest}.{digest}.cose",
            f"device/manifests/{digest}.cose",
        }
    audit.named |= {one.bundle_path for one in withdrawals}
    for path in metadata.targets.signed.targets:
        if path.startswith("artifacts/"):
            audit.named.add(f"device/{path}")
    audit.counts["withdrawn"] = len(withdrawals)


def audit_files(
    audit: Audit, metadata: RepositoryMetadata, paths: Iterable[str], *, root_count: int
) -> None:
    """Add what lies there and is named by nothing, once everything else is named.

    Args:
        audit: What is added to.
        metadata: The repository's, verified.
        paths: Every file.
        root_count: How many roots there are.
    """
    latest = {
        "root": root_count,
        "targets": metadata.targets.signed.version,
        CAMPAIGN: metadata.campaign.signed.version,
        "snapshot": metadata.snapshot.signed.version,
    }
    audit.named.add(TIMESTAMP_PATH)
    count = 0
    for path in paths:
        count += 1
        if path in audit.named or path in _SCRATCH or path.startswith("publishing/lease-"):
            continue
        folder, _, name = path.rpartition("/")
        version, _, role = name.removesuffix(".json").partition(".")
        if folder == "metadata" and version.isdigit() and role in latest:
            if int(version) > latest[role]:
                audit.notice(
                    "a document that nothing names yet: a publication was cut off",
                    where=path,
                    hint="publishing again passes its number over",
                )
        elif path.startswith(f"targets/{assignment_target_path('')[:10]}"):
            continue  # the assignments before this one: history
        elif _ASKED_FOR.fullmatch(path):
            audit.error(
                "devices are shown what TUF does not list",
                where=path,
                hint="publish again if a publication was cut off, which replaces it; else find out "
                "who put it there, and remove it",
            )
        else:
            audit.notice("nothing names this file", where=path, hint="it may be removed")
    audit.counts["files"] = count
