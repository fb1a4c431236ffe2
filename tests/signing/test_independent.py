"""What we sign, checked by programs that share no code with us: OpenSSL's command line."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signing.certificate_issuing import (
    create_ca_certificate,
    issue_certificate,
    issue_station_certificate,
)
from signing.certificate_requests import create_csr
from signing.cose import sign_many, sign_one
from signing.keys import MESSAGE_ALGORITHMS, Algorithm
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from pathlib import Path

TYPE = "application/vnd.ampforge.test"
NOT_BEFORE = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run_openssl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *arguments],  # noqa: S607 - the system's OpenSSL
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout + done.stderr


def der_signature(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


def openssl_verify(folder: Path, algorithm: Algorithm, signer, signed: bytes, raw: bytes) -> str:
    public, message, signature = (folder / name for name in ("k.pem", "m.bin", "s.bin"))
    public.write_bytes(signer.public_key.pem())
    message.write_bytes(signed)
    if algorithm is Algorithm.ECDSA_P256:
        signature.write_bytes(der_signature(raw))
        arguments = ("dgst", "-sha256", "-verify", public, "-signature", signature, message)
        return run_openssl(*arguments)
    signature.write_bytes(raw)
    return run_openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"),
        *("-in", message, "-sigfile", signature),
    )


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))
def test_openssl_verifies_a_message_of_one_key(tmp_path: Path, algorithm: Algorithm) -> None:
    signer = fixed_signer("one", algorithm)
    tagged = cbor2.loads(sign_one(b"payload", signer, content_type=TYPE, external_aad=b"aad"))
    assert tagged.tag == 18
    protected, unprotected, payload, raw = tagged.value
    assert unprotected == {}
    algorithm_id = {Algorithm.ECDSA_P256: -7, Algorithm.ED25519: -8}[algorithm]
    kid = signer.public_key.key_id[:8]
    assert cbor2.loads(protected) == {1: algorithm_id, 3: TYPE, 4: kid}
    signed = cbor2.dumps(["Signature1", protected, b"aad", payload])
    assert "erif" in openssl_verify(tmp_path, algorithm, signer, signed, raw)
    with pytest.raises(subprocess.CalledProcessError):
        openssl_verify(tmp_path, algorithm, signer, signed + b"x", raw)


def test_openssl_verifies_each_signature_of_a_message_of_several(tmp_path: Path) -> None:
    signers = {}
    for name, algorithm in (("a", Algorithm.ECDSA_P256), ("b", Algorithm.ED25519)):
        signer = fixed_signer(name, algorithm)
        signers[signer.public_key.key_id[:8]] = signer
    tagged = cbor2.loads(sign_many(b"payload", list(signers.values()), content_type=TYPE))
    assert tagged.tag == 98
    body_protected, unprotected, payload, signatures = tagged.value
    assert unprotected == {}
    assert cbor2.loads(body_protected) == {3: TYPE}
    assert len(signatures) == 2
    for protected, signature_unprotected, raw in signatures:
        assert signature_unprotected == {}
        signer = signers[cbor2.loads(protected)[4]]
        signed = cbor2.dumps(["Signature", body_protected, protected, b"", payload])
        openssl_verify(tmp_path, signer.public_key.algorithm, signer, signed, raw)


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))
def test_cryptography_verifies_bytes_that_were_put_together_by_hand(algorithm: Algorithm) -> None:
    signer = fixed_signer("one", algorithm)
    message = sign_one(b"payload", signer, content_type="t/x")
    algorithm_byte = b"\x26" if algorithm is Algorithm.ECDSA_P256 else b"\x27"
    kid = signer.public_key.key_id[:8]
    protected = b"\xa3\x01" + algorithm_byte + b"\x03\x63t/x" + b"\x04\x48" + kid
    assert message[:-64] == b"\xd2\x84\x52" + protected + b"\xa0\x47payload\x58\x40"
    signed = b"\x84\x6aSignature1\x52" + protected + b"\x40\x47payload"
    public = load_der_public_key(signer.public_key.spki_der)
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(message[-64:], signed)
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(der_signature(message[-64:]), signed, ec.ECDSA(SHA256()))


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))
def test_openssl_verifies_certificates_strictly(tmp_path: Path, algorithm: Algorithm) -> None:
    ca, device = fixed_signer("ca", algorithm), fixed_signer("device")
    ca_der = create_ca_certificate(ca, common_name="Flare CA", not_before=NOT_BEFORE)
    csr_der = create_csr(device, serial_number="FL26A1", mac="aa:bb:cc:dd:ee:ff", job_id="job-1")
    device_der = issue_certificate(
        ca,
        ca_der,
        csr_der,
        expected_serial_number="FL26A1",
        expected_mac="aa:bb:cc:dd:ee:ff",
        expected_job_id="job-1",
        not_before=NOT_BEFORE,
    )
    station_der = issue_station_certificate(
        ca, ca_der, device.public_key, station_name="station-1", not_before=NOT_BEFORE
    )
    for name, der in (("ca", ca_der), ("device", device_der), ("station", station_der)):
        (tmp_path / f"{name}.der").write_bytes(der)
        run_openssl(
            "x509", "-inform", "DER", "-in", tmp_path / f"{name}.der", "-out", tmp_path / name
        )
    for name in ("device", "station"):
        assert "OK" in run_openssl(
            *("verify", "-x509_strict", "-check_ss_sig", "-attime", "1790000000"),
            *("-CAfile", tmp_path / "ca", tmp_path / name),
        )
    shown = run_openssl("x509", "-in", tmp_path / "device", "-noout", "-subject", "-enddate")
    assert "serialNumber = FL26A1, CN = aa:bb:cc:dd:ee:ff" in shown
    assert "notAfter=Dec 31 23:59:59 9999 GMT" in shown


def test_openssl_verifies_a_certificate_request(tmp_path: Path) -> None:
    csr_der = create_csr(fixed_signer("device"), serial_number="FL26A1", mac="aa", job_id="job-1")
    (tmp_path / "csr.der").write_bytes(csr_der)
    shown = run_openssl(
        *("req", "-inform", "DER", "-in", tmp_path / "csr.der", "-verify", "-noout", "-subject")
    )
    assert "verify OK" in shown
    assert "serialNumber = FL26A1, CN = aa, OU = job-1" in shown
