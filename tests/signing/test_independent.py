"""What we sign, checked by programs that share no code with us: OpenSSL's command line."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signing.algorithms import CERTIFICATE_ALGORITHMS, MESSAGE_ALGORITHMS, Algorithm
from signing.certificate_issuing import (
    create_ca_certificate,
    issue_certificate,
    issue_station_certificate,
)
from signing.certificate_requests import create_csr
from signing.cose import sign_many, sign_one, verify_one
from signing.cose_message import serialize_sign1, serialize_sign1_header, sign1_structure
from signing.errors import SignatureError
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from pathlib import Path

TYPE = "application/vnd.ampforge.test"
COSE_NUMBERS = {
    Algorithm.ECDSA_P256: -7,
    Algorithm.ECDSA_P384: -35,
    Algorithm.ED25519: -8,
    Algorithm.RSA_3072: -37,
}
PSS_OPTIONS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32")
# What `openssl dgst` is told for each algorithm that it hashes for.
DIGEST_OPTIONS = {
    Algorithm.ECDSA_P256: ("-sha256",),
    Algorithm.ECDSA_P384: ("-sha384",),
    Algorithm.RSA_3072: ("-sha256", *PSS_OPTIONS, "-sigopt", "rsa_mgf1_md:sha256"),
}
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
    half = len(raw) // 2
    return encode_dss_signature(
        int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    )


def openssl_verify(folder: Path, algorithm: Algorithm, signer, signed: bytes, raw: bytes) -> str:
    public, message, signature = (folder / name for name in ("k.pem", "m.bin", "s.bin"))
    public.write_bytes(signer.public_key.pem())
    message.write_bytes(signed)
    is_ecdsa = algorithm in {Algorithm.ECDSA_P256, Algorithm.ECDSA_P384}
    signature.write_bytes(der_signature(raw) if is_ecdsa else raw)
    if algorithm in DIGEST_OPTIONS:
        options = DIGEST_OPTIONS[algorithm]
        return run_openssl("dgst", *options, "-verify", public, "-signature", signature, message)
    return run_openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"),
        *("-in", message, "-sigfile", signature),
    )


def openssl_sign(folder: Path, signer, signed: bytes) -> bytes:
    """Return a raw signature that OpenSSL made with a signer's private key."""
    private, message, signature = (folder / name for name in ("k.der", "m.bin", "s.bin"))
    private.write_bytes(signer.to_pkcs8_der())
    message.write_bytes(signed)
    algorithm = signer.public_key.algorithm
    if algorithm not in DIGEST_OPTIONS:
        key = ("-inkey", private, "-keyform", "DER", "-rawin")
        run_openssl("pkeyutl", "-sign", *key, "-in", message, "-out", signature)
        return signature.read_bytes()
    key = ("-sign", private, "-keyform", "DER", "-out", signature)
    run_openssl("dgst", *DIGEST_OPTIONS[algorithm], *key, message)
    if algorithm is Algorithm.RSA_3072:
        return signature.read_bytes()
    half = signer.public_key.signature_bytes // 2
    return b"".join(
        number.to_bytes(half, "big") for number in decode_dss_signature(signature.read_bytes())
    )


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))
def test_openssl_verifies_a_message_of_one_key(tmp_path: Path, algorithm: Algorithm) -> None:
    signer = fixed_signer("one", algorithm)
    tagged = cbor2.loads(sign_one(b"payload", signer, content_type=TYPE, external_aad=b"aad"))
    assert tagged.tag == 18
    protected, unprotected, payload, raw = tagged.value
    assert unprotected == {}
    kid = signer.public_key.key_id[:8]
    assert cbor2.loads(protected) == {1: COSE_NUMBERS[algorithm], 3: TYPE, 4: kid}
    signed = cbor2.dumps(["Signature1", protected, b"aad", payload])
    assert "erif" in openssl_verify(tmp_path, algorithm, signer, signed, raw)
    with pytest.raises(subprocess.CalledProcessError):
        openssl_verify(tmp_path, algorithm, signer, signed + b"x", raw)


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))
def test_we_verify_a_message_that_openssl_signed(tmp_path: Path, algorithm: Algorithm) -> None:
    signer = fixed_signer("one", algorithm)
    protected = serialize_sign1_header(TYPE, signer.public_key)
    raw = openssl_sign(tmp_path, signer, sign1_structure(protected, b"payload"))
    message = serialize_sign1(protected, b"payload", raw)
    assert verify_one(message, [signer.public_key], content_type=TYPE).payload == b"payload"
    other = message.replace(b"payload", b"Payload")
    with pytest.raises(SignatureError):
        verify_one(other, [signer.public_key], content_type=TYPE)


def test_openssl_verifies_each_signature_of_a_message_of_several(tmp_path: Path) -> None:
    signers = {}
    for algorithm in Algorithm:
        signer = fixed_signer("a", algorithm)
        signers[signer.public_key.key_id[:8]] = signer
    tagged = cbor2.loads(sign_many(b"payload", list(signers.values()), content_type=TYPE))
    assert tagged.tag == 98
    body_protected, unprotected, payload, signatures = tagged.value
    assert unprotected == {}
    assert cbor2.loads(body_protected) == {3: TYPE}
    assert len(signatures) == len(Algorithm)
    for protected, signature_unprotected, raw in signatures:
        assert signature_unprotected == {}
        signer = signers[cbor2.loads(protected)[4]]
        signed = cbor2.dumps(["Signature", body_protected, protected, b"", payload])
        openssl_verify(tmp_path, signer.public_key.algorithm, signer, signed, raw)


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))
def test_cryptography_verifies_bytes_that_were_put_together_by_hand(algorithm: Algorithm) -> None:
    signer = fixed_signer("one", algorithm)
    message = sign_one(b"payload", signer, content_type="t/x")
    algorithm_bytes = {-7: b"\x26", -8: b"\x27", -35: b"\x38\x22", -37: b"\x38\x24"}
    number = algorithm_bytes[COSE_NUMBERS[algorithm]]
    head = {64: b"\x58\x40", 96: b"\x58\x60", 384: b"\x59\x01\x80"}
    size_bytes = signer.public_key.signature_bytes
    kid = signer.public_key.key_id[:8]
    protected = b"\xa3\x01" + number + b"\x03\x63t/x" + b"\x04\x48" + kid
    length = bytes([0x40 + len(protected)])
    before = b"\xd2\x84" + length + protected + b"\xa0\x47payload" + head[size_bytes]
    assert message[:-size_bytes] == before
    signed = b"\x84\x6aSignature1" + length + protected + b"\x40\x47payload"
    public, raw = load_der_public_key(signer.public_key.spki_der), message[-size_bytes:]
    match public:
        case ed25519.Ed25519PublicKey():
            public.verify(raw, signed)
        case rsa.RSAPublicKey():
            public.verify(raw, signed, PSS(MGF1(SHA256()), 32), SHA256())
        case ec.EllipticCurvePublicKey():
            hashed = SHA256() if size_bytes == 64 else SHA384()
            public.verify(der_signature(raw), signed, ec.ECDSA(hashed))
        case _:
            pytest.fail("another kind of key")


@pytest.mark.parametrize("algorithm", sorted(CERTIFICATE_ALGORITHMS))
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
