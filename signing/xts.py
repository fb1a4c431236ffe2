"""AES-XTS, as chips encrypt what lies in their flash. Only for reading such content back."""

from __future__ import annotations

from typing import Final

from signing.errors import KeyFileError

XTS_KEY_BYTES: Final = 64
TWEAK_BYTES: Final = 16
_HALF: Final = XTS_KEY_BYTES // 2


def refuse_xts_key(untrusted_key: bytes) -> None:
    """Refuse what cannot be a key of AES-256-XTS (IEEE 1619, FIPS 140-2 IG A.9).

    Raises:
        KeyFileError: It has another length, or its two halves are equal.
    """
    if len(untrusted_key) != XTS_KEY_BYTES:
        raise KeyFileError(
            "this is not a key of AES-256-XTS",
            expected=f"{XTS_KEY_BYTES} bytes",
            got=f"{len(untrusted_key)} bytes",
        )
    if untrusted_key[:_HALF] == untrusted_key[_HALF:]:
        raise KeyFileError(
            "a key of AES-256-XTS has two equal halves",
            expected="two independent keys of 32 bytes",
            hint="make the key from 64 random bytes",
        )


def decrypt_xts(content: bytes, *, key: bytes, tweak: bytes) -> bytes:
    """Decrypt one data unit.

    Args:
        content: At least 16 bytes.
        key: 64 bytes that `refuse_xts_key` let pass: first for the data, then for the tweak.
        tweak: 16 bytes.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    decryptor = Cipher(algorithms.AES(key), modes.XTS(tweak)).decryptor()
    return bytes(decryptor.update(content) + decryptor.finalize())
