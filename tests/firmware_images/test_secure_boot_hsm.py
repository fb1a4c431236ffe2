"""Secure Boot by keys in a real SoftHSM: through us and through espsecure, each by the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_images.errors import FirmwareImageError
from firmware_images.secure_boot import attach_signatures, sign_image, verify_signed_image
from signing.algorithms import SECURE_BOOT_ALGORITHMS, Algorithm
from signing.errors import SigningError
from signing.key_encryption import serialize_pem
from signing.key_uris import load_secure_boot_signer
from tests.firmware_images.espsecure_command import espsecure
from tests.firmware_images.release_parts import APP_1_4_0
from tests.signing.fixed_keys import fixed_signer
from tests.softhsm import PIN, Token, make_token

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def token(monkeypatch) -> Token:
    token = make_token()
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    return token


def import_key(token: Token, folder: Path, algorithm: Algorithm) -> str:
    path = folder / "boot.pem"
    path.write_bytes(serialize_pem("PRIVATE KEY", fixed_signer("boot", algorithm).to_pkcs8_der()))
    return token.import_key(path, "boot")


def write_espsecure_config(token: Token, folder: Path) -> Path:
    """What espsecure wants to know of a token; it names the slot by its number."""
    import pkcs11

    (slot,) = (
        slot
        for slot in pkcs11.lib(str(token.module)).get_slots(token_present=True)
        if slot.get_token().label == token.label
    )
    path = folder / "hsm.ini"
    path.write_text(
        f"[hsm_config]\npkcs11_lib = {token.module}\nslot = {slot.slot_id}\n"
        f"label = boot\nlabel_pubkey = boot\ncredentials = {PIN}\n"
    )
    return path


@pytest.mark.parametrize("algorithm", sorted(SECURE_BOOT_ALGORITHMS))
def test_each_accepts_what_the_other_signs_with_the_same_token(token, tmp_path, algorithm):
    uri = import_key(token, tmp_path, algorithm)
    config = write_espsecure_config(token, tmp_path)
    signer = load_secure_boot_signer(uri)
    ours, theirs = tmp_path / "ours.bin", tmp_path / "theirs.bin"
    app = APP_1_4_0.read_bytes()

    ours.write_bytes(sign_image(app, [signer], where="test"))
    hsm = ("--version", "2", "--hsm", "--hsm-config", config)
    done = espsecure("verify-signature", *hsm, ours, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    done = espsecure("sign-data", *hsm, "--output", theirs, APP_1_4_0, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (block,) = verify_signed_image(theirs.read_bytes(), where="test").blocks
    assert block.public_key == signer.public_key
    again = attach_signatures(app, [(block.public_key, block.signature)], where="test")
    assert again == theirs.read_bytes()

    for bit in range(8 * len(app) + 3, 8 * len(ours.read_bytes()), 1201):
        changed = bytearray(ours.read_bytes())
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((FirmwareImageError, SigningError)):
            verify_signed_image(bytes(changed), where="test")
