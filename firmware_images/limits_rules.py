"""The rules on what a current does to skin. Implements docs/spec/policy-and-approval.md §7.

Each function yields the findings of one rule on one level, from closed forms alone.
"""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING

from firmware_images.waveform_analysis import (
    is_short_phase,
    power_density_w_cm2,
    rms_density_ma_cm2,
    shannon_k,
)
from firmware_images.waveform_phases import find_phases, find_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.limits_case import LevelCase
    from firmware_images.limits_finding import Finding

_NA_PER_UA = 1e3
_UA_PER_MA = 1e3
_US_PER_MS = 1e3
_NA_US_PER_UC = 1e9
_NA_US_PER_MA_MIN = 6e13


def judge_peak(case: LevelCase) -> Iterator[Finding]:
    """PEAK: at most the claim with its tolerance, and at most the absolute ceiling."""
    values_na = [(abs(s.start_na), abs(s.end_na)) for s in case.level.segments]
    index = max(range(len(values_na)), key=lambda i: max(values_na[i]))
    start_ms = fsum(p.duration_us for p in case.pulse.pieces[:index]) / _US_PER_MS
    at_end = values_na[index][1] > values_na[index][0]
    time_ms = start_ms + (case.pulse.pieces[index].duration_us / _US_PER_MS if at_end else 0.0)
    peak_ua = case.level.peak_na / _NA_PER_UA
    limits = case.mode_limits
    if limits is not None:
        tolerance = case.policy.facts["GAIN_TOLERANCE"]
        yield case.find(
            "PEAK",
            "peak against the claim with its tolerance",
            peak_ua,
            "µA",
            limit=float(limits.claim.value * (1 + tolerance.value / 100)),
            source=limits.claim.source,
            segment=index + 1,
            time_ms=time_ms,
        )
    yield case.find(
        "PEAK", "peak against the ceiling", peak_ua, "µA", segment=index + 1, time_ms=time_ms
    )


def judge_rms_density(case: LevelCase) -> Iterator[Finding]:
    """JRMS: r.m.s. current density over the smallest contact."""
    density = rms_density_ma_cm2(case.rms_ua, case.area_cm2)
    yield case.find("JRMS", "r.m.s. current density", density, "mA/cm²")


def judge_dc_density(case: LevelCase) -> Iterator[Finding]:
    """JDC: the worst second's mean, with gain tolerance and offset, over the contact."""
    window = case.window
    worst_ua = abs(window.mean_na) / _NA_PER_UA * case.gain + case.fact("RESIDUAL_OFFSET")
    yield case.find(
        "JDC",
        "mean of the worst second, with tolerance and offset",
        worst_ua / _UA_PER_MA / case.area_cm2,
        "mA/cm²",
        time_ms=window.start_us / _US_PER_MS,
    )


def judge_balance(case: LevelCase) -> Iterator[Finding]:
    """BALANCE: each pulse returns its charge, and no DC remains with the unit's own offset.

    The DC is looked at over one burst too: a polarity that flips hides it from the whole cycle,
    not from the skin in between. The offset counts in the DC alone.
    """
    if not case.is_balanced:
        return
    net_uc = fsum(piece.charge_na_us for piece in case.pulse.pieces) / _NA_US_PER_UC
    phases = find_phases(case.pulse)
    largest = max(phases, key=lambda phase: phase.charge_na_us)
    share_uc = case.limit("BALANCE_CHARGE_SHARE") / 100 * largest.charge_na_us / _NA_US_PER_UC
    is_share = share_uc > case.limit("BALANCE_CHARGE")
    dc_ua = fsum(p.charge_na_us for p in case.burst.pieces) / case.burst.period_us / _NA_PER_UA
    if abs(case.analysis.idc_ua) > abs(dc_ua):
        dc_ua = case.analysis.idc_ua
    yield case.find(
        "BALANCE_CHARGE_SHARE" if is_share else "BALANCE_CHARGE",
        "charge that each pulse leaves unpaired",
        abs(net_uc),
        "µC",
        rule="BALANCE",
        detail=f"{dc_ua:+.3f} µA of DC",
        limit=share_uc if is_share else None,
        segment=largest.piece,
        time_ms=largest.start_us / _US_PER_MS,
    )
    yield case.find(
        "BALANCE_DC",
        "DC of the table with the unit's offset and drift",
        abs(dc_ua) + case.fact("RESIDUAL_OFFSET") + case.fact("OFFSET_DRIFT"),
        "µA",
        rule="BALANCE",
        detail=f"{dc_ua:+.3f} µA of DC in the table",
        is_strict=True,
    )


def judge_dose(case: LevelCase) -> Iterator[Finding]:
    """DOSE: the longest run of one polarity within the session, with tolerance and offset."""
    session_us = float(case.mode.session_ticks * case.tick_us)
    offset_na = case.fact("RESIDUAL_OFFSET") * _NA_PER_UA
    dose, run = max(
        (
            (run.charge_na_us * case.gain + offset_na * run.duration_us, run)
            for run in find_runs(case.period, session_us, scanned=case.scanned)
        ),
        key=lambda pair: pair[0],
        default=(0.0, None),
    )
    yield case.find(
        "DOSE",
        "charge of the longest run of one polarity",
        dose / _NA_US_PER_MA_MIN,
        "mA·min",
        segment=None if run is None else case.segment_of(run.piece),
        time_ms=None if run is None else run.start_us / _US_PER_MS,
    )


def judge_power_density(case: LevelCase) -> Iterator[Finding]:
    """PD: power in 500 Ω over the smallest contact."""
    power = power_density_w_cm2(case.rms_ua, case.area_cm2)
    yield case.find("PD", "power density in 500 Ω", power, "W/cm²")


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
            time_ms=worst.start_us / _US_PER_MS,
        )
