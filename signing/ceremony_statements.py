"""What key holders sign in a ceremony: that they hold a key, and that the transcript is right.

Implements docs/spec/key-ceremony.md §5. Both are COSE_Sign1 over deterministic CBOR, a map:

=== ==================================== =====================================
key possession of a key                  closing
=== ==================================== =====================================
1   format version, 1                    format version, 1
2   product                              product
3   ceremony: hash of its first CONFIRM  ceremony
4   role                                 lines of the transcript before closing
5   name of the key in the plan          hash of the last of them
6   SubjectPublicKeyInfo                 SHA-256 of the signed trust record
7   hash of the step's own INTENT
=== ==================================== =====================================

Field 7 is new for each step, so that a proof of an earlier ceremony cannot be shown again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from signing.canonical_cbor import serialize_cbor
from signing.cose import sign_one, verify_one
from signing.errors import CeremonyError

if TYPE_CHECKING:
    from signing.keys import PublicKey
    from signing.roles import Role
    from signing.signers import Signer

POSSESSION_CONTENT_TYPE: Final = "application/vnd.ampforge.ceremony-key+cbor"
CLOSING_CONTENT_TYPE: Final = "application/vnd.ampforge.ceremony-transcript+cbor"
STATEMENT_MAX_BYTES: Final = 1024

_FORMAT_VERSION: Final = 1


def serialize_possession(
    *, product: str, ceremony: bytes, role: Role, name: str, key: PublicKey, intent: bytes
) -> bytes:
    """Return what the holder of a key signs when it is made."""
    return serialize_cbor(
        {
            1: _FORMAT_VERSION,
            2: product,
            3: ceremony,
            4: str(role),
            5: name,
            6: key.spki_der,
            7: intent,
        }
    )


def serialize_closing(
    *, product: str, ceremony: bytes, count: int, head: bytes, trust_sha256: bytes
) -> bytes:
    """Return what each root holder signs at the end."""
    return serialize_cbor(
        {1: _FORMAT_VERSION, 2: product, 3: ceremony, 4: count, 5: head, 6: trust_sha256}
    )


def sign_statement(statement: bytes, signer: Signer, *, content_type: str) -> bytes:
    """Return the signed statement, COSE_Sign1."""
    return sign_one(statement, signer, content_type=content_type)


def verify_statement(
    untrusted_bytes: bytes, key: PublicKey, expected: bytes, *, content_type: str, where: str
) -> None:
    """Return if a key signed exactly this statement.

    Raises:
        SigningError: It is by another key, was changed, or says something else.
    """
    verified = verify_one(
        untrusted_bytes, [key], content_type=content_type, max_bytes=STATEMENT_MAX_BYTES
    )
    if verified.payload != expected:
        raise CeremonyError(
            "a holder signed another statement than this step's",
            expected=f"SHA-256 {hashlib.sha256(expected).hexdigest()}",
            got=hashlib.sha256(verified.payload).hexdigest(),
            where=where,
            hint="the signature belongs to another step or another ceremony",
        )
