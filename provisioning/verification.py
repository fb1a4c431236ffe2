"""Verifies one unit on fresh points: what the table asks for, set through the unit's own record.

`verify_unit` moves instrument and board; the judging is `verification_judgement`, and
`recompute_verification` repeats it on a stored result. Implements docs/spec/calibration.md §6 and
§8. The calibrating meter may verify, but then its bias cancels: a PASS becomes a release only with
the closing measurement of a check standard, which is the station's matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from firmware_images.waveform import Regulation
from firmware_images.waveform_table import serialize_waveform_table, table_digest
from provisioning.errors import InstrumentOverloadError, VerificationError
from provisioning.instrument_certificates import age_of_certificate, refuse_uncertified
from provisioning.overload_checks import confirm_overload
from provisioning.reading_samples import figures_again, figures_of
from provisioning.uncertainty import Outcome, build_budget
from provisioning.verification_judgement import judge_readings
from provisioning.verification_plan import plan_point, plan_points
from provisioning.verification_readings import RawPoint, RawWaveform
from provisioning.verification_result import ExpectedRecord, VerificationResult
from provisioning.waveform_reading import read_waveform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from firmware_images.waveform import WaveformTable
    from provisioning.calibration_result import CalibrationResult
    from provisioning.instruments import InstrumentIdentity, Meter, Reading
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.output_port import OutputPort
    from provisioning.verification_result import PointResult

__all__ = ["Outcome", "VerificationResult", "recompute_verification", "verify_unit"]


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
    begun = _begin(meter, table, settings, calibration, clock)
    refuse_unmeasurable(table, settings, begun.age_days)
    scatter_na = calibration.fit.repeatability_na if calibration and calibration.fit else None
    plan = plan_points(table, settings, sample_sd_na=scatter_na, age_days=begun.age_days)
    total = len(plan) + len(table.modes)
    points: list[RawPoint] = []
    waveforms: list[RawWaveform] = []
    try:
        for planned in plan:
            points.append(_read_point(output, meter, settings, planned))
            progress(f"verify {planned.load_ohm / 1_000:g} kΩ", len(points) / total)
        for mode in table.modes:
            waveforms.append(read_waveform(output, meter, settings, table, mode))
            progress(f"verify {mode.name}", (len(points) + len(waveforms)) / total)
    finally:
        output.output_off()
    return begun.judge(points, waveforms, clock)


def measure_one_current(
    output: OutputPort,
    meter: Meter,
    table: WaveformTable,
    settings: MetrologySettings,
    *,
    clock: Callable[[], datetime],
    calibration: CalibrationResult,
) -> VerificationResult:
    """Measure the highest level of the first mode at the reference load, after a last change.

    Args:
        output: The unit's output, driven in nanoamps through its record.
        meter: The instrument with the fixture's loads.
        table: The released waveform table.
        settings: Loads, instrument specification, limits and rule.
        clock: Returns the time now, UTC.
        calibration: What the unit was calibrated to.

    Returns:
        A verification of that one point: stored like any other, it can be judged again like one.

    Raises:
        InstrumentError: The measurement failed, which says nothing about the unit.
        ProvisioningError: The link to the board failed, or the board refuses the level.
    """
    begun = _begin(meter, table, settings, calibration, clock)
    mode = table.modes[0]
    level_index = len(mode.levels) - 1
    target_na = mode.levels[level_index].peak_na
    planned = plan_point(mode.name, level_index, target_na, settings.reference_load_ohm, settings)
    try:
        raw = _read_point(output, meter, settings, planned)
    finally:
        output.output_off()
    return begun.judge([raw], [], clock)


def recompute_verification(result: VerificationResult) -> VerificationResult:
    """Judge the readings of a stored result again, with its own settings.

    Raises:
        VerificationError: A reading lacks its samples.
    """
    points = [_read_again(point, result.format) for point in (*result.points, *result.idle)]
    waveforms = [RawWaveform.from_result(waveform) for waveform in result.waveforms]
    judged = judge_readings(
        points, waveforms, result.settings, result.record, result.certificate_age_days
    )
    return result.model_copy(
        update={
            "points": judged.points,
            "idle": judged.idle,
            "waveforms": judged.waveforms,
            "outcome": judged.outcome,
            "reasons": judged.reasons,
        }
    )


def _read_again(point: PointResult, version: int) -> RawPoint:
    figures = figures_again(
        point.samples_na,
        is_read=not point.is_overload,
        version=version,
        error_class=VerificationError,
        where=f"{point.mode or 'idle current'}, {point.target_na} nA at {point.load_ohm} Ω",
    )
    raw = RawPoint.from_result(point)
    return raw if figures is None else replace(raw, **figures)


def refuse_unmeasurable(
    table: WaveformTable, settings: MetrologySettings, age_days: int | None
) -> None:
    """Refuse a table that the instrument cannot decide about: the station's fault, not a unit's.

    Args:
        table: The released waveform table.
        settings: Loads, instrument specification, limits and rule.
        age_days: Days since the instrument's calibration; `None` is the longest time.

    Raises:
        VerificationError: A mode regulates voltage, or a limit is too near to its uncertainty.
    """
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
            _refuse_poor_ratio(f"mode {mode.name}", level.peak_na, limit_na, settings, age_days)
    _refuse_poor_ratio("idle current", 0, settings.idle_limit_na, settings, age_days)


def _refuse_poor_ratio(
    name: str,
    target_na: int,
    limit_na: float,
    settings: MetrologySettings,
    age_days: int | None,
) -> None:
    range_ua = settings.accuracy_for(target_na + settings.claim_limit_at(target_na)).range_ua
    budget = build_budget(
        target_na,
        range_ua=range_ua,
        load_ohm=settings.reference_load_ohm,
        sample_sd_na=0.0,
        count=1,
        settings=settings,
        age_days=age_days,
    )
    # The unit's own scatter is not known yet; the plan averages until it widens U by no more.
    expanded_na = budget.expanded_na * math.hypot(1, settings.repeatability_share_max or 0)
    ratio = limit_na / expanded_na
    if ratio < settings.test_uncertainty_ratio_min:
        raise VerificationError(
            "the instrument is not good enough for the limit",
            expected=f"limit/U of at least {settings.test_uncertainty_ratio_min:g}",
            got=f"{limit_na / 1_000:.3f} µA / {expanded_na / 1_000:.3f} µA = {ratio:.1f}",
            where=f"{name}, {target_na / 1_000:g} µA",
            hint="use a better instrument or range, or a wider limit",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A verification before anything was read; attributes as in `VerificationResult`."""

    settings: MetrologySettings
    instrument: InstrumentIdentity
    certificate: str | None
    age_days: int | None
    started_at: datetime
    table_digest: str
    record: ExpectedRecord | None

    def judge(
        self,
        points: Sequence[RawPoint],
        waveforms: Sequence[RawWaveform],
        clock: Callable[[], datetime],
    ) -> VerificationResult:
        judged = judge_readings(points, waveforms, self.settings, self.record, self.age_days)
        return VerificationResult(
            settings=self.settings,
            instrument=self.instrument,
            certificate=self.certificate,
            started_at=self.started_at,
            finished_at=clock(),
            table_digest=self.table_digest,
            record=self.record,
            points=judged.points,
            idle=judged.idle,
            waveforms=judged.waveforms,
            outcome=judged.outcome,
            reasons=judged.reasons,
            certificate_age_days=self.age_days,
        )


def _begin(
    meter: Meter,
    table: WaveformTable,
    settings: MetrologySettings,
    calibration: CalibrationResult | None,
    clock: Callable[[], datetime],
) -> _Begun:
    started_at = clock()
    certificate = refuse_uncertified(meter.identity, settings, today=started_at.date())
    record = None
    if calibration is not None:
        record = ExpectedRecord(gain_ppm=calibration.gain_ppm, offset_na=calibration.offset_na)
    return _Begun(
        settings=settings,
        instrument=meter.identity,
        certificate=certificate,
        age_days=age_of_certificate(meter.identity, settings, today=started_at.date()),
        started_at=started_at,
        table_digest=table_digest(serialize_waveform_table(table)).hex(),
        record=record,
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
                range_ua=entry.range_ua, nplc=settings.nplc, count=planned.count
            )
        except InstrumentOverloadError:
            continue
        return planned.measured(
            code=code,
            range_ua=entry.range_ua,
            at=reading.at,
            **figures_of(reading.samples_na),
        )
    largest_ua = settings.accuracy[-1].range_ua

    def read_again(range_ua: int) -> Reading:
        output.set_output_current_na(planned.target_na)
        return meter.read_current(range_ua=range_ua, nplc=settings.nplc, count=planned.count)

    confirm_overload(output, meter, settings, range_ua=largest_ua, again=read_again)
    return planned.measured(
        code=code,
        range_ua=largest_ua,
        mean_na=float(largest_ua * 1_000),
        sd_na=0.0,
        count=planned.count,
        is_overload=True,
    )
