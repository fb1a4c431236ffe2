from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from signing.algorithms import CERTIFICATE_ALGORITHMS, Algorithm
from signing.certificate_fields import KIND_OIDS, NO_END, CertificateKind, certificate_number
from signing.certificate_issuing import (
    create_ca_certificate,
    issue_certificate,
    issue_station_certificate,
)
from signing.certificate_requests import create_csr, parse_csr
from signing.certificates import verify_certificate
from signing.ecdsa_form import to_der
from signing.errors import CertificateError
from signing.signers import SoftwareSigner
from tests.signing.fixed_keys import fixed_signer

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 3, 2, tzinfo=UTC)
CA, OTHER_CA = fixed_signer("ca"), fixed_signer("other ca")
DEVICE, STATION = fixed_signer("device"), fixed_signer("station")
CA_DER = create_ca_certificate(CA, common_name="Flare CA", not_before=BEGIN)
OTHER_CA_DER = create_ca_certificate(OTHER_CA, common_name="Flare CA", not_before=BEGIN)
EXPECTED = {
    "expected_serial_number": "FL26A1",
    "expected_mac": "aa:bb:cc:dd:ee:ff",
    "expected_job_id": "job-1",
}
CSR_DER = create_csr(DEVICE, serial_number="FL26A1", mac="aa:bb:cc:dd:ee:ff", job_id="job-1")
DEVICE_DER = issue_certificate(CA, CA_DER, CSR_DER, **EXPECTED, not_before=BEGIN)
STATION_DER = issue_station_certificate(
    CA, CA_DER, STATION.public_key, station_name="station-1", not_before=BEGIN
)


def flips(content: bytes):
    for bit in range(len(content) * 8):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_a_device_s_certificate_names_its_serial_number_mac_and_key() -> None:
    certificate = verify_certificate(DEVICE_DER, CA_DER, now=NOW)
    assert certificate.kind is CertificateKind.DEVICE
    assert certificate.serial_number == "FL26A1"
    assert certificate.common_name == "aa:bb:cc:dd:ee:ff"
    assert certificate.public_key == DEVICE.public_key
    assert certificate.der == DEVICE_DER


def test_a_station_s_certificate_names_it_and_has_no_serial_number() -> None:
    certificate = verify_certificate(STATION_DER, CA_DER, now=NOW, kind=CertificateKind.STATION)
    assert certificate.kind is CertificateKind.STATION
    assert certificate.serial_number is None
    assert certificate.common_name == "station-1"
    assert certificate.public_key == STATION.public_key


@pytest.mark.parametrize("ca_algorithm", sorted(CERTIFICATE_ALGORITHMS))
@pytest.mark.parametrize("device_algorithm", sorted(CERTIFICATE_ALGORITHMS))
def test_any_of_our_algorithms_serves_ca_and_device(
    ca_algorithm: Algorithm, device_algorithm: Algorithm
) -> None:
    ca, device = fixed_signer("x", ca_algorithm), fixed_signer("y", device_algorithm)
    ca_der = create_ca_certificate(ca, common_name="CA", not_before=BEGIN)
    csr_der = create_csr(device, serial_number="S", mac="M", job_id="J")
    der = issue_certificate(
        ca,
        ca_der,
        csr_der,
        expected_serial_number="S",
        expected_mac="M",
        expected_job_id="J",
        not_before=BEGIN,
    )
    assert verify_certificate(der, ca_der, now=NOW).public_key == device.public_key


def test_issuing_again_for_the_same_job_gives_the_same_certificate() -> None:
    again = create_csr(DEVICE, serial_number="FL26A1", mac="aa:bb:cc:dd:ee:ff", job_id="job-1")
    assert issue_certificate(CA, CA_DER, again, **EXPECTED, not_before=BEGIN) == DEVICE_DER
    zone = timezone(timedelta(hours=9))
    local = BEGIN.astimezone(zone) + timedelta(microseconds=5)
    assert issue_certificate(CA, CA_DER, again, **EXPECTED, not_before=local) == DEVICE_DER


def test_another_job_gives_another_number() -> None:
    csr_der = create_csr(DEVICE, serial_number="FL26A1", mac="aa:bb:cc:dd:ee:ff", job_id="job-2")
    expected = {**EXPECTED, "expected_job_id": "job-2"}
    other = issue_certificate(CA, CA_DER, csr_der, **expected, not_before=BEGIN)
    numbers = {x509.load_der_x509_certificate(der).serial_number for der in (DEVICE_DER, other)}
    assert len(numbers) == 2


@given(st.binary(max_size=40))
def test_a_certificate_s_number_is_positive_and_fits(origin: bytes) -> None:
    assert certificate_number("job", origin).bit_length() == 127
    assert certificate_number("job", origin) != certificate_number("station", origin)


def test_certificates_have_no_end() -> None:
    for der in (CA_DER, DEVICE_DER, STATION_DER):
        loaded = x509.load_der_x509_certificate(der)
        assert loaded.not_valid_after_utc == NO_END
        assert b"99991231235959Z" in der
    assert verify_certificate(DEVICE_DER, CA_DER, now=datetime(2999, 1, 1, tzinfo=UTC))


def test_any_flipped_bit_in_a_certificate_is_refused() -> None:
    for der in (DEVICE_DER, STATION_DER):
        for changed in flips(der):
            with pytest.raises(CertificateError):
                verify_certificate(changed, CA_DER, now=NOW)


def test_the_last_bits_of_a_signature_cannot_be_declared_unused() -> None:
    """One bit of the encoding lies outside of what is signed: the count of unused bits."""
    for number in range(20):
        der = issue_station_certificate(
            CA, CA_DER, STATION.public_key, station_name=f"station-{number}", not_before=BEGIN
        )
        if der[-1] & 1:
            continue
        size_bytes = len(x509.load_der_x509_certificate(der).signature)
        changed = bytearray(der)
        changed[-size_bytes - 1] = 1
        with pytest.raises(CertificateError, match="not whole bytes"):
            verify_certificate(bytes(changed), CA_DER, now=NOW)
        return
    pytest.fail("no signature ended in a zero bit")


@pytest.mark.parametrize("inside", ["300a06082a8648ce3d040303", "300a06082a8648ce3d040302"])
def test_the_signed_part_names_the_algorithm_that_signed_it(inside: str) -> None:
    """RFC 5280 §4.1.1.2; only the CA itself could sign another."""
    ecdsa = bytes.fromhex("300a06082a8648ce3d040302")
    ca = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    ca_der = create_ca_certificate(ca, common_name="Flare CA", not_before=BEGIN)
    issued = issue_station_certificate(
        ca, ca_der, STATION.public_key, station_name="station-1", not_before=BEGIN
    )
    tbs = x509.load_der_x509_certificate(issued).tbs_certificate_bytes
    assert tbs.count(ecdsa) == 1
    tbs = tbs.replace(ecdsa, bytes.fromhex(inside))
    signature = to_der(ca.sign(tbs))
    content = tbs + ecdsa + bytes((3, len(signature) + 1, 0)) + signature
    der = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    if bytes.fromhex(inside) == ecdsa:
        assert verify_certificate(der, ca_der, now=NOW).common_name == "station-1"
        return
    with pytest.raises(CertificateError):
        verify_certificate(der, ca_der, now=NOW)


@pytest.mark.parametrize("untrusted_der", [b"", DEVICE_DER + b"\0", DEVICE_DER[:-1], bytes(5000)])
def test_a_cut_or_longer_certificate_is_refused(untrusted_der: bytes) -> None:
    with pytest.raises(CertificateError, match=r"cannot be read|impossible length"):
        verify_certificate(untrusted_der, CA_DER, now=NOW)


@given(st.binary(min_size=1, max_size=120))
def test_arbitrary_bytes_are_no_certificate_and_no_request(untrusted_der: bytes) -> None:
    with pytest.raises(CertificateError):
        verify_certificate(untrusted_der, CA_DER, now=NOW)
    with pytest.raises(CertificateError):
        verify_certificate(DEVICE_DER, untrusted_der, now=NOW)
    with pytest.raises(CertificateError):
        parse_csr(untrusted_der)


def test_another_ca_s_certificate_is_refused_even_under_the_same_name() -> None:
    foreign = issue_certificate(OTHER_CA, OTHER_CA_DER, CSR_DER, **EXPECTED, not_before=BEGIN)
    with pytest.raises(CertificateError, match="CA: expected a signature by the key of CN=Flare"):
        verify_certificate(foreign, CA_DER, now=NOW)


def test_a_certificate_of_a_ca_with_another_name_is_refused_with_both_names() -> None:
    other_ca_der = create_ca_certificate(OTHER_CA, common_name="Elsewhere", not_before=BEGIN)
    foreign = issue_certificate(OTHER_CA, other_ca_der, CSR_DER, **EXPECTED, not_before=BEGIN)
    with pytest.raises(CertificateError, match="expected CN=Flare CA, got 'CN=Elsewhere'"):
        verify_certificate(foreign, CA_DER, now=NOW)


def test_a_certificate_is_not_valid_before_its_time() -> None:
    assert verify_certificate(DEVICE_DER, CA_DER, now=BEGIN)
    with pytest.raises(CertificateError, match="not valid at this time: expected 2026-03-01T12"):
        verify_certificate(DEVICE_DER, CA_DER, now=BEGIN - timedelta(seconds=1))


def test_a_device_is_not_taken_for_a_station_nor_the_ca_for_either() -> None:
    with pytest.raises(CertificateError, match="expected a station's, got a device's"):
        verify_certificate(DEVICE_DER, CA_DER, now=NOW, kind=CertificateKind.STATION)
    with pytest.raises(CertificateError, match="expected a device's, got a station's"):
        verify_certificate(STATION_DER, CA_DER, now=NOW, kind=CertificateKind.DEVICE)
    with pytest.raises(CertificateError, match="lacks an extension"):
        verify_certificate(CA_DER, CA_DER, now=NOW)


def test_a_device_s_certificate_is_not_taken_for_a_ca_s() -> None:
    with pytest.raises(CertificateError, match="is not a CA's"):
        verify_certificate(DEVICE_DER, DEVICE_DER, now=NOW)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"expected_serial_number": "FL26A2"}, "another serial number: expected 'FL26A2'"),
        ({"expected_mac": "00:00:00:00:00:00"}, "another MAC address"),
        ({"expected_job_id": "job-9"}, "another job"),
    ],
)
def test_a_request_for_something_else_is_refused(changed: dict[str, str], message: str) -> None:
    with pytest.raises(CertificateError, match=message):
        issue_certificate(CA, CA_DER, CSR_DER, **{**EXPECTED, **changed}, not_before=BEGIN)


def test_a_request_is_signed_by_the_key_that_it_names() -> None:
    assert parse_csr(CSR_DER).public_key == DEVICE.public_key
    other = STATION.public_key.spki_der
    stolen = CSR_DER.replace(DEVICE.public_key.spki_der, other)
    assert stolen != CSR_DER
    with pytest.raises(CertificateError, match="not signed by the key that it names"):
        parse_csr(stolen)


def test_a_flipped_bit_in_a_request_never_changes_what_is_certified() -> None:
    original = parse_csr(CSR_DER)
    for changed in flips(CSR_DER):
        try:
            assert parse_csr(changed) == original
        except CertificateError:
            continue


def test_the_ca_s_key_must_belong_to_its_certificate() -> None:
    with pytest.raises(CertificateError, match="does not belong to its certificate"):
        issue_certificate(OTHER_CA, CA_DER, CSR_DER, **EXPECTED, not_before=BEGIN)


@pytest.mark.parametrize("text", ["", "x" * 65, "line\nbreak", "caf\u00e9", "a\0b"])
def test_a_name_that_cannot_stand_in_a_certificate_is_refused(text: str) -> None:
    with pytest.raises(CertificateError, match="cannot stand in a certificate"):
        create_csr(DEVICE, serial_number="S", mac="M", job_id=text)
    with pytest.raises(CertificateError, match="cannot stand in a certificate"):
        create_ca_certificate(CA, common_name=text, not_before=BEGIN)


def foreign_certificate(*extensions, subject=None, algorithm=None, key=None) -> bytes:
    """Issue with the CA's own key what our code would not issue."""
    name = x509.load_der_x509_certificate(CA_DER).subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(ONE_NAME if subject is None else subject)
        .issuer_name(name)
        .public_key(key or DEVICE.private_key.public_key())
        .serial_number(7)
        .not_valid_before(BEGIN)
        .not_valid_after(NO_END)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(CA.private_key, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


def usages(*, digital_signature: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature,
        *[False] * 8,
    )


END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)
KINDS = {kind: x509.ObjectIdentifier(oid) for kind, oid in KIND_OIDS.items()}
STATION_USE = x509.ExtendedKeyUsage([KINDS[CertificateKind.STATION]])
ONE_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
TWO_NAMES = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in "ab"])


@pytest.mark.parametrize(
    ("der", "message"),
    [
        (foreign_certificate(), "lacks an extension"),
        (foreign_certificate(END_ENTITY, usages()), "lacks an extension"),
        (
            foreign_certificate(END_ENTITY, usages(digital_signature=False), STATION_USE),
            "neither a device nor a station",
        ),
        (
            foreign_certificate(
                x509.BasicConstraints(ca=True, path_length=None), usages(), STATION_USE
            ),
            "neither a device nor a station",
        ),
        (
            foreign_certificate(
                END_ENTITY, usages(), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            ),
            "neither a device nor a station",
        ),
        (
            foreign_certificate(END_ENTITY, usages(), x509.ExtendedKeyUsage(KINDS.values())),
            "neither a device nor a station",
        ),
        (
            foreign_certificate(
                END_ENTITY, usages(), x509.ExtendedKeyUsage([KINDS[CertificateKind.DEVICE]])
            ),
            "device's certificate has another subject",
        ),
        (
            foreign_certificate(END_ENTITY, usages(), STATION_USE, subject=x509.Name([])),
            "station's certificate has another subject than ours: .* an empty subject",
        ),
        (
            foreign_certificate(END_ENTITY, usages(), STATION_USE, subject=TWO_NAMES),
            "an attribute twice",
        ),
        (
            foreign_certificate(END_ENTITY, usages(), STATION_USE, algorithm=hashes.SHA384()),
            "algorithm that is not used here",
        ),
        (
            foreign_certificate(
                END_ENTITY,
                usages(),
                STATION_USE,
                key=ec.derive_private_key(3, ec.SECP384R1()).public_key(),
            ),
            "cannot be read: .*kind that is not used here",
        ),
    ],
)
def test_what_the_ca_should_not_have_issued_is_refused(der: bytes, message: str) -> None:
    with pytest.raises(CertificateError, match=message):
        verify_certificate(der, CA_DER, now=NOW)


def test_a_ca_certificate_without_constraints_is_refused() -> None:
    with pytest.raises(CertificateError, match="not a CA's"):
        verify_certificate(DEVICE_DER, foreign_certificate(), now=NOW)


@pytest.mark.parametrize(
    "subject",
    [
        x509.Name([]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]),
        x509.Name(
            [
                x509.NameAttribute(NameOID.SERIAL_NUMBER, "x"),
                x509.NameAttribute(NameOID.COMMON_NAME, "x"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "x"),
                x509.NameAttribute(NameOID.LOCALITY_NAME, "x"),
            ]
        ),
    ],
)
def test_a_request_with_another_subject_is_refused(subject: x509.Name) -> None:
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject)
    der = csr.sign(DEVICE.private_key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(CertificateError, match="another subject than ours"):
        parse_csr(der)
