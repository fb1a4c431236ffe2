"""ECDSA signatures as other tools write them, brought into the one form that we use.

OpenSSL and most hardware modules' tools write DER (RFC 3279 §2.2.3); here a signature is r and s,
32 bytes each and big-endian (RFC 9053 §2.1).
"""

from __future__ import annotations

from typing import Final

from signing.errors import SignatureError
from signing.keys import SIGNATURE_BYTES, Algorithm, PublicKey

_COORDINATE_BYTES: Final = SIGNATURE_BYTES // 2


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
    if key.algorithm is Algorithm.ECDSA_P256:
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        try:
            r, s = decode_dss_signature(untrusted_bytes)
            return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        except (ValueError, OverflowError) as error:
            raise _refusal(untrusted_bytes, key, where) from error
    raise _refusal(untrusted_bytes, key, where)


def _refusal(untrusted_bytes: bytes, key: PublicKey, where: str) -> SignatureError:
    forms = f"{key.signature_bytes} bytes"
    return SignatureError(
        "this is not a signature by such a key",
        expected=f"{forms}, or DER" if key.algorithm is Algorithm.ECDSA_P256 else forms,
        got=f"{len(untrusted_bytes)} bytes",
        where=where,
        hint="give the raw signature that the tool wrote, not text",
    )
