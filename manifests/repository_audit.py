"""A full audit of a published repository: from the first root to the last byte of the last file.

It trusts nothing but the product's trust record (and, if one is given, the first root): every
signature, threshold, version, expiry, length and digest is checked, both views of each release are
compared, and what is on the disk is compared with what is named. What is wrong is collected, not
raised, so that one report tells everything. Beside it python-tuf's own client reads the whole
repository from the first root, as a second opinion; each target is read once for both. Nothing is
written but a scratch folder of that client. Implements docs/spec/repository-layout.md §10.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from manifests.audit_client import second_opinion
from manifests.audit_files import audit_files, name_what_stays
from manifests.audit_releases import audit_releases
from manifests.audit_trust import TRUST_TARGETS, audit_trust_records
from manifests.errors import RepositoryError
from manifests.metadata_room import METADATA_MAX_BYTES
from manifests.repository_reading import (
    DESCRIPTION_PATH,
    TARGET_MAX_BYTES,
    load_description,
    load_repository,
    load_roots,
)
from manifests.tuf_metadata import CAMPAIGN, CAMPAIGN_PATHS, list_differing_roles

if TYPE_CHECKING:
    from datetime import datetime

    from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]  # public, without __all__

    from manifests.audit_client import SecondOpinion
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord

AUDIT_SCHEMA = "ampforge.repo-audit/1"


class Severity(StrEnum):
    """How bad a finding is: an error breaks a promise, a notice only wants to be known."""

    ERROR = "error"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an audit found."""

    severity: Severity
    what: str
    where: str
    hint: str = ""


@dataclass(slots=True, kw_only=True)
class Audit:
    """What was looked at, and what was found; filled while an audit runs.

    Attributes:
        findings: In the order in which they were found.
        counts: How many documents, targets, releases, assignments and files were looked at.
        named: Every path that the repository gives a reason for.
    """

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

    @property
    def is_sound(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)

    def error(self, what: str, *, where: str, hint: str = "") -> None:
        """Add what breaks a promise."""
        self.findings.append(Finding(severity=Severity.ERROR, what=what, where=where, hint=hint))

    def notice(self, what: str, *, where: str, hint: str = "") -> None:
        """Add what is worth knowing."""
        self.findings.append(Finding(severity=Severity.NOTICE, what=what, where=where, hint=hint))

    def require(self, what: str, *, is_met: bool, where: str, hint: str = "") -> None:
        """Add an error unless it is met."""
        if not is_met:
            self.error(what, where=where, hint=hint)


def audit_repository(
    store: Store,
    trust: TrustRecord,
    *,
    now: datetime,
    trusted_root: bytes | None = None,
    lists: bool = True,
) -> Audit:
    """Return everything that is wrong with a published repository.

    Args:
        store: The repository.
        trust: The product's trust record.
        now: The present, UTC.
        trusted_root: The first root as it was handed out; `None` takes what lies there.
        lists: Whether the store can list its files; a URL cannot.

    Raises:
        RepositoryError: There is no repository, or it cannot be read.
    """
    audit = Audit()
    roots = load_roots(store)
    first = store.read("metadata/1.root.json", max_bytes=TARGET_MAX_BYTES) or b""
    if trusted_root is not None:
        audit.require(
            "the first root is not the one that was handed out",
            is_met=first == trusted_root,
            where="metadata/1.root.json",
            hint="clients that hold the true one refuse this repository: find out who replaced it",
        )
    try:
        metadata = load_repository(store, roots=roots)
    except RepositoryError as error:
        where = str(error.where or store)
        audit.error(str(error).removesuffix(f" ({where})"), where=where, hint=error.hint or "")
        return audit
    _audit_documents(audit, store, metadata, now)
    _audit_keys(audit, metadata, trust)
    with second_opinion(store, first) as opinion:
        contents = _audit_targets(audit, store, metadata, opinion)
    audit_releases(audit, store, metadata, trust=trust, contents=contents, now=now)
    description = _audit_description(audit, store) if lists else {}
    audit_trust_records(
        audit, store, metadata, trust=trust, contents=contents, description=description
    )
    name_what_stays(audit, metadata)
    if lists:
        audit_files(audit, metadata, store.list_paths(), root_count=len(roots))
    if audit.is_sound:
        audit.require(
            f"python-tuf's client refuses the repository: {opinion.problem}",
            is_met=opinion.problem is None,
            where=str(store),
        )
    return audit


def _audit_description(audit: Audit, store: Store) -> dict[str, object]:
    """Return `repository.json`; nobody is served it, and without it nobody publishes."""
    try:
        return load_description(store)
    except RepositoryError as error:
        audit.error(
            f"nothing can be published: {error.what}", where=DESCRIPTION_PATH, hint=error.hint or ""
        )
        return {}


def _audit_documents(
    audit: Audit, store: Store, metadata: RepositoryMetadata, now: datetime
) -> None:
    documents = metadata.documents
    for name, document in documents.items():
        expires = document.signed.expires
        audit.require(
            f"{name} expired {expires:%Y-%m-%d %H:%M} UTC: clients refuse the repository",
            is_met=expires > now,
            where=f"{name}.json",
            hint="`ampforge repo status` says who must sign what",
        )
        prefix = "" if name == "timestamp" else f"{document.signed.version}."
        audit.named.add(f"metadata/{prefix}{name}.json")
    entries = {f"{name}.json": document for name, document in list(documents.items())[1:3]}
    described = dict(metadata.snapshot.signed.meta)
    audit.require(
        "the snapshot does not name exactly targets and campaign",
        is_met=set(described) == set(entries),
        where="snapshot.json",
    )
    pairs = [(described[name], documents[name[:-5]], name) for name in described.keys() & entries]
    pairs.append((metadata.timestamp.signed.snapshot_meta, metadata.snapshot, "snapshot.json"))
    for meta, document, name in pairs:
        path = f"metadata/{document.signed.version}.{name}"
        content = store.read(path, max_bytes=METADATA_MAX_BYTES) or b""
        audit.require(
            f"{name} is not the one that the next document describes",
            is_met=meta.version == document.signed.version
            and (meta.length in {None, len(content)})
            and (meta.hashes or {}).get("sha256") == hashlib.sha256(content).hexdigest(),
            where=name,
        )
    audit.counts["documents"] = len(documents)


def _audit_keys(audit: Audit, metadata: RepositoryMetadata, trust: TrustRecord) -> None:
    root = metadata.root.signed
    for name in list_differing_roles(metadata, trust.roles):
        audit.error(
            f"the keys of {name} are not those of trust record version {trust.version}",
            where="targets.json" if name == CAMPAIGN else f"{root.version}.root.json",
            hint="run `ampforge repo rotate`",
        )
    audit.require(
        "the root does not ask for consistent snapshots",
        is_met=bool(root.consistent_snapshot),
        where="root.json",
    )
    delegations = metadata.targets.signed.delegations
    roles = (delegations.roles if delegations else None) or {}
    role = roles.get(CAMPAIGN)
    audit.require(
        "targets delegates something else than assignments to the campaign role alone",
        is_met=set(roles) == {CAMPAIGN}
        and role is not None
        and role.terminating is True
        and role.path_hash_prefixes is None
        and role.paths == list(CAMPAIGN_PATHS)
        and metadata.campaign.signed.delegations is None,
        where="targets.json",
        hint="an online key could add a release: publish targets anew with the release keys",
    )


def _audit_targets(
    audit: Audit, store: Store, metadata: RepositoryMetadata, opinion: SecondOpinion
) -> dict[str, bytes]:
    """Return the messages among the targets by their path; everything else is only hashed."""
    kept: dict[str, bytes] = {}
    targets: dict[str, TargetFile] = {
        **metadata.targets.signed.targets,
        **metadata.campaign.signed.targets,
    }
    for path, entry in targets.items():
        file_path = f"targets/{entry.get_prefixed_paths()[0]}"
        audit.named.add(file_path)
        content = store.read(file_path, max_bytes=TARGET_MAX_BYTES)
        if content is None:
            audit.error("a target is missing", where=file_path, hint="restore it from a backup")
            continue
        if (
            len(content) != entry.length
            or hashlib.sha256(content).hexdigest() != entry.hashes["sha256"]
        ):
            audit.error("a target is not what was signed", where=file_path)
            continue
        opinion.look_at(path, file_path, content)
        if path.startswith(("manifests/", "campaigns/", "bundles/", TRUST_TARGETS)):
            kept[path] = content
    audit.counts["targets"] = len(targets)
    return kept
