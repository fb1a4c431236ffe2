"""The calibration record as a value, its bounds, and its payload in deterministic CBOR.

Signing, verifying and using it are in `calibration_record`; docs/spec/calibration-record.md §1 is
normative.
"""

from __future__ import annotations

from datetime import UTC, datetime

from firmware_images.errors import CalibrationRecordError
from firmware_images.record_slots import PAYLOAD_MAX_BYTES
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError
from signing.value_class import dataclass

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
                # A CBOR boolean is an int to Python; as a number it gives other bytes.
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
