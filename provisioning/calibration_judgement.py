"""Judges the readings of a calibration, as far as they go, and fits them when they are complete.

The station asks after each step whether to go on; a stored result is judged by the same function.
Implements docs/spec/calibration.md §4. This module measures nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioning.calibration_conditions import (
    judge_idle,
    judge_noise,
    judge_restart,
    judge_way_back,
)
from provisioning.calibration_findings import (
    PPM,
    judge_bits,
    judge_compliance,
    judge_line,
    judge_linearity,
    judge_overload,
    judge_probe,
    judge_response,
)
from provisioning.calibration_fit import fit_linearity, fit_two_loads, pooled_sd_na
from provisioning.calibration_plan import (
    PROBE_NA,
    linearity_codes,
    noise_code,
    probe_codes,
    sweep_codes,
    working_codes,
)
from provisioning.calibration_result import ReadingStep
from provisioning.calibration_sampling import plan_sampling
from provisioning.calibration_way_back import compare_ways
from provisioning.errors import CalibrationError
from provisioning.measurement_choices import SweepPlan
from provisioning.stored_result import THIRD_FORMAT
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.calibration_fit import Linearity
    from provisioning.calibration_result import (
        CalibrationFit,
        CodeReading,
        Finding,
        SamplingPlan,
        WayBack,
    )
    from provisioning.measurement_settings import MetrologySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the readings so far say; a stage with findings is the last one.

    Attributes:
        findings: Reasons to refuse the unit.
        linearity: The best line of the first load, once it was swept.
        fit: Gain, offset and impedance, once both loads were.
        sampling: How many samples a reading takes, once the noise is known.
        way_back: What changed on the way back, once it was gone.
    """

    findings: tuple[Finding, ...] = ()
    linearity: Linearity | None = None
    fit: CalibrationFit | None = None
    sampling: SamplingPlan | None = None
    way_back: WayBack | None = None


def judge_calibration(
    readings: Sequence[CodeReading],
    settings: MetrologySettings,
    age_days: int | None,
    *,
    is_complete: bool = False,
    version: int = THIRD_FORMAT,
) -> Stage:
    """Judge what was read so far.

    Args:
        readings: In the order in which they were taken.
        settings: What they were taken with.
        age_days: Days since the instrument's calibration; `None` is the longest time.
        is_complete: No more readings will come, so that a unit without a finding needs them all.
        version: Format of the result that states the findings.

    Raises:
        CalibrationError: A step lacks readings.
    """
    stage = _judge_steps(readings, settings, age_days, version)
    if is_complete and not stage.findings:
        last = ReadingStep.IDLE if settings.sweep is SweepPlan.BOTH_WAYS else ReadingStep.SWEEP
        if stage.fit is None or not any(reading.step is last for reading in readings):
            raise CalibrationError(
                "the calibration lacks readings",
                expected="all steps, or a finding",
                got=f"{len(readings)} readings, and nothing wrong with them",
                hint="measure the unit again",
            )
    return stage


def _judge_steps(
    readings: Sequence[CodeReading],
    settings: MetrologySettings,
    age_days: int | None,
    version: int,
) -> Stage:
    if findings := judge_restart(readings, settings):
        return Stage(findings=findings)
    first = settings.loads_ohm[0]
    probe = _take(readings, ReadingStep.PROBE, first, probe_codes(settings))
    if findings := judge_probe(probe, settings):
        return Stage(findings=findings)
    sweep = _take(readings, ReadingStep.SWEEP, first, sweep_codes(settings), is_optional=True)
    stage = Stage()
    if settings.sweep is SweepPlan.BOTH_WAYS:
        codes = (noise_code(settings),)
        noise = _take(readings, ReadingStep.NOISE, first, codes, is_optional=not sweep)
        if noise and not noise[0].is_overload:
            stage = Stage(sampling=plan_sampling(noise[0], settings, age_days=age_days))
    if not sweep:
        return stage
    response = (probe[1].mean_na - probe[2].mean_na) / (2 * PROBE_NA)
    scatter_na = pooled_sd_na(sweep)
    findings = (
        judge_overload(sweep, response, probe[0].mean_na, settings)
        or judge_bits(
            {reading.code: reading for reading in sweep},
            settings,
            noise_na=scatter_na if stage.sampling else 0.0,
        )
        or judge_response(response, settings)
        or judge_noise(stage.sampling, scatter_na, settings)
    )
    if findings:
        return replace(stage, findings=findings)
    stage = replace(stage, linearity=fit_linearity(sweep, linearity_codes(settings), settings))
    return _judge_rest(
        readings,
        stage,
        sweep,
        (response, probe[0].mean_na),
        settings=settings,
        age_days=age_days,
        version=version,
    )


def _judge_rest(
    readings: Sequence[CodeReading],
    stage: Stage,
    sweep: Sequence[CodeReading],
    rough: tuple[float, float],
    *,
    settings: MetrologySettings,
    age_days: int | None,
    version: int,
) -> Stage:
    # What follows a sweep of the first load on which a line could be drawn.
    linearity = stage.linearity
    assert linearity is not None, "a line was drawn"
    second = settings.loads_ohm[1]
    codes = working_codes(settings)
    by_code = {reading.code: reading for reading in sweep}
    compliance = [reading for reading in readings if reading.step is ReadingStep.COMPLIANCE]
    if settings.sweep is SweepPlan.BOTH_WAYS:
        is_optional = not compliance
        first = settings.loads_ohm[0]
        back = _take(readings, ReadingStep.RETURN, first, codes, is_optional=is_optional)
        if findings := judge_overload(back, *rough, settings):
            return replace(stage, findings=findings)
        if back:
            way_back = compare_ways(
                [by_code[code] for code in codes],
                back,
                repeatability_na=pooled_sd_na(sweep),
                settings=settings,
            )
            stage = replace(stage, way_back=way_back)
    if not compliance:
        return stage
    line = linearity.line
    asked_na = [line.value_at(reading.code - settings.mid_code) for reading in compliance]
    # Whatever the output impedance: with less than this the second load cannot be swept.
    least_na = settings.working_span_na * second / settings.compliance_load_ohm
    findings = judge_overload(compliance, *rough, settings) or judge_compliance(
        compliance, asked_na, [math.copysign(least_na, asked) for asked in asked_na]
    )
    loaded = _take(readings, ReadingStep.SWEEP, second, codes, is_optional=True)
    findings = findings or judge_overload(loaded, *rough, settings)
    if findings or not loaded:
        return replace(stage, findings=findings)
    enough = 1 - settings.compliance_shortfall_percent / 100
    fitted = [*(by_code[code] for code in codes), *loaded]
    fit = fit_two_loads(fitted, linearity, settings, age_days=age_days)
    findings = (
        *judge_line(fit, settings),
        *judge_linearity(linearity, sweep, pooled_sd_na(sweep), settings),
        *judge_compliance(
            compliance,
            asked_na,
            [_fitted_na(reading, fit, settings) * enough for reading in compliance],
        ),
        *judge_way_back(stage.way_back, settings, version=version),
    )
    idle = [reading for reading in readings if reading.step is ReadingStep.IDLE]
    if not findings and idle:
        findings = judge_idle(idle[0], settings, age_days=age_days)
    return replace(stage, fit=fit, findings=findings)


def _take(
    readings: Sequence[CodeReading],
    step: ReadingStep,
    load_ohm: int,
    codes: Sequence[int],
    *,
    is_optional: bool = False,
) -> list[CodeReading]:
    found = {
        reading.code: reading
        for reading in readings
        if reading.step is step and reading.load_ohm == load_ohm
    }
    if is_optional and not found:
        return []
    if missing := set(codes) - set(found):
        raise _lacks_readings(step, load_ohm, codes, min(missing))
    return [found[code] for code in codes]


def _lacks_readings(
    step: ReadingStep, load_ohm: int, codes: Sequence[int], missing: int
) -> CalibrationError:
    return CalibrationError(
        "the calibration lacks readings",
        expected=f"{len(codes)} codes of step {step} at {load_ohm} Ω",
        got=f"none for code {missing}",
        hint="measure the unit again",
    )


def _fitted_na(reading: CodeReading, fit: CalibrationFit, settings: MetrologySettings) -> float:
    steps = reading.code - settings.mid_code
    at_reference = steps * settings.lsb_na * fit.gain_ppm / PPM + fit.offset_na
    conductance = fit.conductance_ns * 1e-9
    return (
        at_reference
        * (1 + settings.reference_load_ohm * conductance)
        / (1 + reading.load_ohm * conductance)
    )
