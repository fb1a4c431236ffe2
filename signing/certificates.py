"""X.509 certificates of devices and stations, as the factory CA issued them: verify and read.

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

Not here: issuing, which is `signing.certificate_issuing`, and revocation, which is the trust
record's list of key ids.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from signing.algorithms import CERTIFICATE_ALGORITHMS
from signing.certificate_fields import (
    CertificateKind,
    parse_errors,
    read_kind,
    read_name,
    refuse_length,
    unreadable,
)
from signing.errors import CertificateError
from signing.keys import PublicKey, public_key_of
from signing.value_class import dataclass

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509


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
    ca = _known_ca(ca_der)
    try:
        certificate = x509.load_der_x509_certificate(untrusted_der)
        _refuse_foreign(certificate, ca)
        # X.690 §11.2.1: the byte before the signature counts unused bits, which are none; nothing
        # else outside the signed part can differ and still be read.
        if untrusted_der[: -len(certificate.signature)][-1:] != b"\0":
            raise CertificateError("a certificate's signature is not whole bytes")
        subject = read_name(certificate.subject)
        found = read_kind(certificate.extensions)
        public_key = public_key_of(
            certificate.public_key(), where="certificate", allowed=CERTIFICATE_ALGORITHMS
        )
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


def ca_public_key(ca_der: bytes) -> PublicKey:
    """Return the key of a CA's certificate; that it is the right CA's is the caller's to know.

    Raises:
        CertificateError: It is no certificate of a CA.
    """
    return public_key_of(parse_ca_certificate(ca_der).public_key(), where="factory CA")


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
        public_key_of(ca.public_key(), where="factory CA", allowed=CERTIFICATE_ALGORITHMS)
    except x509.ExtensionNotFound:
        raise _not_a_ca() from None
    except parse_errors() as error:
        raise unreadable("the factory CA's certificate", error) from error
    if not constraints.ca:
        raise _not_a_ca()
    return ca


@lru_cache(maxsize=8)
def _known_ca(ca_der: bytes) -> x509.Certificate:
    # Whoever verifies a fleet's certificates would read the same one for each of them.
    return parse_ca_certificate(ca_der)


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
        name = ca.subject.rfc4514_string()
        has_its_name = certificate.issuer == ca.subject
        issuer = ascii(certificate.issuer.rfc4514_string())[:120]
        raise CertificateError(
            "a certificate was not issued by the factory CA",
            expected=f"a signature by the key of {name}" if has_its_name else name,
            got="another key's signature under the same name" if has_its_name else issuer,
            hint="check that the trust record names the factory that made this unit",
        ) from error


def refuse_time(verified_der: bytes, now: datetime) -> None:
    """Refuse a certificate that was verified before and is not valid now.

    Args:
        verified_der: The certificate.
        now: The present, aware.

    Raises:
        CertificateError: It is not valid yet, or no more.
    """
    from cryptography import x509

    _refuse_time(x509.load_der_x509_certificate(verified_der), now)


def _refuse_time(certificate: x509.Certificate, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        raise CertificateError(
            "a certificate is not valid at this time",
            expected=f"{begin.isoformat()} to {end.isoformat()}",
            got=now.isoformat(),
            hint="check this machine's clock",
        )
