"""The rules on the output as an electrical one. Implements docs/spec/policy-and-approval.md §7.

The ceilings of IEC 60601-2-10 never bite at microamps; they catch a file in milliamps.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final

from firmware_images.waveform import Regulation
from firmware_images.waveform_analysis import LOAD_OHM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.limits_case import LevelCase
    from firmware_images.limits_finding import Finding

_NA_PER_UA: Final = 1e3
_UA_PER_MA: Final = 1e3
_US_PER_MS: Final = 1e3
_US_PER_S: Final = 1e6
_MJ_PER_NA2_US_OHM: Final = 1e-21
_UV_PER_V: Final = 1e6
_SINGLE_PULSE_US: Final = 100_000.0
_LOW_HZ: Final = 400.0
_HIGH_HZ: Final = 1500.0


def judge_iec_rms(case: LevelCase) -> Iterator[Finding]:
    """IEC_RMS: DC and AC into 500 Ω, judged separately, AC by the pulses' frequency."""
    yield case.find(
        "IEC_RMS_DC",
        "DC into 500 Ω",
        abs(case.worst_second.mean_na) / _NA_PER_UA / _UA_PER_MA,
        "mA",
        rule="IEC_RMS",
        time_us=case.worst_second.start_us,
    )
    frequency_hz = _US_PER_S / case.pulse.period_us
    if frequency_hz <= _LOW_HZ:
        key = "IEC_RMS_400HZ"
    elif frequency_hz <= _HIGH_HZ:
        key = "IEC_RMS_1500HZ"
    else:
        key = "IEC_RMS_ABOVE"
    segment, time_us = case.heaviest_place(lambda piece: piece.squared_na2_us)
    ac_ua = sqrt(max(case.rms_ua**2 - case.analysis.idc_ua**2, 0.0))
    yield case.find(
        key,
        "AC r.m.s. into 500 Ω",
        ac_ua / _UA_PER_MA,
        "mA",
        rule="IEC_RMS",
        detail=f"{frequency_hz:.4g} Hz",
        segment=segment,
        time_us=time_us,
    )


def judge_pulse_energy(case: LevelCase) -> Iterator[Finding]:
    """PULSE_E: the energy of a pulse under 0.1 s in 500 Ω, and the open-circuit voltage."""
    single = [phase for phase in case.phases if phase.duration_us < _SINGLE_PULSE_US]
    if single:
        worst = max(single, key=lambda phase: phase.squared_na2_us)
        yield case.find(
            "PULSE_E",
            "energy of one phase in 500 Ω",
            worst.squared_na2_us * LOAD_OHM * _MJ_PER_NA2_US_OHM,
            "mJ",
            segment=case.segment_of(worst.piece),
            time_us=worst.start_us,
        )
    yield case.find("PULSE_V", "open-circuit voltage", case.fact("COMPLIANCE"), "V", rule="PULSE_E")


def judge_slope(case: LevelCase) -> Iterator[Finding]:
    """SLOPE: the steepest change, where the policy limits it; a step takes one tick.

    Pulses end at zero, so the step into the next pulse is the first sample, whatever its polarity.
    """
    limits = case.mode_limits
    if limits is not None and not limits.is_slope_limited:
        return
    tick_ms = case.tick_us / _US_PER_MS
    worst, worst_segment, worst_us, detail = 0.0, 1, 0.0, ""
    before_na = 0
    start_us = 0.0
    for number, (segment, piece) in enumerate(
        zip(case.level.segments, case.pulse.pieces, strict=True), start=1
    ):
        step = abs(segment.start_na - before_na) / _NA_PER_UA / tick_ms
        ramp = abs(segment.end_na - segment.start_na) / _NA_PER_UA
        slope = max(step, ramp / (piece.duration_us / _US_PER_MS))
        if slope > worst:
            worst, worst_segment, worst_us = slope, number, start_us
            detail = _describe_step(before_na, segment.start_na) if slope == step else ""
        before_na = segment.end_na
        start_us += piece.duration_us
    yield case.find(
        "SLOPE",
        "steepest change",
        worst,
        "µA/ms",
        detail=detail,
        segment=worst_segment,
        time_us=worst_us,
    )


def _describe_step(from_na: int, to_na: int) -> str:
    text = f"a step from {from_na / _NA_PER_UA:g} to {to_na / _NA_PER_UA:g} µA"
    return f"{text}: the polarity reverses inside a hold" if from_na * to_na < 0 else text


def judge_session(case: LevelCase) -> Iterator[Finding]:
    """SESSION: how long the device plays before it stops by itself."""
    session_us = case.mode.session_ticks * case.tick_us
    last_s = case.session.played_ticks * case.tick_us / _US_PER_S
    yield case.find(
        "SESSION",
        "session",
        session_us / _US_PER_S,
        "s",
        detail=f"{case.session.pulse_count} whole pulses, the last ends at {last_s:.10g} s",
        time_us=session_us,
    )


def judge_compliance(case: LevelCase) -> Iterator[Finding]:
    """VC: the output stage must reach the peak in the highest load.

    A current source must hold the peak into `VC_LOAD`; a voltage source must offer what drives
    the peak through its own resistance and the reference load.
    """
    peak_ua = case.level.peak_na / _NA_PER_UA
    segment, time_us = case.peak_place()
    compliance = case.policy.facts["COMPLIANCE"]
    if case.mode.regulation is Regulation.CURRENT:
        load_ohm = case.limit("VC_LOAD")
    else:
        load_ohm = LOAD_OHM + case.fact("SOURCE_RESISTANCE")
    yield case.find(
        "VC_LOAD",
        "voltage that drives the peak",
        peak_ua * load_ohm / _UV_PER_V,
        "V",
        rule="VC",
        detail=f"into {load_ohm:g} Ω",
        limit=float(compliance),
        source=compliance.source,
        segment=segment,
        time_us=time_us,
    )
