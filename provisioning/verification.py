"""Verifies one unit on fresh points: what the table asks for, set through the unit's own record.

`verify_unit` moves instrument and board; the judging is `verification_judgement`, and
`recompute_verification` repeats it on a stored result. Implements docs/spec/calibration.md §6 and
§8. The calibrating meter may verify, but then its bias cancels: a PASS becomes a release only with
the closing measurement of a check standard, which is the station's matter.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from firmware_images.waveform import Regulation
from firmware_images.waveform_table import serialize_waveform_table, table_digest
from provisioning.errors import InstrumentOverloadError, VerificationError
from provisioning.instrument_certificates import refuse_uncertified
from provisioning.uncertainty import Outcome, build_budget
from provisioning.verification_judgement import judge_readings
from provisioning.verification_readings import RawPoint, RawWaveform
from provisioning.verification_result import ExpectedRecord, VerificationResult
from provisioning.waveform_expectation import WaveformExpectation

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from firmware_images.waveform import Mode, WaveformTable
    from provisioning.calibration_result import CalibrationResult
    from provisioning.instruments import Meter
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.output_port import OutputPort
    from provisioning.verification_result import PointResult

__all__ = ["Outcome", "VerificationResult", "recompute_verification", "verify_unit"]

IDLE_LEVEL: Final = -1
STORED_DECIMALS: Final = 3
"""Readings are kept to the picoampere, far below the uncertainty."""


def verify_unit(
    output: OutputPort,
    meter: Meter,
    table: WaveformTable,
    settings: MetrologySettings,
    *,
    progress: Callable[[str, float], None],
    clock: Callable[[], datetime],
    calibration: CalibrationResult | None = None,
) -> VerificationResult:
    """Measure and judge one unit. Power-cycle it first: the record must have survived that.

    Args:
        output: The unit's output, driven in nanoamps through its record.
        meter: The instrument with the fixture's loads.
        table: The released waveform table; every mode and level is measured in both polarities.
        settings: Loads, instrument specification, limits and rule.
        progress: Told what is measured, and how far this is, from 0 to 1.
        clock: Returns the time now, UTC.
        calibration: What the unit was calibrated to; a board that chooses other codes fails,
            whatever it measures.

    Raises:
        VerificationError: The table or the instrument does not allow a verification.
        InstrumentError: The measurement failed, which says nothing about the unit.
        ProvisioningError: The link to the board failed, or the board refuses a level.
    """
    started_at = clock()
    certificate = refuse_uncertified(meter.identity, settings, today=started_at.date())
    _refuse_unmeasurable(table, settings)
    plan = _plan_points(table, settings)
    total = len(plan) + len(table.modes)
    points: list[RawPoint] = []
    waveforms: list[RawWaveform] = []
    try:
        for planned in plan:
            points.append(_read_point(output, meter, settings, planned))
            progress(f"verify {planned.load_ohm / 1_000:g} kΩ", len(points) / total)
        for mode in table.modes:
            waveforms.append(_read_waveform(output, meter, settings, mode, table.tick_us))
            progress(f"verify {mode.name}", (len(points) + len(waveforms)) / total)
    finally:
        output.output_off()
    record = None
    if calibration is not None:
        record = ExpectedRecord(gain_ppm=calibration.gain_ppm, offset_na=calibration.offset_na)
    judged = judge_readings(points, waveforms, settings, record)
    return VerificationResult(
        settings=settings,
        instrument=meter.identity,
        certificate=certificate,
        started_at=started_at,
        finished_at=clock(),
        table_digest=table_digest(serialize_waveform_table(table)).hex(),
        record=record,
        points=judged.points,
        idle=judged.idle,
        waveforms=judged.waveforms,
        outcome=judged.outcome,
        reasons=judged.reasons,
    )


def measure_one_current(
    output: OutputPort,
    meter: Meter,
    table: WaveformTable,
    settings: MetrologySettings,
    *,
    calibration: CalibrationResult,
) -> tuple[PointResult, tuple[str, ...]]:
    """Measure the highest level of the first mode at the reference load, after a last change.

    Args:
        output: The unit's output, driven in nanoamps through its record.
        meter: The instrument with the fixture's loads.
        table: The released waveform table.
        settings: Loads, instrument specification, limits and rule.
        calibration: What the unit was calibrated to.

    Returns:
        The judged point, and why it is not good enough.

    Raises:
        InstrumentError: The measurement failed, which says nothing about the unit.
        ProvisioningError: The link to the board failed, or the board refuses the level.
    """
    mode = table.modes[0]
    level_index = len(mode.levels) - 1
    target_na = mode.levels[level_index].peak_na
    planned = _planned(mode.name, level_index, target_na, settings.reference_load_ohm, settings)
    try:
        raw = _read_point(output, meter, settings, planned)
    finally:
        output.output_off()
    record = ExpectedRecord(gain_ppm=calibration.gain_ppm, offset_na=calibration.offset_na)
    judged = judge_readings([raw], [], settings, record)
    return judged.points[0], judged.reasons


def recompute_verification(result: VerificationResult) -> VerificationResult:
    """Judge the readings of a stored result again, with its own settings."""
    points = [RawPoint.from_result(point) for point in (*result.points, *result.idle)]
    waveforms = [RawWaveform.from_result(waveform) for waveform in result.waveforms]
    judged = judge_readings(points, waveforms, result.settings, result.record)
    return result.model_copy(
        update={
            "points": judged.points,
            "idle": judged.idle,
            "waveforms": judged.waveforms,
            "outcome": judged.outcome,
            "reasons": judged.reasons,
        }
    )


def _refuse_unmeasurable(table: WaveformTable, settings: MetrologySettings) -> None:
    for mode in table.modes:
        if mode.regulation is not Regulation.CURRENT:
            raise VerificationError(
                "a mode that regulates voltage cannot be verified in current",
                expected="regulation current",
                got=f"regulation {mode.regulation}",
                where=f"mode {mode.name}",
                hint="verify it with an instrument and limits for voltage",
            )
        for level in mode.levels:
            limit_na = min(
                settings.calibration_limit_at(level.peak_na),
                settings.claim_limit_at(level.peak_na),
            )
            _refuse_poor_ratio(f"mode {mode.name}", level.peak_na, limit_na, settings)
    _refuse_poor_ratio("idle current", 0, settings.idle_limit_na, settings)


def _refuse_poor_ratio(
    name: str, target_na: int, limit_na: float, settings: MetrologySettings
) -> None:
    # The station's fault, not the unit's, so it is found before anything is measured.
    range_ua = settings.accuracy_for(target_na + settings.claim_limit_at(target_na)).range_ua
    budget = build_budget(
        target_na,
        range_ua=range_ua,
        load_ohm=settings.reference_load_ohm,
        sample_sd_na=0.0,
        count=1,
        settings=settings,
    )
    ratio = limit_na / budget.expanded_na
    if ratio < settings.test_uncertainty_ratio_min:
        raise VerificationError(
            "the instrument is not good enough for the limit",
            expected=f"limit/U of at least {settings.test_uncertainty_ratio_min:g}",
            got=f"{limit_na / 1_000:.3f} µA / {budget.expanded_na / 1_000:.3f} µA = {ratio:.1f}",
            where=f"{name}, {target_na / 1_000:g} µA",
            hint="use a better instrument or range, or a wider limit",
        )


def _plan_points(table: WaveformTable, settings: MetrologySettings) -> list[RawPoint]:
    # Loads change least often, then ranges: both cost settling on a real fixture.
    loads = (settings.reference_load_ohm, *settings.claim_loads_ohm)
    plan = [_planned("", IDLE_LEVEL, 0, load_ohm, settings) for load_ohm in loads]
    for mode in table.modes:
        for index, level in enumerate(mode.levels):
            is_highest = index == len(mode.levels) - 1
            ends = (settings.claim_end_load_ohm,) if is_highest else ()
            plan += [
                _planned(mode.name, index, sign * level.peak_na, load_ohm, settings)
                for load_ohm in dict.fromkeys((*loads, *ends))
                for sign in (1, -1)
            ]
    return sorted(plan, key=lambda point: (point.load_ohm, point.range_ua))


def _planned(
    mode: str, level_index: int, target_na: int, load_ohm: int, settings: MetrologySettings
) -> RawPoint:
    room_na = abs(target_na) + settings.claim_limit_at(target_na)
    return RawPoint(
        mode=mode,
        level_index=level_index,
        target_na=target_na,
        load_ohm=load_ohm,
        range_ua=settings.accuracy_for(room_na).range_ua,
    )


def _read_point(
    output: OutputPort, meter: Meter, settings: MetrologySettings, planned: RawPoint
) -> RawPoint:
    meter.select_load(planned.load_ohm)
    code = output.set_output_current_na(planned.target_na)
    for entry in settings.accuracy:
        if entry.range_ua < planned.range_ua:
            continue
        try:
            reading = meter.read_current(
                range_ua=entry.range_ua, nplc=settings.nplc, count=settings.sample_count
            )
        except InstrumentOverloadError:
            continue
        return planned.measured(
            code=code,
            range_ua=entry.range_ua,
            mean_na=round(reading.mean_na, STORED_DECIMALS),
            sd_na=round(reading.sd_na, STORED_DECIMALS),
            count=reading.count,
            at=reading.at,
        )
    largest_ua = settings.accuracy[-1].range_ua
    return planned.measured(
        code=code,
        range_ua=largest_ua,
        mean_na=float(largest_ua * 1_000),
        sd_na=0.0,
        count=settings.sample_count,
        is_overload=True,
    )


def _read_waveform(
    output: OutputPort, meter: Meter, settings: MetrologySettings, mode: Mode, tick_us: int
) -> RawWaveform:
    index = len(mode.levels) - 1
    expectation = WaveformExpectation(mode, index, tick_us=tick_us)
    peak_na = expectation.peak_na
    range_ua = settings.accuracy_for(peak_na + settings.claim_limit_at(peak_na)).range_ua
    period_s = expectation.period_us * 1e-6
    raw = RawWaveform(
        mode=mode.name,
        level_index=index,
        peak_na=peak_na,
        load_ohm=settings.reference_load_ohm,
        range_ua=range_ua,
        period_us=0,
        expected_period_us=expectation.period_us,
        aperture_s=period_s,
        expected_mean_na=expectation.mean_na,
        mean_na=0.0,
        sample_aperture_s=expectation.sample_aperture_s,
        samples_na=(),
        delay_s=0.0,
        shape_rms_na=0.0,
        is_inverted=False,
    )
    meter.select_load(settings.reference_load_ohm)
    raw = replace(raw, period_us=output.run_waveform(mode.name, index))
    delay_max_s = settings.start_delay_max_s
    try:
        if expectation.settling_periods:
            # The ramp is let pass in whole periods, so that the train begins again when they end.
            settling_s = expectation.settling_periods * period_s
            _let_pass(meter, settings, range_ua, settling_s)
            delay_max_s += settings.start_delay_max_s
        capture = meter.read_aperture(
            range_ua=range_ua,
            aperture_s=expectation.sample_aperture_s,
            count=expectation.sample_count,
        )
        mean_na = capture.mean_na
        if not expectation.is_capture_whole:
            output.run_waveform(mode.name, index)
            _let_pass(meter, settings, range_ua, expectation.settling_periods * period_s)
            count = math.ceil(period_s / settings.aperture_max_s)
            mean_na = meter.read_aperture(
                range_ua=range_ua, aperture_s=period_s / count, count=count
            ).mean_na
    except InstrumentOverloadError:
        return replace(raw, is_overload=True)
    match = expectation.match(
        capture.samples_na,
        aperture_s=expectation.sample_aperture_s,
        delay_max_s=delay_max_s,
    )
    return replace(
        raw,
        mean_na=round(mean_na, STORED_DECIMALS),
        samples_na=tuple(round(sample) for sample in capture.samples_na),
        delay_s=match.delay_s,
        shape_rms_na=round(match.rms_error_na, STORED_DECIMALS),
        is_inverted=match.is_inverted,
    )


def _let_pass(meter: Meter, settings: MetrologySettings, range_ua: int, duration_s: float) -> None:
    """Measure for a while and drop the readings: the meter's clock is the one that counts here."""
    if duration_s > 0:
        count = math.ceil(duration_s / settings.aperture_max_s)
        meter.read_aperture(range_ua=range_ua, aperture_s=duration_s / count, count=count)
