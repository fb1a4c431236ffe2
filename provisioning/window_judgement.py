"""Judges the windows of a played mode: timing, polarity, shape, size, and the means of each burst.

Pure: the captured samples, the shape and the settings of a stored result give the same outcome
again. Implements docs/spec/calibration.md §8.3.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioning.uncertainty import (
    COVERAGE_FACTOR,
    Outcome,
    build_budget,
    judge_error,
    worst_outcome,
)
from provisioning.waveform_result import StretchResult, WaveformResult, WindowResult
from provisioning.waveform_train import PulseTrain
from provisioning.window_matching import WindowMatcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.measurement_settings import MetrologySettings
    from provisioning.verification_readings import RawWaveform, RawWindow
    from provisioning.waveform_train import WaveformShape
    from provisioning.window_matching import Stretch, WindowMatch

_DECIMALS: Final = 3
_RATIO_DECIMALS: Final = 6
_NS_DECIMALS: Final = 9
_NOISE_NA: Final = 1_500.0
"""Three times the noise of a short sample, which the shape limit allows for, nA rms."""
_ZERO_SHARE: Final = 1e-3


class _Place(NamedTuple):
    """When the board was started for a window, as it was matched."""

    delay_s: float
    slack_s: float


def judge_windows(
    raw: RawWaveform, settings: MetrologySettings, age_days: int | None
) -> WaveformResult:
    """Judge a mode that was captured in windows.

    Args:
        raw: Shape and captures.
        settings: Limits, instrument and rule.
        age_days: Days since the instrument's calibration; `None` is the longest time.
    """
    shape = raw.shape
    assert shape is not None, "captured in windows"
    matcher = WindowMatcher(
        shape,
        sample_aperture_s=raw.sample_aperture_s,
        delay_max_s=settings.start_delay_max_s,
    )
    windows, places = [], []
    for window in raw.windows:
        if window.is_overload:
            windows.append(_overloaded(window))
            continue
        match = matcher.match(window.window, window.samples_na)
        windows.append(_judge_window(raw, window, match, settings, age_days))
        places.append(_Place(match.delay_s, _slack_s(match, raw.peak_na, settings)))
    spread_s = _spread_s(places[1:])
    stretches = [stretch for window in windows for stretch in window.stretches]
    error_na = _imply_mean_error_na(shape, stretches)
    expanded_na = max((s.expanded_uncertainty_na for s in stretches), default=0.0)
    timing = abs(raw.period_us - raw.expected_period_us) / raw.expected_period_us
    is_bad = timing > settings.timing_limit_percent / 100 or spread_s > settings.start_jitter_max_s
    expected_na = PulseTrain(shape).mean_na
    mean_outcome = judge_error(
        error_na,
        limit=settings.idle_limit_na,
        expanded_uncertainty=expanded_na,
        # The widest band of the rule: a stretch of few samples has a larger k in its U.
        guard_factor=settings.guard_share(COVERAGE_FACTOR),
    )
    is_overload = any(window.is_overload for window in windows)
    worst = max(windows, key=lambda window: window.shape_rms_na / (window.shape_limit_na or 1.0))
    outcomes = [mean_outcome, *(window.outcome for window in windows)]
    return WaveformResult(
        mode=raw.mode,
        level_index=raw.level_index,
        peak_na=raw.peak_na,
        load_ohm=raw.load_ohm,
        range_ua=raw.range_ua,
        period_us=raw.period_us,
        expected_period_us=raw.expected_period_us,
        aperture_s=round(math.fsum(s.aperture_s for s in stretches), _NS_DECIMALS),
        expected_mean_na=round(expected_na, _DECIMALS),
        mean_na=round(expected_na + error_na, _DECIMALS),
        expanded_uncertainty_na=expanded_na,
        limit_na=float(settings.idle_limit_na),
        sample_aperture_s=raw.sample_aperture_s,
        samples_na=(),
        delay_s=places[0].delay_s if places else 0.0,
        shape_rms_na=worst.shape_rms_na,
        shape_limit_na=worst.shape_limit_na,
        is_inverted=any(window.is_inverted for window in windows),
        is_overload=is_overload,
        outcome=Outcome.FAIL if is_bad else worst_outcome(outcomes),
        shape=shape,
        windows=tuple(windows),
        delay_spread_s=round(spread_s, _NS_DECIMALS),
    )


def describe_windows(waveform: WaveformResult, settings: MetrologySettings) -> str:
    """Say in a sentence what is worst about a mode that was captured in windows."""
    worst = max(waveform.windows, key=lambda window: window.outcome.severity)
    name = f"{waveform.mode}, {worst.name} at {worst.event_us * 1e-6:g} s"
    stretches = sorted(worst.stretches, key=lambda stretch: -stretch.outcome.severity)
    limit_s = settings.start_jitter_max_s
    if worst.outcome is not Outcome.FAIL and waveform.delay_spread_s > limit_s:
        return (
            f"{waveform.mode}: the windows do not agree on the timing, a pulse or a rest is too "
            f"long, too short or missing: {waveform.delay_spread_s * 1e3:.1f} ms apart, limit "
            f"{limit_s * 1e3:g} ms"
        )
    if worst.outcome is Outcome.PASS:
        return (
            f"{waveform.mode}: mean {waveform.mean_na / 1_000:+.3f} µA from the windows of "
            f"{waveform.aperture_s:.3g} s, expected {waveform.expected_mean_na / 1_000:+.3f} ± "
            f"{waveform.limit_na / 1_000:g} µA, U {waveform.expanded_uncertainty_na / 1_000:.3f} µA"
        )
    if worst.is_inverted:
        return f"{name}: the polarity is inverted"
    if worst.shape_rms_na > worst.shape_limit_na:
        return (
            f"{name}: the capture is {worst.shape_rms_na / 1_000:.2f} µA rms from the table, limit "
            f"{worst.shape_limit_na / 1_000:.2f} µA"
        )
    if worst.size is not None and abs(worst.size - 1) > worst.size_limit:
        return (
            f"{name}: the current is {worst.size * 100:.1f} % of the table's, limit "
            f"±{worst.size_limit * 100:.1f} %"
        )
    bad = stretches[0]
    return (
        f"{name}: mean {bad.mean_na / 1_000:+.3f} µA over {bad.aperture_s:.3g} s of "
        f"{'rest' if bad.is_rest else 'pulses'}, expected {bad.expected_mean_na / 1_000:+.3f} ± "
        f"{bad.limit_na / 1_000:g} µA, U {bad.expanded_uncertainty_na / 1_000:.3f} µA"
    )


def _overloaded(window: RawWindow) -> WindowResult:
    return WindowResult(
        name=window.window.name,
        event_us=window.window.event_us,
        start_us=window.window.start_us,
        samples_na=(),
        is_overload=True,
        delay_s=0.0,
        shape_rms_na=0.0,
        shape_limit_na=0.0,
        is_inverted=False,
        size=None,
        size_limit=0.0,
        stretches=(),
        outcome=Outcome.FAIL,
    )


def _judge_window(
    raw: RawWaveform,
    window: RawWindow,
    match: WindowMatch,
    settings: MetrologySettings,
    age_days: int | None,
) -> WindowResult:
    share = settings.shape_limit_percent / 100
    shape_limit_na = share * max(abs(value) for value in match.expected_na) + _NOISE_NA
    size_limit = share + settings.calibration_limit_at(raw.peak_na) / raw.peak_na
    is_bad = (
        match.is_inverted
        or match.rms_error_na > shape_limit_na
        or (match.size is not None and abs(match.size - 1) > size_limit)
    )
    # On a slow ramp alone an error and a delay look the same; the delays are compared instead.
    is_mean_shown = match.is_fast or match.size is not None
    stretches = tuple(
        _judge_stretch(raw, window, match, stretch, settings, age_days=age_days)
        for stretch in (match.stretches if is_mean_shown else ())
    )
    return WindowResult(
        name=window.window.name,
        event_us=window.window.event_us,
        start_us=window.window.start_us,
        samples_na=window.samples_na,
        is_overload=False,
        delay_s=round(match.delay_s, _NS_DECIMALS),
        shape_rms_na=round(match.rms_error_na, _DECIMALS),
        shape_limit_na=round(shape_limit_na, _DECIMALS),
        is_inverted=match.is_inverted,
        size=None if match.size is None else round(match.size, _RATIO_DECIMALS),
        size_limit=round(size_limit, _RATIO_DECIMALS),
        stretches=stretches,
        outcome=Outcome.FAIL
        if is_bad
        else worst_outcome([Outcome.PASS, *(stretch.outcome for stretch in stretches)]),
    )


def _judge_stretch(
    raw: RawWaveform,
    window: RawWindow,
    match: WindowMatch,
    stretch: Stretch,
    settings: MetrologySettings,
    *,
    age_days: int | None,
) -> StretchResult:
    samples = slice(stretch.begin, stretch.begin + stretch.count)
    mean_na = math.fsum(window.samples_na[samples]) / stretch.count
    expected_na = math.fsum(match.expected_na[samples]) / stretch.count
    squares = math.fsum(
        (measured - expected - mean_na + expected_na) ** 2
        for measured, expected in zip(
            window.samples_na[samples], match.expected_na[samples], strict=True
        )
    )
    budget = build_budget(
        mean_na,
        range_ua=raw.range_ua,
        load_ohm=raw.load_ohm,
        # What is left over at the best delay: noise, and how well the shape is kept.
        sample_sd_na=math.sqrt(squares / max(stretch.count - 1, 1)),
        count=stretch.count,
        settings=settings,
        sample_dof=max(stretch.count - 1, 1),
        age_days=age_days,
    )
    # Of whole balanced pulses gain cancels, and a rest has none: what is left is direct current.
    is_zero = abs(expected_na) <= _ZERO_SHARE * raw.peak_na and match.is_fast
    limit_na = float(settings.idle_limit_na)
    if not is_zero and not stretch.is_rest:
        limit_na = max(limit_na, settings.calibration_limit_at(raw.peak_na))
    return StretchResult(
        burst=stretch.burst,
        is_rest=stretch.is_rest,
        aperture_s=round(stretch.count * raw.sample_aperture_s, _NS_DECIMALS),
        expected_mean_na=round(expected_na, _DECIMALS),
        mean_na=round(mean_na, _DECIMALS),
        expanded_uncertainty_na=round(budget.expanded_na, _DECIMALS),
        limit_na=limit_na,
        outcome=judge_error(
            mean_na - expected_na,
            limit=limit_na,
            expanded_uncertainty=budget.expanded_na,
            guard_factor=settings.guard_share(budget.coverage_factor),
        ),
    )


def _slack_s(match: WindowMatch, peak_na: int, settings: MetrologySettings) -> float:
    """How far a current within its limit may shift the best delay: much on a slow ramp alone."""
    if match.steepest_na_per_s == 0:
        return math.inf
    allowed_na = settings.calibration_limit_at(peak_na)
    return allowed_na / match.steepest_na_per_s + match.delay_step_s


def _spread_s(places: Sequence[_Place]) -> float:
    """How far apart any two delays are, beyond what their slack explains."""
    beyond_s = [
        abs(one.delay_s - other.delay_s) - one.slack_s - other.slack_s
        for one, other in combinations(places, 2)
    ]
    return max([0.0, *beyond_s])


def _imply_mean_error_na(shape: WaveformShape, stretches: Sequence[StretchResult]) -> float:
    """The mean error over a repeat period; what was seen of a burst, or of rests, stands for it."""

    def mean_error_na(chosen: Sequence[StretchResult]) -> float:
        total_s = math.fsum(s.aperture_s for s in chosen)
        error = math.fsum((s.mean_na - s.expected_mean_na) * s.aperture_s for s in chosen)
        return error / total_s if total_s else 0.0

    rest_us = shape.burst_us - shape.train_us
    charge = 0.0
    for burst in range(shape.bursts):
        pulses = [s for s in stretches if not s.is_rest and s.burst == burst]
        charge += mean_error_na(pulses) * shape.train_us
        charge += mean_error_na([s for s in stretches if s.is_rest]) * rest_us
    return charge / shape.period_us
