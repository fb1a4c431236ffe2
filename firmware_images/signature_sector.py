"""The Secure Boot v2 signature sector behind whatever was signed: read, verified and written.

Implements docs/spec/secure-boot.md §2 and §3. The sector is 4096 bytes at the next boundary of 4096
behind an image or a waveform slot, with one to three blocks of 1216 bytes and FF to its end. A
block, little endian; numbers of keys and signatures are least significant byte first:

| bytes | RSA-3072 | ECDSA P-256 | ECDSA P-384 |
|---|---|---|---|
| 1 | magic E7 | magic E7 | magic E7 |
| 1 | version 2 | version 3 | version 3 |
| 1 | 0 | 0 (SHA-256) | 1 (SHA-384) |
| 1 | 0 | 0 | 0 |
| 32, or 48 for P-384 | digest of the padded content | the same | the same |
| key | n, 384; e, 4; 2^6144 mod n, 384; -1/n mod 2^32, 4 | curve 2, 1; x, y, 32 each | 3; 48 each |
| signature | 384 | r, s, 32 each | r, s, 48 each |
| | 0 to offset 1196 | the same | the same |
| 4 | CRC-32 of what is before | the same | the same |
| 16 | 0 | 0 | 0 |

The fields of the key are what a chip keeps the SHA-256 of in its eFuses: the *key digest*.
What a chip supports is in `secure_boot_chips`.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, Final

from firmware_images.errors import SecureBootError
from signing.algorithms import (
    SECURE_BOOT_ALGORITHMS,
    SIGNATURE_BYTES,
    Algorithm,
    hash_message,
    hash_title,
)
from signing.errors import KeyFileError, SignatureError
from signing.keys import RSA_EXPONENT, PublicKey, public_key_from_raw
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTOR_BYTES: Final = 4096
BLOCK_BYTES: Final = 1216
BLOCK_COUNT_MAX: Final = 3
BLOCK_MAGIC: Final = 0xE7
# Version of the block, and which hash it says that ECDSA signs.
_SCHEMES: Final = {
    (2, 0): Algorithm.RSA_3072,
    (3, 0): Algorithm.ECDSA_P256,
    (3, 1): Algorithm.ECDSA_P384,
}
_SCHEME_NUMBERS: Final = {algorithm: numbers for numbers, algorithm in _SCHEMES.items()}
_CURVES: Final = {Algorithm.ECDSA_P256: 2, Algorithm.ECDSA_P384: 3}
_HEAD = struct.Struct("<BBBx")
_TAIL = struct.Struct("<I16x")
_KEYS: Final = {
    Algorithm.RSA_3072: struct.Struct("<384sI384sI"),
    Algorithm.ECDSA_P256: struct.Struct("<B32s32s"),
    Algorithm.ECDSA_P384: struct.Struct("<B48s48s"),
}
_DIGEST_BYTES: Final = {
    Algorithm.RSA_3072: 32,
    Algorithm.ECDSA_P256: 32,
    Algorithm.ECDSA_P384: 48,
}
_SIGNED_BYTES: Final = 1196
assert _SIGNED_BYTES + _TAIL.size == BLOCK_BYTES
assert _HEAD.size + 32 + _KEYS[Algorithm.RSA_3072].size + 384 == _SIGNED_BYTES
assert set(_KEYS) == set(_SCHEME_NUMBERS) == SECURE_BOOT_ALGORITHMS
_HINT = "sign it again with `ampforge image sign`, or `waveform sign-slot`"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureBlock:
    """One signature, by the key that the block carries.

    Attributes:
        public_key: RSA-3072, P-256 or P-384.
        content_digest: Of the padded content that was signed: SHA-384 for P-384, else SHA-256.
        signature: Big-endian, as `PublicKey.verify` takes it.
    """

    public_key: PublicKey
    content_digest: bytes
    signature: bytes

    @property
    def key_digest(self) -> bytes:
        """What the eFuses of a board must hold for it to accept this key."""
        return key_digest(self.public_key)


def key_digest(key: PublicKey) -> bytes:
    """Return the 32 bytes that a chip's eFuses hold for a key.

    Raises:
        SecureBootError: Keys of that algorithm do not sign images.
    """
    return hashlib.sha256(_serialize_key(key)).digest()


def pad_to_sector(content: bytes) -> bytes:
    """Return content with FF to the next multiple of a sector: what is signed."""
    return content + b"\xff" * (-len(content) % SECTOR_BYTES)


def verify_sector(
    untrusted_sector: bytes, padded: bytes, *, what: str, where: str
) -> tuple[SignatureBlock, ...]:
    """Return the blocks of a sector, if each is its key's signature over exactly this content.

    Says nothing about whose keys they are: compare `key_digest` with what boards hold.

    Args:
        untrusted_sector: The sector.
        padded: What must have been signed, padded.
        what: What it is, for messages: an image, a waveform slot.
        where: Its file, for messages.

    Raises:
        SecureBootError: The sector is not what a signer writes.
        SignatureError: A signature does not match.
    """
    blocks = parse_signature_sector(untrusted_sector, where=where)
    for number, block in enumerate(blocks):
        place = f"{where}, signature block {number}"
        algorithm = block.public_key.algorithm
        digest = hash_message(algorithm, padded)
        if block.content_digest != digest:
            raise SignatureError(
                f"a signature is of another {what}",
                expected=f"{hash_title(algorithm)} {digest.hex()}",
                got=block.content_digest.hex(),
                where=place,
                hint=f"the {what} was changed after it was signed: get it again",
            )
        try:
            block.public_key.verify(padded, block.signature)
        except SignatureError as error:
            raise SignatureError(error.what, where=place, hint=error.hint) from error
    return blocks


def build_sector(
    padded: bytes,
    signatures: Sequence[tuple[PublicKey, bytes]],
    *,
    kept: Sequence[SignatureBlock] = (),
    where: str,
) -> bytes:
    """Return the sector of signatures that were made here or elsewhere, each verified first.

    Args:
        padded: What was signed, padded.
        signatures: Keys and their signatures, in the order of the blocks.
        kept: Verified blocks that come before them.
        where: The file, for messages.

    Raises:
        SecureBootError: Too many or no signatures, or one key twice.
        SignatureError: A signature is not that key's over this content.
    """
    for key, signature in signatures:
        key.verify(padded, signature)
    blocks = (
        *kept,
        *(
            SignatureBlock(
                public_key=key,
                content_digest=hash_message(key.algorithm, padded),
                signature=signature,
            )
            for key, signature in signatures
        ),
    )
    if not 1 <= len(blocks) <= BLOCK_COUNT_MAX or len({b.public_key for b in blocks}) < len(blocks):
        raise SecureBootError(
            "these signatures do not make a signature sector",
            expected=f"1 to {BLOCK_COUNT_MAX} signatures, each by another key",
            got=f"{len(kept)} kept and {len(signatures)} new",
            where=where,
            hint="give each key once; without --append the signatures that are there are replaced",
        )
    return serialize_signature_sector(blocks)


def serialize_signature_sector(blocks: Sequence[SignatureBlock]) -> bytes:
    """Return the 4096 bytes that follow what was signed, padded."""
    return b"".join(_serialize_block(block) for block in blocks).ljust(SECTOR_BYTES, b"\xff")


def parse_signature_sector(untrusted_bytes: bytes, *, where: str) -> tuple[SignatureBlock, ...]:
    """Return the blocks of a sector; no signature is verified.

    Raises:
        SecureBootError: It is not exactly what `serialize_signature_sector` writes.
    """
    blocks: list[SignatureBlock] = []
    for number in range(BLOCK_COUNT_MAX):
        raw = untrusted_bytes[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        if not raw.startswith(bytes([BLOCK_MAGIC])) or len(raw) < BLOCK_BYTES:
            break
        blocks.append(_parse_block(raw, where=f"{where}, signature block {number}"))
    if not blocks or serialize_signature_sector(blocks) != untrusted_bytes:
        raise SecureBootError(
            "the signature sector is damaged",
            expected=f"1 to {BLOCK_COUNT_MAX} blocks and FF to {SECTOR_BYTES} bytes",
            got=f"{len(blocks)} blocks in {len(untrusted_bytes)} bytes",
            where=where,
            hint=_HINT,
        )
    return tuple(blocks)


def _serialize_key(key: PublicKey) -> bytes:
    if key.algorithm is Algorithm.RSA_3072:
        modulus = int.from_bytes(key.raw, "big")
        # Constants for the chip's Montgomery multiplication: R^2 mod n and -1/n mod 2^32.
        square = pow(2, 2 * 8 * len(key.raw), modulus).to_bytes(len(key.raw), "little")
        inverse = -pow(modulus, -1, 1 << 32) % (1 << 32)
        return _KEYS[key.algorithm].pack(key.raw[::-1], RSA_EXPONENT, square, inverse)
    if key.algorithm in _CURVES:
        return _KEYS[key.algorithm].pack(_CURVES[key.algorithm], *_reverse_halves(key.raw))
    raise SecureBootError(
        "a key of this algorithm cannot sign for Secure Boot",
        expected=" or ".join(_KEYS),
        got=str(key.algorithm),
        hint="make one with `ampforge key generate --algorithm rsa-3072`",
    )


def _serialize_block(block: SignatureBlock) -> bytes:
    key = block.public_key
    serialized_key = _serialize_key(key)
    is_rsa = key.algorithm is Algorithm.RSA_3072
    signature = block.signature[::-1] if is_rsa else b"".join(_reverse_halves(block.signature))
    head = _HEAD.pack(BLOCK_MAGIC, *_SCHEME_NUMBERS[key.algorithm]) + block.content_digest
    signed = (head + serialized_key + signature).ljust(_SIGNED_BYTES, b"\0")
    return signed + _TAIL.pack(zlib.crc32(signed))


def _parse_block(raw: bytes, *, where: str) -> SignatureBlock:
    _, version, hash_number = _HEAD.unpack_from(raw)
    algorithm = _SCHEMES.get((version, hash_number))
    if algorithm is None:
        known = (f"{each} with hash {number} ({name})" for (each, number), name in _SCHEMES.items())
        raise SecureBootError(
            "a signature block is of an unknown version",
            expected=" or ".join(known),
            got=f"{version} with hash {hash_number}",
            where=where,
        )
    key_offset = _HEAD.size + _DIGEST_BYTES[algorithm]
    start = key_offset + _KEYS[algorithm].size
    signature = raw[start : start + SIGNATURE_BYTES[algorithm]]
    if algorithm is Algorithm.RSA_3072:
        modulus, *_ = _KEYS[algorithm].unpack_from(raw, key_offset)
        numbers, signature = modulus[::-1], signature[::-1]
    else:
        _, x, y = _KEYS[algorithm].unpack_from(raw, key_offset)
        numbers, signature = x[::-1] + y[::-1], b"".join(_reverse_halves(signature))
    try:
        public_key = public_key_from_raw(algorithm, numbers, where=where)
    except KeyFileError as error:
        raise SecureBootError(
            "a signature block holds no key", got=error.got, where=where, hint=_HINT
        ) from error
    block = SignatureBlock(
        public_key=public_key, content_digest=raw[_HEAD.size : key_offset], signature=signature
    )
    # The chip reads each of these bytes: one that differs, and it refuses what we accepted.
    if _serialize_block(block) != raw:
        raise SecureBootError(
            "a signature block is damaged",
            expected="the key's own constants, zeros between, and the CRC-32 of it all",
            where=where,
            hint=_HINT,
        )
    return block


def _reverse_halves(pair: bytes) -> tuple[bytes, bytes]:
    half = len(pair) // 2
    return pair[:half][::-1], pair[half:][::-1]
