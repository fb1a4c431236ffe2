"""Finding the release statement among a bundle's members, and who signed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_contents import (
    SIGNED_STATEMENT,
    UNSIGNED_STATEMENT,
    refuse_other_product,
)
from firmware_images.errors import BundleError
from firmware_images.release_statement import RELEASE_CONTENT_TYPE, parse_statement
from signing.cose import verify_signatures
from signing.cose_message import MAX_MESSAGE_BYTES, parse_message, refuse_content_type
from signing.trust import Role
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.release_statement import ReleaseStatement
    from signing.cose_message import CoseMessage
    from signing.trust import TrustRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCount:
    """How far a bundle's signatures have come.

    Attributes:
        signed_by: Ids of the release keys whose signatures verify; revoked keys do not count.
        threshold: How many are needed.
        key_count: How many keys hold the release role.
    """

    signed_by: frozenset[bytes]
    threshold: int
    key_count: int

    @property
    def is_enough(self) -> bool:
        """Whether the threshold is met."""
        return len(self.signed_by) >= self.threshold

    def __str__(self) -> str:
        return (
            f"{len(self.signed_by)} of {self.threshold} release signatures that are needed "
            f"({self.key_count} keys hold the role)"
        )


def find_statement(members: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return the statement's member name and bytes, signed or not.

    Raises:
        BundleError: There is not exactly one.
    """
    names = [name for name in (SIGNED_STATEMENT, UNSIGNED_STATEMENT) if name in members]
    if len(names) != 1:
        raise BundleError(
            "the bundle does not have exactly one release statement",
            expected=f"{SIGNED_STATEMENT}, or {UNSIGNED_STATEMENT} before it is signed",
            got=" and ".join(names) or "neither",
            hint="get the bundle again from whoever built it; never repack it",
        )
    return names[0], members[names[0]]


def read_signed_statement(untrusted_bytes: bytes) -> CoseMessage:
    """Return the COSE message around a statement, its shape checked, its signatures not.

    Raises:
        SigningError: It is no such message, or not a release statement.
    """
    message = parse_message(untrusted_bytes, max_bytes=MAX_MESSAGE_BYTES)
    refuse_content_type(message, RELEASE_CONTENT_TYPE)
    return message


def verify_statement(
    untrusted_bytes: bytes, trust: TrustRecord, *, where: str = "release statement"
) -> ReleaseStatement:
    """Return a signed statement without its bundle, as a board is shown it.

    What it says of the parts is true of the release; whether these are the parts is for the caller
    to compare.

    Args:
        untrusted_bytes: COSE_Sign by the release role.
        trust: The trust record in force.
        where: What to name in an error.

    Raises:
        SigningError: Too few release keys signed it.
        BundleError: It is no statement, or one of another product.
    """
    message = read_signed_statement(untrusted_bytes)
    trust.verify_message(message, Role.RELEASE)
    statement = parse_statement(message.payload, where=where)
    refuse_other_product(statement, trust, where=where)
    return statement


def count_signatures(untrusted_bytes: bytes, trust: TrustRecord) -> SignatureCount:
    """Return how many of the needed signatures a bundle has; its content is not judged.

    Raises:
        BundleError: It is not a bundle.
        SigningError: A signature of a release key does not verify.
    """
    name, raw = find_statement(parse_archive(untrusted_bytes))
    holders = trust.keys_of(Role.RELEASE)
    active = [key for key in holders.keys if key.key_id not in trust.revoked_key_ids]
    signed_by: frozenset[bytes] = frozenset()
    if name == SIGNED_STATEMENT:
        signed_by = verify_signatures(read_signed_statement(raw), active)
    return SignatureCount(
        signed_by=signed_by, threshold=holders.threshold, key_count=len(holders.keys)
    )
