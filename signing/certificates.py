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
from typing import TYPE_CHECKING, Final

from signing.algorithms import (
    CERTIFICATE_ALGORITHMS,
    ECDSA_ALGORITHMS,
    SIGNATURE_BYTES,
    Algorithm,
)
from signing.certificate_fields import (
    CertificateKind,
    parse_errors,
    read_kind,
    read_name,
    refuse_length,
    unreadable,
)
from signing.ecdsa_form import from_der
from signing.errors import CertificateError, SignatureError
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
        not_before: Begin of its time, UTC.
        not_after: End of its time, UTC.
    """

    public_key: PublicKey
    serial_number: str | None
    common_name: str
    der: bytes
    kind: CertificateKind
    not_before: datetime
    not_after: datetime


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
        _refuse_foreign(untrusted_der, certificate, ca)
        subject = read_name(certificate.subject)
        found = read_kind(certificate.extensions)
        public_key = public_key_of(
            certificate.public_key(), where="certificate", allowed=CERTIFICATE_ALGORITHMS
        )
    except parse_errors() as error:
        raise unreadable("a certificate", error) from error
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _refuse_time(begin, end, now)
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
        not_before=begin,
        not_after=end,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issuer:
    """What a CA's certificate says of the certificates that it issued.

    Attributes:
        subject: Its name.
        public_key: Its key.
    """

    subject: x509.Name
    public_key: PublicKey


@lru_cache(maxsize=8)
def _known_ca(ca_der: bytes) -> _Issuer:
    # Whoever verifies a fleet's certificates would read the same one for each of them.
    ca = parse_ca_certificate(ca_der)
    return _Issuer(
        subject=ca.subject, public_key=public_key_of(ca.public_key(), where="factory CA")
    )


def _not_a_ca() -> CertificateError:
    return CertificateError(
        "the factory CA's certificate is not a CA's",
        expected="a certificate that may issue others",
        got="one that may not",
        hint="give the factory-ca.cert.der that `ampforge station init` wrote",
    )


# The end of a certificate before its signature: AlgorithmIdentifier in its one encoding, which is
# ecdsa-with-SHA256 (RFC 5758 §3.2) or Ed25519 (RFC 8410 §3).
_SIGNED_BY: Final = {
    Algorithm.ECDSA_P256: bytes.fromhex("300a06082a8648ce3d040302"),
    Algorithm.ED25519: bytes.fromhex("300506032b6570"),
}
_BIT_STRING: Final = 3


def _refuse_foreign(untrusted_der: bytes, certificate: x509.Certificate, ca: _Issuer) -> None:
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
    if certificate.issuer != ca.subject:
        raise _foreign(
            ca.subject.rfc4514_string(), ascii(certificate.issuer.rfc4514_string())[:120]
        )
    signature = certificate.signature
    # `verify_directly_issued_by` would read the CA's key anew for each certificate, which costs
    # nearly as much as the signature does.
    try:
        ca.public_key.verify(
            certificate.tbs_certificate_bytes, _as_ours(signature, ca.public_key.algorithm)
        )
    except (ValueError, OverflowError, SignatureError) as error:
        raise _foreign(
            f"a signature by the key of {ca.subject.rfc4514_string()}",
            "another key's signature under the same name",
        ) from error
    # X.690 §11.2.1: the byte before the signature counts unused bits, which are none. With it and
    # the algorithm in one encoding, nothing outside of what is signed can differ and still be read.
    algorithm = _SIGNED_BY[ca.public_key.algorithm]
    bits = bytes((_BIT_STRING, len(signature) + 1, 0))
    if not untrusted_der.endswith(algorithm + bits + signature) or not _names_inside(
        certificate.tbs_certificate_bytes, algorithm
    ):
        raise CertificateError(
            "a certificate's signature is not whole bytes, or not of the algorithm that it names",
            expected=f"the signature of an {ca.public_key.algorithm} key, in DER",
            hint="get the certificate again from its origin",
        )


def _names_inside(tbs_der: bytes, algorithm: bytes) -> bool:
    # RFC 5280 §4.1.1.2: the signed part names the same algorithm. It follows the version, 5 bytes,
    # and the number; cryptography has read all of them.
    head_bytes = 2 + (tbs_der[1] & 0x7F if tbs_der[1] & 0x80 else 0)
    number_at = head_bytes + 5
    return tbs_der.startswith(algorithm, number_at + 2 + tbs_der[number_at + 1])


def _as_ours(signature: bytes, algorithm: Algorithm) -> bytes:
    if algorithm in ECDSA_ALGORITHMS:
        return from_der(signature, SIGNATURE_BYTES[algorithm])
    return signature


def _foreign(expected: str, got: str) -> CertificateError:
    return CertificateError(
        "a certificate was not issued by the factory CA",
        expected=expected,
        got=got,
        hint="check that the trust record names the factory that made this unit",
    )


def refuse_time(verified: Certificate, now: datetime) -> None:
    """Refuse a certificate that was verified before and is not valid now.

    Args:
        verified: The certificate.
        now: The present, aware.

    Raises:
        CertificateError: It is not valid yet, or no more.
    """
    _refuse_time(verified.not_before, verified.not_after, now)


def _refuse_time(begin: datetime, end: datetime, now: datetime) -> None:
    if not begin <= now <= end:
        raise CertificateError(
            "a certificate is not valid at this time",
            expected=f"{begin.isoformat()} to {end.isoformat()}",
            got=now.isoformat(),
            hint="check this machine's clock",
        )
