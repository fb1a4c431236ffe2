"""What there is before an attack: repositories as they were at some time, and keys to forge with.

The real server serves `current`: release 3, after 2, after 1, with which boards left the factory.
Release 2 changes the waveform alone, release 3 the application, too. A scene shows something else
in its place, made here: another repository (`instead`), other bytes under a true name (`swap`), or
metadata that a thief signs with stolen keys (`forge`).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from manifests.assignment import (
    Assignment,
    verify_assignment,
)
from manifests.manifest import (
    Manifest,
    message_digest,
    verify_manifest,
)
from manifests.published_releases import assignment_target_path, list_releases
from manifests.repository_reading import load_repository, read_target, served_target_path
from manifests.store import FolderStore
from manifests.tuf_metadata import (
    build_snapshot,
    build_targets,
    build_timestamp,
    describe_target,
    serialize_document,
)
from signing.roles import Role
from signing.tuf_signers import as_tuf_signer
from tests.attacks.stolen_keys import ALL, CAMPAIGN, answering, sign_assignment
from tests.manifests.world import (
    HARDWARE_CLASS,
    NOW,
    bundle,
    make_publisher,
    open_publisher,
    trust,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from manifests.publishing import Publisher
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.signers import SoftwareSigner
    from signing.trust_record import TrustRecord
    from tests.attacks.lies import Tree
    from tests.attacks.stolen_keys import Keys

ASSIGNMENT = assignment_target_path(HARDWARE_CLASS)
FACTORY, EARLIER, IN_FORCE, NEXT = 1, 2, 3, 4
"""Release counters."""


def release(counter: int, **changes) -> bytes:
    """The bundle of a release; each has a waveform of its own, and from the third on a new app."""
    own = {"peak_na": 110_000 - 10_000 * counter, "is_newer_app": counter >= IN_FORCE}
    return bundle(release_counter=counter, **(own | changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A release as a repository shows it."""

    manifest: Manifest
    message: bytes

    @property
    def manifest_path(self) -> str:
        return f"manifests/{message_digest(self.message).hex()}.cose"

    @property
    def app_path(self) -> str:
        return f"artifacts/{self.manifest.app.sha256.hex()}"

    @property
    def waveform_path(self) -> str:
        return f"artifacts/{self.manifest.waveform.sha256.hex()}"


@dataclass(kw_only=True)
class Ground:
    """See the module; everything is made once, below `folder`."""

    folder: Path
    expires: datetime = NOW + timedelta(days=30)
    _trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _metadata: dict[str, RepositoryMetadata] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begin("earlier", now=NOW)
        self.publish_later("current", release(3), base="earlier")

    def begin(self, name: str, *, now: datetime) -> str:
        """A repository with releases 1 and 2, published at some time; its name."""
        if not (self.folder / name).exists():
            publisher = make_publisher(self.folder / name, now=now)
            for counter in (1, 2):
                publisher.publish_bundle(release(counter), None, now=now)
        return name

    def publish_later(self, name: str, content: bytes, *, base: str = "current") -> str:
        """A repository with one release more; its name."""
        return self.later(
            name, lambda publisher: publisher.publish_bundle(content, None, now=NOW), base=base
        )

    def later(
        self, name: str, change: Callable[[Publisher], object], *, base: str = "current"
    ) -> str:
        """A repository that goes on from another one; its name."""
        if not (self.folder / name).exists():
            shutil.copytree(self.folder / base, self.folder / name)
            change(open_publisher(self.folder / name))
        return name

    def store(self, name: str = "current") -> FolderStore:
        return FolderStore(self.folder / name)

    def metadata(self, name: str = "current") -> RepositoryMetadata:
        """What is in force in a repository, verified."""
        if name not in self._metadata:
            self._metadata[name] = load_repository(self.store(name))
        return self._metadata[name]

    def tree(self, name: str = "current") -> dict[str, bytes]:
        """Every file that a server serves, by path."""
        if name not in self._trees:
            root = self.folder / name
            self._trees[name] = {
                str(path.relative_to(root)): path.read_bytes()
                for part in ("metadata", "targets", "device")
                for path in (root / part).rglob("*")
                if path.is_file()
            }
        return self._trees[name]

    def instead(self, name: str) -> Tree:
        """What a mirror shows to show another repository."""
        there, here = self.tree(name), self.tree()
        return {
            path: there.get(path) for path in {*there, *here} if there.get(path) != here.get(path)
        }

    def target(self, path: str, name: str = "current") -> bytes:
        """The bytes of a target."""
        metadata = self.metadata(name)
        entry = metadata.targets.signed.targets.get(path) or metadata.campaign.signed.targets[path]
        return read_target(self.store(name), entry)

    def shown(self, counter: int, name: str = "current") -> Shown:
        (found,) = (
            found
            for found in list_releases(self.metadata(name))
            if found.release_counter == counter and found.hardware_class == HARDWARE_CLASS
        )
        message = self.target(found.target_path, name)
        return Shown(manifest=verify_manifest(message, trust()), message=message)

    def assignment(self, name: str = "current", record: TrustRecord | None = None) -> Assignment:
        return verify_assignment(self.target(ASSIGNMENT, name), record or trust())

    def latest(self, role: str, name: str = "current") -> str:
        """Where the metadata of a role lies that is in force."""
        metadata = self.metadata(name)
        return f"metadata/{getattr(metadata, role).signed.version}.{role}.json"

    def swap(self, path: str, lie: object, name: str = "current") -> Tree:
        """A lie under the names that a true target has, for boards and for TUF clients."""
        return {served_target_path(path, self.target(path, name)): lie, device_path(path): lie}

    def signed_again(
        self,
        name: str = "current",
        *,
        sequence: int = 50,
        campaign: SoftwareSigner = CAMPAIGN,
        record: TrustRecord | None = None,
    ) -> Tree:
        """The same release in force, published anew after a thief had published: what is true."""
        assignment = replace(self.assignment(name, record), sequence=sequence)
        tree = self.instead(name) if name != "current" else {}
        forged = self.forge(
            files={},
            assignments={ASSIGNMENT: sign_assignment(assignment, campaign)},
            by={**ALL, Role.CAMPAIGN: (campaign,)},
            leap=5,
            name=name,
        )
        return {**tree, **forged, **answering(sequence)}

    def forge(
        self,
        *,
        files: Mapping[str, bytes] | None = None,
        assignments: Mapping[str, bytes] | None = None,
        by: Keys,
        leap: int = 1,
        name: str = "current",
        older_targets: str = "",
        is_signed_twice: bool = False,
    ) -> Tree:
        """The files that a thief writes into a repository, with the keys that were stolen.

        Args:
            files: Targets that are to be listed among the releases.
            assignments: Targets that are to be listed among the assignments.
            by: The stolen keys, by role.
            leap: How far the versions go up.
            name: The repository.
            older_targets: A repository whose list of releases is named instead.
            is_signed_twice: Whether the list of releases carries its first signature twice.
        """
        before = self.metadata(name)
        expires = self.expires
        targets, campaign, tree = before.targets, before.campaign, {}

        def sign(document, file_name, role):
            for key in by.get(role, ()):
                document.sign(as_tuf_signer(key), append=True)
            tree[f"metadata/{file_name}"] = serialize_document(document)
            return document

        if files is not None:
            version = before.targets.signed.version + leap
            document = build_targets(
                version=version,
                expires=expires,
                files=before.targets.signed.targets | _described(files),
                delegations=before.targets.signed.delegations,
            )
            targets = sign(document, f"{version}.targets.json", Role.RELEASE)
            if is_signed_twice:
                targets = _SignedTwice(targets)
                tree[f"metadata/{version}.targets.json"] = serialize_document(targets)
        if older_targets:
            targets = self.metadata(older_targets).targets
        if assignments:
            version = before.campaign.signed.version + leap
            document = build_targets(
                version=version,
                expires=expires,
                files=before.campaign.signed.targets | _described(assignments),
                delegations=None,
            )
            campaign = sign(document, f"{version}.campaign.json", Role.CAMPAIGN)
        version = before.snapshot.signed.version + leap
        snapshot = build_snapshot(
            version=version, expires=expires, targets=targets, campaign=campaign
        )
        sign(snapshot, f"{version}.snapshot.json", Role.SNAPSHOT)
        version = before.timestamp.signed.version + leap
        timestamp = build_timestamp(version=version, expires=expires, snapshot=snapshot)
        sign(timestamp, "timestamp.json", Role.TIMESTAMP)
        for path, content in {**(files or {}), **(assignments or {})}.items():
            tree[served_target_path(path, content)] = content
            tree[device_path(path)] = content
        return tree


class _SignedTwice:
    """A document whose file repeats its signature."""

    def __init__(self, document) -> None:
        self.signed = document.signed
        content = json.loads(document.to_bytes())
        content["signatures"] *= 2
        self._content = json.dumps(content).encode()

    def to_bytes(self) -> bytes:
        return self._content


def device_path(target_path: str) -> str:
    """Where boards find a target."""
    if target_path == ASSIGNMENT:
        return f"device/{HARDWARE_CLASS}/assignment.cose"
    return f"device/{target_path}"


def _described(files: Mapping[str, bytes]) -> dict:
    return {path: describe_target(path, content, {}) for path, content in files.items()}
