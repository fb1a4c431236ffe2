"""Calibrates one unit: measures its codes at two loads, fits, and names what is wrong.

`calibrate_unit` moves the instrument and the board; `recompute_calibration` gets the same fit and
findings from a stored result. Implements docs/spec/calibration.md §4. It writes nothing to the
board: the station does, and only when `is_accepted`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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
    probe_codes,
    sweep_codes,
    working_codes,
)
from provisioning.calibration_result import CalibrationResult, CodeReading, Finding, ReadingStep
from provisioning.errors import CalibrationError, InstrumentOverloadError
from provisioning.instrument_certificates import refuse_uncertified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from provisioning.calibration_fit import Linearity
    from provisioning.calibration_result import CalibrationFit
    from provisioning.instruments import Meter
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.output_port import OutputPort

STORED_DECIMALS: Final = 3
"""Readings are kept to the picoampere, far below the uncertainty."""
_PROBE_SAMPLES: Final = 2


def calibrate_unit(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    *,
    progress: Callable[[str, float], None],
    clock: Callable[[], datetime],
) -> CalibrationResult:
    """Measure and fit one unit.

    The steps stop at the first one that finds a fault, so that a unit that runs to its rail is not
    swept. The output is off afterwards, whatever happens.

    Args:
        output: The unit's output, driven by raw codes.
        meter: The instrument with the fixture's loads.
        settings: Plan, instrument specification and limits.
        progress: Told what is measured, and how far this is, from 0 to 1.
        clock: Returns the time now, UTC.

    Returns:
        The result; look at `is_accepted` before anything is written.

    Raises:
        InstrumentError: The measurement failed, which says nothing about the unit.
        ProvisioningError: The link to the board failed.
    """
    started_at = clock()
    certificate = refuse_uncertified(meter.identity, settings, today=started_at.date())
    readings: list[CodeReading] = []
    total = len(sweep_codes(settings)) + len(working_codes(settings)) + 5
    try:
        for reading in _measure(output, meter, settings, readings):
            readings.append(reading)
            step = f"calibrate {reading.load_ohm / 1_000:g} kΩ"
            progress(step, min(len(readings) / total, 1.0))
    finally:
        output.output_off()
    stage = _judge(readings, settings)
    return CalibrationResult(
        settings=settings,
        instrument=meter.identity,
        certificate=certificate,
        started_at=started_at,
        finished_at=clock(),
        readings=tuple(readings),
        fit=stage.fit,
        findings=stage.findings,
    )


def recompute_calibration(result: CalibrationResult) -> CalibrationResult:
    """Fit and judge the readings of a stored result again, with its own settings.

    Raises:
        CalibrationError: Readings are missing.
    """
    stage = _judge(result.readings, result.settings)
    return result.model_copy(update={"fit": stage.fit, "findings": stage.findings})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    # What the readings so far say; a stage with findings is the last one.
    findings: tuple[Finding, ...] = ()
    linearity: Linearity | None = None
    fit: CalibrationFit | None = None


def _measure(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    readings: Sequence[CodeReading],
) -> Iterator[CodeReading]:
    # `readings` is what was measured so far: each stage decides by it whether to go on.
    def read(
        step: ReadingStep, load_ohm: int, codes: Iterable[int], range_ua: int
    ) -> Iterator[CodeReading]:
        meter.select_load(load_ohm)
        for code in codes:
            yield _read(
                output,
                meter,
                settings,
                step=step,
                load_ohm=load_ohm,
                code=code,
                range_ua=range_ua,
            )

    first, second = settings.loads_ohm
    yield from read(ReadingStep.PROBE, first, probe_codes(settings), settings.accuracy[-1].range_ua)
    if _judge(readings, settings).findings:
        return
    largest_na = settings.linearity_span_na * (1 + settings.gain_limit_percent / 100)
    range_ua = settings.accuracy_for(largest_na + settings.offset_limit_na).range_ua
    yield from read(ReadingStep.SWEEP, first, sweep_codes(settings), range_ua)
    linearity = _judge(readings, settings).linearity
    if linearity is None:
        return
    line, last = linearity.line, settings.max_code
    codes = [
        # Where the output stops early the line is flat, and asks for more than there is.
        min(max(settings.mid_code + round((wanted_na - line.intercept) / line.slope), 0), last)
        for wanted_na in (settings.compliance_current_na, -settings.compliance_current_na)
    ]
    yield from read(ReadingStep.COMPLIANCE, settings.compliance_load_ohm, codes, range_ua)
    if _judge(readings, settings).findings:
        return
    yield from read(ReadingStep.SWEEP, second, working_codes(settings), range_ua)


def _judge(readings: Sequence[CodeReading], settings: MetrologySettings) -> _Stage:
    first, second = settings.loads_ohm
    probe = _take(readings, ReadingStep.PROBE, first, probe_codes(settings))
    findings = judge_probe(probe, settings)
    sweep = _take(readings, ReadingStep.SWEEP, first, sweep_codes(settings), is_optional=True)
    if findings or not sweep:
        return _Stage(findings=findings)
    response = (probe[1].mean_na - probe[2].mean_na) / (2 * PROBE_NA)
    by_code = {reading.code: reading for reading in sweep}
    rough = (response, probe[0].mean_na, settings)
    findings = (
        judge_overload(sweep, *rough)
        or judge_bits(by_code, settings)
        or judge_response(response, settings)
    )
    if findings:
        return _Stage(findings=findings)
    linearity = fit_linearity(sweep, linearity_codes(settings), settings)
    compliance = [reading for reading in readings if reading.step is ReadingStep.COMPLIANCE]
    if not compliance:
        return _Stage(linearity=linearity)
    asked_na = [linearity.line.value_at(reading.code - settings.mid_code) for reading in compliance]
    # Whatever the output impedance: with less than this the second load cannot be swept.
    least_na = settings.working_span_na * second / settings.compliance_load_ohm
    findings = judge_overload(compliance, *rough) or judge_compliance(
        compliance, asked_na, [math.copysign(least_na, asked) for asked in asked_na]
    )
    codes = working_codes(settings)
    loaded = _take(readings, ReadingStep.SWEEP, second, codes, is_optional=True)
    if findings or not loaded:
        return _Stage(findings=findings, linearity=linearity)
    if findings := judge_overload(loaded, *rough):
        return _Stage(findings=findings, linearity=linearity)
    enough = 1 - settings.compliance_shortfall_percent / 100
    fit = fit_two_loads([*(by_code[code] for code in codes), *loaded], linearity, settings)
    return _Stage(
        linearity=linearity,
        fit=fit,
        findings=(
            *judge_line(fit, settings),
            *judge_linearity(linearity, sweep, pooled_sd_na(sweep), settings),
            *judge_compliance(
                compliance,
                asked_na,
                [_fitted_na(reading, fit, settings) * enough for reading in compliance],
            ),
        ),
    )


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
        raise CalibrationError(
            "the calibration lacks readings",
            expected=f"{len(codes)} codes of step {step} at {load_ohm} Ω",
            got=f"none for code {min(missing)}",
            hint="measure the unit again",
        )
    return [found[code] for code in codes]


def _fitted_na(reading: CodeReading, fit: CalibrationFit, settings: MetrologySettings) -> float:
    steps = reading.code - settings.mid_code
    at_reference = steps * settings.lsb_na * fit.gain_ppm / PPM + fit.offset_na
    conductance = fit.conductance_ns * 1e-9
    return (
        at_reference
        * (1 + settings.reference_load_ohm * conductance)
        / (1 + reading.load_ohm * conductance)
    )


def _read(
    output: OutputPort,
    meter: Meter,
    settings: MetrologySettings,
    *,
    step: ReadingStep,
    load_ohm: int,
    code: int,
    range_ua: int,
) -> CodeReading:
    count = _PROBE_SAMPLES if step is ReadingStep.PROBE else settings.sample_count
    output.set_output_code(code)
    try:
        reading = meter.read_current(range_ua=range_ua, nplc=settings.nplc, count=count)
    except InstrumentOverloadError:
        return CodeReading(
            step=step,
            code=code,
            load_ohm=load_ohm,
            range_ua=range_ua,
            mean_na=0.0,
            sd_na=0.0,
            count=count,
            is_overload=True,
        )
    return CodeReading(
        step=step,
        code=code,
        load_ohm=load_ohm,
        range_ua=range_ua,
        mean_na=round(reading.mean_na, STORED_DECIMALS),
        sd_na=round(reading.sd_na, STORED_DECIMALS),
        count=reading.count,
        at=reading.at,
    )
