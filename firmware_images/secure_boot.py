"""Secure Boot v2: the signature sector behind an image, read, verified and written.

Implements docs/spec/secure-boot.md §1 to §3. The sector is 4096 bytes at the next boundary of 4096
behind the image, with one to three blocks of 1216 bytes and FF to its end. A block, little endian;
numbers of keys and signatures are least significant byte first:

| offset | bytes | RSA-3072 | ECDSA P-256 |
|---|---|---|---|
| 0 | 1 | magic E7 | magic E7 |
| 1 | 1 | version 2 | version 3 |
| 2 | 2 | 0 | 0 (SHA-256), 0 |
| 4 | 32 | SHA-256 of the padded image | the same |
| 36 | | n, 384; e, 4; 2^6144 mod n, 384; -1/n mod 2^32, 4 | curve 2, 1; x, 32; y, 32 |
| then | | signature, 384 | r, 32; s, 32; 0 to offset 1196 |
| 1196 | 4 | CRC-32 of what is before | the same |
| 1200 | 16 | 0 | 0 |

The fields between the image digest and the signature are what a chip keeps the SHA-256 of in its
eFuses: the *key digest*. What a chip supports is in `secure_boot_chips`.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_images.errors import SecureBootError
from firmware_images.esp_image import IMAGE_MAX_BYTES, inspect_image
from signing.errors import KeyFileError, SignatureError
from signing.keys import RSA_EXPONENT, Algorithm, PublicKey, public_key_from_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.esp_image import EspImage
    from signing.signers import Signer

SECTOR_BYTES: Final = 4096
BLOCK_BYTES: Final = 1216
BLOCK_COUNT_MAX: Final = 3
BLOCK_MAGIC: Final = 0xE7
VERSIONS: Final = {Algorithm.RSA_3072: 2, Algorithm.ECDSA_P256: 3}
_CURVE_P256: Final = 2
_HEAD = struct.Struct("<BBxx32s")
_TAIL = struct.Struct("<I16x")
_RSA_KEY = struct.Struct("<384sI384sI")
_ECDSA_KEY = struct.Struct("<B32s32s")
_KEY_OFFSET: Final = 36
_SIGNED_BYTES: Final = 1196
assert _HEAD.size == _KEY_OFFSET
assert _SIGNED_BYTES + _TAIL.size == BLOCK_BYTES
assert _KEY_OFFSET + _RSA_KEY.size + 384 == _SIGNED_BYTES
_KEY_STRUCTS: Final = {Algorithm.RSA_3072: _RSA_KEY, Algorithm.ECDSA_P256: _ECDSA_KEY}
_HINT = "sign the image again with `ampforge image sign`"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureBlock:
    """One signature of an image, by the key that the block carries.

    Attributes:
        public_key: RSA-3072 or P-256.
        image_sha256: SHA-256 of the padded image that was signed.
        signature: Big-endian, as `PublicKey.verify` takes it.
    """

    public_key: PublicKey
    image_sha256: bytes
    signature: bytes

    @property
    def key_digest(self) -> bytes:
        """What the eFuses of a board must hold for it to accept this key."""
        return key_digest(self.public_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedImage:
    """An image whose every signature block verifies.

    Attributes:
        image: What the image says about itself.
        content: The image, padded to a sector: what was signed.
        blocks: One to three, in the order of the sector.
    """

    image: EspImage
    content: bytes
    blocks: tuple[SignatureBlock, ...]


def key_digest(key: PublicKey) -> bytes:
    """Return the 32 bytes that a chip's eFuses hold for a key.

    Raises:
        SecureBootError: Keys of that algorithm do not sign images.
    """
    return hashlib.sha256(_serialize_key(key)).digest()


def pad_image(untrusted_bytes: bytes, *, where: str) -> tuple[EspImage, bytes]:
    """Return what an image says, and its bytes padded to a sector, without any signature sector.

    Args:
        untrusted_bytes: An image, signed or not.
        where: Its name, for messages.

    Raises:
        EspImageError: It is not a whole image.
    """
    image = inspect_image(untrusted_bytes, where=where)
    content = untrusted_bytes[:-SECTOR_BYTES] if image.signature_bytes else untrusted_bytes
    return image, content + b"\xff" * (-len(content) % SECTOR_BYTES)


def verify_signed_image(untrusted_bytes: bytes, *, where: str) -> SignedImage:
    """Return an image with its signatures, if each is its key's over exactly this image.

    Says nothing about whose keys they are: compare `key_digest` with what boards hold.

    Args:
        untrusted_bytes: The file, all of it.
        where: Its name, for messages.

    Raises:
        EspImageError: It is not a whole image.
        SecureBootError: The signature sector is not what a signer writes.
        SignatureError: The image is not signed, or a signature does not match.
    """
    image, content = pad_image(untrusted_bytes, where=where)
    if not image.signature_bytes:
        raise SignatureError(
            "the image is not signed",
            expected="a Secure Boot v2 signature sector behind it",
            got="none",
            where=where,
            hint="sign it with `ampforge image sign`",
        )
    blocks = parse_signature_sector(untrusted_bytes[-SECTOR_BYTES:], where=where)
    digest = hashlib.sha256(content).digest()
    for number, block in enumerate(blocks):
        place = f"{where}, signature block {number}"
        if block.image_sha256 != digest:
            raise SignatureError(
                "a signature is of another image",
                expected=f"SHA-256 {digest.hex()}",
                got=block.image_sha256.hex(),
                where=place,
                hint="the image was changed after it was signed: get it again",
            )
        try:
            block.public_key.verify(content, block.signature)
        except SignatureError as error:
            raise SignatureError(error.what, where=place, hint=error.hint) from error
    return SignedImage(image=image, content=content, blocks=blocks)


def sign_image(
    untrusted_bytes: bytes, signers: Sequence[Signer], *, where: str, append: bool = False
) -> bytes:
    """Return the padded image with a signature sector by these keys, in this order.

    Args:
        untrusted_bytes: An image; whether the chip has the scheme is the caller's to judge.
        signers: RSA-3072 or P-256.
        where: The image's name, for messages.
        append: Keep the signatures that are there; else they are replaced.

    Raises:
        EspImageError: It is not a whole image.
        SecureBootError: Too many or no signatures, one key twice, or a key that cannot sign images.
    """
    _, content = pad_image(untrusted_bytes, where=where)
    signatures = [(signer.public_key, signer.sign(content)) for signer in signers]
    return attach_signatures(untrusted_bytes, signatures, where=where, append=append)


def attach_signatures(
    untrusted_bytes: bytes,
    signatures: Sequence[tuple[PublicKey, bytes]],
    *,
    where: str,
    append: bool = False,
) -> bytes:
    """Return the padded image with signatures that were made elsewhere, each verified here.

    Raises:
        EspImageError: It is not a whole image.
        SecureBootError: Too many or no signatures, or one key twice.
        SignatureError: A signature is not that key's over this image.
    """
    image, content = pad_image(untrusted_bytes, where=where)
    kept: tuple[SignatureBlock, ...] = ()
    if append and image.signature_bytes:
        kept = verify_signed_image(untrusted_bytes, where=where).blocks
    digest = hashlib.sha256(content).digest()
    for key, signature in signatures:
        key.verify(content, signature)
    blocks = kept + tuple(
        SignatureBlock(public_key=key, image_sha256=digest, signature=signature)
        for key, signature in signatures
    )
    if not 1 <= len(blocks) <= BLOCK_COUNT_MAX or len({b.public_key for b in blocks}) < len(blocks):
        raise SecureBootError(
            "these signatures do not make a signature sector",
            expected=f"1 to {BLOCK_COUNT_MAX} signatures, each by another key",
            got=f"{len(kept)} kept and {len(signatures)} new",
            where=where,
            hint="give each key once; without --append the signatures that are there are replaced",
        )
    if len(content) + SECTOR_BYTES > IMAGE_MAX_BYTES:
        raise SecureBootError(
            "the image has no room for a signature sector",
            expected=f"at most {IMAGE_MAX_BYTES - SECTOR_BYTES} bytes",
            got=f"{len(content)} bytes",
            where=where,
        )
    return content + serialize_signature_sector(blocks)


def serialize_signature_sector(blocks: Sequence[SignatureBlock]) -> bytes:
    """Return the 4096 bytes that follow a padded image."""
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
        square = pow(2, 2 * 8 * len(key.raw), modulus)
        inverse = -pow(modulus, -1, 1 << 32) % (1 << 32)
        return _RSA_KEY.pack(key.raw[::-1], RSA_EXPONENT, square.to_bytes(384, "little"), inverse)
    if key.algorithm is Algorithm.ECDSA_P256:
        return _ECDSA_KEY.pack(_CURVE_P256, *_reverse_halves(key.raw))
    raise SecureBootError(
        "a key of this algorithm cannot sign for Secure Boot",
        expected=" or ".join(VERSIONS),
        got=str(key.algorithm),
        hint="make one with `ampforge key generate --algorithm rsa-3072`",
    )


def _serialize_block(block: SignatureBlock) -> bytes:
    key = block.public_key
    serialized_key = _serialize_key(key)
    is_rsa = key.algorithm is Algorithm.RSA_3072
    signature = block.signature[::-1] if is_rsa else b"".join(_reverse_halves(block.signature))
    head = _HEAD.pack(BLOCK_MAGIC, VERSIONS[key.algorithm], block.image_sha256)
    signed = (head + serialized_key + signature).ljust(_SIGNED_BYTES, b"\0")
    return signed + _TAIL.pack(zlib.crc32(signed))


def _parse_block(raw: bytes, *, where: str) -> SignatureBlock:
    _, version, image_sha256 = _HEAD.unpack_from(raw)
    algorithms = {number: algorithm for algorithm, number in VERSIONS.items()}
    if version not in algorithms:
        raise SecureBootError(
            "a signature block is of an unknown version",
            expected=" or ".join(f"{number} ({name})" for number, name in algorithms.items()),
            got=version,
            where=where,
        )
    algorithm = algorithms[version]
    start = _KEY_OFFSET + _KEY_STRUCTS[algorithm].size
    if algorithm is Algorithm.RSA_3072:
        modulus, *_ = _RSA_KEY.unpack_from(raw, _KEY_OFFSET)
        numbers, signature = modulus[::-1], raw[start : start + 384][::-1]
    else:
        _, x, y = _ECDSA_KEY.unpack_from(raw, _KEY_OFFSET)
        numbers = x[::-1] + y[::-1]
        signature = b"".join(_reverse_halves(raw[start : start + 64]))
    try:
        public_key = public_key_from_raw(algorithm, numbers, where=where)
    except KeyFileError as error:
        raise SecureBootError(
            "a signature block holds no key", got=error.got, where=where, hint=_HINT
        ) from error
    block = SignatureBlock(public_key=public_key, image_sha256=image_sha256, signature=signature)
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
