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

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from firmware_images.errors import CalibrationRecordError
from firmware_images.record_slots import PAYLOAD_MAX_BYTES
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError

if TYPE_CHECKING:
    from collections.abc import Container

    from firmware_images.waveform import WaveformTable
    from signing.signers import Signer

CALIBRATION_CONTENT_TYPE = "application/vnd.ampforge.calibration+cbor"
RECORD_MAX_BYTES = PAYLOAD_MAX_BYTES
PPM = 1_000_000
IDENTITY_GAIN_PPM = PPM
_FORMAT = 1
_MAC_BYTES = 6
_DIGEST_BYTES = 32
_SERIAL_MAX_CHARACTERS = 20
_TEXT_MAX_CHARACTERS = 64
_TIME_MAX_S = 253_402_300_799  # 9999-12-31T23:59:59Z


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecord:
    """What was measured about one board's output.

    Attributes:
        serial: Serial number of the unit.
        mac: The chip's six-byte base MAC.
        job_id: The station's job.
        generation: 1 for the first calibration of the unit, then rising.
        full_scale_na: Nominal current at the ends of the DAC's range, F.
        dac_bits: Resolution of the DAC, B.
        gain_ppm: True gain at the reference load, in parts per million.
        offset_na: Current at the nominal zero code.
        reference_load_ohm: Load for which gain and offset hold.
        output_impedance_ohm: Fitted impedance of the current source.
        verified_min_na: Lowest current that was verified (negative).
        verified_max_na: Highest current that was verified.
        verified_load_min_ohm: Lowest load that was verified.
        verified_load_max_ohm: Highest load that was verified.
        temperature_centi_c: Ambient temperature in hundredths of a degree Celsius.
        instrument: Identity of the meter, from its `*IDN?`.
        fit_digest: SHA-256 of the fit's full result in the ledger.
        created_at: When the fit was accepted, whole seconds, UTC.
    """

    serial: str
    mac: bytes
    job_id: str
    generation: int
    full_scale_na: int
    dac_bits: int
    gain_ppm: int
    offset_na: int
    reference_load_ohm: int
    output_impedance_ohm: int
    verified_min_na: int
    verified_max_na: int
    verified_load_min_ohm: int
    verified_load_max_ohm: int
    temperature_centi_c: int
    instrument: str
    fit_digest: bytes
    created_at: datetime

    @property
    def is_identity(self) -> bool:
        """Whether it corrects nothing: no real board measures exactly so, so this is no fit."""
        return self.gain_ppm == IDENTITY_GAIN_PPM and self.offset_na == 0

    @property
    def zero_code(self) -> int:
        """The code of nominal zero."""
        return 1 << (self.dac_bits - 1)


# Field number in the CBOR map, attribute, lowest and highest value. The bounds are what a working
# output can have, so that a record with a wrong unit is refused before it drives anything.
_INTEGERS: tuple[tuple[int, str, int, int], ...] = (
    (5, "generation", 1, 0xFFFFFFFE),
    (6, "full_scale_na", 1_000, 100_000_000),
    (7, "dac_bits", 8, 20),
    (8, "gain_ppm", PPM // 2, PPM * 2),
    (9, "offset_na", -100_000, 100_000),
    (10, "reference_load_ohm", 1, 1_000_000),
    (11, "output_impedance_ohm", 1, 1_000_000_000),
    (12, "verified_min_na", -100_000_000, 0),
    (13, "verified_max_na", 0, 100_000_000),
    (14, "verified_load_min_ohm", 0, 1_000_000),
    (15, "verified_load_max_ohm", 1, 1_000_000),
    (16, "temperature_centi_c", -4_000, 12_500),
)


def serialize_calibration_record(record: CalibrationRecord) -> bytes:
    """Return the record as deterministic CBOR, the payload that the station signs.

    Raises:
        CalibrationRecordError: A value is outside what a working output can have.
    """
    _judge(record)
    fields: dict[int, object] = {
        1: _FORMAT,
        2: record.serial,
        3: record.mac,
        4: record.job_id,
        17: record.instrument,
        18: record.fit_digest,
        19: int(record.created_at.timestamp()),
    }
    fields |= {number: getattr(record, name) for number, name, _, _ in _INTEGERS}
    return serialize_cbor(fields)


def parse_calibration_record(untrusted_bytes: bytes) -> CalibrationRecord:
    """Parse the payload of a record; use `verify_calibration_record` for what came from outside.

    Raises:
        CalibrationRecordError: It is not a record of format 1, or a value is out of range.
    """
    try:
        value = parse_cbor(untrusted_bytes, max_bytes=RECORD_MAX_BYTES)
    except CborError as error:
        raise CalibrationRecordError(
            "the calibration record is not readable", got=str(error)
        ) from error
    fields = value if isinstance(value, dict) else {}
    match fields:
        case {
            1: 1,
            2: str(serial),
            3: bytes(mac),
            4: str(job_id),
            17: str(instrument),
            18: bytes(fit_digest),
            19: int(created_at_s),
        } if len(fields) == len(_INTEGERS) + 7 and 0 <= created_at_s <= _TIME_MAX_S:
            integers = {
                name: fields[number]
                for number, name, _, _ in _INTEGERS
                if type(fields.get(number)) is int
            }
            if len(integers) == len(_INTEGERS):
                record = CalibrationRecord(
                    serial=serial,
                    mac=mac,
                    job_id=job_id,
                    instrument=instrument,
                    fit_digest=fit_digest,
                    created_at=datetime.fromtimestamp(created_at_s, tz=UTC),
                    **integers,
                )
                # Python's True equals 1; the bytes tell them apart.
                if serialize_calibration_record(record) == untrusted_bytes:
                    return record
    raise CalibrationRecordError(
        "the calibration record does not have its fields",
        expected="format 1 of docs/spec/calibration-record.md",
    )


def _judge(record: CalibrationRecord) -> None:
    for _, name, lowest, highest in _INTEGERS:
        value = getattr(record, name)
        if not lowest <= value <= highest:
            raise CalibrationRecordError(
                f"the calibration record's {name} is not possible",
                expected=f"{lowest} to {highest}",
                got=value,
                hint="check the unit of the value, and the fit that it came from",
            )
    if record.verified_load_min_ohm > record.verified_load_max_ohm:
        raise CalibrationRecordError(
            "the calibration record's verified loads are the wrong way round",
            got=f"{record.verified_load_min_ohm} to {record.verified_load_max_ohm} ohm",
        )
    sizes = (
        ("serial", 1 <= len(record.serial) <= _SERIAL_MAX_CHARACTERS),
        ("mac", len(record.mac) == _MAC_BYTES),
        ("job_id", 1 <= len(record.job_id) <= _TEXT_MAX_CHARACTERS),
        ("instrument", 1 <= len(record.instrument) <= _TEXT_MAX_CHARACTERS * 2),
        ("fit_digest", len(record.fit_digest) == _DIGEST_BYTES),
    )
    for name, is_acceptable in sizes:
        if not is_acceptable:
            raise CalibrationRecordError(
                f"the calibration record's {name} has the wrong length",
                got=repr(getattr(record, name)),
            )


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
    revoked_key_ids: Container[bytes] = frozenset(),
) -> CalibrationRecord:
    """Return the record, if a station of this factory signed it for this very board.

    Args:
        untrusted_bytes: The record as it was stored.
        ca_der: The factory CA's certificate, from the trust record.
        now: The time at which the station's certificate must be valid.
        serial: Serial number that the board has.
        mac: The board's six-byte base MAC.
        revoked_key_ids: Keys that no longer count.

    Raises:
        CalibrationRecordError: It is unreadable, or belongs to another board.
        SigningError: Certificate or signature do not verify.
    """
    from signing.certificates import CertificateKind, verify_certificate
    from signing.cose import verify_one

    certificate_der, cose = _parse_envelope(untrusted_bytes)
    certificate = verify_certificate(certificate_der, ca_der, now=now, kind=CertificateKind.STATION)
    if certificate.public_key.key_id in revoked_key_ids:
        raise CalibrationRecordError(
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
    return record


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


def code_for_current_na(record: CalibrationRecord, current_na: int) -> int:
    """Return the DAC code for a current (docs/spec/calibration-record.md §3).

    Args:
        record: The board's calibration.
        current_na: Wanted current in nanoamps.

    Raises:
        CalibrationRecordError: The current is outside the verified span or the DAC's range.
    """
    if not record.verified_min_na <= current_na <= record.verified_max_na:
        raise CalibrationRecordError(
            "the current is outside the span that was verified on this board",
            expected=f"{record.verified_min_na} to {record.verified_max_na} nA",
            got=f"{current_na} nA",
            where=f"unit {record.serial}",
            hint="verify the unit over a wider span before it is driven there",
        )
    code = record.zero_code + round_half_away(
        (current_na - record.offset_na) * (1 << record.dac_bits) * PPM,
        record.gain_ppm * 2 * record.full_scale_na,
    )
    if not 0 <= code < 1 << record.dac_bits:
        raise CalibrationRecordError(
            "the current is outside what the DAC can give",
            expected=f"a code from 0 to {(1 << record.dac_bits) - 1}",
            got=f"code {code} for {current_na} nA",
            where=f"unit {record.serial}",
        )
    return code


def current_for_code_na(record: CalibrationRecord, code: int) -> int:
    """Return the current that the record predicts for a code, rounded to a nanoamp."""
    steps = code - record.zero_code
    return record.offset_na + round_half_away(
        steps * record.gain_ppm * 2 * record.full_scale_na, (1 << record.dac_bits) * PPM
    )


def round_half_away(numerator: int, denominator: int) -> int:
    """Return the quotient rounded to the nearest integer, halves away from zero.

    Args:
        numerator: Any integer.
        denominator: A positive integer.
    """
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return magnitude if numerator >= 0 else -magnitude


def refuse_uncovered_table(
    record: CalibrationRecord,
    table: WaveformTable,
    *,
    load_min_ohm: int | None = None,
    load_max_ohm: int | None = None,
) -> None:
    """Refuse a waveform table that would drive the board where nobody measured it.

    Both polarities must be covered, because modes flip.

    Args:
        record: The board's calibration.
        table: The table that is about to be used.
        load_min_ohm: Lowest load of the product's claim, if it is to be covered, too.
        load_max_ohm: Highest load of the product's claim.

    Raises:
        CalibrationRecordError: A level or load is outside the verified span.
    """
    reach_na = min(-record.verified_min_na, record.verified_max_na)
    for mode in table.modes:
        for index, level in enumerate(mode.levels):
            ends_na = (abs(end) for s in level.segments for end in (s.start_na, s.end_na))
            peak_na = max(abs(level.peak_na), *ends_na)
            if peak_na > reach_na:
                raise CalibrationRecordError(
                    "the waveform table asks for more current than was verified on this board",
                    expected=f"at most {reach_na} nA in both polarities",
                    got=f"{peak_na} nA",
                    where=f"unit {record.serial}, mode {mode.name}, level {index + 1}",
                    hint="verify the unit over a wider span, or use the release it was made with",
                )
    is_load_covered = (load_min_ohm is None or load_min_ohm >= record.verified_load_min_ohm) and (
        load_max_ohm is None or load_max_ohm <= record.verified_load_max_ohm
    )
    if not is_load_covered:
        raise CalibrationRecordError(
            "the product claims loads that were not verified on this board",
            expected=f"{record.verified_load_min_ohm} to {record.verified_load_max_ohm} ohm",
            got=f"{load_min_ohm} to {load_max_ohm} ohm",
            where=f"unit {record.serial}",
        )
