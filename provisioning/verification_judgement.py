"""Judges the readings of a verification: points, idle current, waveforms, and the whole unit.

Pure: the same readings and settings give the same outcome. A unit's outcome is the worst of all its
points (docs/spec/calibration.md §6.3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from firmware_images.calibration_record import round_half_away
from provisioning.uncertainty import Outcome, build_budget, judge_error, worst_outcome
from provisioning.verification_budgets import budget_of_point, pool_scatter
from provisioning.verification_result import PointBudget, PointResult
from provisioning.waveform_result import WaveformResult
from provisioning.window_judgement import describe_windows, judge_windows
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.measurement_settings import MetrologySettings
    from provisioning.verification_budgets import PooledScatter
    from provisioning.verification_readings import RawPoint, RawWaveform
    from provisioning.verification_result import ExpectedRecord

PPM: Final = 1_000_000
_DECIMALS: Final = 3
_NOISE_FACTOR: Final = 3.0
_NOISE_NA: Final = 500.0
"""Noise of a short sample that the shape limit allows for, nA rms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A judged verification; attributes as in `VerificationResult`."""

    points: tuple[PointResult, ...]
    idle: tuple[PointResult, ...]
    waveforms: tuple[WaveformResult, ...]
    outcome: Outcome
    reasons: tuple[str, ...]


def judge_readings(
    raw_points: Sequence[RawPoint],
    raw_waveforms: Sequence[RawWaveform],
    settings: MetrologySettings,
    record: ExpectedRecord | None,
    age_days: int | None = None,
) -> Judged:
    """Judge everything that was read.

    Args:
        raw_points: Points and idle currents.
        raw_waveforms: Played modes.
        settings: Limits, instrument and rule.
        record: The calibration that the board should be using, or `None`.
        age_days: Days since the instrument's calibration; `None` is the longest time.
    """
    pooled = pool_scatter(raw_points)
    judged = [_judge_point(raw, pooled, settings, age_days) for raw in raw_points]
    points = tuple(point for point in judged if point.mode)
    idle = tuple(point for point in judged if not point.mode)
    waveforms = tuple(
        judge_windows(raw, settings, age_days)
        if raw.windows
        else _judge_waveform(raw, pooled, settings, age_days)
        for raw in raw_waveforms
    )
    reasons = _point_reasons(judged)
    reasons += [
        (waveform.outcome, _waveform_reason(waveform, settings))
        for waveform in waveforms
        if waveform.outcome is not Outcome.PASS
    ]
    if record is not None and (reason := _record_reason(raw_points, record, settings)):
        reasons.append((Outcome.FAIL, reason))
    reasons.sort(key=lambda entry: -entry[0].severity)
    return Judged(
        points=points,
        idle=idle,
        waveforms=waveforms,
        outcome=worst_outcome([Outcome.PASS, *(outcome for outcome, _ in reasons)]),
        reasons=tuple(f"{outcome}: {reason}" for outcome, reason in reasons),
    )


def _judge_point(
    raw: RawPoint, pooled: PooledScatter, settings: MetrologySettings, age_days: int | None
) -> PointResult:
    budget = budget_of_point(raw, pooled, settings, age_days)
    expanded_na = budget.expanded_na
    guard_share = settings.guard_share(budget.coverage_factor)
    if raw.mode:
        claim_na = settings.claim_limit_at(raw.target_na)
        calibration_na = settings.calibration_limit_at(raw.target_na)
        applies = raw.load_ohm == settings.reference_load_ohm
        limits_na = (claim_na, calibration_na) if applies else (claim_na,)
    else:
        claim_na, calibration_na, applies = float(settings.idle_limit_na), 0.0, False
        limits_na = (claim_na,)
    error_na = raw.mean_na - raw.target_na
    outcome = worst_outcome(
        judge_error(
            error_na,
            limit=limit_na,
            expanded_uncertainty=expanded_na,
            guard_factor=guard_share,
        )
        for limit_na in limits_na
    )
    return PointResult(
        mode=raw.mode,
        level_index=raw.level_index,
        target_na=raw.target_na,
        load_ohm=raw.load_ohm,
        code=raw.code,
        range_ua=raw.range_ua,
        count=raw.count,
        sd_na=raw.sd_na,
        is_overload=raw.is_overload,
        measured_na=raw.mean_na,
        error_na=round(error_na, _DECIMALS),
        expanded_uncertainty_na=round(expanded_na, _DECIMALS),
        calibration_limit_na=calibration_na if applies else None,
        claim_limit_na=claim_na,
        outcome=Outcome.FAIL if raw.is_overload else outcome,
        budget=PointBudget.from_budget(budget, guard_band_na=guard_share * expanded_na),
        at=raw.at,
        samples_na=raw.samples_na,
    )


def _judge_waveform(
    raw: RawWaveform, pooled: PooledScatter, settings: MetrologySettings, age_days: int | None
) -> WaveformResult:
    budget = build_budget(
        raw.mean_na,
        range_ua=raw.range_ua,
        load_ohm=raw.load_ohm,
        sample_sd_na=pooled.sd_na,
        count=1,
        settings=settings,
        sample_dof=pooled.dof or math.inf,
        age_days=age_days,
    )
    expanded_na = budget.expanded_na
    outcome = judge_error(
        raw.mean_na - raw.expected_mean_na,
        limit=settings.idle_limit_na,
        expanded_uncertainty=expanded_na,
        guard_factor=settings.guard_share(budget.coverage_factor),
    )
    shape_limit_na = raw.peak_na * settings.shape_limit_percent / 100 + _NOISE_FACTOR * _NOISE_NA
    timing = abs(raw.period_us - raw.expected_period_us) / raw.expected_period_us
    is_bad = (
        raw.is_overload
        or raw.is_inverted
        or raw.shape_rms_na > shape_limit_na
        or timing > settings.timing_limit_percent / 100
    )
    return WaveformResult(
        mode=raw.mode,
        level_index=raw.level_index,
        peak_na=raw.peak_na,
        load_ohm=raw.load_ohm,
        range_ua=raw.range_ua,
        period_us=raw.period_us,
        expected_period_us=raw.expected_period_us,
        aperture_s=raw.aperture_s,
        expected_mean_na=raw.expected_mean_na,
        mean_na=raw.mean_na,
        expanded_uncertainty_na=round(expanded_na, _DECIMALS),
        limit_na=float(settings.idle_limit_na),
        sample_aperture_s=raw.sample_aperture_s,
        samples_na=raw.samples_na,
        delay_s=raw.delay_s,
        shape_rms_na=raw.shape_rms_na,
        shape_limit_na=shape_limit_na,
        is_inverted=raw.is_inverted,
        is_overload=raw.is_overload,
        outcome=Outcome.FAIL if is_bad else outcome,
    )


def _record_reason(
    points: Sequence[RawPoint], record: ExpectedRecord, settings: MetrologySettings
) -> str | None:
    for point in points:
        expected = settings.mid_code + round_half_away(
            (point.target_na - record.offset_na) * (1 << settings.dac_bits) * PPM,
            record.gain_ppm * 2 * settings.full_scale_na,
        )
        if point.code != expected:
            return (
                "the board does not use its own calibration record: for "
                f"{point.target_na / 1_000:g} µA it chose code {point.code}, expected {expected}"
            )
    return None


def _point_reasons(points: Sequence[PointResult]) -> list[tuple[Outcome, str]]:
    # One sentence for each mode: its worst point, and how many others there are.
    reasons = []
    for mode in dict.fromkeys(point.mode for point in points):
        bad = [
            point for point in points if point.mode == mode and point.outcome is not Outcome.PASS
        ]
        if bad:
            worst = max(bad, key=lambda point: (point.outcome.severity, point.share_of_limit))
            more = f" (and {len(bad) - 1} more points)" if len(bad) > 1 else ""
            reasons.append((worst.outcome, _point_reason(worst) + more))
    return reasons


def _point_reason(point: PointResult) -> str:
    name = f"{point.mode} level {point.level_index + 1}" if point.mode else "idle current"
    return (
        f"{name}, {point.target_na / 1_000:+g} µA into {point.load_ohm / 1_000:g} kΩ: error "
        f"{point.error_na / 1_000:+.3f} µA, limit ±{point.deciding_limit_na / 1_000:.3f} µA, "
        f"U {point.expanded_uncertainty_na / 1_000:.3f} µA"
    )


def _waveform_reason(waveform: WaveformResult, settings: MetrologySettings) -> str:
    if waveform.is_overload:
        return f"{waveform.mode}: the current is larger than {waveform.range_ua} µA while it plays"
    timing = abs(waveform.period_us - waveform.expected_period_us) / waveform.expected_period_us
    is_late = timing > settings.timing_limit_percent / 100
    is_seen = waveform.delay_spread_s > settings.start_jitter_max_s or any(
        window.outcome is not Outcome.PASS for window in waveform.windows
    )
    if waveform.windows and (is_seen or not is_late):
        return describe_windows(waveform, settings)
    if not waveform.windows and waveform.is_inverted:
        return f"{waveform.mode}: the polarity is inverted"
    if not waveform.windows and waveform.shape_rms_na > waveform.shape_limit_na:
        return (
            f"{waveform.mode}: the capture is {waveform.shape_rms_na / 1_000:.2f} µA rms from the "
            f"table, limit {waveform.shape_limit_na / 1_000:.2f} µA"
        )
    if is_late:
        return (
            f"{waveform.mode}: the period is {waveform.period_us} µs, the table says "
            f"{waveform.expected_period_us} µs"
        )
    return (
        f"{waveform.mode}: mean {waveform.mean_na / 1_000:+.3f} µA over {waveform.aperture_s:g} s, "
        f"expected {waveform.expected_mean_na / 1_000:+.3f} ± {waveform.limit_na / 1_000:g} µA, "
        f"U {waveform.expanded_uncertainty_na / 1_000:.3f} µA"
    )
