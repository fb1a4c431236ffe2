"""The device report: what a device runs after an update, signed by the device itself.

Success is what the device says after boot, naming the digest of the application that runs, not
the end of a download. Posted as a CBOR map {1: device certificate (DER), 2: COSE_Sign1}; the
certificate chains to the factory CA. Implements docs/spec/device-report.md.

| key | type | meaning |
|---|---|---|
| 1 | uint | format version, 1 |
| 2 | text 1-20 | serial number; equals the certificate's |
| 3 | text 1-32 | hardware class |
| 4 | uint | result: 1 installed, 2 reverted, 3 held back |
| 5 | uint32 | release counter that is in force on the device now |
| 6 | 32 bytes | SHA-256 of the application image that runs now |
| 7 | 32 bytes | SHA-256 of the waveform table in use now |
| 8 | 32 bytes | SHA-256 of the signed manifest message that was tried, or is out of reach |
| 9 | uint32 | sequence of the assignment |
| 10 | uint32 | sequence of the freshness answer: names the attempt |
| 11 | text 0-64 | reason, when reverted or held back |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING

from manifests.assignment import SERIAL_MAX_LENGTH
from manifests.errors import DeviceMessageError
from manifests.manifest import NAME_MAX_LENGTH
from manifests.message_fields import (
    MESSAGE_FORMAT_VERSION,
    MESSAGE_MAX_BYTES,
    FieldReader,
    parse_message,
)
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_fields import CertificateKind
from signing.cose import sign_one, verify_one
from signing.errors import CborError

if TYPE_CHECKING:
    from datetime import datetime

    from signing.certificate_memory import CertificateMemory
    from signing.certificates import Certificate
    from signing.signers import Signer
    from signing.trust_record import TrustRecord

REPORT_CONTENT_TYPE = "application/vnd.ampforge.report+cbor"
REPORT_MAX_BYTES = 3072
CERTIFICATE_MAX_BYTES = 2048
REASON_MAX_LENGTH = 64


@unique
class ReportedResult(IntEnum):
    """How an update ended on the device."""

    INSTALLED = 1
    REVERTED = 2
    HELD_BACK = 3
    """Nothing was tried: a step must come first, and none that may be taken is assigned."""


_FIRST_RESULT, _LAST_RESULT = min(ReportedResult), max(ReportedResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReport:
    """A report whose signature was verified.

    Attributes:
        report: What the device said.
        payload: What it signed: `serialize_device_report` of the report.
        certificate: The device's.
    """

    report: DeviceReport
    payload: bytes
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """What the device says of itself. See the module's table."""

    serial_number: str
    hardware_class: str
    result: ReportedResult
    release_counter: int
    app_sha256: bytes
    table_sha256: bytes
    manifest_sha256: bytes
    assignment_sequence: int
    freshness_sequence: int
    reason: str


def serialize_device_report(report: DeviceReport) -> bytes:
    """Return the payload that the device signs."""
    return serialize_cbor(
        {
            1: MESSAGE_FORMAT_VERSION,
            2: report.serial_number,
            3: report.hardware_class,
            4: int(report.result),
            5: report.release_counter,
            6: report.app_sha256,
            7: report.table_sha256,
            8: report.manifest_sha256,
            9: report.assignment_sequence,
            10: report.freshness_sequence,
            11: report.reason,
        }
    )


def sign_device_report(report: DeviceReport, signer: Signer, certificate_der: bytes) -> bytes:
    """Return the body that a device posts: its certificate, and the report that its key signed."""
    message = sign_one(serialize_device_report(report), signer, content_type=REPORT_CONTENT_TYPE)
    return serialize_cbor({1: certificate_der, 2: message})


def verify_device_report(
    untrusted_bytes: bytes, trust: TrustRecord | CertificateMemory, *, now: datetime
) -> DeviceReport:
    """Return the report of a device whose certificate the factory CA issued.

    Args:
        untrusted_bytes: The body that was posted.
        trust: Verifies the device's certificate, or remembers that it did.
        now: The present, aware.

    Raises:
        DeviceMessageError, SigningError: As `verify_whole_report`.
    """
    return verify_whole_report(untrusted_bytes, trust, now=now).report


def verify_whole_report(
    untrusted_bytes: bytes, trust: TrustRecord | CertificateMemory, *, now: datetime
) -> VerifiedReport:
    """Return a device's report, what was signed of it, and whose it is.

    Args:
        untrusted_bytes: The body that was posted.
        trust: Verifies the device's certificate, or remembers that it did.
        now: The present, aware.

    Raises:
        DeviceMessageError: Length, shape or a field is refused, or the serial number is not the
            certificate's.
        SigningError: The certificate does not chain to the factory CA or its key is revoked, or
            the signature does not verify.
    """
    where = "device report"
    if not 1 <= len(untrusted_bytes) <= REPORT_MAX_BYTES:
        raise DeviceMessageError(
            "the device report has a length that no valid one has",
            expected=f"1 to {REPORT_MAX_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
        )
    try:
        envelope = FieldReader(
            parse_cbor(untrusted_bytes, max_bytes=REPORT_MAX_BYTES, max_depth=2), where=where
        )
    except CborError as error:
        raise DeviceMessageError(
            "a device report is not deterministic CBOR", got=error, where=where
        ) from error
    untrusted_certificate = envelope.read_bytes(
        1, "certificate", minimum=1, maximum=CERTIFICATE_MAX_BYTES
    )
    untrusted_message = envelope.read_bytes(2, "message", minimum=1, maximum=MESSAGE_MAX_BYTES)
    envelope.finish()
    certificate = trust.verify_certificate(
        untrusted_certificate, now=now, kind=CertificateKind.DEVICE
    )
    verified = verify_one(
        untrusted_message,
        [certificate.public_key],
        content_type=REPORT_CONTENT_TYPE,
        max_bytes=MESSAGE_MAX_BYTES,
    )
    report = _parse_report(verified.payload)
    if report.serial_number != certificate.serial_number:
        raise DeviceMessageError(
            "a device reports under a serial number that is not its own",
            expected=certificate.serial_number,
            got=report.serial_number,
            where="device report, field 2",
        )
    return VerifiedReport(report=report, payload=verified.payload, certificate=certificate)


def _parse_report(verified_bytes: bytes) -> DeviceReport:
    fields = parse_message(verified_bytes, where="device report")
    report = DeviceReport(
        serial_number=fields.read_text(2, "serial number", maximum=SERIAL_MAX_LENGTH),
        hardware_class=fields.read_text(3, "hardware class", maximum=NAME_MAX_LENGTH),
        result=ReportedResult(
            fields.read_int(4, "result", minimum=_FIRST_RESULT, maximum=_LAST_RESULT)
        ),
        release_counter=fields.read_int(5, "release counter"),
        app_sha256=fields.read_digest(6, "application SHA-256"),
        table_sha256=fields.read_digest(7, "table SHA-256"),
        manifest_sha256=fields.read_digest(8, "manifest digest"),
        assignment_sequence=fields.read_int(9, "assignment sequence"),
        freshness_sequence=fields.read_int(10, "freshness sequence"),
        reason=fields.read_text(11, "reason", minimum=0, maximum=REASON_MAX_LENGTH),
    )
    fields.finish()
    return report
