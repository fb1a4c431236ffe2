"""Private keys that are the same in every run, made from their names; never for products."""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from signing.algorithms import RSA_SALT_BYTES, Algorithm
from signing.keys import RSA_EXPONENT, PublicKey
from signing.signers import SoftwareSigner

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
# How far the first prime lies behind the number that is made from each name.
_PRIME_OFFSETS = {"rsa p": 102, "rsa q": 1888}
_PRIME_BITS = 1536


@cache
def fixed_signer(name: str, algorithm: Algorithm = Algorithm.ECDSA_P256) -> SoftwareSigner:
    """Return the private key whose secret is the SHA-256 (SHA-384) of a name.

    There is one RSA key, whatever the name: finding primes takes too long.
    """
    named = b"ampforge test key " + name.encode()
    secret = hashlib.sha256(named).digest()
    match algorithm:
        case Algorithm.ED25519:
            key = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
            return SoftwareSigner(key, where=name)
        case Algorithm.ECDSA_P256:
            scalar = int.from_bytes(secret, "big") % (P256_ORDER - 1) + 1
            return SoftwareSigner(ec.derive_private_key(scalar, ec.SECP256R1()), where=name)
        case Algorithm.ECDSA_P384:
            scalar = int.from_bytes(hashlib.sha384(named).digest(), "big") % (P384_ORDER - 1) + 1
            return SoftwareSigner(ec.derive_private_key(scalar, ec.SECP384R1()), where=name)
        case Algorithm.RSA_3072:
            return _fixed_rsa_signer()


@cache
def _fixed_rsa_signer() -> SoftwareSigner:
    p, q = (_prime(name) for name in _PRIME_OFFSETS)
    d = pow(RSA_EXPONENT, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(RSA_EXPONENT, p * q),
    )
    return SoftwareSigner(numbers.private_key(), where="the fixed RSA key")


def _prime(name: str) -> int:
    named = hashlib.shake_256(b"ampforge test key " + name.encode()).digest(_PRIME_BITS // 8)
    start = int.from_bytes(named, "big") | 3 << (_PRIME_BITS - 2) | 1
    return start + _PRIME_OFFSETS[name]


class RepeatablePss:
    """The fixed RSA key with a salt that is made from the message, for golden files.

    RSASSA-PSS written out by RFC 8017 §8.1.1 and §9.1.1: the library draws a new salt each time.
    """

    @property
    def public_key(self) -> PublicKey:
        return _fixed_rsa_signer().public_key

    def sign(self, message: bytes) -> bytes:
        size_bytes = 2 * _PRIME_BITS // 8
        salt = hashlib.sha256(b"salt" + message).digest()[:RSA_SALT_BYTES]
        digest = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + salt).digest()
        block = (b"\x01" + salt).rjust(size_bytes - len(digest) - 1, b"\0")
        mask = b"".join(
            hashlib.sha256(digest + counter.to_bytes(4, "big")).digest()
            for counter in range(len(block) // len(digest) + 1)
        )
        masked = bytes(one ^ other for one, other in zip(block, mask, strict=False))
        # The modulus has 3072 bits, so the top bit of 3071 + 1 stays zero.
        encoded = bytes([masked[0] & 0x7F]) + masked[1:] + digest + b"\xbc"
        numbers = _fixed_rsa_signer().private_key.private_numbers()
        modulus = numbers.public_numbers.n
        return pow(int.from_bytes(encoded, "big"), numbers.d, modulus).to_bytes(size_bytes, "big")
