"""Secure Boot v2 sectors: ours by espsecure, espsecure's by us, and what is refused."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.errors import FirmwareImageError, SecureBootError
from firmware_images.secure_boot import (
    attach_signatures,
    pad_image,
    sign_image,
    verify_signed_image,
)
from firmware_images.secure_boot_chips import CHIPS, format_revision, judge_scheme
from firmware_images.signature_sector import (
    BLOCK_BYTES,
    SECTOR_BYTES,
    key_digest,
    parse_signature_sector,
    serialize_signature_sector,
)
from signing.errors import SignatureError, SigningError
from signing.key_files import generate_key, public_key_path
from signing.key_uris import load_secure_boot_signer
from signing.keys import SECURE_BOOT_ALGORITHMS, Algorithm
from signing.signers import SoftwareSigner
from tests.firmware_images.espsecure_command import (
    espsecure,
    espsecure_accepts,
    sign_with_espsecure,
)
from tests.firmware_images.release_parts import APP_1_4_0
from tests.firmware_images.test_esp_image import CODE, build_image

if TYPE_CHECKING:
    from pathlib import Path

SCHEMES = pytest.mark.parametrize("algorithm", sorted(SECURE_BOOT_ALGORITHMS))
RSA, ECDSA, P384 = Algorithm.RSA_3072, Algorithm.ECDSA_P256, Algorithm.ECDSA_P384
IMAGE = build_image(CODE)


@cache
def signer(name: str, algorithm: Algorithm) -> SoftwareSigner:
    """A key that lives as long as the test process; one name is one key."""
    assert name
    return SoftwareSigner.generate(algorithm)


@cache
def signed(algorithm: Algorithm) -> bytes:
    return sign_image(IMAGE, [signer("a", algorithm)], where="test")


def make_key(folder: Path, name: str, algorithm: Algorithm) -> Path:
    path = folder / f"{name}.pem"
    generate_key(path, algorithm, passphrase=None)
    return path


@SCHEMES
def test_espsecure_accepts_what_we_sign_and_no_other_key(tmp_path, algorithm):
    key, other = make_key(tmp_path, "a", algorithm), make_key(tmp_path, "b", algorithm)
    image = tmp_path / "app.bin"
    image.write_bytes(
        sign_image(APP_1_4_0.read_bytes(), [load_secure_boot_signer(str(key))], where="test")
    )
    assert espsecure_accepts(image, public_key_path(key))
    assert not espsecure_accepts(image, public_key_path(other))


@SCHEMES
def test_we_accept_what_espsecure_signs_and_write_the_same_bytes_around_it(tmp_path, algorithm):
    key = make_key(tmp_path, "a", algorithm)
    image = tmp_path / "signed.bin"
    sign_with_espsecure(APP_1_4_0, image, key)
    (block,) = verify_signed_image(image.read_bytes(), where="test").blocks
    assert block.public_key == load_secure_boot_signer(str(key)).public_key
    again = attach_signatures(
        APP_1_4_0.read_bytes(), [(block.public_key, block.signature)], where="test"
    )
    assert again == image.read_bytes()


@SCHEMES
def test_the_key_digest_is_the_one_that_espsecure_burns(tmp_path, algorithm):
    key = make_key(tmp_path, "a", algorithm)
    done = espsecure("digest-sbv2-public-key", "-k", key, "-o", "digest", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    public_key = load_secure_boot_signer(str(key)).public_key
    assert key_digest(public_key) == (tmp_path / "digest").read_bytes()


def test_three_keys_sign_one_after_the_other_with_either_tool(tmp_path):
    keys = [make_key(tmp_path, name, RSA) for name in "abc"]
    ours = sign_image(IMAGE, [load_secure_boot_signer(str(keys[0]))], where="test")
    path = tmp_path / "app.bin"
    path.write_bytes(ours)
    two = tmp_path / "two.bin"
    sign_with_espsecure(path, two, keys[1], append=True)
    full = sign_image(
        two.read_bytes(), [load_secure_boot_signer(str(keys[2]))], where="test", append=True
    )
    path.write_bytes(full)
    assert len(verify_signed_image(full, where="test").blocks) == 3
    for key in keys:
        assert espsecure_accepts(path, public_key_path(key))
    with pytest.raises(SecureBootError, match="3 kept and 1 new"):
        sign_image(full, [signer("d", RSA)], where="test", append=True)


def test_signing_again_replaces_the_signature():
    again = sign_image(signed(RSA), [signer("b", RSA)], where="test")
    (block,) = verify_signed_image(again, where="test").blocks
    assert block.public_key == signer("b", RSA).public_key
    assert len(again) == len(signed(RSA))


def test_one_key_signs_once():
    with pytest.raises(SecureBootError, match="each by another key"):
        sign_image(signed(RSA), [signer("a", RSA)], where="test", append=True)
    with pytest.raises(SecureBootError, match="0 kept and 0 new"):
        sign_image(IMAGE, [], where="test")


def test_an_ed25519_key_does_not_sign_images():
    with pytest.raises(SecureBootError, match="cannot sign for Secure Boot"):
        sign_image(IMAGE, [signer("release", Algorithm.ED25519)], where="test")


def test_an_unsigned_image_is_no_signed_one():
    with pytest.raises(SignatureError, match="not signed"):
        verify_signed_image(IMAGE, where="app.bin")


def test_a_signature_of_another_image_is_refused():
    other = build_image((0x40380000, bytes(reversed(range(64)))))
    _, content = pad_image(other, where="test")
    with pytest.raises(SignatureError, match="another image"):
        verify_signed_image(content + signed(ECDSA)[-SECTOR_BYTES:], where="test")
    key, signature = signer("a", ECDSA).public_key, signer("a", ECDSA).sign(b"something else")
    with pytest.raises(SignatureError, match="does not match"):
        attach_signatures(IMAGE, [(key, signature)], where="test")


@SCHEMES
def test_any_flipped_bit_of_a_signed_image_is_refused(algorithm):
    whole = signed(algorithm)
    interesting = [*range(0, 8 * len(IMAGE), 7), *range(8 * SECTOR_BYTES, 8 * len(whole), 41)]
    for bit in interesting:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((FirmwareImageError, SigningError)):
            verify_signed_image(bytes(changed), where="test")


@SCHEMES
def test_a_forged_checksum_does_not_help(algorithm):
    block = parse_signature_sector(signed(algorithm)[-SECTOR_BYTES:], where="test")[0]
    changed = bytearray(block.signature)
    changed[-1] ^= 1
    _, content = pad_image(IMAGE, where="test")
    forged = type(block)(
        public_key=block.public_key, content_digest=block.content_digest, signature=bytes(changed)
    )
    with pytest.raises(SignatureError, match="does not match"):
        verify_signed_image(content + serialize_signature_sector([forged]), where="test")


@given(st.binary(max_size=SECTOR_BYTES))
def test_arbitrary_sectors_raise_only_our_error(content):
    sector = (b"\xe7\x03" + content).ljust(SECTOR_BYTES, b"\xff")[:SECTOR_BYTES]
    with pytest.raises(SecureBootError):
        parse_signature_sector(sector, where="test")


@settings(deadline=None)
@given(data=st.data())
def test_a_changed_sector_raises_only_our_error(data):
    right = signed(data.draw(st.sampled_from([RSA, ECDSA, P384])))[-SECTOR_BYTES:]
    sector = bytearray(right)
    for _ in range(data.draw(st.integers(1, 4))):
        sector[data.draw(st.integers(0, BLOCK_BYTES - 1))] ^= data.draw(st.integers(1, 255))
    try:
        parse_signature_sector(bytes(sector), where="test")
    except SecureBootError:
        return
    assert sector == right


@pytest.mark.parametrize(
    ("chip", "algorithm", "revision", "match"),
    [
        ("esp32", RSA, 299, "has no Secure Boot v2: expected revision v3.0 or later"),
        ("esp32c3", RSA, 2, "expected revision v0.3 or later, got revision v0.2"),
        ("esp32c3", ECDSA, 3, "esp32c3 does not have this"),
        ("esp32c2", RSA, 0, "esp32c2 does not have this"),
        ("esp32h2", ECDSA, 0, "AR2026-006"),
        ("esp32c61", ECDSA, 0, "silicon in which this is repaired"),
        ("esp32c6", P384, 0, "expected ecdsa-p256 or rsa-3072, got ecdsa-p384"),
        ("esp32c5", P384, 0, "AR2026-006.*expected rsa-3072, got ecdsa-p384"),
        ("esp32p4", P384, 300, "AR2026-006"),
        ("esp8266", RSA, 0, "not known"),
    ],
)
def test_a_scheme_that_the_silicon_lacks_is_refused(chip, algorithm, revision, match):
    keys = [signer("a", algorithm).public_key]
    with pytest.raises(SecureBootError, match=match):
        judge_scheme(chip, keys, oldest_revision=revision, where="test")


@pytest.mark.parametrize(
    ("chip", "algorithm", "revision"),
    [("esp32", RSA, 300), ("esp32c3", RSA, 3), ("esp32c6", ECDSA, 0), ("esp32h2", RSA, 0)],
)
def test_a_scheme_that_the_silicon_has_is_accepted(chip, algorithm, revision):
    keys = [signer("a", algorithm).public_key]
    assert judge_scheme(chip, keys, oldest_revision=revision, where="test") is CHIPS[chip]


def test_a_chip_that_looks_at_one_signature_gets_one():
    keys = [signer(name, RSA).public_key for name in "ab"]
    with pytest.raises(SecureBootError, match="looks at fewer"):
        judge_scheme("esp32", keys, oldest_revision=301, where="test")
    assert format_revision(301) == "v3.1"


@SCHEMES
def test_the_image_digest_is_of_the_padded_image(algorithm):
    (block,) = verify_signed_image(signed(algorithm), where="test").blocks
    padded = IMAGE.ljust(SECTOR_BYTES, b"\xff")
    hashed = hashlib.sha384 if algorithm is P384 else hashlib.sha256
    assert block.content_digest == hashed(padded).digest()


def test_one_sector_carries_keys_of_each_scheme():
    content = sign_image(IMAGE, [signer("a", scheme) for scheme in (RSA, ECDSA, P384)], where="t")
    found = verify_signed_image(content, where="test").blocks
    assert [block.public_key.algorithm for block in found] == [RSA, ECDSA, P384]
