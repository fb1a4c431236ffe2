"""The signature algorithms that we write and read, and what each is used for.

| algorithm | signature | hash | where it is defined |
|---|---|---|---|
| ECDSA P-256 | r, s: 64 bytes | SHA-256 | FIPS 186-5; COSE ES256 |
| ECDSA P-384 | r, s: 96 bytes | SHA-384 | FIPS 186-5; COSE ES384 |
| Ed25519 | 64 bytes | within | RFC 8032; COSE EdDSA |
| RSASSA-PSS, 3072 bits | 384 bytes, 32 of salt | SHA-256 | RFC 8017 §8.1; COSE PS256 |

Which of them a role may use is in `signing.role_algorithms`.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Algorithm(StrEnum):
    """The signature algorithms, by the names people type."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    ED25519 = "ed25519"
    RSA_3072 = "rsa-3072"


MESSAGE_ALGORITHMS: Final = frozenset(Algorithm)
"""What signs messages and repository metadata; a role may be narrower."""

BOARD_ALGORITHMS: Final = frozenset({Algorithm.ECDSA_P256, Algorithm.ED25519})
"""What boards verify, unless a product's trust record says that its boards verify more."""

CERTIFICATE_ALGORITHMS: Final = BOARD_ALGORITHMS
"""What certificates and their requests hold and are signed with (docs/spec/trust.md §6)."""

SECURE_BOOT_ALGORITHMS: Final = frozenset(
    {Algorithm.ECDSA_P256, Algorithm.ECDSA_P384, Algorithm.RSA_3072}
)
"""What signs images for the chip's own boot ROM."""

ECDSA_ALGORITHMS: Final = frozenset({Algorithm.ECDSA_P256, Algorithm.ECDSA_P384})

SIGNATURE_BYTES: Final[Mapping[Algorithm, int]] = MappingProxyType(
    {
        Algorithm.ECDSA_P256: 64,
        Algorithm.ECDSA_P384: 96,
        Algorithm.ED25519: 64,
        Algorithm.RSA_3072: 384,
    }
)
"""How long the signatures of an algorithm are."""

RSA_SALT_BYTES: Final = 32


def hash_name(algorithm: Algorithm) -> str:
    """Return the name, as `hashlib` has it, of the hash that is signed; Ed25519 hashes itself."""
    return "sha384" if algorithm is Algorithm.ECDSA_P384 else "sha256"


def hash_title(algorithm: Algorithm) -> str:
    """Return the name of that hash for people: SHA-256 or SHA-384."""
    return hash_name(algorithm).replace("sha", "SHA-")


def hash_message(algorithm: Algorithm, message: bytes) -> bytes:
    """Return the digest of a message that an ECDSA or RSA signature is made from."""
    return hashlib.new(hash_name(algorithm), message).digest()


def signed_hash(algorithm: Algorithm) -> Any:
    """Return the hash that an algorithm signs, as `cryptography` names it."""
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384

    return SHA384() if hash_name(algorithm) == "sha384" else SHA256()


def rsa_padding() -> tuple[Any, Any]:
    """Return the padding and the hash that RSA signs with here, as `cryptography` names them."""
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
    from cryptography.hazmat.primitives.hashes import SHA256

    return PSS(mgf=MGF1(SHA256()), salt_length=RSA_SALT_BYTES), SHA256()
