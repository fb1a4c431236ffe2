"""What our certificates are made of: names, numbers, lifetimes, usages.

Implements docs/spec/trust.md §6; issuing is in `signing.certificate_issuing`, verifying in
`signing.certificates`.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from signing.algorithms import CERTIFICATE_ALGORITHMS, Algorithm
from signing.errors import CertificateError, KeyFileError, SigningError

if TYPE_CHECKING:
    from cryptography import x509

    from signing.keys import PublicKey
    from signing.signers import Signer

MAX_CERTIFICATE_BYTES: Final = 4096
NO_END: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
CERTIFICATE_NUMBER_BYTES: Final = 16
MAX_NAME_CHARACTERS: Final = 64
"""RFC 5280 appendix A.1: upper bounds of commonName, serialNumber and organizationalUnitName."""


class CertificateKind(StrEnum):
    """What the holder of a certificate is."""

    DEVICE = "device"
    STATION = "station"


# Extended key usages under 2.25 (ITU-T X.667: object identifiers made from UUIDs).
KIND_OIDS: Final = {
    CertificateKind.DEVICE: "2.25.274510765990098204432662497283882778176",
    CertificateKind.STATION: "2.25.14611982401678760516939175910714755401",
}


def begin_certificate(key: PublicKey, number: int, not_before: datetime) -> x509.CertificateBuilder:
    """Begin a certificate: key, number, valid from the second of `not_before` and without end.

    Raises:
        CertificateError: The key is of an algorithm that certificates do not hold.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    refuse_algorithm(key)
    loaded: Any = load_der_public_key(key.spki_der)
    return (
        x509.CertificateBuilder()
        .public_key(loaded)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(loaded), critical=False)
        .serial_number(number)
        .not_valid_before(not_before.astimezone(UTC).replace(microsecond=0))
        .not_valid_after(NO_END)
    )


def sign_der(builder: Any, signer: Signer) -> bytes:
    """Sign a certificate or request and return it as DER; ECDSA by a file's key is repeatable."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    from signing.certificate_keys import as_private_key

    if signer.public_key.algorithm is Algorithm.ED25519:
        signed = builder.sign(as_private_key(signer), None)
    else:
        signed = builder.sign(as_private_key(signer), SHA256())
    der: bytes = signed.public_bytes(Encoding.DER)
    return der


def refuse_algorithm(key: PublicKey) -> None:
    """Refuse a key whose algorithm certificates neither hold nor are signed with.

    Raises:
        CertificateError: Boards would not verify the certificate.
    """
    if key.algorithm not in CERTIFICATE_ALGORITHMS:
        raise CertificateError(
            "a key of this algorithm has no place in a certificate",
            expected=" or ".join(sorted(CERTIFICATE_ALGORITHMS)),
            got=str(key.algorithm),
            where=f"key {key.key_id.hex()}",
            hint="boards verify certificates: make an ECDSA P-256 key with `ampforge key generate`",
        )


def certificate_number(kind: str, origin: bytes) -> int:
    """Derive a certificate's number, 127 bits, from what it is issued for."""
    # RFC 5280 §4.1.2.2: positive and at most 20 bytes; the top bit is cleared, the next one set.
    digest = hashlib.sha256(b"ampforge certificate number\0" + kind.encode() + b"\0" + origin)
    number = int.from_bytes(digest.digest()[:CERTIFICATE_NUMBER_BYTES], "big")
    top = 1 << (8 * CERTIFICATE_NUMBER_BYTES - 2)
    return number % top | top


def key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Return the key usage of a CA, or of a device or station."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def build_name(
    *, common_name: str, serial_number: str | None = None, job_id: str | None = None
) -> x509.Name:
    """Build a subject from serialNumber, CN and OU, those that are given.

    Raises:
        CertificateError: One of them is empty, too long or not printable ASCII.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = []
    for oid, text in (
        (NameOID.SERIAL_NUMBER, serial_number),
        (NameOID.COMMON_NAME, common_name),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, job_id),
    ):
        if text is None:
            continue
        if not 1 <= len(text) <= MAX_NAME_CHARACTERS or not (text.isascii() and text.isprintable()):
            raise CertificateError(
                "a name cannot stand in a certificate",
                expected=f"1 to {MAX_NAME_CHARACTERS} printable ASCII characters",
                got=ascii(text[: MAX_NAME_CHARACTERS + 1]),
            )
        attributes.append(x509.NameAttribute(oid, text))
    return x509.Name(attributes)


def read_name(name: x509.Name) -> dict[str, str]:
    """Read a subject as `serial_number`, `common_name`, `job_id`; others by their dotted number."""
    from cryptography.x509.oid import NameOID

    fields = {
        NameOID.SERIAL_NUMBER: "serial_number",
        NameOID.COMMON_NAME: "common_name",
        NameOID.ORGANIZATIONAL_UNIT_NAME: "job_id",
    }
    result: dict[str, str] = {}
    for attribute in name:
        field = fields.get(attribute.oid, attribute.oid.dotted_string)
        if field in result or not isinstance(attribute.value, str):
            raise CertificateError("a name has an attribute twice", got=ascii(field))
        result[field] = attribute.value
    return result


def refuse_length(untrusted_der: bytes, what: str) -> None:
    """Refuse DER that is empty or longer than any of ours."""
    if not 1 <= len(untrusted_der) <= MAX_CERTIFICATE_BYTES:
        raise CertificateError(
            f"{what} has an impossible length",
            expected=f"1 to {MAX_CERTIFICATE_BYTES} bytes",
            got=f"{len(untrusted_der)} bytes",
            hint="give the certificate itself, in DER",
        )


def parse_errors() -> tuple[type[Exception], ...]:
    """Return what reading a certificate or request can raise besides our own errors."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.utils import CryptographyDeprecationWarning

    return (
        ValueError,
        TypeError,  # a name of another string type than X.509's
        # Raised for numbers below one, where warnings are errors; elsewhere the signature decides.
        CryptographyDeprecationWarning,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        UnsupportedAlgorithm,
        KeyFileError,
    )


def unreadable(what: str, error: Exception) -> CertificateError:
    """Return our error for one of `cryptography` or ASN.1."""
    return CertificateError(
        f"{what} cannot be read",
        expected="DER as we write it",
        # The words of another library change with its versions.
        got=str(error)[:200] if isinstance(error, SigningError) else "other bytes",
        hint="get the certificate again from its origin; PEM is not read here",
    )


def read_kind(extensions: x509.Extensions) -> CertificateKind:
    """Read from the extensions what the holder is, and refuse what we did not issue."""
    from cryptography import x509

    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise CertificateError(
            "a certificate lacks an extension", expected=error.oid.dotted_string
        ) from error
    found = {oid.dotted_string for oid in purposes}
    kinds = [kind for kind, oid in KIND_OIDS.items() if oid in found]
    if constraints.ca or not usage.digital_signature or len(kinds) != 1:
        raise CertificateError(
            "a certificate is for neither a device nor a station",
            expected=" or ".join(CertificateKind),
            got=", ".join(sorted(found)),
        )
    return kinds[0]
