"""Names what is wrong with a unit, from its readings. Implements docs/spec/calibration.md §4.5.

A unit with any finding is refused: calibration would hide a stuck bit behind a slightly wrong gain.
Each rule looks for one cause, and a rule whose cause would also trip the later ones comes first.
This module measures nothing and fits nothing.
"""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from provisioning.calibration_plan import PROBE_NA, bit_codes, probe_codes
from provisioning.calibration_result import Finding, FindingName
from provisioning.calibration_sampling import STEP_SIGMAS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioning.calibration_fit import Linearity
    from provisioning.calibration_result import CalibrationFit, CodeReading
    from provisioning.measurement_settings import MetrologySettings

PPM: Final = 1_000_000
_RESPONSE_MIN: Final = 0.2
_TIMES_TEN: Final = (5.0, 20.0)
_ROBUST_BIT: Final = 3
_STEP_MIN: Final = 0.5
_SEEN_SIGMAS: Final = 3.0
_ROUGH_GAIN: Final = 0.06
"""How far the probe's gain may be off: a bent converter of 8 LSB, and the largest range's error."""
_ROUGH_OFFSET: Final = 2
"""How many times its limit an offset must be to be seen on the largest range."""


def judge_probe(
    readings: Sequence[CodeReading], settings: MetrologySettings
) -> tuple[Finding, ...]:
    """Judge the first look on the largest range: rail, no response, polarity, gain times ten."""
    by_code = {reading.code: reading for reading in readings}
    mid, above, below = (by_code[code] for code in probe_codes(settings))
    loudest = max((mid, above, below), key=lambda reading: abs(reading.mean_na))
    # At a rail two codes that differ by a tenth of the range give one current, and a large one.
    closest_na = min(abs(above.mean_na - mid.mean_na), abs(mid.mean_na - below.mean_na))
    is_at_rail = closest_na < _RESPONSE_MIN * PROBE_NA and abs(loudest.mean_na) > 2 * PROBE_NA
    if is_at_rail or any(reading.is_overload for reading in (mid, above, below)):
        return (
            make_finding(
                FindingName.OPEN_SENSE,
                "the output runs to its rail whatever the code is: sense resistor or feedback open",
                measured=abs(loudest.mean_na) / 1_000 if is_at_rail else loudest.range_ua,
                limit=PROBE_NA / 1_000,
                unit="µA",
            ),
        )
    response = (above.mean_na - below.mean_na) / (2 * PROBE_NA)
    center_na = (above.mean_na + below.mean_na) / 2
    if abs(response) < _RESPONSE_MIN and abs(center_na - mid.mean_na) < PROBE_NA:
        return (
            make_finding(
                FindingName.OPEN_SENSE,
                f"the output does not follow its code: {response:.2f} of the step that was asked "
                "for; sense resistor, supply or fixture contact",
                measured=response,
                limit=_RESPONSE_MIN,
                unit="",
            ),
        )
    if abs(center_na - mid.mean_na) > abs(response) * PROBE_NA / 4:
        return ()  # not a line at all: a bit is stuck, and the sweep tells which
    if response < 0:
        return (
            make_finding(
                FindingName.SWAPPED_POLARITY,
                "current flows the wrong way: electrode outputs or fixture leads are swapped",
                measured=response,
                limit=0.0,
                unit="",
            ),
        )
    if _TIMES_TEN[0] < response < _TIMES_TEN[1]:
        return (
            make_finding(
                FindingName.GAIN_TIMES_TEN,
                f"the gain is {response:.2f}: a sense resistor ten times too small, or mA for µA",
                measured=response,
                limit=1 + settings.gain_limit_percent / 100,
                unit="",
            ),
        )
    return ()


def judge_bits(
    sweep: Mapping[int, CodeReading], settings: MetrologySettings, *, noise_na: float = 0.0
) -> tuple[Finding, ...]:
    """Judge each bit of the converter by the step it makes at mid-code.

    Args:
        sweep: The first load's readings, by code.
        settings: Converter.
        noise_na: Standard deviation of one sample, nA. A bit whose half step is lost in it is not
            judged: the unit's gain is then far off, or its noise too large, and that is named.
    """
    middle = sweep[settings.mid_code]
    mid = middle.mean_na
    steps_na = [sweep[code].mean_na - mid for code in bit_codes(settings)]
    # The unit's own step, robust against the bit that is looked for.
    lsb_na = statistics.median(
        step / (1 << bit) for bit, step in enumerate(steps_na) if bit >= _ROBUST_BIT
    )
    seen_from_na = [
        _SEEN_SIGMAS * noise_na * math.sqrt(1 / middle.count + 1 / sweep[code].count)
        for code in bit_codes(settings)
    ]
    findings = [
        make_finding(
            FindingName.STUCK_BIT,
            f"bit {bit} of the converter ({1 << bit} codes) changes the current by "
            f"{step / 1_000:.3f} µA where {lsb_na * (1 << bit) / 1_000:.3f} µA is expected",
            measured=step / 1_000,
            limit=_STEP_MIN * lsb_na * (1 << bit) / 1_000,
            unit="µA",
        )
        for bit, step in enumerate(steps_na)
        if step < _STEP_MIN * lsb_na * (1 << bit) and seen_from_na[bit] <= lsb_na * (1 << bit) / 2
    ]
    carry_na = mid - sweep[settings.mid_code - 1].mean_na
    if carry_na < -lsb_na * settings.mid_code / 2:
        findings.append(
            make_finding(
                FindingName.STUCK_BIT,
                f"bit {settings.dac_bits - 1} of the converter, the highest, is stuck: the current "
                f"falls by {-carry_na / 1_000:.1f} µA at mid-code",
                measured=carry_na / 1_000,
                limit=0.0,
                unit="µA",
            )
        )
    return tuple(findings)


def judge_overload(
    readings: Sequence[CodeReading], gain: float, offset_na: float, settings: MetrologySettings
) -> tuple[Finding, ...]:
    """Judge a sweep in which the current left the range that a correctable unit stays in.

    Args:
        readings: The sweep.
        gain: What the probe said, roughly.
        offset_na: What the probe said, roughly, nA.
        settings: What calibration corrects.
    """
    if not any(reading.is_overload for reading in readings):
        return ()
    code = next(reading.code for reading in readings if reading.is_overload)
    if abs(offset_na) > _ROUGH_OFFSET * settings.offset_limit_na:
        return (_offset_finding(offset_na, settings),)
    return (
        make_finding(
            FindingName.GAIN,
            f"the current leaves the range at code {code}: gain about {gain:.3f}, more than "
            "calibration may correct",
            measured=gain,
            limit=1.0,
            unit="",
        ),
    )


def judge_response(gain: float, settings: MetrologySettings) -> tuple[Finding, ...]:
    """Judge the probe's gain, before a line that is far off is used to choose codes."""
    if abs(gain - 1) <= settings.gain_limit_percent / 100 + _ROUGH_GAIN:
        return ()
    return (_gain_finding(gain, settings),)


def judge_compliance(
    readings: Sequence[CodeReading],
    asked_na: Sequence[float],
    needed_na: Sequence[float],
) -> tuple[Finding, ...]:
    """Judge the current into the compliance load.

    Args:
        readings: One for each polarity.
        asked_na: The current that the code asks for, nA.
        needed_na: The least current that is acceptable, signed like `asked_na`, nA.
    """
    findings = []
    for reading, asked, needed in zip(readings, asked_na, needed_na, strict=True):
        if reading.mean_na / needed < 1:
            volts = abs(reading.mean_na) * reading.load_ohm * 1e-9
            findings.append(
                make_finding(
                    FindingName.COMPLIANCE,
                    f"{asked / 1_000:+.1f} µA into {reading.load_ohm / 1_000:g} kΩ gives only "
                    f"{reading.mean_na / 1_000:+.1f} µA: the output stops at {volts:.1f} V",
                    measured=volts,
                    limit=abs(needed) * reading.load_ohm * 1e-9,
                    unit="V",
                )
            )
    return tuple(findings)


def judge_line(fit: CalibrationFit, settings: MetrologySettings) -> tuple[Finding, ...]:
    """Judge gain, offset and output impedance against what calibration may correct."""
    findings = []
    # The gain into a short circuit: a low but good impedance costs 2 % at the reference load.
    gain = fit.gain_ppm / PPM * (1 + settings.reference_load_ohm * fit.conductance_ns * 1e-9)
    if abs(gain - 1) > settings.gain_limit_percent / 100:
        findings.append(_gain_finding(gain, settings))
    if abs(fit.offset_na) > settings.offset_limit_na:
        findings.append(_offset_finding(fit.offset_na, settings))
    limit_ns = 1e9 / settings.output_impedance_min_ohm
    if fit.conductance_ns > limit_ns or fit.conductance_ns < -limit_ns:
        findings.append(
            make_finding(
                FindingName.OUTPUT_IMPEDANCE,
                f"output impedance {1e6 / fit.conductance_ns:.0f} kΩ is below "
                f"{settings.output_impedance_min_ohm / 1_000:.0f} kΩ: the current depends on the "
                "skin",
                measured=1e6 / fit.conductance_ns,
                limit=settings.output_impedance_min_ohm / 1_000,
                unit="kΩ",
            )
        )
    return tuple(findings)


def judge_linearity(
    linearity: Linearity,
    sweep: Sequence[CodeReading],
    repeatability_na: float,
    settings: MetrologySettings,
) -> tuple[Finding, ...]:
    """Judge integral nonlinearity, and that no step goes backwards beyond the noise."""
    findings = []
    worst = max(linearity.deviations, key=lambda entry: abs(entry.deviation_lsb))
    if linearity.inl_lsb > settings.inl_limit_lsb:
        findings.append(
            make_finding(
                FindingName.INL,
                f"code {worst.code} is {worst.deviation_lsb:+.2f} LSB from the best line",
                measured=linearity.inl_lsb,
                limit=settings.inl_limit_lsb,
                unit="LSB",
            )
        )
    for lower, upper in pairwise(sorted(sweep, key=lambda reading: reading.code)):
        noise_na = repeatability_na * math.sqrt(1 / lower.count + 1 / upper.count)
        step_na = upper.mean_na - lower.mean_na
        if step_na < -STEP_SIGMAS * noise_na:
            findings.append(
                make_finding(
                    FindingName.NOT_MONOTONIC,
                    f"from code {lower.code} to {upper.code} the current falls by "
                    f"{-step_na / 1_000:.3f} µA",
                    measured=step_na / 1_000,
                    limit=0.0,
                    unit="µA",
                )
            )
            break
    return tuple(findings)


def _gain_finding(gain: float, settings: MetrologySettings) -> Finding:
    return make_finding(
        FindingName.GAIN,
        f"gain {gain:.4f} is further than {settings.gain_limit_percent:g} % from 1: a "
        "wrong part, not a tolerance",
        measured=(gain - 1) * 100,
        limit=settings.gain_limit_percent,
        unit="%",
    )


def _offset_finding(offset_na: float, settings: MetrologySettings) -> Finding:
    return make_finding(
        FindingName.OFFSET,
        f"offset {offset_na / 1_000:+.2f} µA is larger than "
        f"{settings.offset_limit_na / 1_000:g} µA: leakage or a wrong part",
        measured=offset_na / 1_000,
        limit=settings.offset_limit_na / 1_000,
        unit="µA",
    )


def make_finding(
    name: FindingName, message: str, *, measured: float, limit: float, unit: str
) -> Finding:
    """Return a finding; attributes as in `Finding`."""
    return Finding(
        name=name, message=message, measured=float(measured), limit=float(limit), unit=unit
    )
