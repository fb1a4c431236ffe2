"""Images signed for the chip's boot ROM: the signature sector behind an image.

Implements docs/spec/secure-boot.md §1 and §3. The sector itself is `signature_sector`'s; what a
chip supports is in `secure_boot_chips`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.errors import SecureBootError
from firmware_images.esp_image import IMAGE_MAX_BYTES, inspect_image
from firmware_images.signature_sector import (
    SECTOR_BYTES,
    SignatureBlock,
    build_sector,
    pad_to_sector,
    verify_sector,
)
from signing.errors import SignatureError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.esp_image import EspImage
    from signing.keys import PublicKey
    from signing.signers import Signer


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
    return image, pad_to_sector(content)


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
    sector = untrusted_bytes[-SECTOR_BYTES:]
    blocks = verify_sector(sector, content, what="image", where=where)
    return SignedImage(image=image, content=content, blocks=blocks)


def sign_image(
    untrusted_bytes: bytes, signers: Sequence[Signer], *, where: str, append: bool = False
) -> bytes:
    """Return the padded image with a signature sector by these keys, in this order.

    Args:
        untrusted_bytes: An image; whether the chip has the scheme is the caller's to judge.
        signers: RSA-3072, P-256 or P-384.
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
    sector = build_sector(content, signatures, kept=kept, where=where)
    if len(content) + SECTOR_BYTES > IMAGE_MAX_BYTES:
        raise SecureBootError(
            "the image has no room for a signature sector",
            expected=f"at most {IMAGE_MAX_BYTES - SECTOR_BYTES} bytes",
            got=f"{len(content)} bytes",
            where=where,
        )
    return content + sector
