"""Private keys behind one narrow interface.

A `Signer` gives its public key and signs bytes; nothing that uses one can see the private key.
Signatures are raw: ECDSA's r and s, big-endian (RFC 9053 §2.1), Ed25519's 64 bytes (RFC 8032), or
RSASSA-PSS (RFC 8017 §8.1). ECDSA by a key file is deterministic (RFC 6979): the same key over the
same bytes gives the same signature, and a bad source of randomness cannot give the key away. PSS
draws a new salt for each.

Not here: keys in hardware modules (`signing.pkcs11_signer`), and finding the key that a person
named (`signing.key_uris`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

from signing.algorithms import MESSAGE_ALGORITHMS, Algorithm, rsa_padding, signed_hash
from signing.ecdsa_form import from_der
from signing.errors import KeyFileError
from signing.keys import RSA_EXPONENT, PublicKey, public_key_of


class Signer(Protocol):
    """A private key that signs, wherever it lives."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature over a message, `public_key.signature_bytes` long."""
        ...


class SoftwareSigner:
    """A private key in this process's memory.

    Args:
        private_key: A private key object of `cryptography`.
        where: Where it came from, for errors.
        is_test_key: Whether its file is marked as one for tests.
        allowed: Which algorithms it may have.
    """

    def __init__(
        self,
        private_key: Any,
        *,
        where: str,
        is_test_key: bool = False,
        allowed: frozenset[Algorithm] = MESSAGE_ALGORITHMS,
    ) -> None:
        public_half = getattr(private_key, "public_key", None)
        self._public_key = public_key_of(
            public_half() if public_half else None, where=where, allowed=allowed
        )
        self._private_key = private_key
        self.is_test_key = is_test_key

    def __repr__(self) -> str:
        return f"SoftwareSigner({self._public_key.algorithm}, {self._public_key.key_id.hex()})"

    @classmethod
    def generate(cls, algorithm: Algorithm) -> SoftwareSigner:
        """Make a new private key from the system's randomness."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        if algorithm is Algorithm.ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate(), where="a new key")
        if algorithm is Algorithm.RSA_3072:
            rsa_key = rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=3072)
            return cls(rsa_key, where="a new key")
        curve = ec.SECP384R1() if algorithm is Algorithm.ECDSA_P384 else ec.SECP256R1()
        return cls(ec.generate_private_key(curve), where="a new key")

    @classmethod
    def from_pkcs8_der(
        cls, untrusted_bytes: bytes, *, where: str = "a private key"
    ) -> SoftwareSigner:
        """Read an unencrypted PKCS #8 private key.

        Raises:
            KeyFileError: It is not a private key of an algorithm that we use.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        try:
            private_key = load_der_private_key(untrusted_bytes, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                "a private key cannot be read",
                expected="PKCS#8, DER, of an algorithm that we use",
                got="other bytes",
                where=where,
                hint="get the key again from where it is kept, or make another",
            ) from error
        return cls(private_key, where=where)

    def to_pkcs8_der(self) -> bytes:
        """Return the private key, unencrypted: for a device's own storage, never for a log."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        der: bytes = self._private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        return der

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return self._public_key

    @property
    def private_key(self) -> Any:
        """The key object of `cryptography`, for certificates; used inside this package only."""
        return self._private_key

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature over a message, `public_key.signature_bytes` long."""
        if self._public_key.algorithm is Algorithm.ED25519:
            signature: bytes = self._private_key.sign(message)
            return signature
        if self._public_key.algorithm is Algorithm.RSA_3072:
            pss_signature: bytes = self._private_key.sign(message, *rsa_padding())
            return pss_signature
        der_signature = self._private_key.sign(message, self._ecdsa)
        return from_der(der_signature, self._public_key.signature_bytes)

    @cached_property
    def _ecdsa(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        return ECDSA(signed_hash(self._public_key.algorithm), deterministic_signing=True)
