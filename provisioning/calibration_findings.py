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

from provisioning.calibration_plan import PROBE_NA, bit_codes, probe_codes, working_codes
from provisioning.calibration_result import Finding, FindingName
from provisioning.calibration_sampling import STEP_SIGMAS, wanted_step
from provisioning.uncertainty import build_budget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioning.calibration_fit import Linearity
    from provisioning.calibration_result import CalibrationFit, CodeReading, SamplingPlan, WayBack
    from provisioning.measurement_settings import MetrologySettings

PPM: Final = 1_000_000
_RESPONSE_MIN: Final = 0.2
_TIMES_TEN: Final = (5.0, 20.0)
_ROBUST_BIT: Final = 3
_STEP_MIN: Final = 0.5
_DRIFT_SIGMAS: Final = 4.0
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
            _finding(
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
            _finding(
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
            _finding(
                FindingName.SWAPPED_POLARITY,
                "current flows the wrong way: electrode outputs or fixture leads are swapped",
                measured=response,
                limit=0.0,
                unit="",
            ),
        )
    if _TIMES_TEN[0] < response < _TIMES_TEN[1]:
        return (
            _finding(
                FindingName.GAIN_TIMES_TEN,
                f"the gain is {response:.2f}: a sense resistor ten times too small, or mA for µA",
                measured=response,
                limit=1 + settings.gain_limit_percent / 100,
                unit="",
            ),
        )
    return ()


def judge_restart(
    readings: Sequence[CodeReading], settings: MetrologySettings
) -> tuple[Finding, ...]:
    """Judge whether the board restarted instead of driving a code."""
    for reading in readings:
        if reading.is_restart:
            nominal_ua = (reading.code - settings.mid_code) * settings.lsb_na / 1_000
            return (
                _finding(
                    FindingName.BROWN_OUT,
                    f"the board restarts when it drives code {reading.code}, about "
                    f"{nominal_ua:+.0f} µA into {reading.load_ohm / 1_000:g} kΩ: its supply "
                    "browns out",
                    measured=nominal_ua,
                    limit=settings.working_span_na / 1_000,
                    unit="µA",
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
        _finding(
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
            _finding(
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
        _finding(
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
                _finding(
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
            _finding(
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
            _finding(
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
                _finding(
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


def judge_noise(
    sampling: SamplingPlan | None, scatter_na: float, settings: MetrologySettings
) -> tuple[Finding, ...]:
    """Judge whether as many samples as are allowed can average the noise away.

    Args:
        sampling: The plan; without one nothing was planned by noise.
        scatter_na: Standard deviation of one sample of the whole sweep, nA: the plan's own rests
            on one reading.
        settings: How many samples are allowed.
    """
    limit_na = wanted_step(settings) * math.sqrt(settings.sample_count_max)
    if sampling is None or scatter_na <= limit_na:
        return ()
    return (
        _finding(
            FindingName.NOISE,
            f"{scatter_na:.0f} nA rms from sample to sample is more than "
            f"{settings.sample_count_max} samples a reading can average: a loose contact, a "
            "missing ground, or an oscillating output",
            measured=scatter_na,
            limit=limit_na,
            unit="nA",
        ),
    )


def judge_way_back(way_back: WayBack | None, settings: MetrologySettings) -> tuple[Finding, ...]:
    """Judge what changed between the way out and the way back."""
    if way_back is None:
        return ()
    limit_ppm = max(settings.drift_limit_ppm, _DRIFT_SIGMAS * way_back.gain_drift_u_ppm)
    offset_limit_na = max(
        settings.drift_limit_ppm * settings.working_span_na / PPM,
        _DRIFT_SIGMAS * way_back.offset_drift_u_na,
    )
    if abs(way_back.gain_drift_ppm) > limit_ppm or abs(way_back.offset_drift_na) > offset_limit_na:
        return (
            _finding(
                FindingName.DRIFT,
                f"between the way out and the way back the gain changed by "
                f"{way_back.gain_drift_ppm:+.0f} ppm and the offset by "
                f"{way_back.offset_drift_na:+.0f} nA: the unit or the fixture drifts",
                measured=way_back.gain_drift_ppm,
                limit=limit_ppm,
                unit="ppm",
            ),
        )
    # In LSB, four deviations of one code's difference: the mean of all is in the drift already.
    noise_lsb = way_back.gain_drift_u_ppm / PPM * _spread(settings)
    limit_lsb = max(settings.hysteresis_limit_lsb, _DRIFT_SIGMAS * noise_lsb)
    if abs(way_back.hysteresis_lsb) > limit_lsb:
        return (
            _finding(
                FindingName.HYSTERESIS,
                f"code {way_back.hysteresis_code} differs by {way_back.hysteresis_lsb:+.2f} LSB "
                "between the way out and the way back",
                measured=way_back.hysteresis_lsb,
                limit=limit_lsb,
                unit="LSB",
            ),
        )
    return ()


def judge_idle(
    reading: CodeReading, settings: MetrologySettings, *, age_days: int | None
) -> tuple[Finding, ...]:
    """Judge the direct current at level 0 with the output enabled, guarded by the rule.

    Args:
        reading: At the code that the fit gives for 0 nA.
        settings: Limit, budget and rule.
        age_days: Days since the instrument's calibration, or `None`.
    """
    budget = build_budget(
        reading.mean_na,
        range_ua=reading.range_ua,
        load_ohm=reading.load_ohm,
        sample_sd_na=reading.sd_na,
        count=reading.count,
        settings=settings,
        sample_dof=reading.count - 1,
        age_days=age_days,
    )
    guard_na = settings.guard_share(budget.coverage_factor) * budget.expanded_na
    limit_na = settings.idle_limit_na - guard_na
    if not reading.is_overload and abs(reading.mean_na) <= limit_na:
        return ()
    what = (
        f"more than {reading.range_ua} µA"
        if reading.is_overload
        else f"{reading.mean_na / 1_000:+.3f} µA"
    )
    return (
        _finding(
            FindingName.IDLE_CURRENT,
            f"at level 0 with the output enabled {what} flows, accepted are "
            f"±{limit_na / 1_000:.3f} µA",
            measured=reading.range_ua if reading.is_overload else reading.mean_na / 1_000,
            limit=limit_na / 1_000,
            unit="µA",
        ),
    )


def _spread(settings: MetrologySettings) -> float:
    # Root of Σ(code - mid)² over the codes of the fit.
    return math.sqrt(
        math.fsum(float(code - settings.mid_code) ** 2 for code in working_codes(settings))
    )


def _gain_finding(gain: float, settings: MetrologySettings) -> Finding:
    return _finding(
        FindingName.GAIN,
        f"gain {gain:.4f} is further than {settings.gain_limit_percent:g} % from 1: a "
        "wrong part, not a tolerance",
        measured=(gain - 1) * 100,
        limit=settings.gain_limit_percent,
        unit="%",
    )


def _offset_finding(offset_na: float, settings: MetrologySettings) -> Finding:
    return _finding(
        FindingName.OFFSET,
        f"offset {offset_na / 1_000:+.2f} µA is larger than "
        f"{settings.offset_limit_na / 1_000:g} µA: leakage or a wrong part",
        measured=offset_na / 1_000,
        limit=settings.offset_limit_na / 1_000,
        unit="µA",
    )


def _finding(
    name: FindingName, message: str, *, measured: float, limit: float, unit: str
) -> Finding:
    return Finding(
        name=name, message=message, measured=float(measured), limit=float(limit), unit=unit
    )
