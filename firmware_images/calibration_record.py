"""The calibration record: how one board turns nanoamps into DAC codes, signed by the station.

Integers only: gain in parts per million, offset in nanoamps. With B bits and a full scale of ±F nA

    code = 2^(B-1) + round((i - offset) * 2^B * 10^6 / (gain_ppm * 2 * F))

where round takes halves away from zero. The record also says which span of current and load was
verified; nobody may drive the board outside it. Carried as CBOR `{"cert": DER, "cose": COSE_Sign1}`
where the station's certificate chains to the factory CA. Normative text:
docs/spec/calibration-record.md.

This module does not fit anything: `provisioning.calibration` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.calibration_conversion import (
    code_for_current_na,
    current_for_code_na,
    reach_of_table_na,
    refuse_uncovered_table,
    round_half_away,
)
from firmware_images.calibration_values import (
    PPM,
    RECORD_MAX_BYTES,
    CalibrationRecord,
    parse_calibration_record,
    serialize_calibration_record,
)
from firmware_images.errors import CalibrationRecordError
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError, RevokedKeyError

if TYPE_CHECKING:
    from collections.abc import Container
    from datetime import datetime

    from signing.certificates import Certificate
    from signing.signers import Signer

__all__ = [
    "CALIBRATION_CONTENT_TYPE",
    "PPM",
    "RECORD_MAX_BYTES",
    "CalibrationRecord",
    "code_for_current_na",
    "current_for_code_na",
    "parse_calibration_record",
    "parse_signed_record",
    "reach_of_table_na",
    "refuse_uncovered_table",
    "round_half_away",
    "serialize_calibration_record",
    "sign_calibration_record",
    "verify_calibration_record",
    "verify_signed_record",
]

CALIBRATION_CONTENT_TYPE = "application/vnd.ampforge.calibration+cbor"


def sign_calibration_record(
    record: CalibrationRecord, station_signer: Signer, station_certificate_der: bytes
) -> bytes:
    """Return the signed record as it is stored on the board and in the ledger.

    Args:
        record: What was measured.
        station_signer: The station's key.
        station_certificate_der: Its certificate, issued by the factory CA.

    Raises:
        CalibrationRecordError: A value is out of range, or the whole does not fit the board.
    """
    from signing.cose import sign_one

    cose = sign_one(
        serialize_calibration_record(record),
        station_signer,
        content_type=CALIBRATION_CONTENT_TYPE,
    )
    signed = serialize_cbor({"cert": station_certificate_der, "cose": cose})
    if len(signed) > RECORD_MAX_BYTES:
        raise CalibrationRecordError(
            "the signed calibration record does not fit its flash sector",
            expected=f"at most {RECORD_MAX_BYTES} bytes",
            got=f"{len(signed)} bytes",
            hint="use a station certificate without extra extensions",
        )
    return signed


def verify_calibration_record(
    untrusted_bytes: bytes,
    ca_der: bytes,
    *,
    now: datetime,
    serial: str,
    mac: bytes,
    revoked_key_ids: Container[bytes],
) -> CalibrationRecord:
    """Return the record, if a station of this factory signed it for this very board.

    Args:
        untrusted_bytes: The record as it was stored.
        ca_der: The factory CA's certificate, from the trust record.
        now: The time at which the station's certificate must be valid.
        serial: Serial number that the board has.
        mac: The board's six-byte base MAC.
        revoked_key_ids: The trust record's, wherever a record is accepted: written to a board, read
            back or serviced. Empty for one that a board verified when it was written, because it
            stays valid when its station is revoked later (docs/spec/trust.md §8).

    Raises:
        CalibrationRecordError: It is unreadable, or belongs to another board.
        SigningError: Certificate or signature do not verify.
    """
    record, _ = verify_signed_record(
        untrusted_bytes, ca_der, now=now, serial=serial, mac=mac, revoked_key_ids=revoked_key_ids
    )
    return record


def verify_signed_record(
    untrusted_bytes: bytes,
    ca_der: bytes,
    *,
    now: datetime,
    serial: str,
    mac: bytes,
    revoked_key_ids: Container[bytes],
) -> tuple[CalibrationRecord, Certificate]:
    """Return the record and the station's certificate; all else is `verify_calibration_record`."""
    from signing.certificate_fields import CertificateKind
    from signing.certificates import verify_certificate
    from signing.cose import verify_one

    certificate_der, cose = _parse_envelope(untrusted_bytes)
    certificate = verify_certificate(certificate_der, ca_der, now=now, kind=CertificateKind.STATION)
    if certificate.public_key.key_id in revoked_key_ids:
        raise RevokedKeyError(
            "the calibration record was signed by a revoked station",
            expected="a station that is not revoked",
            got=f"key {certificate.public_key.key_id.hex()[:16]} of {certificate.common_name!r}",
            hint="calibrate the unit again at another station",
        )
    verified = verify_one(
        cose,
        [certificate.public_key],
        content_type=CALIBRATION_CONTENT_TYPE,
        max_bytes=RECORD_MAX_BYTES,
    )
    record = parse_calibration_record(verified.payload)
    if (record.serial, record.mac) != (serial, mac):
        raise CalibrationRecordError(
            "the calibration record belongs to another board",
            expected=f"{serial} with MAC {mac.hex(':')}",
            got=f"{record.serial} with MAC {record.mac.hex(':')}",
            hint="a record cannot be copied: calibrate this board",
        )
    return record, certificate


def parse_signed_record(untrusted_bytes: bytes) -> CalibrationRecord:
    """Return what a signed record says, without verifying who says it.

    For comparing a record with what it was made from; a record that decides anything goes through
    `verify_calibration_record`.

    Raises:
        CalibrationRecordError: It is unreadable.
        CoseError: Its message is.
    """
    from signing.cose_message import parse_message

    _, cose = _parse_envelope(untrusted_bytes)
    return parse_calibration_record(parse_message(cose, max_bytes=RECORD_MAX_BYTES).payload)


def _parse_envelope(untrusted_bytes: bytes) -> tuple[bytes, bytes]:
    try:
        envelope = parse_cbor(untrusted_bytes, max_bytes=RECORD_MAX_BYTES)
    except CborError as error:
        raise CalibrationRecordError(
            "the signed calibration record is not readable",
            got=str(error),
            hint="calibrate the unit",
        ) from error
    match envelope:
        case {"cert": bytes(certificate_der), "cose": bytes(cose), **rest} if not rest:
            return certificate_der, cose
    raise CalibrationRecordError(
        "the signed calibration record does not have its two parts",
        expected='{"cert": bytes, "cose": bytes}',
        hint="calibrate the unit",
    )
