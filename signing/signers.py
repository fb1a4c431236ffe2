"""Private keys behind one narrow interface.

A `Signer` gives its public key and signs bytes; nothing that uses one can see the private key.
Signatures are raw: r and s big-endian, 32 bytes each (RFC 9053 §2.1), or Ed25519 (RFC 8032).
ECDSA by a key file is deterministic (RFC 6979): the same key over the same bytes gives the same
signature, and a bad source of randomness cannot give the key away.

Not here: keys in hardware modules (`signing.pkcs11_signer`), and finding the key that a person
named (`signing.key_uris`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, Protocol

from signing.errors import KeyFileError
from signing.keys import (
    MESSAGE_ALGORITHMS,
    RSA_EXPONENT,
    SECURE_BOOT_ALGORITHMS,
    Algorithm,
    PublicKey,
    public_key_of,
    rsa_padding,
)

_COORDINATE_BYTES: Final = 32


class Signer(Protocol):
    """A private key that signs, wherever it lives."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature over a message: 64 bytes, or 384 if the key is an RSA key."""
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
            return cls(rsa_key, where="a new key", allowed=SECURE_BOOT_ALGORITHMS)
        return cls(ec.generate_private_key(ec.SECP256R1()), where="a new key")

    @classmethod
    def from_pkcs8_der(
        cls, untrusted_bytes: bytes, *, where: str = "a private key"
    ) -> SoftwareSigner:
        """Read an unencrypted PKCS #8 private key.

        Raises:
            KeyFileError: It is not a P-256 or Ed25519 private key.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        try:
            private_key = load_der_private_key(untrusted_bytes, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                "a private key cannot be read", got=type(error).__name__, where=where
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
        """Return the raw signature over a message: 64 bytes, or 384 if the key is an RSA key."""
        if self._public_key.algorithm is Algorithm.ED25519:
            signature: bytes = self._private_key.sign(message)
            return signature
        if self._public_key.algorithm is Algorithm.RSA_3072:
            pss_signature: bytes = self._private_key.sign(message, *rsa_padding())
            return pss_signature
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(self._private_key.sign(message, self._ecdsa))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    @cached_property
    def _ecdsa(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return ECDSA(SHA256(), deterministic_signing=True)
