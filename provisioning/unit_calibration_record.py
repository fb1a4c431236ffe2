"""The calibration record that follows from a calibration: built once to write, again to compare.

The station signs what this returns, and a replay compares the board's record with it. This module
signs and reads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.calibration_values import CalibrationRecord
from provisioning.calibration_result import calibration_digest
from provisioning.verification_plan import verified_loads

if TYPE_CHECKING:
    from provisioning.calibration_result import CalibrationResult

REACH_KEY: Final = "reach_na"
"""In the CONFIRM of a record: what the unit is verified up to."""


def verified_span(record: CalibrationRecord) -> tuple[int, int, int, int]:
    """Return currents, nA, and loads, Ω, that a record says the board is verified for."""
    return (
        record.verified_min_na,
        record.verified_max_na,
        record.verified_load_min_ohm,
        record.verified_load_max_ohm,
    )


def build_calibration_record(
    calibration: CalibrationResult,
    *,
    serial: str,
    mac: bytes,
    job_id: str,
    generation: int,
    temperature_centi_c: int,
    reach_na: int | None,
) -> CalibrationRecord:
    """Return the record for a board.

    Args:
        calibration: Accepted.
        serial: Serial number of the unit.
        mac: Its MAC.
        job_id: The job.
        generation: How many records the unit has had, with this one.
        temperature_centi_c: Ambient temperature in hundredths of a degree Celsius.
        reach_na: What the unit is verified up to, in both polarities, nA; `None`: the span of the
            fit, which records had before the two were told apart.
    """
    fit = calibration.fit
    assert fit is not None, "only an accepted calibration is written to a board"
    span_na = (fit.span_min_na, fit.span_max_na) if reach_na is None else (-reach_na, reach_na)
    settings = calibration.settings
    load_min_ohm, load_max_ohm = verified_loads(settings)
    return CalibrationRecord(
        serial=serial,
        mac=mac,
        job_id=job_id,
        generation=generation,
        full_scale_na=settings.full_scale_na,
        dac_bits=settings.dac_bits,
        gain_ppm=calibration.gain_ppm,
        offset_na=calibration.offset_na,
        reference_load_ohm=settings.reference_load_ohm,
        output_impedance_ohm=calibration.output_impedance_ohm,
        verified_min_na=span_na[0],
        verified_max_na=span_na[1],
        verified_load_min_ohm=load_min_ohm,
        verified_load_max_ohm=load_max_ohm,
        temperature_centi_c=temperature_centi_c,
        instrument=str(calibration.instrument),
        fit_digest=calibration_digest(calibration),
        created_at=calibration.finished_at.replace(microsecond=0),
    )
