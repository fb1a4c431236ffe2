"""The next root of a repository: the TUF keys become those of the trust record in force.

Implements docs/spec/repository-layout.md §7. The new root is signed by enough old root keys and
enough new ones; every other document is signed again under it. Documents that old keys can still
sign carry both signatures, so that whoever reads in between verifies either state. Where an old
online key is gone, clients refuse for the moment between two writes, and accept at the next try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuf.api.metadata import (  # type: ignore[attr-defined]  # public, re-exported without __all__
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from manifests.assignment_sequence import carry_passed
from manifests.errors import RepositoryError
from manifests.publisher_clock import refuse_clock_behind
from manifests.repository import following_version, refuse_test_keys
from manifests.repository_reading import (
    TIMESTAMP_PATH,
    load_description,
    load_lists,
    load_roots,
    load_state_before_rotation,
)
from manifests.tuf_metadata import (
    CAMPAIGN,
    RepositoryMetadata,
    build_delegations,
    build_root,
    build_snapshot,
    build_targets,
    build_timestamp,
    serialize_document,
    sign_document,
    verify_document,
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

_HINT = (
    "enough keys of the root before must sign the next one, too: `ampforge repo rotate --old-key "
    "FILE` for each that is left"
)


def rotate_root(
    store: Store,
    trust: TrustRecord,
    signers: Mapping[Role, Sequence[Signer]],
    settings: RepositorySettings,
    *,
    now: datetime,
) -> RepositoryMetadata:
    """Publish the next root, and everything signed again under it.

    Args:
        store: The repository.
        trust: The trust record in force: who holds root, release, campaign, snapshot, timestamp.
        signers: Private keys: root's old and new ones, and the others' new ones. Those of an old
            key that is at hand may be there, too.
        settings: For how long each document holds.
        now: The present, UTC.

    Returns:
        The new state.

    Raises:
        RepositoryError: Keys are missing, or the repository is damaged or cannot be written.
    """
    with store.exclusively():
        roots = load_roots(store)
        before = load_state_before_rotation(store, roots)
        if before.root is not roots[-1]:
            _refuse_older_state(store, before, roots[-1])
        allowed = load_description(store)["allows_test_keys"] is True
        refuse_test_keys(signers, allows_test_keys=allowed)
        refuse_clock_behind(store, before, settings, now=now)
        if before.root is not roots[-1] and _has_keys_of(roots[-1], trust):
            # A root is never changed once a client may have it: what follows is signed under that.
            root = roots[-1]
        else:
            root = _build_root(roots[-1], trust, signers, settings, now)
        after = _build(store, before, root, trust, signers, settings=settings, now=now)
        _write(store, before, after)
    return after


def _refuse_older_state(
    store: Store, before: RepositoryMetadata, last_root: Metadata[Root]
) -> None:
    """Refuse to go on from a state after which something was published under the last root.

    A rotation that was cut off left documents that list what the state lists. Others came after a
    rotation that was done: then somebody put an older timestamp back, and what was withdrawn since
    would be listed again, by the new keys.

    Raises:
        RepositoryError: Something was.
    """
    version = following_version(store, before.snapshot) - 1
    try:
        _, targets, campaign = load_lists(store, last_root, snapshot_version=version)
    except RepositoryError:
        return  # of no rotation to this root, so nothing was published under it
    if (targets.signed.targets, campaign.signed.targets) != (
        before.targets.signed.targets,
        before.campaign.signed.targets,
    ):
        raise RepositoryError(
            "the timestamp is older than what was published under the last root",
            expected=f"one that names snapshot {version}",
            got=f"snapshot {before.snapshot.signed.version}, signed under root "
            f"{before.root.signed.version}",
            where=TIMESTAMP_PATH,
            hint="nothing was signed: put the last timestamp back from a backup, and find out who "
            "replaced it",
        )


def _has_keys_of(root: Metadata[Root], trust: TrustRecord) -> bool:
    """Whether a published root names the keys and thresholds of a trust record."""
    signed = root.signed
    wanted = build_root(trust.roles, version=signed.version, expires=signed.expires).signed
    return (signed.roles, signed.keys) == (wanted.roles, wanted.keys)


def _build_root(
    before: Metadata[Root],
    trust: TrustRecord,
    signers: Mapping[Role, Sequence[Signer]],
    settings: RepositorySettings,
    now: datetime,
) -> Metadata[Root]:
    version = before.signed.version + 1
    root = build_root(trust.roles, version=version, expires=now + settings.lifetime("root"))
    sign_document(Root.type, root, signers, root)
    verify_document(Root.type, root, before, hint=_HINT)
    return root


def _build(
    store: Store,
    before: RepositoryMetadata,
    root: Metadata[Root],
    trust: TrustRecord,
    signers: Mapping[Role, Sequence[Signer]],
    *,
    settings: RepositorySettings,
    now: datetime,
) -> RepositoryMetadata:
    targets = build_targets(
        version=following_version(store, before.targets),
        expires=now + settings.lifetime("targets"),
        files=before.targets.signed.targets,
        delegations=build_delegations(trust.roles),
    )
    sign_document(Targets.type, targets, signers, root)
    campaign = build_targets(
        version=following_version(store, before.campaign, CAMPAIGN),
        expires=now + settings.lifetime(CAMPAIGN),
        files=before.campaign.signed.targets,
        delegations=None,
    )
    carry_passed(store, before, campaign, ())
    sign_document(CAMPAIGN, campaign, signers, targets)
    snapshot = build_snapshot(
        version=following_version(store, before.snapshot),
        expires=now + settings.lifetime("snapshot"),
        targets=targets,
        campaign=campaign,
    )
    sign_document(Snapshot.type, snapshot, signers, root)
    timestamp = build_timestamp(
        version=before.timestamp.signed.version + 1,
        expires=now + settings.lifetime("timestamp"),
        snapshot=snapshot,
    )
    sign_document(Timestamp.type, timestamp, signers, root)
    return RepositoryMetadata(
        root=root, targets=targets, campaign=campaign, snapshot=snapshot, timestamp=timestamp
    )


def _write(store: Store, before: RepositoryMetadata, after: RepositoryMetadata) -> None:
    targets, campaign, snapshot = after.targets, after.campaign, after.snapshot
    for path, content in (
        (f"metadata/{targets.signed.version}.targets.json", serialize_document(targets)),
        (f"metadata/{campaign.signed.version}.campaign.json", serialize_document(campaign)),
        (f"metadata/{snapshot.signed.version}.snapshot.json", serialize_document(snapshot)),
    ):
        store.write(path, content)
    root = (f"metadata/{after.root.signed.version}.root.json", serialize_document(after.root))
    timestamp = (TIMESTAMP_PATH, serialize_document(after.timestamp))
    # Under the old root the new documents verify only where old keys signed them, too.
    order = (timestamp, root) if _is_verified_by(before, after) else (root, timestamp)
    for path, content in order:
        store.write(path, content)


def _is_verified_by(before: RepositoryMetadata, after: RepositoryMetadata) -> bool:
    return all(
        before.root.signed.get_verification_result(
            name, document.signed_bytes, document.signatures
        ).verified
        for name, document in (
            (Targets.type, after.targets),
            (Snapshot.type, after.snapshot),
            (Timestamp.type, after.timestamp),
        )
    )
