"""Private keys that are the same in every run, made from their names; never for products."""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signing.keys import Algorithm
from signing.signers import SoftwareSigner

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@cache
def fixed_signer(name: str, algorithm: Algorithm = Algorithm.ECDSA_P256) -> SoftwareSigner:
    """Return the private key whose secret is the SHA-256 of a name."""
    secret = hashlib.sha256(b"ampforge test key " + name.encode()).digest()
    if algorithm is Algorithm.ED25519:
        return SoftwareSigner(ed25519.Ed25519PrivateKey.from_private_bytes(secret), where=name)
    scalar = int.from_bytes(secret, "big") % (P256_ORDER - 1) + 1
    return SoftwareSigner(ec.derive_private_key(scalar, ec.SECP256R1()), where=name)
