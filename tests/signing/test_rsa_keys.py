"""RSA-3072 keys: what OpenSSL accepts, and where they and P-384 keys must not come in."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signing.algorithms import CERTIFICATE_ALGORITHMS, Algorithm
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.certificate_requests import create_csr
from signing.errors import CertificateError, KeyFileError, SignatureError
from signing.key_files import generate_key, load_public_key, public_key_path
from signing.key_inventory import describe_key_file
from signing.key_uris import load_secure_boot_signer, load_signer
from signing.keys import public_key_from_raw
from signing.signers import SoftwareSigner
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from pathlib import Path


@cache
def rsa_signer() -> SoftwareSigner:
    return fixed_signer("", Algorithm.RSA_3072)


def test_openssl_verifies_our_pss_signature(tmp_path: Path) -> None:
    signer = rsa_signer()
    (tmp_path / "key.pub.pem").write_bytes(signer.public_key.pem())
    (tmp_path / "message").write_bytes(b"firmware")
    (tmp_path / "signature").write_bytes(signer.sign(b"firmware"))
    done = subprocess.run(
        [
            *("openssl", "dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss"),
            *("-sigopt", "rsa_pss_saltlen:32", "-verify", "key.pub.pem"),
            *("-signature", "signature", "message"),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_signature_is_this_key_s_over_this_message_only() -> None:
    signer = rsa_signer()
    signature = signer.sign(b"firmware")
    signer.public_key.verify(b"firmware", signature)
    with pytest.raises(SignatureError, match="does not match"):
        signer.public_key.verify(b"Firmware", signature)
    with pytest.raises(SignatureError, match="wrong length"):
        signer.public_key.verify(b"firmware", signature[:64])


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_the_numbers_of_a_key_make_the_same_key(algorithm: Algorithm) -> None:
    key = SoftwareSigner.generate(algorithm).public_key
    assert public_key_from_raw(algorithm, key.raw, where="test") == key


def test_numbers_that_are_no_key_are_refused() -> None:
    with pytest.raises(KeyFileError):
        public_key_from_raw(Algorithm.ECDSA_P256, bytes(64), where="test")
    with pytest.raises(KeyFileError):
        public_key_from_raw(Algorithm.RSA_3072, bytes(384), where="test")


def test_an_rsa_key_is_opened_for_messages_and_for_secure_boot(tmp_path: Path) -> None:
    path = tmp_path / "boot.pem"
    key = generate_key(path, Algorithm.RSA_3072, passphrase=b"horse")
    assert load_secure_boot_signer(str(path), passphrase=lambda: b"horse").public_key == key
    assert load_signer(str(path), passphrase=lambda: b"horse").public_key == key
    assert load_public_key(public_key_path(path)) == key
    with pytest.raises(KeyFileError, match="expected P-256 or Ed25519, got RSA-3072"):
        load_public_key(public_key_path(path), allowed=CERTIFICATE_ALGORITHMS)
    assert describe_key_file(path).algorithm is Algorithm.RSA_3072


def test_an_ed25519_key_cannot_sign_for_secure_boot(tmp_path: Path) -> None:
    path = tmp_path / "release.pem"
    generate_key(path, Algorithm.ED25519, passphrase=None)
    with pytest.raises(KeyFileError, match="P-256 or P-384 or RSA-3072"):
        load_secure_boot_signer(str(path))


@pytest.mark.parametrize("algorithm", sorted(set(Algorithm) - CERTIFICATE_ALGORITHMS))
def test_certificates_neither_hold_nor_are_signed_by_what_boards_do_not_verify(algorithm) -> None:
    """A station's or the factory's key of another kind is found before anything is issued."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    ca, other = fixed_signer("ca"), fixed_signer("other", algorithm)
    with pytest.raises(CertificateError, match=r"no place in a certificate.*ecdsa-p256 or ed25519"):
        create_ca_certificate(other, common_name="factory", not_before=now)
    ca_der = create_ca_certificate(ca, common_name="factory", not_before=now)
    with pytest.raises(CertificateError, match="no place in a certificate"):
        issue_station_certificate(
            ca, ca_der, other.public_key, station_name="station-1", not_before=now
        )
    with pytest.raises(CertificateError, match="no place in a certificate"):
        create_csr(other, serial_number="F1", mac="aa", job_id="job-1")


def test_another_size_of_rsa_is_refused(tmp_path: Path) -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path / "small.pem"
    path.write_bytes(small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="2048 bits"):
        load_secure_boot_signer(str(path))
