"""Reads a repository back: every document verified from root downward, every target by digest.

The layout is that of `repository`. Nothing is written here.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import (  # type: ignore[attr-defined]  # public, re-exported without __all__
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from manifests.errors import RepositoryError
from manifests.metadata_room import METADATA_MAX_BYTES
from manifests.tuf_metadata import (
    CAMPAIGN,
    RepositoryMetadata,
    parse_document,
    verify_document,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuf.api.metadata import Metadata

    from manifests.store import Store

DESCRIPTION_PATH = "repository.json"
DESCRIPTION_SCHEMA = "ampforge.repository/1"
DESCRIPTION_MAX_BYTES = 4096
TRUST_VERSION_KEY = "trust_record_version"
"""Which record was in force when the repository was made; earlier ones do not say so."""
TIMESTAMP_PATH = "metadata/timestamp.json"
TARGET_MAX_BYTES = 64 << 20
ROOT_VERSIONS_MAX = 1024
Document = TypeVar("Document", Timestamp, Snapshot, Targets)
_HINT_DAMAGED = "restore the repository from a backup; do not sign on top of a damaged one"


def load_repository(store: Store, *, roots: Sequence[Metadata[Root]] = ()) -> RepositoryMetadata:
    """Return the current state, every document verified from the last root downward.

    Args:
        store: The repository.
        roots: What `load_roots` returned, if the caller has it.

    Raises:
        RepositoryError: There is none, or a document is missing, damaged or wrongly signed; or it
            is still signed under an earlier root, because a rotation was cut off.
    """
    roots = roots or load_roots(store)
    state = load_state_before_rotation(store, roots)
    if state.root is not roots[-1]:
        last, before = roots[-1].signed.version, state.root.signed.version
        raise RepositoryError(
            f"root {last} is published, and everything else is still signed under root {before}",
            expected=f"documents signed under root {last}",
            got=f"root {before}",
            where=TIMESTAMP_PATH,
            hint="a rotation was cut off, and clients refuse the repository: run `ampforge repo "
            "rotate` again. If nobody ran it, find out who changed the repository",
        )
    return state


def load_state_before_rotation(store: Store, roots: Sequence[Metadata[Root]]) -> RepositoryMetadata:
    """Return the state under the last root, or, if a rotation was cut off, under the one before it.

    Args:
        store: The repository.
        roots: What `load_roots` returned. Several of the last may have nothing signed under them.

    Raises:
        RepositoryError: A document is missing, damaged or signed under none of them; what is wrong
            under the last one is told.
    """
    try:
        return _load_state(store, roots[-1])
    except RepositoryError:
        for root in reversed(roots[:-1]):
            with suppress(RepositoryError):
                return _load_state(store, root)
        raise


def load_lists(
    store: Store, root: Metadata[Root], *, snapshot_version: int
) -> tuple[Metadata[Snapshot], Metadata[Targets], Metadata[Targets]]:
    """Return a snapshot, and the lists of releases and assignments that it names.

    Args:
        store: The repository.
        root: The root to verify under.
        snapshot_version: Which snapshot.

    Raises:
        RepositoryError: A document is missing, damaged or wrongly signed.
    """
    path = f"metadata/{snapshot_version}.snapshot.json"
    snapshot = _load(store, path, Snapshot.type, Snapshot, root)
    versions = snapshot.signed.meta
    targets = _load(
        store,
        f"metadata/{versions['targets.json'].version}.targets.json",
        Targets.type,
        Targets,
        root,
    )
    campaign = _load(
        store,
        f"metadata/{versions['campaign.json'].version}.campaign.json",
        CAMPAIGN,
        Targets,
        targets,
    )
    return snapshot, targets, campaign


def _load_state(store: Store, root: Metadata[Root]) -> RepositoryMetadata:
    timestamp = _load(store, TIMESTAMP_PATH, Timestamp.type, Timestamp, root)
    version = timestamp.signed.snapshot_meta.version
    snapshot, targets, campaign = load_lists(store, root, snapshot_version=version)
    return RepositoryMetadata(
        root=root, targets=targets, campaign=campaign, snapshot=snapshot, timestamp=timestamp
    )


def load_roots(store: Store) -> tuple[Metadata[Root], ...]:
    """Return every root from the first one on, each verified by itself and the one before.

    Raises:
        RepositoryError: There is none, or one is damaged or wrongly signed.
    """
    roots: list[Metadata[Root]] = []
    for version in range(1, ROOT_VERSIONS_MAX + 1):
        path = f"metadata/{version}.root.json"
        content = store.read(path, max_bytes=METADATA_MAX_BYTES)
        if content is None:
            break
        document = parse_document(Root.type, content, Root, where=path)
        # The first root vouches for itself, each later one must satisfy the one before as well.
        for delegator in (*roots[-1:], document):
            verify_document(Root.type, document, delegator, hint=_HINT_DAMAGED)
        roots.append(document)
    if not roots:
        raise _no_repository(store)
    return tuple(roots)


def load_description(store: Store) -> dict[str, object]:
    """Return `repository.json`.

    Raises:
        RepositoryError: There is none, or it is not one.
    """
    content = store.read(DESCRIPTION_PATH, max_bytes=DESCRIPTION_MAX_BYTES)
    if content is None:
        raise _no_repository(store)
    try:
        description = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RepositoryError(
            "the repository's description is not JSON", where=DESCRIPTION_PATH, hint=_HINT_DAMAGED
        ) from error
    if not isinstance(description, dict) or description.get("schema") != DESCRIPTION_SCHEMA:
        raise RepositoryError(
            "the repository's description is of an unknown kind",
            expected=DESCRIPTION_SCHEMA,
            where=DESCRIPTION_PATH,
            hint=_HINT_DAMAGED,
        )
    return description


def read_target(store: Store, entry: TargetFile) -> bytes:
    """Return a target's bytes, verified against the metadata that lists it.

    Raises:
        RepositoryError: The file is missing, or is not what was signed.
    """
    path = f"targets/{entry.get_prefixed_paths()[0]}"
    content = store.read(path, max_bytes=TARGET_MAX_BYTES)
    if content is None or hashlib.sha256(content).hexdigest() != entry.hashes["sha256"]:
        raise RepositoryError(
            "a target file is missing or damaged",
            expected=f"SHA-256 {entry.hashes['sha256']}",
            got="no such file" if content is None else hashlib.sha256(content).hexdigest(),
            where=path,
            hint=_HINT_DAMAGED,
        )
    return content


def served_target_path(path: str, content: bytes) -> str:
    """Return where a target's file lies (TUF consistent snapshots: its name has its digest)."""
    folder, slash, name = path.rpartition("/")
    return f"targets/{folder}{slash}{hashlib.sha256(content).hexdigest()}.{name}"


def _load(
    store: Store,
    path: str,
    name: str,
    kind: type[Document],
    delegator: Metadata[Root] | Metadata[Targets],
) -> Metadata[Document]:
    content = store.read(path, max_bytes=METADATA_MAX_BYTES)
    if content is None:
        raise RepositoryError(
            "a metadata file of the repository is missing", where=path, hint=_HINT_DAMAGED
        )
    document = parse_document(name, content, kind, where=path)
    verify_document(name, document, delegator, hint=_HINT_DAMAGED)
    return document


def _no_repository(store: Store) -> RepositoryError:
    return RepositoryError(
        "there is no repository here",
        where=store,
        hint="make one with `ampforge repo init`, or name its folder in [repository]",
    )
