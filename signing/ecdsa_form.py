"""ECDSA signatures in the form that other tools write, and in the one that we use.

OpenSSL, X.509, TUF and most hardware modules' tools write DER (RFC 3279 §2.2.3); here a signature
is r and s, each as long as the curve's numbers and big-endian (RFC 9053 §2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.algorithms import ECDSA_ALGORITHMS
from signing.errors import SignatureError

if TYPE_CHECKING:
    from signing.keys import PublicKey


def to_der(signature: bytes) -> bytes:
    """Return r and s, each half of the signature, as DER."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(signature) // 2
    return encode_dss_signature(
        int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    )


def from_der(untrusted_bytes: bytes, size_bytes: int) -> bytes:
    """Return the two numbers of DER as r and s, together so many bytes.

    Raises:
        ValueError: It is not DER of two numbers.
        OverflowError: A number is negative, or longer than half of the size.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(untrusted_bytes)
    half = size_bytes // 2
    return r.to_bytes(half, "big") + s.to_bytes(half, "big")


def parse_foreign_signature(untrusted_bytes: bytes, key: PublicKey, *, where: str) -> bytes:
    """Return a signature that another tool made, in our form; it is not verified here.

    Args:
        untrusted_bytes: The file that the tool wrote.
        key: Whose signature it is said to be.
        where: The file, for messages.

    Raises:
        SignatureError: It is neither as long as this key's signatures, nor DER.
    """
    if len(untrusted_bytes) == key.signature_bytes:
        return untrusted_bytes
    if key.algorithm in ECDSA_ALGORITHMS:
        try:
            return from_der(untrusted_bytes, key.signature_bytes)
        except (ValueError, OverflowError) as error:
            raise _refusal(untrusted_bytes, key, where) from error
    raise _refusal(untrusted_bytes, key, where)


def _refusal(untrusted_bytes: bytes, key: PublicKey, where: str) -> SignatureError:
    forms = f"{key.signature_bytes} bytes"
    return SignatureError(
        "this is not a signature by such a key",
        expected=f"{forms}, or DER" if key.algorithm in ECDSA_ALGORITHMS else forms,
        got=f"{len(untrusted_bytes)} bytes",
        where=where,
        hint="give the raw signature that the tool wrote, not text",
    )
