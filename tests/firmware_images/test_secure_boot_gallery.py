"""Each bad signature sector of the gallery is refused for what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_images.errors import EspImageError
from firmware_images.secure_boot import verify_signed_image
from signing.errors import SignatureError

REJECTED = Path(__file__).parents[1] / "rejected" / "secure-boot"
MESSAGES = {
    "unsigned.bin": "image is not signed",
    "signature-of-another-image.bin": "of another image",
    "false-ecdsa-signature.bin": "does not match the signed bytes",
    "false-rsa-signature.bin": "does not match the signed bytes",
    "false-p384-signature.bin": "does not match the signed bytes",
    "unknown-ecdsa-hash.bin": r"unknown version: expected 2 with hash 0 .*got 3 with hash 2",
    "p384-block-of-curve-p256.bin": "signature block is damaged",
    "p256-key-with-sha384.bin": "holds no key",
    "checksum.bin": "signature block is damaged",
    "point-not-on-the-curve.bin": "holds no key",
    "curve-p192.bin": "signature block is damaged",
    "wrong-rsa-constant.bin": "signature block is damaged",
    "rsa-exponent-3.bin": "signature block is damaged",
    "hidden-bytes-in-a-block.bin": "signature block is damaged",
    "hidden-bytes-behind-the-blocks.bin": "signature sector is damaged",
    "first-block-missing.bin": "something follows the image",
}


def test_the_gallery_and_this_test_name_the_same_files():
    assert {path.name for path in REJECTED.glob("*.bin")} == MESSAGES.keys()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_bad_signature_is_refused_with_its_name(name):
    with pytest.raises((EspImageError, SignatureError), match=MESSAGES[name]) as refusal:
        verify_signed_image((REJECTED / name).read_bytes(), where=name)
    assert name in str(refusal.value.where)
