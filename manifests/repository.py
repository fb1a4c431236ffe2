"""A repository: TUF metadata and targets beside the tree that devices read, always verifiable.

| path | content |
|---|---|
| `repository.json` | product, and whether test keys are allowed; for tools, not for clients |
| `metadata/N.root.json`, `N.targets.json`, `N.campaign.json`, `N.snapshot.json` | never changed |
| `metadata/timestamp.json` | replaced by each publication, last of all |
| `targets/FOLDER/SHA256.NAME` | target files, named by their digest |
| `device/artifacts/SHA256`, `device/manifests/SHA256.cose` | the same bytes, by digest |
| `device/CLASS/assignment.cose` | replaced by a publication, right before the timestamp |

What is written first is named by nothing yet, and what names it comes later; so whoever reads at
any moment, or after a cut at any moment, sees the old state or the new one, whole. An assignment
is written after the documents that name it, so that its sequence is never given again
(`assignment_sequence`). Implements docs/spec/repository-layout.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import (  # type: ignore[attr-defined]  # public, re-exported without __all__
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from manifests.assignment_sequence import carry_passed
from manifests.errors import RepositoryError
from manifests.metadata_room import METADATA_MAX_BYTES
from manifests.repository_reading import (
    DESCRIPTION_PATH,
    DESCRIPTION_SCHEMA,
    TIMESTAMP_PATH,
    TRUST_VERSION_KEY,
    load_description,
    load_repository,
    served_target_path,
)
from manifests.tuf_metadata import (
    CAMPAIGN,
    RepositoryMetadata,
    build_delegations,
    build_root,
    build_snapshot,
    build_targets,
    build_timestamp,
    describe_target,
    serialize_document,
    sign_document,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from tuf.api.metadata import Metadata

    from manifests.manifests_settings import RepositorySettings
    from manifests.store import Store
    from signing.roles import Role
    from signing.signers import Signer
    from signing.trust_record import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """One file of a publication.

    Attributes:
        path: TUF target path.
        content: Its bytes.
        custom: What the targets metadata says of it, for auditors.
        device_path: Where devices find the same bytes; empty if they do not need it.
    """

    path: str
    content: bytes
    custom: Mapping[str, object] = field(default_factory=dict)
    device_path: str = ""


# What an initialisation writes before the timestamp.
_FIRST_PATHS = frozenset(
    f"metadata/1.{name}.json" for name in (Root.type, Targets.type, CAMPAIGN, Snapshot.type)
)


def refuse_present(store: Store) -> None:
    """Refuse a store that holds a repository, or what is left of one.

    What only an `init_repository` that was cut off has left may be made anew: nobody has it.

    Raises:
        RepositoryError: There is one.
    """
    if store.read(TIMESTAMP_PATH, max_bytes=METADATA_MAX_BYTES) is not None:
        raise RepositoryError(
            "there is a repository here already",
            where=store,
            hint="publish to it with `ampforge repo publish`, or choose another folder",
        )
    for path in store.list_paths():
        if path.startswith(("metadata/", "targets/", "device/")) and path not in _FIRST_PATHS:
            raise RepositoryError(
                "there is a repository here already, and its timestamp is missing",
                expected="a place without one",
                got=path,
                where=store,
                hint="restore the timestamp from a backup, or choose another folder: clients hold "
                "the root that a new one would replace",
            )


def init_repository(
    store: Store,
    trust: TrustRecord,
    signers: Mapping[Role, Sequence[Signer]],
    settings: RepositorySettings,
    *,
    now: datetime,
    allows_test_keys: bool = False,
) -> RepositoryMetadata:
    """Make an empty repository that trusts the keys of the device trust record.

    Args:
        store: Where it will lie.
        trust: The product's trust record: who holds root, release, campaign, snapshot, timestamp.
        signers: Private keys of those five roles.
        settings: For how long each document holds.
        now: The present, UTC.
        allows_test_keys: Whether keys marked as test keys may publish here.

    Raises:
        RepositoryError: There is a repository already, or the keys do not make up a threshold.
    """
    refuse_test_keys(signers, allows_test_keys=allows_test_keys)
    with store.exclusively():
        refuse_present(store)
        root = build_root(trust.roles, version=1, expires=now + settings.lifetime("root"))
        sign_document(Root.type, root, signers, root)
        targets = build_targets(
            version=1,
            expires=now + settings.lifetime("targets"),
            files={},
            delegations=build_delegations(trust.roles),
        )
        sign_document(Targets.type, targets, signers, root)
        campaign = build_targets(
            version=1, expires=now + settings.lifetime(CAMPAIGN), files={}, delegations=None
        )
        sign_document(CAMPAIGN, campaign, signers, targets)
        metadata = _sealed(
            root, targets, campaign, signers, settings, now=now, snapshot_version=1, version=1
        )
        store.write("metadata/1.root.json", serialize_document(root))
        description = {
            "schema": DESCRIPTION_SCHEMA,
            "product": trust.product,
            "allows_test_keys": allows_test_keys,
            TRUST_VERSION_KEY: trust.version,
        }
        store.write(DESCRIPTION_PATH, json.dumps(description, indent=2).encode() + b"\n")
        _write_metadata(store, metadata, replaced=())
    return metadata


def publish_files(
    store: Store,
    signers: Mapping[Role, Sequence[Signer]],
    settings: RepositorySettings,
    *,
    before: RepositoryMetadata | None = None,
    releases: Sequence[NewFile] = (),
    withdrawn_paths: Sequence[str] = (),
    assignments: Sequence[NewFile] = (),
    fill_max: float = 1,
    now: datetime,
) -> RepositoryMetadata:
    """Add files, sign what names them, and write both so that every moment is verifiable.

    The caller holds `store.exclusively()`, and read the state that the files follow from.

    Args:
        store: The repository.
        signers: Private keys: release if there are releases, campaign if there are assignments,
            and always snapshot and timestamp.
        settings: For how long each document holds.
        before: The state that the caller read; `None` reads it.
        releases: Files for the release role's list.
        withdrawn_paths: Target paths that the release role's list no longer has.
        assignments: Files for the campaign role's list; each replaces its predecessor.
        fill_max: Share of what readers take that the release role's list may fill.
        now: The present, UTC.

    Raises:
        RepositoryError: Keys are missing, or the repository is damaged or cannot be written.
    """
    before = before or load_repository(store)
    refuse_test_keys(signers, allows_test_keys=load_description(store)["allows_test_keys"] is True)
    targets, campaign = before.targets, before.campaign
    if releases or withdrawn_paths:
        listed = before.targets.signed.targets | _described(releases)
        for path in withdrawn_paths:
            del listed[path]
        targets = build_targets(
            version=following_version(store, before.targets),
            expires=now + settings.lifetime("targets"),
            files=listed,
            delegations=before.targets.signed.delegations,
        )
        sign_document(Targets.type, targets, signers, before.root, fill_max=fill_max)
    if assignments:
        campaign = build_targets(
            version=following_version(store, before.campaign, CAMPAIGN),
            expires=now + settings.lifetime(CAMPAIGN),
            files=before.campaign.signed.targets | _described(assignments),
            delegations=None,
        )
        carry_passed(store, before, campaign, [new.path for new in assignments])
        sign_document(CAMPAIGN, campaign, signers, targets)
    after = _sealed(
        before.root,
        targets,
        campaign,
        signers,
        settings,
        now=now,
        snapshot_version=following_version(store, before.snapshot),
        version=before.timestamp.signed.version + 1,
    )
    for new in releases:
        store.write(served_target_path(new.path, new.content), new.content)
    for new in releases:
        if new.device_path:
            store.copy(served_target_path(new.path, new.content), new.device_path)
    _write_metadata(store, after, replaced=assignments)
    return after


def following_version(store: Store, document: Metadata[Any], name: str = "") -> int:
    """Return the version after a document's of which no file is there.

    A publication that was cut off may have left one. Nothing names it, but somebody may have asked
    for it: caches keep what has a version in its name for a year, and would give out that one.

    Args:
        store: The repository.
        document: The one in force.
        name: Its TUF name, if that is not its type.
    """
    version = int(document.signed.version) + 1
    name = name or document.signed.type
    while store.read(f"metadata/{version}.{name}.json", max_bytes=METADATA_MAX_BYTES) is not None:
        version += 1
    return version


def refuse_test_keys(signers: Mapping[Role, Sequence[Signer]], *, allows_test_keys: bool) -> None:
    """Refuse to publish with keys that are marked as never for products.

    Raises:
        RepositoryError: A test key is among them and the repository does not allow it.
    """
    marked = sorted(
        role
        for role, held in signers.items()
        if any(getattr(signer, "is_test_key", False) for signer in held)
    )
    if marked and not allows_test_keys:
        raise RepositoryError(
            "test keys must not publish to customers",
            expected="keys that are not marked as test keys",
            got=f"test keys for {', '.join(marked)}",
            hint="make real keys with `ampforge key generate`; for a trial make the repository "
            "with `ampforge repo init --insecure-test-keys`",
        )


def _sealed(
    root: Metadata[Root],
    targets: Metadata[Targets],
    campaign: Metadata[Targets],
    signers: Mapping[Role, Sequence[Signer]],
    settings: RepositorySettings,
    *,
    now: datetime,
    snapshot_version: int,
    version: int,
) -> RepositoryMetadata:
    snapshot = build_snapshot(
        version=snapshot_version,
        expires=now + settings.lifetime("snapshot"),
        targets=targets,
        campaign=campaign,
    )
    sign_document(Snapshot.type, snapshot, signers, root)
    timestamp = build_timestamp(
        version=version, expires=now + settings.lifetime("timestamp"), snapshot=snapshot
    )
    sign_document(Timestamp.type, timestamp, signers, root)
    return RepositoryMetadata(
        root=root, targets=targets, campaign=campaign, snapshot=snapshot, timestamp=timestamp
    )


def _write_metadata(
    store: Store, metadata: RepositoryMetadata, *, replaced: Sequence[NewFile]
) -> None:
    targets_version = metadata.targets.signed.version
    campaign_version = metadata.campaign.signed.version
    snapshot_version = metadata.snapshot.signed.version
    for path, content in (
        (f"metadata/{targets_version}.targets.json", serialize_document(metadata.targets)),
        (f"metadata/{campaign_version}.campaign.json", serialize_document(metadata.campaign)),
        (f"metadata/{snapshot_version}.snapshot.json", serialize_document(metadata.snapshot)),
    ):
        store.write(path, content)
    for new in replaced:
        store.write(served_target_path(new.path, new.content), new.content)
    # From here devices see the new assignment, and then gateways the new state.
    for new in replaced:
        if new.device_path:
            store.write(new.device_path, new.content)
    store.write(TIMESTAMP_PATH, serialize_document(metadata.timestamp))


def _described(files: Sequence[NewFile]) -> dict[str, TargetFile]:
    return {new.path: describe_target(new.path, new.content, new.custom) for new in files}
