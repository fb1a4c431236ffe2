from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import KeyFileError, PassphraseError
from signing.key_files import generate_key
from signing.key_uris import load_signer
from signing.keys import MESSAGE_ALGORITHMS, Algorithm
from signing.signers import SoftwareSigner
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from pathlib import Path


def unasked() -> bytes:
    raise AssertionError("a passphrase was asked for")


def write_private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_ecdsa_is_that_of_rfc_6979_appendix_a_2_5() -> None:
    scalar = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    signer = SoftwareSigner(ec.derive_private_key(scalar, ec.SECP256R1()), where="RFC 6979")
    assert signer.sign(b"sample").hex() == (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )


def test_ed25519_is_that_of_rfc_8032_section_7_1() -> None:
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    pkcs8_der = bytes.fromhex("302e020100300506032b657004220420") + secret
    signer = SoftwareSigner.from_pkcs8_der(pkcs8_der)
    assert signer.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))
def test_a_private_key_survives_its_own_encoding(algorithm: Algorithm) -> None:
    signer = fixed_signer("a", algorithm)
    again = SoftwareSigner.from_pkcs8_der(signer.to_pkcs8_der())
    assert again.public_key == signer.public_key
    signature = again.sign(b"m")
    signer.public_key.verify(b"m", signature)
    if algorithm is not Algorithm.RSA_3072:  # PSS draws a new salt for each signature
        assert signature == signer.sign(b"m")


def test_new_keys_differ_and_do_not_show_their_secret() -> None:
    first, second = (SoftwareSigner.generate(Algorithm.ED25519) for _ in range(2))
    assert first.public_key != second.public_key
    assert first.to_pkcs8_der().hex() not in repr(first)
    assert first.public_key.key_id.hex() in repr(first)


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_a_key_is_opened_by_path_or_uri(tmp_path: Path, prefix: str) -> None:
    key = generate_key(tmp_path / "k.pem", Algorithm.ED25519, passphrase=None)
    assert load_signer(f"{prefix}{tmp_path / 'k.pem'}", passphrase=unasked).public_key == key


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    key = generate_key(path, Algorithm.ECDSA_P256, passphrase=b"right", is_test_key=True)
    assert load_signer(str(path), passphrase=lambda: b"right").public_key == key
    for wrong in (b"wrong", b""):
        with pytest.raises(PassphraseError, match="does not open") as refused:
            load_signer(str(path), passphrase=lambda wrong=wrong: wrong)
        assert str(path) in str(refused.value)
        assert "right" not in str(refused.value)
    with pytest.raises(PassphraseError, match="no passphrase was given"):
        load_signer(str(path))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o610, 0o777])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k.pem"
    generate_key(path, Algorithm.ED25519, passphrase=None)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"expected mode 0600, got mode 0{mode:o}") as refused:
        load_signer(str(path), passphrase=unasked)
    assert f"chmod 600 {path}" in (refused.value.hint or "")
    path.chmod(0o400)
    load_signer(str(path))


def test_openssl_s_own_forms_are_opened(tmp_path: Path) -> None:
    private_key = ec.derive_private_key(9, ec.SECP256R1())
    for form in (PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8):
        for encryption in (NoEncryption(), BestAvailableEncryption(b"pw")):
            pem = private_key.private_bytes(Encoding.PEM, form, encryption)
            path = write_private(tmp_path / "k.pem", pem)
            assert load_signer(str(path), passphrase=lambda: b"pw").public_key


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no private key"),
        (b"hello", "holds no private key"),
        (fixed_signer("a").public_key.pem(), "holds no private key"),
        (fixed_signer("a").to_pkcs8_der(), "holds no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 20_000, "holds no private key"),
        (
            ec.generate_private_key(ec.SECP521R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "expected P-256 or P-384 or Ed25519 or RSA-3072.*got secp521r1",
        ),
    ],
)
def test_what_is_no_private_key_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = write_private(tmp_path / "k.pem", content)
    with pytest.raises(KeyFileError, match=message) as refused:
        load_signer(str(path), passphrase=unasked)
    assert str(path) in str(refused.value)


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"No such file.*none\.pem"):
        load_signer(str(tmp_path / "none.pem"))
    with pytest.raises(KeyFileError, match="Is a directory"):
        load_signer(str(tmp_path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("pkcs11:token=release", "a pkcs11: URI does not name a key"),
        ("https://example.org/key", "URI of an unknown kind: expected .* got https:"),
        ("kms:release", "URI of an unknown kind"),
    ],
)
def test_other_kinds_of_uri_are_refused(uri: str, message: str) -> None:
    with pytest.raises(KeyFileError, match=message):
        load_signer(uri)


def test_a_colon_in_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = generate_key(tmp_path / "a:b.pem", Algorithm.ED25519, passphrase=None)
    monkeypatch.chdir(tmp_path)
    assert load_signer("a:b.pem").public_key == key
    assert load_signer(os.fspath(tmp_path / "a:b.pem")).public_key == key


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_private_key(untrusted_bytes: bytes) -> None:
    with pytest.raises(KeyFileError):
        SoftwareSigner.from_pkcs8_der(untrusted_bytes)
