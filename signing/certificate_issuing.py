"""Issues the certificates of a factory: its CA's own, devices' and stations'.

Implements docs/spec/trust.md §6; the three kinds are described in `signing.certificates`. A
device's certificate number is derived from the job that made it: the same job with the same key
gives the same certificate, so that issuing again after a kill changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.certificate_fields import (
    KIND_OIDS,
    CertificateKind,
    begin_certificate,
    build_name,
    certificate_number,
    key_usage,
    sign_der,
)
from signing.certificate_requests import parse_csr
from signing.certificates import parse_ca_certificate, verify_certificate
from signing.errors import CertificateError
from signing.keys import PublicKey, public_key_of

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from signing.signers import Signer


def create_ca_certificate(ca_signer: Signer, *, common_name: str, not_before: datetime) -> bytes:
    """Make the factory CA's self-signed certificate.

    Args:
        ca_signer: The CA's private key.
        common_name: The CA's name.
        not_before: When it becomes valid, aware.

    Returns:
        DER.
    """
    from cryptography import x509

    name = build_name(common_name=common_name)
    builder = (
        begin_certificate(
            ca_signer.public_key, certificate_number("ca", ca_signer.public_key.key_id), not_before
        )
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(is_ca=True), critical=True)
    )
    return sign_der(builder, ca_signer)


def issue_certificate(
    ca_signer: Signer,
    ca_certificate_der: bytes,
    csr_der: bytes,
    *,
    expected_serial_number: str,
    expected_mac: str,
    expected_job_id: str,
    not_before: datetime,
) -> bytes:
    """Issue a device's certificate for its own request.

    Args:
        ca_signer: The CA's private key.
        ca_certificate_der: The CA's certificate.
        csr_der: The device's request, untrusted.
        expected_serial_number: What the station reserved.
        expected_mac: What the station read from the chip.
        expected_job_id: The station's job; the certificate's number derives from it.
        not_before: When it becomes valid, aware.

    Returns:
        DER; the same for the same arguments.

    Raises:
        CertificateError: The request is not signed by its key, or names something else.
    """
    request = parse_csr(csr_der)
    for name, expected, got in (
        ("serial number", expected_serial_number, request.serial_number),
        ("MAC address", expected_mac, request.mac),
        ("job", expected_job_id, request.job_id),
    ):
        if expected != got:
            raise CertificateError(
                f"a certificate request names another {name}",
                expected=ascii(expected),
                got=ascii(got),
                where=f"job {expected_job_id}",
                hint="check that the board on this slot is the one that was detected",
            )
    subject = build_name(serial_number=request.serial_number, common_name=request.mac)
    number = certificate_number("job", expected_job_id.encode())
    builder = begin_certificate(request.public_key, number, not_before).subject_name(subject)
    return _issue(builder, ca_signer, ca_certificate_der, CertificateKind.DEVICE)


def is_issued_for_job(
    untrusted_der: bytes,
    ca_certificate_der: bytes,
    csr_der: bytes,
    *,
    expected_serial_number: str,
    expected_mac: str,
    expected_job_id: str,
    now: datetime,
) -> bool:
    """Whether a certificate is the one that a job issued for a request.

    Signatures of a key in a hardware module differ each time, so that issuing again would make a
    second certificate with the number of the first.

    Args:
        untrusted_der: A certificate, or nothing.
        ca_certificate_der: The CA's certificate.
        csr_der: The device's request, untrusted.
        expected_serial_number: What the station reserved.
        expected_mac: What the station read from the chip.
        expected_job_id: The station's job.
        now: The present, aware.

    Raises:
        CertificateError: The request is not one.
    """
    from cryptography import x509

    request = parse_csr(csr_der)
    try:
        found = verify_certificate(
            untrusted_der, ca_certificate_der, now=now, kind=CertificateKind.DEVICE
        )
    except CertificateError:
        return False
    number = x509.load_der_x509_certificate(untrusted_der).serial_number
    expected = (expected_serial_number, expected_mac)
    return (
        (request.serial_number, request.mac) == (found.serial_number, found.common_name) == expected
        and request.job_id == expected_job_id
        and found.public_key == request.public_key
        and number == certificate_number("job", expected_job_id.encode())
    )


def issue_station_certificate(
    ca_signer: Signer,
    ca_der: bytes,
    station_public_key: PublicKey,
    *,
    station_name: str,
    not_before: datetime,
) -> bytes:
    """Issue a station's certificate.

    Args:
        ca_signer: The CA's private key.
        ca_der: The CA's certificate.
        station_public_key: The station's key; the caller vouches for it.
        station_name: The station's name.
        not_before: When it becomes valid, aware.

    Returns:
        DER; the same for the same arguments.
    """
    number = certificate_number("station", station_public_key.key_id)
    builder = begin_certificate(station_public_key, number, not_before)
    builder = builder.subject_name(build_name(common_name=station_name))
    return _issue(builder, ca_signer, ca_der, CertificateKind.STATION)


def _issue(
    builder: x509.CertificateBuilder,
    ca_signer: Signer,
    ca_der: bytes,
    kind: CertificateKind,
) -> bytes:
    from cryptography import x509

    from signing.certificate_keys import as_private_key

    ca = parse_ca_certificate(ca_der)
    if public_key_of(ca.public_key(), where="factory CA") != ca_signer.public_key:
        raise CertificateError(
            "the factory CA's private key does not belong to its certificate",
            expected=f"key {public_key_of(ca.public_key(), where='factory CA').key_id.hex()}",
            got=f"key {ca_signer.public_key.key_id.hex()}",
            hint="use the key that the CA certificate was made with",
        )
    purpose = x509.ObjectIdentifier(KIND_OIDS[kind])
    builder = (
        builder.issuer_name(ca.subject)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                as_private_key(ca_signer).public_key()
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    )
    return sign_der(builder, ca_signer)
