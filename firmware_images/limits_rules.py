"""The rules on what a current does to skin. Implements docs/spec/policy-and-approval.md §7.

Each function yields the findings of one rule on one level, from closed forms alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.limits_finding import CLAIM
from firmware_images.waveform_analysis import (
    WINDOW_US,
    is_short_phase,
    power_density_w_cm2,
    rms_density_ma_cm2,
    shannon_k,
)
from firmware_images.waveform_phases import find_runs, find_runs_of
from firmware_images.waveform_window import find_largest_window_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.limits_case import LevelCase
    from firmware_images.limits_finding import Finding
    from firmware_images.waveform_phases import Phase

_NA_PER_UA = 1e3
_UA_PER_MA = 1e3
_NA_US_PER_UC = 1e9
_NA_US_PER_MA_MIN = 6e13


def judge_peak(case: LevelCase) -> Iterator[Finding]:
    """PEAK: at most the claim with its tolerance, and at most the absolute ceiling."""
    segment, time_us = case.peak_place()
    peak_ua = case.level.peak_na / _NA_PER_UA
    limits = case.mode_limits
    if limits is not None:
        tolerance = case.policy.facts["GAIN_TOLERANCE"]
        yield case.find(
            "PEAK",
            "peak against the claim with its tolerance",
            peak_ua,
            "µA",
            limit_key=CLAIM,
            limit=float(limits.claim.value * (1 + tolerance.value / 100)),
            source=limits.claim.source,
            segment=segment,
            time_us=time_us,
        )
    yield case.find(
        "PEAK", "peak against the ceiling", peak_ua, "µA", segment=segment, time_us=time_us
    )


def judge_rms_density(case: LevelCase) -> Iterator[Finding]:
    """JRMS: r.m.s. current density over the smallest contact."""
    density = rms_density_ma_cm2(case.rms_ua, case.area_cm2)
    segment, time_us = case.heaviest_place(lambda piece: piece.squared_na2_us)
    yield case.find(
        "JRMS", "r.m.s. current density", density, "mA/cm²", segment=segment, time_us=time_us
    )


def judge_dc_density(case: LevelCase) -> Iterator[Finding]:
    """JDC: the worst second's mean, with gain tolerance and offset, over the contact."""
    yield _find_dc(case, abs(case.worst_second.mean_na), case.worst_second.start_us, "")
    if case.session_train is None:
        return
    window = find_largest_window_mean(case.session_train.train, WINDOW_US)
    start_us = case.session_train.time_us(window.start_us)
    yield _find_dc(case, abs(window.mean_na), start_us, "the session with its soft start and stop")


def _find_dc(case: LevelCase, mean_na: float, start_us: float, detail: str) -> Finding:
    worst_ua = mean_na / _NA_PER_UA * case.gain + case.fact("RESIDUAL_OFFSET")
    return case.find(
        "JDC",
        "mean of the worst second, with tolerance and offset",
        worst_ua / _UA_PER_MA / case.area_cm2,
        "mA/cm²",
        detail=detail,
        time_us=start_us,
    )


def judge_dose(case: LevelCase) -> Iterator[Finding]:
    """DOSE: the longest run of one polarity within the session, with tolerance and offset.

    The steady train and the ramps are both looked at: what rounds to nothing in a ramp does not
    end a run.
    """
    session_us = float(case.session.end_ticks * case.tick_us)
    played_us = float(case.session.played_ticks * case.tick_us)
    offset_na = case.fact("RESIDUAL_OFFSET") * _NA_PER_UA
    gain = case.gain

    def dose(run: Phase) -> float:
        return run.charge_na_us * gain + offset_na * run.duration_us

    steady = find_runs(case.period, session_us, played_us, scanned=case.scanned)
    ramped = case.session_train and find_runs_of(case.session_train.train.pieces)
    worst = max(steady, key=dose, default=None)
    start_us = 0.0 if worst is None else worst.start_us
    for run in ramped or ():
        if case.session_train and (worst is None or dose(run) > dose(worst)):
            worst, start_us = run, case.session_train.time_us(run.start_us)
    yield case.find(
        "DOSE",
        "charge of the longest run of one polarity",
        (0.0 if worst is None else dose(worst)) / _NA_US_PER_MA_MIN,
        "mA·min",
        detail=f"{case.session.pulse_count} whole pulses in the session",
        time_us=start_us,
    )


def judge_power_density(case: LevelCase) -> Iterator[Finding]:
    """PD: power in 500 Ω over the smallest contact."""
    power = power_density_w_cm2(case.rms_ua, case.area_cm2)
    segment, time_us = case.heaviest_place(lambda piece: piece.squared_na2_us)
    yield case.find(
        "PD", "power density in 500 Ω", power, "W/cm²", segment=segment, time_us=time_us
    )


def judge_shannon(case: LevelCase) -> Iterator[Finding]:
    """SHANNON: k of the short phases only; it says nothing about long ones."""
    short = [phase for phase in case.phases if is_short_phase(phase.duration_us)]
    if not short:
        return
    worst = max(short, key=lambda phase: phase.charge_na_us)
    k = shannon_k(worst.charge_na_us / _NA_US_PER_UC, case.area_cm2)
    if k is not None:
        yield case.find(
            "SHANNON",
            "k of phases up to 1 ms",
            k,
            "",
            is_strict=True,
            segment=case.segment_of(worst.piece),
            time_us=worst.start_us,
        )
