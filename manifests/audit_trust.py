"""The audit of the trust records that a repository gives to boards.

Implements docs/spec/repository-layout.md §11: each one follows, is the same for gateways and for
boards, and none is newer than the record in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manifests.repository_reading import TARGET_MAX_BYTES
from manifests.trust_publication import TRUST_KIND, describe_lag
from manifests.trust_renewal import trust_path
from signing.errors import SigningError
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manifests.repository_audit import Audit
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata
    from signing.trust_record import TrustRecord

TRUST_TARGETS = "trust/"


def audit_trust_records(
    audit: Audit,
    store: Store,
    metadata: RepositoryMetadata,
    *,
    trust: TrustRecord,
    contents: Mapping[str, bytes],
    description: Mapping[str, object],
) -> None:
    """Add what is wrong with the published trust records, and what the last one leaves out."""
    last: TrustRecord | None = None
    for path, entry in metadata.targets.signed.targets.items():
        if path.startswith(TRUST_TARGETS) and path in contents:
            custom = entry.custom or {}
            record = _audit_record(audit, store, path, contents[path], custom=custom, trust=trust)
            if record is not None and (last is None or record.version > last.version):
                last = record
    # Boards with the record in force ask for this one, and a URL cannot list what lies there.
    following = trust_path(trust.version)
    if (
        following not in audit.named
        and store.read(following, max_bytes=TARGET_MAX_BYTES) is not None
    ):
        audit.named.add(following)
        audit.error(
            "boards are shown a trust record that TUF does not list: they refuse it, and update no "
            "more",
            where=following,
            hint="find out who put it there, and remove it",
        )
    lag = describe_lag(metadata, description, trust)
    if lag:
        audit.notice(
            lag, where=f"targets/{TRUST_TARGETS}", hint="run `ampforge repo publish-trust`"
        )
    if last is not None and last.version == trust.version:
        audit.require(
            "the published trust record is not the one in force",
            is_met=last == trust,
            where=f"targets/{TRUST_TARGETS}",
        )


def _audit_record(
    audit: Audit,
    store: Store,
    path: str,
    content: bytes,
    *,
    custom: Mapping[str, Any],
    trust: TrustRecord,
) -> TrustRecord | None:
    try:
        record = verify_trust_record(content, current=None)
    except SigningError as error:
        audit.error(f"boards refuse the trust record: {error}", where=path)
        return None
    follows = custom.get("follows")
    is_described = (
        custom.get("kind") == TRUST_KIND
        and custom.get("version") == record.version
        and isinstance(follows, int)
        and follows < record.version
        and trust_path(follows) == f"device/{path}"
    )
    audit.require("a trust record is listed as another", is_met=is_described, where=path)
    audit.require(
        "a trust record of another product, or newer than the one in force",
        is_met=record.product == trust.product and record.version <= trust.version,
        where=path,
        hint="verify with the trust record in force",
    )
    audit.named.add(f"device/{path}")
    audit.require(
        "boards get another trust record than gateways, or none",
        is_met=store.read(f"device/{path}", max_bytes=TARGET_MAX_BYTES) == content,
        where=f"device/{path}",
        hint="run `ampforge repo publish-trust` after you found out who replaced it",
    )
    return record
