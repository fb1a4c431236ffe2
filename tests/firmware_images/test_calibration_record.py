from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.calibration_record import (
    CALIBRATION_CONTENT_TYPE,
    RECORD_MAX_BYTES,
    CalibrationRecord,
    code_for_current_na,
    current_for_code_na,
    parse_calibration_record,
    refuse_uncovered_table,
    round_half_away,
    serialize_calibration_record,
    sign_calibration_record,
    verify_calibration_record,
)
from firmware_images.errors import CalibrationRecordError
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from signing.cose import sign_one
from signing.errors import CborError, RevokedKeyError, SigningError
from tests.firmware_images.release_parts import build_policy, build_table, signer

GOLDEN = Path(__file__).parents[1] / "golden" / "records"
MADE_AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
MAC = bytes.fromhex("60554a000001")
RECORD = CalibrationRecord(
    serial="AF-FL1-26-36-00001-X",
    mac=MAC,
    job_id="job-1",
    generation=1,
    full_scale_na=1_000_000,
    dac_bits=12,
    gain_ppm=1_021_000,
    offset_na=4_200,
    reference_load_ohm=5_000,
    output_impedance_ohm=1_000_000,
    verified_min_na=-450_000,
    verified_max_na=450_000,
    verified_load_min_ohm=500,
    verified_load_max_ohm=10_000,
    temperature_centi_c=2_350,
    instrument="Ampforge,SIM-6510,SN0001,1.0",
    fit_digest=bytes(range(32)),
    created_at=MADE_AT,
)


@pytest.fixture(scope="module")
def ca_der() -> bytes:
    return create_ca_certificate(signer("ca"), common_name="factory", not_before=MADE_AT)


@pytest.fixture(scope="module")
def station_der(ca_der: bytes) -> bytes:
    return issue_station_certificate(
        signer("ca"),
        ca_der,
        signer("station").public_key,
        station_name="station-1",
        not_before=MADE_AT,
    )


@pytest.fixture(scope="module")
def signed(station_der: bytes) -> bytes:
    return sign_calibration_record(RECORD, signer("station"), station_der)


def verify(
    signed: bytes,
    ca_der: bytes,
    *,
    serial: str = RECORD.serial,
    mac: bytes = MAC,
    revoked_key_ids: frozenset[bytes] = frozenset(),
) -> CalibrationRecord:
    return verify_calibration_record(
        signed, ca_der, now=MADE_AT, serial=serial, mac=mac, revoked_key_ids=revoked_key_ids
    )


def test_the_worked_case_of_one_board():
    """Gain 1.021 and offset +4.2 µA: the board reads -518.2648 µA at 1000 and 478.8055 at 3000."""
    assert current_for_code_na(RECORD, 1000) == -518_265
    assert current_for_code_na(RECORD, 3000) == 478_805
    assert code_for_current_na(RECORD, 80_000) == 2200
    assert current_for_code_na(RECORD, 2200) == 79_977


def test_an_uncalibrated_board_would_be_six_microamps_off():
    nominal = replace(RECORD, gain_ppm=1_000_000, offset_na=0)
    assert nominal.is_identity
    assert not RECORD.is_identity
    assert code_for_current_na(nominal, 80_000) == 2212
    assert current_for_code_na(RECORD, 2212) == 85_960


@given(st.integers(-450_000, 450_000))
def test_a_code_is_the_nearest_one_to_its_current(current_na):
    code = code_for_current_na(RECORD, current_na)
    error_na = abs(current_for_code_na(RECORD, code) - current_na)
    assert error_na <= 500 * RECORD.gain_ppm // 1_000_000 // 2 + 1


def test_halves_are_rounded_away_from_zero():
    assert [round_half_away(n, 2) for n in (-3, -2, -1, 0, 1, 2, 3)] == [-2, -1, -1, 0, 1, 1, 2]


@pytest.mark.parametrize("current_na", [-450_001, 450_001, 10_000_000])
def test_a_current_outside_the_verified_span_is_refused(current_na):
    with pytest.raises(CalibrationRecordError, match="span that was verified"):
        code_for_current_na(RECORD, current_na)


def test_a_current_outside_the_dac_is_refused():
    wide = replace(RECORD, verified_max_na=2_000_000, verified_min_na=-2_000_000)
    assert code_for_current_na(wide, -1_016_799) == 0
    with pytest.raises(CalibrationRecordError, match="what the DAC can give"):
        code_for_current_na(wide, 1_100_000)


def test_the_payload_is_the_golden_bytes():
    assert serialize_calibration_record(RECORD) == (GOLDEN / "calibration.cbor").read_bytes()
    assert parse_calibration_record((GOLDEN / "calibration.cbor").read_bytes()) == RECORD


def test_a_signed_record_verifies_for_its_board(signed, ca_der):
    assert verify(signed, ca_der) == RECORD
    assert len(signed) < RECORD_MAX_BYTES


def test_a_record_of_another_board_is_refused(signed, ca_der):
    with pytest.raises(CalibrationRecordError, match="belongs to another board"):
        verify(signed, ca_der, serial="AF-FL1-26-36-00002-V")
    with pytest.raises(CalibrationRecordError, match="belongs to another board"):
        verify(signed, ca_der, mac=bytes(6))


def test_a_record_of_a_station_of_another_factory_is_refused(signed):
    other = create_ca_certificate(signer("ca-2"), common_name="factory", not_before=MADE_AT)
    with pytest.raises(SigningError):
        verify(signed, other)


def test_a_record_of_a_revoked_station_is_refused(signed, ca_der):
    revoked = frozenset({signer("station").public_key.key_id})
    with pytest.raises(RevokedKeyError, match="revoked station"):
        verify(signed, ca_der, revoked_key_ids=revoked)


def test_a_record_signed_by_a_key_without_the_certificate_is_refused(station_der, ca_der):
    forged = sign_calibration_record(RECORD, signer("somebody"), station_der)
    with pytest.raises(SigningError):
        verify(forged, ca_der)


def test_a_record_signed_as_something_else_is_refused(station_der, ca_der):
    cose = sign_one(
        serialize_calibration_record(RECORD), signer("station"), content_type="application/cbor"
    )
    with pytest.raises(SigningError):
        verify(serialize_cbor({"cert": station_der, "cose": cose}), ca_der)


def test_the_root_certificate_itself_signs_no_records(ca_der):
    signed = sign_calibration_record(RECORD, signer("ca"), ca_der)
    with pytest.raises(SigningError):
        verify(signed, ca_der)


def test_a_record_that_does_not_fit_its_sector_is_not_signed():
    with pytest.raises(CalibrationRecordError, match="does not fit its flash sector"):
        sign_calibration_record(RECORD, signer("station"), bytes(RECORD_MAX_BYTES))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generation", 0),
        ("gain_ppm", 10_210_000),
        ("gain_ppm", 0),
        ("offset_na", 4_200_000),
        ("dac_bits", 40),
        ("full_scale_na", 0),
        ("verified_min_na", 1),
        ("verified_max_na", -1),
        ("temperature_centi_c", 100_000),
        ("serial", ""),
        ("serial", "S" * 21),
        ("mac", b"short"),
        ("job_id", ""),
        ("instrument", ""),
        ("instrument", "i" * 200),
        ("fit_digest", bytes(31)),
    ],
)
def test_a_value_that_no_working_output_has_is_refused(name, value):
    """A gain ten times too high is microamps written as milliamps, not a calibration."""
    with pytest.raises(CalibrationRecordError, match=name):
        serialize_calibration_record(replace(RECORD, **{name: value}))


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields | {1: 2},
        lambda fields: fields | {1: True},
        lambda fields: fields | {5: True},
        lambda fields: fields | {8: "1021000"},
        lambda fields: fields | {19: -1},
        lambda fields: fields | {19: True},
        lambda fields: fields | {20: 0},
        lambda fields: {key: value for key, value in fields.items() if key != 12},
        lambda _: {},
        lambda fields: [fields],
    ],
    ids=[
        *("format", "format-true", "generation-true", "gain-text", "time", "time-true"),
        *("extra", "missing", "empty", "list"),
    ],
)
def test_a_payload_with_wrong_fields_is_refused(change):
    fields = parse_cbor(serialize_calibration_record(RECORD), max_bytes=4096)
    with pytest.raises(CalibrationRecordError, match="does not have its fields"):
        parse_calibration_record(serialize_cbor(change(fields)))


def test_an_envelope_with_wrong_parts_is_refused(signed, ca_der):
    envelope = parse_cbor(signed, max_bytes=4096)
    assert isinstance(envelope, dict)
    for wrong in ({}, {"cert": b"", "cose": 5}, envelope | {"more": 1}, [1]):
        with pytest.raises(CalibrationRecordError, match="two parts"):
            verify(serialize_cbor(wrong), ca_der)
    with pytest.raises(CalibrationRecordError, match="not readable"):
        verify(b"\xff", ca_der)


def test_any_flipped_bit_of_a_signed_record_is_refused(signed, ca_der):
    for bit in range(0, 8 * len(signed), 7):
        changed = bytearray(signed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CalibrationRecordError, SigningError)):
            verify(bytes(changed), ca_der)


def test_a_table_inside_the_verified_span_is_accepted():
    refuse_uncovered_table(RECORD, build_table(build_policy()))


@pytest.mark.parametrize(
    "span", [{"verified_max_na": 99_999}, {"verified_min_na": -99_999}, {"verified_min_na": 0}]
)
def test_a_table_level_outside_the_verified_span_is_refused_with_its_place(span):
    with pytest.raises(CalibrationRecordError, match="more current than was verified") as refusal:
        refuse_uncovered_table(replace(RECORD, **span), build_table(build_policy()))
    assert "mode PULSE, level " in str(refusal.value.where)


@given(
    st.builds(
        CalibrationRecord,
        serial=st.text("ABC0123-", min_size=1, max_size=20),
        mac=st.binary(min_size=6, max_size=6),
        job_id=st.text(min_size=1, max_size=30),
        generation=st.integers(1, 0xFFFFFFFE),
        full_scale_na=st.integers(1_000, 100_000_000),
        dac_bits=st.integers(8, 20),
        gain_ppm=st.integers(500_000, 2_000_000),
        offset_na=st.integers(-100_000, 100_000),
        reference_load_ohm=st.integers(1, 1_000_000),
        output_impedance_ohm=st.integers(1, 1_000_000_000),
        verified_min_na=st.integers(-100_000_000, 0),
        verified_max_na=st.integers(0, 100_000_000),
        verified_load_min_ohm=st.integers(0, 500),
        verified_load_max_ohm=st.integers(500, 1_000_000),
        temperature_centi_c=st.integers(-4_000, 12_500),
        instrument=st.text(min_size=1, max_size=60),
        fit_digest=st.binary(min_size=32, max_size=32),
        created_at=st.integers(0, 4_102_444_800).map(lambda at: datetime.fromtimestamp(at, UTC)),
    )
)
def test_a_record_survives_its_bytes(record):
    assert parse_calibration_record(serialize_calibration_record(record)) == record


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_our_errors(content):
    with pytest.raises(CalibrationRecordError):
        parse_calibration_record(content)
    with pytest.raises((CalibrationRecordError, CborError)):
        verify_calibration_record(
            content, b"", now=MADE_AT, serial="", mac=b"", revoked_key_ids=frozenset()
        )


def test_verified_loads_the_wrong_way_round_are_refused():
    with pytest.raises(CalibrationRecordError, match="wrong way round"):
        serialize_calibration_record(replace(RECORD, verified_load_min_ohm=20_000))


def test_the_content_type_is_the_one_in_the_specification():
    assert CALIBRATION_CONTENT_TYPE == "application/vnd.ampforge.calibration+cbor"
