"""The repository's TUF metadata: built, signed and checked with python-tuf.

Five documents (TUF 1.0.34): root, targets (the release role's list), campaign (delegated by
targets for `campaigns/*/*` alone, signed online), snapshot and timestamp. The keys are those of
the device trust record, so that gateways and devices trust the same people. No file is read or
written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tuf.api.metadata import (  # type: ignore[attr-defined]  # public, re-exported without __all__
    DelegatedRole,
    Delegations,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from manifests.connection_failures import describe_cause
from manifests.errors import RepositoryError
from manifests.metadata_room import refuse_too_large, refuse_unreadable
from manifests.tuf_document import MalformedDocumentError, TufDocument, parse_tuf_document
from signing.roles import Role
from signing.tuf_signers import as_tuf_key, as_tuf_signer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from tuf.api.metadata import Metadata

    from signing.roles import RoleKeys
    from signing.signers import Signer

CAMPAIGN = "campaign"
CAMPAIGN_PATHS = ("campaigns/*/*",)
# The four top-level roles of TUF, and who holds them with us.
TOP_LEVEL_ROLES: Mapping[str, Role] = {
    Root.type: Role.ROOT,
    Targets.type: Role.RELEASE,
    Snapshot.type: Role.SNAPSHOT,
    Timestamp.type: Role.TIMESTAMP,
}
SIGNING_ROLES: Mapping[str, Role] = {**TOP_LEVEL_ROLES, CAMPAIGN: Role.CAMPAIGN}

Document = TypeVar("Document", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryMetadata:
    """The five documents of one state; python-tuf's objects, never changed once they are here."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    campaign: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    @property
    def documents(self) -> dict[str, Metadata[Any]]:
        """The five by their TUF name, each after the one that says who signs it."""
        return {
            Root.type: self.root,
            Targets.type: self.targets,
            CAMPAIGN: self.campaign,
            Snapshot.type: self.snapshot,
            Timestamp.type: self.timestamp,
        }


def build_root(
    role_keys: Mapping[Role, RoleKeys], *, version: int, expires: datetime
) -> Metadata[Root]:
    """Return an unsigned root that gives each TUF role to the keys that hold it with us.

    Raises:
        RepositoryError: Nobody holds one of the roles.
    """
    root = Root(version=version, expires=expires, consistent_snapshot=True)
    for name, role in TOP_LEVEL_ROLES.items():
        held = _held(role_keys, role)
        for key in held.keys:
            root.add_key(as_tuf_key(key), name)
        root.roles[name].threshold = held.threshold
    return TufDocument(root)


def build_delegations(role_keys: Mapping[Role, RoleKeys]) -> Delegations:
    """Return the delegation of assignments, and of nothing else, to the campaign role.

    Over releases it would let an online key add one.

    Raises:
        RepositoryError: Nobody holds the campaign role.
    """
    held = _held(role_keys, Role.CAMPAIGN)
    keys = {key.keyid: key for key in map(as_tuf_key, held.keys)}
    role = DelegatedRole(
        CAMPAIGN, list(keys), held.threshold, terminating=True, paths=list(CAMPAIGN_PATHS)
    )
    return Delegations(cast("dict[str, Any]", keys), {CAMPAIGN: role})


def build_targets(
    *,
    version: int,
    expires: datetime,
    files: Mapping[str, TargetFile],
    delegations: Delegations | None,
) -> Metadata[Targets]:
    """Return unsigned targets: the list of releases, or campaign's list of assignments."""
    return TufDocument(
        Targets(version=version, expires=expires, targets=dict(files), delegations=delegations)
    )


def build_snapshot(
    *, version: int, expires: datetime, targets: Metadata[Targets], campaign: Metadata[Targets]
) -> Metadata[Snapshot]:
    """Return an unsigned snapshot of signed targets and campaign metadata."""
    meta = {
        f"{name}.json": _describe(document)
        for name, document in ((Targets.type, targets), (CAMPAIGN, campaign))
    }
    return TufDocument(Snapshot(version=version, expires=expires, meta=meta))


def build_timestamp(
    *, version: int, expires: datetime, snapshot: Metadata[Snapshot]
) -> Metadata[Timestamp]:
    """Return an unsigned timestamp over a signed snapshot."""
    return TufDocument(
        Timestamp(version=version, expires=expires, snapshot_meta=_describe(snapshot))
    )


def sign_document(
    name: str,
    document: Metadata[Document],
    signers: Mapping[Role, Sequence[Signer]],
    delegator: Metadata[Root] | Metadata[Targets],
    *,
    fill_max: float = 1,
) -> Metadata[Document]:
    """Sign a document and verify it as its readers will.

    Args:
        name: TUF name of the role: root, targets, campaign, snapshot or timestamp.
        document: The unsigned document.
        signers: The private keys at hand, by our role.
        delegator: Who says which keys the role has: root, or targets for campaign.
        fill_max: Share of what readers take that the document may fill.

    Raises:
        RepositoryError: The keys at hand do not make up the role's threshold, or its readers would
            refuse the document by its size.
    """
    role = SIGNING_ROLES[name]
    for signer in signers.get(role, ()):
        document.sign(as_tuf_signer(signer), append=True)
    verify_document(
        name,
        document,
        delegator,
        hint=f"give the private keys of the role {role} to sign with; if a key was rotated, "
        "`ampforge repo rotate` comes first",
    )
    refuse_unreadable(name, serialize_document(document), fill_max=fill_max)
    return document


def verify_document(
    name: str,
    document: Metadata[Document],
    delegator: Metadata[Root] | Metadata[Targets],
    *,
    hint: str,
) -> None:
    """Verify that a document is signed by the threshold of its role.

    Raises:
        RepositoryError: It is not.
    """
    result = delegator.signed.get_verification_result(
        name, document.signed_bytes, document.signatures
    )
    if not result.verified:
        raise RepositoryError(
            f"too few keys of the role {SIGNING_ROLES[name]} signed the repository's {name}",
            expected=f"{result.threshold} of its {len(result.signed) + len(result.unsigned)} keys",
            got=len(result.signed),
            where=f"{name}.json",
            hint=hint,
        )


def list_differing_roles(
    metadata: RepositoryMetadata, role_keys: Mapping[Role, RoleKeys]
) -> tuple[str, ...]:
    """Return the names of the TUF roles whose keys or threshold are not those of a trust record.

    Args:
        metadata: The repository's.
        role_keys: Who holds what by the trust record in force.
    """
    root, delegations = metadata.root.signed, metadata.targets.signed.delegations
    expected = build_root(role_keys, version=root.version, expires=root.expires).signed
    wanted = build_delegations(role_keys).roles or {}
    held = (delegations.roles if delegations else None) or {}
    has = {name: (role.threshold, set(role.keyids)) for name, role in (root.roles | held).items()}
    wants = {
        name: (role.threshold, set(role.keyids)) for name, role in (expected.roles | wanted).items()
    }
    return tuple(name for name in SIGNING_ROLES if has.get(name) != wants[name])


def serialize_document(document: Metadata[Document]) -> bytes:
    """Return a document as the bytes of its file."""
    return document.to_bytes()


def parse_document(
    name: str, untrusted_bytes: bytes, kind: type[Document], *, where: str
) -> Metadata[Document]:
    """Return a document of the expected kind, not verified yet.

    Raises:
        RepositoryError: It is not one.
    """
    refuse_too_large(name, untrusted_bytes, where=where)
    try:
        document: Metadata[Any] = parse_tuf_document(untrusted_bytes)
    except MalformedDocumentError as error:
        raise RepositoryError(
            f"the repository's {name} metadata cannot be read",
            got=describe_cause(error),
            where=where,
        ) from error
    if not isinstance(document.signed, kind):
        raise RepositoryError(
            "a metadata file holds another role's document",
            expected=name,
            got=document.signed.type,
            where=where,
        )
    return document


def describe_target(path: str, content: bytes, custom: Mapping[str, object]) -> TargetFile:
    """Return the entry of a target: length, SHA-256, and words for auditors."""
    entry = TargetFile.from_data(path, content, ["sha256"])
    entry.unrecognized_fields["custom"] = dict(custom)
    return entry


def entries_of_kind(
    targets: Metadata[Targets], kind: str
) -> Iterator[tuple[str, TargetFile, dict[str, Any]]]:
    """Yield path, entry and words of each target whose words say that it is of a kind."""
    for path, entry in targets.signed.targets.items():
        custom = entry.unrecognized_fields.get("custom")
        if custom and custom.get("kind") == kind:
            yield path, entry, custom


def _describe(document: Metadata[Any]) -> MetaFile:
    return MetaFile.from_data(document.signed.version, serialize_document(document), ["sha256"])


def _held(role_keys: Mapping[Role, RoleKeys], role: Role) -> RoleKeys:
    held = role_keys.get(role)
    if held is None:
        raise RepositoryError(
            f"nobody holds the role {role}",
            expected=f"keys for {role} in the trust record",
            got=", ".join(sorted(role_keys)) or "no role",
            hint=f"make a key with `ampforge key generate` and add [signing.roles.{role}]",
        )
    return held
