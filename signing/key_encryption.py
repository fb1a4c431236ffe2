"""Encryption of private keys at rest, with a work factor of our own.

`cryptography` writes encrypted PKCS #8 with 2 048 rounds of PBKDF2, which a graphics card undoes
for most passphrases. This module writes the same standard structure (RFC 8018 §6.2, PBES2 with
PBKDF2-HMAC-SHA-256 and AES-256-CBC) with 600 000 rounds. Reading is left to `cryptography`, and
OpenSSL reads it, too.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

PBKDF2_ROUNDS: Final = 600_000
SALT_BYTES: Final = 16
INITIALISATION_VECTOR_BYTES: Final = 16
_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16

# Object identifiers, whole DER elements (RFC 8018 appendix A, RFC 3565).
_OID_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_OID_PBKDF2: Final = bytes.fromhex("06092a864886f70d01050c")
_OID_HMAC_SHA256: Final = bytes.fromhex("06082a864886f70d0209")
_OID_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")
_NULL: Final = bytes.fromhex("0500")
_INTEGER, _OCTET_STRING, _SEQUENCE = 0x02, 0x04, 0x30


def encrypt_pkcs8_der(
    pkcs8_der: bytes,
    passphrase: bytes,
    *,
    salt: bytes,
    initialisation_vector: bytes,
    rounds: int = PBKDF2_ROUNDS,
) -> bytes:
    """Encrypt a private key as EncryptedPrivateKeyInfo (RFC 5958 §3).

    Args:
        pkcs8_der: PrivateKeyInfo, DER.
        passphrase: What PBKDF2 derives the key from.
        salt: 16 fresh random bytes.
        initialisation_vector: 16 fresh random bytes.
        rounds: PBKDF2 iterations.

    Returns:
        DER.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = hashlib.pbkdf2_hmac("sha256", passphrase, salt, rounds, _KEY_BYTES)
    padding_bytes = _BLOCK_BYTES - len(pkcs8_der) % _BLOCK_BYTES
    encryptor = Cipher(algorithms.AES(key), modes.CBC(initialisation_vector)).encryptor()
    encrypted = encryptor.update(pkcs8_der + bytes([padding_bytes]) * padding_bytes)
    encrypted += encryptor.finalize()
    rounds_der = rounds.to_bytes(rounds.bit_length() // 8 + 1, "big")
    derivation = _der(
        _SEQUENCE,
        _OID_PBKDF2,
        _der(
            _SEQUENCE,
            _der(_OCTET_STRING, salt),
            _der(_INTEGER, rounds_der),
            _der(_SEQUENCE, _OID_HMAC_SHA256, _NULL),
        ),
    )
    scheme = _der(_SEQUENCE, _OID_AES_256_CBC, _der(_OCTET_STRING, initialisation_vector))
    algorithm = _der(_SEQUENCE, _OID_PBES2, _der(_SEQUENCE, derivation, scheme))
    return _der(_SEQUENCE, algorithm, _der(_OCTET_STRING, encrypted))


def serialize_pem(label: str, der: bytes) -> bytes:
    """Write DER as a PEM block (RFC 7468 §2)."""
    import textwrap

    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size_bytes = len(content)
    if size_bytes < 0x80:  # noqa: PLR2004 - X.690 §8.1.3.4: the short form
        return bytes((tag, size_bytes)) + content
    length = size_bytes.to_bytes((size_bytes.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
