"""Metadata as a thief with stolen keys would write it, for drills: signed, and not verified.

A repository's own tools verify what they sign before they write it, and so cannot show that its
readers refuse. This signs whatever it is given with whatever keys it is given. For scratch copies
alone: everything that it makes is worthless where the keys are not the repository's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuf.api.metadata import (  # type: ignore[attr-defined]  # public, re-exported without __all__
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from manifests.repository_reading import TIMESTAMP_PATH, load_repository, served_target_path
from manifests.tuf_metadata import (
    CAMPAIGN,
    SIGNING_ROLES,
    build_root,
    build_snapshot,
    build_targets,
    build_timestamp,
    describe_target,
    serialize_document,
)
from signing.tuf_signers import as_tuf_signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from manifests.store import Store
    from signing.roles import Role, RoleKeys
    from signing.signers import Signer

FORGED_CONTENT = b"what the thief wants to be installed"
FORGED_TARGET = "manifests/forged.cose"
FORGED_ASSIGNMENT = "campaigns/forged/assignment.cose"


def forge_metadata(
    store: Store,
    names: AbstractSet[str],
    signers: Mapping[Role, Sequence[Signer]],
    *,
    expires: datetime,
    root_keys: Mapping[Role, RoleKeys] | None = None,
) -> None:
    """Write the documents of some TUF roles anew in a copy of a repository, signed with these keys.

    Args:
        store: The copy.
        names: TUF names of the documents that the thief can write: forged targets list
            `FORGED_TARGET`, a forged campaign `FORGED_ASSIGNMENT`; snapshot and timestamp follow.
        signers: Keys that the thief signs with, by role.
        expires: Until when the forgeries claim to hold.
        root_keys: Whom a forged root trusts.
    """
    before = load_repository(store)
    if Root.type in names:
        assert root_keys is not None
        root = build_root(root_keys, version=before.root.signed.version + 1, expires=expires)
        _save(store, Root.type, root, signers)
    targets, campaign, snapshot = before.targets, before.campaign, before.snapshot
    if Targets.type in names:
        targets = _with_file(store, before.targets, FORGED_TARGET, expires)
        _save(store, Targets.type, targets, signers)
    if CAMPAIGN in names:
        campaign = _with_file(store, before.campaign, FORGED_ASSIGNMENT, expires)
        _save(store, CAMPAIGN, campaign, signers)
    if Snapshot.type in names:
        version = before.snapshot.signed.version + 1
        snapshot = build_snapshot(
            version=version, expires=expires, targets=targets, campaign=campaign
        )
        _save(store, Snapshot.type, snapshot, signers)
    version = before.timestamp.signed.version + 1
    timestamp = build_timestamp(version=version, expires=expires, snapshot=snapshot)
    _save(store, Timestamp.type, timestamp, signers)


def _with_file(
    store: Store, before: Metadata[Targets], path: str, expires: datetime
) -> Metadata[Targets]:
    store.write(served_target_path(path, FORGED_CONTENT), FORGED_CONTENT)
    return build_targets(
        version=before.signed.version + 1,
        expires=expires,
        files=before.signed.targets | {path: describe_target(path, FORGED_CONTENT, {})},
        delegations=before.signed.delegations,
    )


def _save(
    store: Store, name: str, document: Metadata[Any], signers: Mapping[Role, Sequence[Signer]]
) -> None:
    for signer in signers.get(SIGNING_ROLES[name], ()):
        document.sign(as_tuf_signer(signer), append=True)
    path = f"metadata/{document.signed.version}.{name}.json"
    if name == Timestamp.type:
        path = TIMESTAMP_PATH
    store.write(path, serialize_document(document))
