"""A bundle as a reviewer sees it: its content judged, and whether its signatures hold.

A reviewer also looks at a release that nobody has signed yet, and at an old one whose keys were
revoked since. So here the signatures are a finding, not a condition. Whoever installs or publishes
uses `bundle.verify_bundle`. What this module does not do: show a bundle whose parts contradict its
statement; such a bundle is refused.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_contents import (
    SIGNED_STATEMENT,
    judge_contents,
    refuse_other_product,
)
from firmware_images.bundle_statement import find_statement, read_signed_statement
from firmware_images.errors import ApprovalError
from firmware_images.release_statement import parse_statement
from signing.errors import SigningError
from signing.trust import Role
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.bundle_contents import Contents
    from firmware_images.release_statement import ReleaseStatement
    from signing.cose_message import CoseMessage
    from signing.trust import TrustRecord

NO_TRUST_RECORD = "there is no trust record to verify it with"
NOT_SIGNED = "nobody has signed it yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseView:
    """A release whose parts are what its statement says and fit each other.

    Attributes:
        statement: What was signed, or is to be signed.
        digest: SHA-256 of the statement.
        size_bytes: Size of the bundle file.
        parts: Content by name.
        contents: The same, parsed.
        kids: Whose signatures it claims to carry: first 8 bytes of each key's id, rising.
        signed_by: Ids of the release keys whose signatures hold, if they are enough.
        problems: Why it does not verify; empty when it does.
    """

    statement: ReleaseStatement
    digest: bytes
    size_bytes: int
    parts: Mapping[str, bytes]
    contents: Contents
    kids: tuple[bytes, ...]
    signed_by: frozenset[bytes]
    problems: tuple[str, ...]

    @property
    def is_verified(self) -> bool:
        """Whether `bundle.verify_bundle` would accept it under the same trust record."""
        return not self.problems


def read_release(
    untrusted_bytes: bytes, *, trust: TrustRecord | None, where: str = "bundle"
) -> ReleaseView:
    """Return what a bundle holds, and whether it verifies.

    Args:
        untrusted_bytes: The bundle file.
        trust: The product's trust record, if there is one.
        where: The file's name, for messages.

    Raises:
        FirmwareImageError: It is no bundle, its parts are not what its statement says, or, with a
            trust record, it is of another product.
        SigningError: The signed statement or the approval cannot be read at all.
    """
    members = parse_archive(untrusted_bytes, where=where)
    name, raw = find_statement(members)
    message = read_signed_statement(raw) if name == SIGNED_STATEMENT else None
    payload = raw if message is None else message.payload
    statement = parse_statement(payload, where=name)
    if trust is not None:
        refuse_other_product(statement, trust, where=where)
    parts = {member: content for member, content in members.items() if member != name}
    signed_by, problems = _judge_signatures(message, trust)
    contents, approval_problem = _judge(statement, parts, trust)
    return ReleaseView(
        statement=statement,
        digest=hashlib.sha256(payload).digest(),
        size_bytes=len(untrusted_bytes),
        parts=parts,
        contents=contents,
        kids=() if message is None else tuple(entry.kid for entry in message.signatures),
        signed_by=signed_by,
        problems=(*problems, *approval_problem),
    )


def _judge_signatures(
    message: CoseMessage | None, trust: TrustRecord | None
) -> tuple[frozenset[bytes], tuple[str, ...]]:
    if message is None:
        return frozenset(), (NOT_SIGNED,)
    if trust is None:
        return frozenset(), (NO_TRUST_RECORD,)
    try:
        return trust.verify_message(message, Role.RELEASE), ()
    except SigningError as error:
        return frozenset(), (str(error),)


def _judge(
    statement: ReleaseStatement, parts: Mapping[str, bytes], trust: TrustRecord | None
) -> tuple[Contents, tuple[str, ...]]:
    if trust is None:
        return judge_contents(statement, parts, trust=None), ()
    try:
        return judge_contents(statement, parts, trust=trust), ()
    except (SigningError, ApprovalError) as error:
        # The approval is judged before the limits: what it lacks is said, the rest still judged.
        return judge_contents(statement, parts, trust=None), (str(error),)
