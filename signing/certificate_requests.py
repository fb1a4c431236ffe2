"""A device's certificate request (PKCS #10): serial number, MAC address and job, signed by its key.

Implements docs/spec/trust.md §6.2. The subject is serialNumber = product serial number, CN = MAC
address, OU = provisioning job; the signature proves that the device holds the private key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.algorithms import CERTIFICATE_ALGORITHMS
from signing.certificate_fields import (
    build_name,
    parse_errors,
    read_name,
    refuse_length,
    sign_der,
    unreadable,
)
from signing.errors import CertificateError
from signing.keys import PublicKey, public_key_of
from signing.value_class import dataclass

if TYPE_CHECKING:
    from signing.signers import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """A device's request whose signature was verified: it has the private key.

    Attributes:
        public_key: The device's key.
        serial_number: The product's serial number.
        mac: MAC address as the station writes it.
        job_id: The provisioning job.
    """

    public_key: PublicKey
    serial_number: str
    mac: str
    job_id: str


def create_csr(signer: Signer, *, serial_number: str, mac: str, job_id: str) -> bytes:
    """Make a device's certificate request: serialNumber, CN = MAC, OU = job.

    Args:
        signer: The device's private key.
        serial_number: The product's serial number.
        mac: MAC address as the station writes it.
        job_id: The provisioning job.

    Returns:
        DER (PKCS #10).
    """
    from cryptography import x509

    name = build_name(serial_number=serial_number, common_name=mac, job_id=job_id)
    return sign_der(x509.CertificateSigningRequestBuilder().subject_name(name), signer)


def parse_csr(untrusted_der: bytes) -> CertificateRequest:
    """Read a device's certificate request and verify that it holds the private key.

    Raises:
        CertificateError: It is not such a request, or not signed by the key that it names.
    """
    from cryptography import x509

    refuse_length(untrusted_der, "a certificate request")
    try:
        csr = x509.load_der_x509_csr(untrusted_der)
        if not csr.is_signature_valid:
            raise CertificateError(
                "a certificate request is not signed by the key that it names",
                hint="have the board make its request again",
            )
        subject = read_name(csr.subject)
        public_key = public_key_of(
            csr.public_key(), where="certificate request", allowed=CERTIFICATE_ALGORITHMS
        )
    except parse_errors() as error:
        raise unreadable("a certificate request", error) from error
    if set(subject) != {"serial_number", "common_name", "job_id"}:
        raise CertificateError(
            "a certificate request has another subject than ours",
            expected="serialNumber, CN and OU",
            got=", ".join(sorted(subject)) or "an empty subject",
        )
    return CertificateRequest(
        public_key=public_key,
        serial_number=subject["serial_number"],
        mac=subject["common_name"],
        job_id=subject["job_id"],
    )
