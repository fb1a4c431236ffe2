"""Gives a board its identity: key made on the board, certificate of the factory CA, proof.

The private key never leaves the board. The first trust record travels with the certificate, and the
board checks that the one chains to the factory CA of the other. Afterwards the certificate is read
back, and the board signs a fresh nonce: a certificate that was only stored proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.errors import IdentityError
from provisioning.link_identity import (
    CHALLENGE_CONTENT_TYPE,
    CertificateReadRequest,
    CertificateReadResponse,
    CertificateWriteRequest,
    CertificateWriteResponse,
    ChallengeWriteRequest,
    ChallengeWriteResponse,
    IdentityWriteRequest,
    IdentityWriteResponse,
    TrustReadRequest,
    TrustReadResponse,
)
from signing.canonical_cbor import serialize_cbor
from signing.certificate_fields import CertificateKind
from signing.certificate_issuing import is_issued_for_job, issue_certificate
from signing.cose import verify_one

if TYPE_CHECKING:
    import datetime as dt

    from provisioning.device_link import DeviceLink
    from provisioning.ledger_values import Reservation
    from provisioning.station_keys import StationKeys
    from signing.certificates import Certificate
    from signing.trust import TrustRecord

NONCE_BYTES: Final = 32
_CHALLENGE_MAX_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedIdentity:
    """What a board has to prove.

    Attributes:
        serial: Serial number.
        mac: Chip MAC, 6 bytes.
        app_sha256: SHA-256 of the application image that must be running.
        trust: Names the factory CA, and the keys that no longer count.
        now: The present, aware.
    """

    serial: str
    mac: bytes
    app_sha256: bytes
    trust: TrustRecord
    now: dt.datetime


def install_identity(
    link: DeviceLink,
    *,
    keys: StationKeys,
    trust_bytes: bytes,
    trust_version: int,
    reservation: Reservation,
) -> None:
    """Have the board make its key, certify it, and store certificate and trust record.

    Safe to repeat: the certificate that this job gave before is kept.

    Args:
        link: The board's application.
        keys: The station's keys, the factory CA's among them.
        trust_bytes: Signed trust record.
        trust_version: Its version.
        reservation: Serial number and job.

    Raises:
        BoardRefusalError: The board has another identity, or does not accept the certificate.
        SigningError: The board's request is not signed by its key, or names something else.
        IdentityError: The board trusts a newer record than this station has.
    """
    assert reservation.job is not None, "identity is part of a job"
    stored_version = link.request(TrustReadRequest, TrustReadResponse).ver
    if stored_version > trust_version:
        raise IdentityError(
            "the board has a newer trust record than the station",
            expected=f"at most version {trust_version}",
            got=f"version {stored_version}",
            where=link.where,
            hint="bring the station's trust record up to date",
        )
    csr = link.request(
        IdentityWriteRequest,
        IdentityWriteResponse,
        serial=reservation.serial,
        job=reservation.job,
    ).csr
    certificate_der = link.request(CertificateReadRequest, CertificateReadResponse).cert
    expected = {
        "expected_serial_number": reservation.serial,
        "expected_mac": reservation.mac.hex(":"),
        "expected_job_id": reservation.job,
    }
    if not is_issued_for_job(
        certificate_der, keys.ca_der, csr, **expected, now=reservation.opened_at
    ):
        certificate_der = issue_certificate(
            keys.ca_signer, keys.ca_der, csr, **expected, not_before=reservation.opened_at
        )
    link.request(
        CertificateWriteRequest, CertificateWriteResponse, cert=certificate_der, trust=trust_bytes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProof:
    """What a board showed when it proved who it is.

    Attributes:
        certificate: Its certificate, verified.
        signed: The nonce with serial number, MAC and application, as the board signed it.
    """

    certificate: Certificate
    signed: bytes


def verify_identity(link: DeviceLink, *, expected: ExpectedIdentity, nonce: bytes) -> Certificate:
    """Read the certificate back and have the board sign a nonce with its key.

    Args:
        link: The board's application.
        expected: What the board has to prove.
        nonce: Fresh random bytes.

    Returns:
        The board's verified certificate.

    Raises:
        IdentityError: The certificate is missing or names another unit, or the proof is of
            something else.
        SigningError: Certificate or signature do not verify.
    """
    return ask_for_proof(link, expected=expected, nonce=nonce).certificate


def ask_for_proof(link: DeviceLink, *, expected: ExpectedIdentity, nonce: bytes) -> IdentityProof:
    """Do as `verify_identity`, and return what was shown, for whoever must see it later.

    Raises:
        IdentityError: The certificate is missing or names another unit, or the proof is of
            something else.
        SigningError: Certificate or signature do not verify.
    """
    stored = link.request(CertificateReadRequest, CertificateReadResponse).cert
    if not stored:
        raise IdentityError(
            "the board has no certificate", expected=expected.serial, where=link.where
        )
    certificate = expected.trust.verify_certificate(
        stored, now=expected.now, kind=CertificateKind.DEVICE
    )
    refuse_other_unit(certificate, serial=expected.serial, mac=expected.mac, where=link.where)
    signed = link.request(ChallengeWriteRequest, ChallengeWriteResponse, nonce=nonce).sig
    verify_challenge(
        signed, certificate, nonce=nonce, app_sha256=expected.app_sha256, where=link.where
    )
    return IdentityProof(certificate=certificate, signed=signed)


def refuse_other_unit(certificate: Certificate, *, serial: str, mac: bytes, where: str) -> None:
    """Refuse a certificate that names another unit.

    Raises:
        IdentityError: It does.
    """
    named = (certificate.serial_number, certificate.common_name)
    if named != (serial, mac.hex(":")):
        raise IdentityError(
            "the board's certificate is for another unit",
            expected=f"{serial}, {mac.hex(':')}",
            got=f"{named[0]}, {named[1]}",
            where=where,
            hint="its flash was copied from another board: erase it and start again",
        )


def verify_challenge(
    untrusted_bytes: bytes,
    certificate: Certificate,
    *,
    nonce: bytes,
    app_sha256: bytes,
    where: str,
) -> None:
    """Verify what a board signed, as the unit that its certificate names.

    Args:
        untrusted_bytes: The signed answer.
        certificate: The board's certificate, verified.
        nonce: What was asked.
        app_sha256: SHA-256 of the application image that must be running, 32 bytes.
        where: What to name in an error.

    Raises:
        IdentityError: It is another answer.
        SigningError: It is not signed by the board's key.
    """
    verified = verify_one(
        untrusted_bytes,
        [certificate.public_key],
        content_type=CHALLENGE_CONTENT_TYPE,
        max_bytes=_CHALLENGE_MAX_BYTES,
    )
    mac = read_certified_mac(certificate, where=where)
    proof = serialize_cbor({1: nonce, 2: certificate.serial_number, 3: mac, 4: app_sha256})
    if verified.payload != proof:
        raise IdentityError(
            "the board signed something else than it was asked",
            expected="our nonce, its serial number, its MAC and its application",
            got=verified.payload.hex()[:64],
            where=where,
            hint="the answer may be a replay; do not release this unit",
        )


def read_certified_mac(certificate: Certificate, *, where: str) -> bytes:
    """Return the MAC that a device's certificate names.

    Raises:
        IdentityError: It names none.
    """
    try:
        mac = bytes.fromhex(certificate.common_name.replace(":", ""))
    except ValueError:
        mac = b""
    if mac.hex(":") != certificate.common_name or len(mac) != 6:  # noqa: PLR2004 - bytes of a MAC
        raise IdentityError(
            "the board's certificate names no MAC", got=certificate.common_name, where=where
        )
    return mac
