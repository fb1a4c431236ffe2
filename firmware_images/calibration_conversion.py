"""Using a calibration record: current to code, code to current, and what a board may be asked for.

Integer arithmetic only, the same on the device (docs/spec/calibration-record.md §3 and §4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.calibration_values import PPM
from firmware_images.errors import CalibrationRecordError

if TYPE_CHECKING:
    from firmware_images.calibration_values import CalibrationRecord
    from firmware_images.waveform import WaveformTable


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


def reach_of_table_na(table: WaveformTable) -> int:
    """Return the largest current of a table, which its highest levels are verified at, nA."""
    return max(level.peak_na for mode in table.modes for level in mode.levels)


def refuse_uncovered_table(record: CalibrationRecord, table: WaveformTable) -> None:
    """Refuse a waveform table that would drive the board where nobody measured it.

    Both polarities must be covered, because modes flip. A table says nothing of loads: the claim
    is compared with what a station verifies before it starts (docs/spec/calibration-record.md §4).

    Args:
        record: The board's calibration.
        table: The table that is about to be used.

    Raises:
        CalibrationRecordError: A level is outside the verified span.
    """
    reach_na = min(-record.verified_min_na, record.verified_max_na)
    for mode in table.modes:
        for index, level in enumerate(mode.levels):
            if level.peak_na > reach_na:
                raise CalibrationRecordError(
                    "the waveform table asks for more current than was verified on this board",
                    expected=f"at most {reach_na} nA in both polarities",
                    got=f"{level.peak_na} nA",
                    where=f"unit {record.serial}, mode {mode.name}, level {index + 1}",
                    hint="verify the unit over a wider span, or use the release it was made with",
                )
