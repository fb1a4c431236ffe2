"""Releases that were withdrawn: gone from the list of releases, and listed as withdrawn with why.

The release role signs it, in its targets metadata: the manifest is no target any more, so that no
gateway gives it out, nor is its bundle, and `withdrawals/DIGEST.json` says which it was and for
what reason. The assignments that named it are halted in the same publication; a device that is
shown an older one learns from freshness that it is not in force. Implements
docs/spec/repository-layout.md §9.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from manifests.errors import RepositoryError
from manifests.published_releases import list_releases
from manifests.repository import NewFile
from manifests.tuf_metadata import entries_of_kind

if TYPE_CHECKING:
    from manifests.published_releases import PublishedRelease
    from manifests.tuf_metadata import RepositoryMetadata

WITHDRAWAL_KIND = "withdrawal"
WITHDRAWAL_SCHEMA = "ampforge.withdrawal/1"
REASON_MAX_LENGTH = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A release that nobody is to install any more.

    Attributes:
        version: For people.
        release_counter: Its counter, which is not given again.
        hardware_class: Boards that it was for.
        bundle_sha256: Digest of its release statement.
        manifest_sha256: Named its signed manifest.
        reason: Why, for people.
        withdrawn_at: When, UTC.
        replaces: Digests of the manifests that it had before.
        bundle_path: Where its bundle still lies, for who looks into what was wrong; empty if that
            is listed still, as by earlier publishers.
    """

    version: str
    release_counter: int
    hardware_class: str
    bundle_sha256: bytes
    manifest_sha256: bytes
    reason: str
    withdrawn_at: datetime
    replaces: tuple[bytes, ...] = ()
    bundle_path: str = ""


def list_withdrawals(metadata: RepositoryMetadata) -> tuple[Withdrawal, ...]:
    """Return the withdrawn releases in the targets metadata, the latest release last."""
    withdrawals = [
        Withdrawal(
            version=str(custom["version"]),
            release_counter=int(custom["release_counter"]),
            hardware_class=str(custom["hardware_class"]),
            bundle_sha256=bytes.fromhex(custom["bundle_sha256"]),
            manifest_sha256=bytes.fromhex(custom["manifest_sha256"]),
            reason=str(custom["reason"]),
            withdrawn_at=datetime.fromisoformat(custom["withdrawn_at"]),
            replaces=tuple(map(bytes.fromhex, custom.get("replaces", ()))),
            bundle_path=str(custom.get("bundle_path", "")),
        )
        for _, _, custom in entries_of_kind(metadata.targets, WITHDRAWAL_KIND)
    ]
    return tuple(sorted(withdrawals, key=lambda withdrawal: withdrawal.release_counter))


def build_withdrawal_file(
    release: PublishedRelease, *, reason: str, now: datetime, bundle_path: str = ""
) -> NewFile:
    """Return the target that says that a release is withdrawn.

    Args:
        release: The release.
        reason: Why, for people.
        now: The present, UTC.
        bundle_path: Where its bundle still lies.

    Raises:
        RepositoryError: The reason says nothing, or too much.
    """
    reason = " ".join(reason.split())
    if not reason or len(reason) > REASON_MAX_LENGTH or not reason.isprintable():
        raise RepositoryError(
            "a withdrawal needs a reason that people can read",
            expected=f"1 to {REASON_MAX_LENGTH} characters",
            got=f"{len(reason)} characters",
            hint="say with --reason what is wrong with the release",
        )
    facts = {
        "version": release.version,
        "release_counter": release.release_counter,
        "hardware_class": release.hardware_class,
        "bundle_sha256": release.bundle_sha256.hex(),
        "manifest_sha256": release.manifest_sha256.hex(),
        "reason": reason,
        "withdrawn_at": now.isoformat(),
        **({"replaces": [one.hex() for one in release.replaces]} if release.replaces else {}),
        **({"bundle_path": bundle_path} if bundle_path else {}),
    }
    content = json.dumps({"schema": WITHDRAWAL_SCHEMA} | facts, indent=2).encode() + b"\n"
    return NewFile(
        path=f"withdrawals/{release.manifest_sha256.hex()}.json",
        content=content,
        custom={"kind": WITHDRAWAL_KIND} | facts,
    )


def refuse_withdrawn(metadata: RepositoryMetadata, *, bundle_sha256: bytes) -> None:
    """Refuse to publish a release again that was withdrawn.

    Raises:
        RepositoryError: It was.
    """
    for withdrawal in list_withdrawals(metadata):
        if withdrawal.bundle_sha256 == bundle_sha256:
            raise _withdrawn(withdrawal)


def refuse_withdrawn_version(
    metadata: RepositoryMetadata, version: str, hardware_class: str | None = None
) -> None:
    """Refuse to assign a version of which every release was withdrawn.

    Raises:
        RepositoryError: It was, and no release of that version is published.
    """

    def is_meant(one: PublishedRelease | Withdrawal) -> bool:
        return one.version == version and hardware_class in {None, one.hardware_class}

    if any(map(is_meant, list_releases(metadata))):
        return
    for withdrawal in list_withdrawals(metadata):
        if is_meant(withdrawal):
            raise _withdrawn(withdrawal)


def _withdrawn(withdrawal: Withdrawal) -> RepositoryError:
    return RepositoryError(
        f"release {withdrawal.version} was withdrawn and is given to nobody",
        expected="a release that was not withdrawn",
        got=f"withdrawn {withdrawal.withdrawn_at:%Y-%m-%d}: {withdrawal.reason}",
        hint="publish a new release, with a higher release_counter",
    )
