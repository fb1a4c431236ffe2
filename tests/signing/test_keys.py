from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import DurableFileError, KeyFileError, SignatureError
from signing.key_files import generate_key, is_test_key, load_public_key
from signing.key_uris import load_signer
from signing.keys import (
    MESSAGE_ALGORITHMS,
    Algorithm,
    PublicKey,
    parse_public_key,
    public_key_from_raw,
)
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from pathlib import Path

ALGORITHMS = sorted(MESSAGE_ALGORITHMS)
P256_POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key()


def spki(key, encoding: Encoding = Encoding.DER) -> bytes:
    return key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_pair_goes_to_two_new_files(tmp_path: Path, algorithm: Algorithm) -> None:
    path = tmp_path / "release.pem"
    key = generate_key(path, algorithm, passphrase=None)
    public_path = tmp_path / "release.pub.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_path.stat().st_mode & 0o777 == 0o644
    assert load_public_key(public_path) == key == load_signer(str(path)).public_key
    assert key.algorithm is algorithm
    assert not is_test_key(path)
    assert not is_test_key(public_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["release.pem", "release.pub.pem"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssl_opens_an_encrypted_key_and_finds_the_same_public_key(
    tmp_path: Path, algorithm: Algorithm
) -> None:
    path = tmp_path / "k.pem"
    key = generate_key(path, algorithm, passphrase=b"correct horse")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
    shown = subprocess.run(
        ["openssl", "pkey", "-in", path, "-passin", "pass:correct horse", "-pubout"],  # noqa: S607 - the system's OpenSSL
        capture_output=True,
        check=True,
    )
    assert shown.stdout == key.pem()
    listed = subprocess.run(
        ["openssl", "asn1parse", "-in", path],  # noqa: S607 - the system's OpenSSL
        capture_output=True,
        check=True,
    ).stdout
    assert b"aes-256-cbc" in listed
    assert b"hmacWithSHA256" in listed
    assert f"{600_000:06X}".encode() in listed


def test_test_keys_are_marked_in_both_files_and_still_open(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    key = generate_key(path, Algorithm.ED25519, passphrase=None, is_test_key=True)
    assert is_test_key(path)
    assert is_test_key(tmp_path / "k.pub.pem")
    assert load_signer(str(path)).is_test_key
    assert load_signer(str(path)).public_key == key == load_public_key(tmp_path / "k.pub.pem")
    assert path.read_text().startswith("# AMPFORGE TEST KEY: never for products\n-----BEGIN")


def test_the_mark_counts_only_above_the_key(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    generate_key(path, Algorithm.ED25519, passphrase=None)
    path.write_bytes(path.read_bytes() + b"# AMPFORGE TEST KEY: never for products\n")
    assert not is_test_key(path)


def test_generating_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    generate_key(path, Algorithm.ED25519, passphrase=None)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(KeyFileError, match="exists already"):
        generate_key(path, Algorithm.ED25519, passphrase=None)
    (tmp_path / "k.pub.pem").unlink()
    with pytest.raises(KeyFileError, match="exists already"):
        generate_key(path, Algorithm.ED25519, passphrase=None)
    assert path.read_bytes() == before["k.pem"]
    assert not (tmp_path / "k.pub.pem").exists()


def test_a_private_key_whose_public_half_cannot_be_written_does_not_stay(tmp_path: Path) -> None:
    # The public file's name is four characters longer, which is too long for the file system.
    path = tmp_path / f"{'k' * 230}.pem"
    with pytest.raises(DurableFileError, match="cannot be written"):
        generate_key(path, Algorithm.ED25519, passphrase=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["k.pub.pem", "k", "k.key"])
def test_a_private_key_is_named_as_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match=r"expected NAME\.pem"):
        generate_key(tmp_path / name, Algorithm.ED25519, passphrase=None)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="empty passphrase"):
        generate_key(tmp_path / "k.pem", Algorithm.ED25519, passphrase=b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_key_id_is_the_sha256_of_the_one_encoding(algorithm: Algorithm) -> None:
    key = fixed_signer("a", algorithm).public_key
    assert key.key_id == hashlib.sha256(key.spki_der).digest()
    assert parse_public_key(key.pem(), where="here") == key
    assert parse_public_key(key.spki_der, where="here") == key
    assert parse_public_key(b"any text\n" + key.pem(), where="here") == key


def test_a_compressed_point_is_the_same_key_with_the_same_id() -> None:
    full = spki(P256_POINT)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    compressed += P256_POINT.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert parse_public_key(compressed, where="here").spki_der == full
    with pytest.raises(KeyFileError, match="not in its one encoding"):
        PublicKey(algorithm=Algorithm.ECDSA_P256, spki_der=compressed)


@pytest.mark.parametrize(
    ("algorithm", "spki_der"),
    [
        (Algorithm.ED25519, spki(P256_POINT)),
        (Algorithm.ECDSA_P256, spki(P256_POINT) + b"\0"),
        (Algorithm.ECDSA_P256, b""),
    ],
)
def test_a_key_in_another_encoding_is_refused(algorithm: Algorithm, spki_der: bytes) -> None:
    with pytest.raises(KeyFileError, match="not in its one encoding"):
        PublicKey(algorithm=algorithm, spki_der=spki_der)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"hello", "cannot be read"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (spki(P256_POINT) + b"\0", "cannot be read"),
        (spki(ec.generate_private_key(ec.SECP521R1()).public_key()), "got secp521r1"),
        (
            spki(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()),
            "or RSA-3072 with exponent 65537, got RSAPublicKey of 2048 bits",
        ),
        (b"x" * 20_000, "too long"),
        (b"-----BEGIN PRIVATE KEY-----\n", "a public key is wanted"),
        (b"-----BEGIN EC PRIVATE KEY-----\n", "a public key is wanted"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "k.pub.pem"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=message) as refused:
        load_public_key(path)
    assert str(path) in str(refused.value)
    assert refused.value.hint


def test_a_point_off_the_curve_is_refused() -> None:
    changed = bytearray(spki(P256_POINT))
    changed[-1] ^= 1
    with pytest.raises(KeyFileError, match="cannot be read"):
        parse_public_key(bytes(changed), where="here")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for load in (load_public_key, is_test_key):
        with pytest.raises(KeyFileError, match=r"No such file.*nothing\.pem"):
            load(tmp_path / "nothing.pem")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_key_or_our_error(untrusted_bytes: bytes) -> None:
    try:
        parse_public_key(untrusted_bytes, where="here")
    except KeyFileError:
        return


def test_a_flipped_bit_is_another_key_or_our_error() -> None:
    """Byte 26 is the form of the point: its hybrid form names the same key, with the same id."""
    encoded = spki(P256_POINT)
    original = parse_public_key(encoded, where="here")
    for bit in range(len(encoded) * 8):
        changed = bytearray(encoded)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            key = parse_public_key(bytes(changed), where="here")
            assert (key != original) == (bit // 8 != 26)
        except KeyFileError:
            continue


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_verifies_for_its_key_and_message_alone(algorithm: Algorithm) -> None:
    signer, other = fixed_signer("a", algorithm), fixed_signer("b", algorithm).public_key
    if algorithm is Algorithm.RSA_3072:  # of which there is one fixed key: take another modulus
        changed = (int.from_bytes(other.raw, "big") - 2).to_bytes(len(other.raw), "big")
        other = public_key_from_raw(algorithm, changed, where="test")
    size_bytes = signer.public_key.signature_bytes
    signature = signer.sign(b"message")
    signer.public_key.verify(b"message", signature)
    with pytest.raises(SignatureError, match="does not match"):
        signer.public_key.verify(b"massage", signature)
    with pytest.raises(SignatureError, match="does not match") as refused:
        other.verify(b"message", signature)
    assert other.key_id.hex() in str(refused.value)
    for length in (0, size_bytes - 1, size_bytes + 1):
        with pytest.raises(SignatureError, match=f"expected {size_bytes} bytes, got {length} by"):
            signer.public_key.verify(b"message", (signature * 2)[:length])
    with pytest.raises(SignatureError, match="does not match"):
        signer.public_key.verify(b"message", bytes(size_bytes))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_cryptography_itself_verifies_what_we_sign(algorithm: Algorithm) -> None:
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384

    signer = fixed_signer("a", algorithm)
    public = signer.private_key.public_key()
    signature = signer.sign(b"message")
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(signature, b"message")
    elif isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, b"message", PSS(MGF1(SHA256()), 32), SHA256())
    else:
        size_bytes = len(signature) // 2
        halves = (
            int.from_bytes(half, "big") for half in (signature[:size_bytes], signature[size_bytes:])
        )
        hashed = {32: SHA256(), 48: SHA384()}[size_bytes]
        public.verify(encode_dss_signature(*halves), b"message", ec.ECDSA(hashed))


@pytest.mark.parametrize("y", [2**255 - 19, 2**255 - 1, 2**256 - 1, 2**255 + 2**255 - 19])
def test_an_ed25519_key_whose_y_is_not_reduced_is_refused_as_a_second_name(y: int) -> None:
    der = bytes.fromhex("302a300506032b6570032100") + y.to_bytes(32, "little")
    with pytest.raises(KeyFileError, match="y is below 2"):
        parse_public_key(der, where="a test")
