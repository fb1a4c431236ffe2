"""X.509 certificates of devices and stations, issued by the factory CA.

Implements docs/spec/trust.md §6. Three kinds, all version 3, ECDSA with SHA-256 or Ed25519, and
all without an end (notAfter 99991231235959Z, IEEE 802.1AR §8.7):

=========  ==========================================  =======================================
kind       subject                                     extensions
=========  ==========================================  =======================================
CA         CN                                          CA true, path length 0; keyCertSign
device     serialNumber; CN = MAC address              CA false; digitalSignature; device use
station    CN = station name                           CA false; digitalSignature; station use
=========  ==========================================  =======================================

The two uses are extended key usages of our own, so that a device cannot sign a station's records.
A device's certificate number is derived from the job that made it: the same job with the same key
gives the same certificate, so that issuing again after a kill changes nothing.

Not here: revocation, which is the trust record's list of key ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from signing.certificate_fields import (
    KIND_OIDS,
    CertificateKind,
    begin_certificate,
    build_name,
    certificate_number,
    key_usage,
    parse_errors,
    read_kind,
    read_name,
    refuse_length,
    sign_der,
    unreadable,
)
from signing.certificate_requests import CertificateRequest, create_csr, parse_csr
from signing.errors import CertificateError
from signing.keys import PublicKey, public_key_of

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from signing.signers import Signer

__all__ = [
    "Certificate",
    "CertificateKind",
    "CertificateRequest",
    "create_ca_certificate",
    "create_csr",
    "issue_certificate",
    "issue_station_certificate",
    "parse_ca_certificate",
    "parse_csr",
    "verify_certificate",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A verified certificate.

    Attributes:
        public_key: The key that it vouches for.
        serial_number: The product's serial number; `None` for a station.
        common_name: The device's MAC address, or the station's name.
        der: The certificate itself.
        kind: Device or station.
    """

    public_key: PublicKey
    serial_number: str | None
    common_name: str
    der: bytes
    kind: CertificateKind


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


def verify_certificate(
    untrusted_der: bytes, ca_der: bytes, *, now: datetime, kind: CertificateKind | None = None
) -> Certificate:
    """Verify that the factory CA issued a certificate, and read it.

    Args:
        untrusted_der: The certificate.
        ca_der: The CA's certificate, trusted.
        now: The present, aware.
        kind: What the holder must be; `None` leaves it to the caller to look.

    Raises:
        CertificateError: It is not issued by the CA, not yet valid, or of another kind.
    """
    from cryptography import x509

    refuse_length(untrusted_der, "a certificate")
    ca = parse_ca_certificate(ca_der)
    try:
        certificate = x509.load_der_x509_certificate(untrusted_der)
        _refuse_foreign(certificate, ca)
        # X.690 §11.2.1: the byte before the signature counts unused bits, which are none; nothing
        # else outside the signed part can differ and still be read.
        if untrusted_der[: -len(certificate.signature)][-1:] != b"\0":
            raise CertificateError("a certificate's signature is not whole bytes")
        subject = read_name(certificate.subject)
        found = read_kind(certificate.extensions)
        public_key = public_key_of(certificate.public_key(), where="certificate")
    except parse_errors() as error:
        raise unreadable("a certificate", error) from error
    _refuse_time(certificate, now)
    if kind is not None and found is not kind:
        raise CertificateError(
            "a certificate is of another kind",
            expected=f"a {kind}'s",
            got=f"a {found}'s",
            where=subject.get("common_name"),
        )
    wanted = (
        {"serial_number", "common_name"} if found is CertificateKind.DEVICE else {"common_name"}
    )
    if set(subject) != wanted:
        raise CertificateError(
            f"a {found}'s certificate has another subject than ours",
            expected=", ".join(sorted(wanted)),
            got=", ".join(sorted(subject)) or "an empty subject",
        )
    return Certificate(
        public_key=public_key,
        serial_number=subject.get("serial_number"),
        common_name=subject["common_name"],
        der=untrusted_der,
        kind=found,
    )


def parse_ca_certificate(ca_der: bytes) -> x509.Certificate:
    """Read a CA's certificate, and refuse one that could issue none of ours.

    Args:
        ca_der: The certificate; that it is the right CA's is the caller's to know.

    Raises:
        CertificateError: It is no certificate, not a CA's, or of a key that is not used here.
    """
    from cryptography import x509

    refuse_length(ca_der, "the factory CA's certificate")
    try:
        ca = x509.load_der_x509_certificate(ca_der)
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        public_key_of(ca.public_key(), where="factory CA")
    except x509.ExtensionNotFound:
        raise _not_a_ca() from None
    except parse_errors() as error:
        raise unreadable("the factory CA's certificate", error) from error
    if not constraints.ca:
        raise _not_a_ca()
    return ca


def _not_a_ca() -> CertificateError:
    return CertificateError(
        "the factory CA's certificate is not a CA's",
        expected="a certificate that may issue others",
        got="one that may not",
        hint="give the factory-ca.cert.der that `ampforge station init` wrote",
    )


def _refuse_foreign(certificate: x509.Certificate, ca: x509.Certificate) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509.oid import SignatureAlgorithmOID

    if certificate.signature_algorithm_oid not in (
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ED25519,
    ):
        raise CertificateError(
            "a certificate is signed by an algorithm that is not used here",
            expected="ECDSA with SHA-256 or Ed25519",
            got=certificate.signature_algorithm_oid.dotted_string,
        )
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateError(
            "a certificate was not issued by the factory CA",
            expected=ca.subject.rfc4514_string(),
            got=ascii(certificate.issuer.rfc4514_string())[:120],
            hint="check that the trust record names the factory that made this unit",
        ) from error


def _refuse_time(certificate: x509.Certificate, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        raise CertificateError(
            "a certificate is not valid at this time",
            expected=f"{begin.isoformat()} to {end.isoformat()}",
            got=now.isoformat(),
            hint="check this machine's clock",
        )


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
