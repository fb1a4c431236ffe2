"""Names what was wrong while a unit was measured: restarts, noise, drift, idle current.

Implements the rules of docs/spec/calibration.md §4.5 that are about the unit's conditions, as those
of `calibration_findings` are about its converter. This module measures nothing and fits nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from provisioning.calibration_findings import PPM, make_finding
from provisioning.calibration_plan import working_codes
from provisioning.calibration_result import FindingName
from provisioning.calibration_sampling import wanted_step
from provisioning.stored_result import THIRD_FORMAT
from provisioning.uncertainty import build_budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.calibration_result import CodeReading, Finding, SamplingPlan, WayBack
    from provisioning.measurement_settings import MetrologySettings

_DRIFT_SIGMAS: Final = 4.0


def judge_restart(
    readings: Sequence[CodeReading], settings: MetrologySettings
) -> tuple[Finding, ...]:
    """Judge whether the board restarted instead of driving a code."""
    for reading in readings:
        if reading.is_restart:
            nominal_ua = (reading.code - settings.mid_code) * settings.lsb_na / 1_000
            return (
                make_finding(
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
        make_finding(
            FindingName.NOISE,
            f"{scatter_na:.0f} nA rms from sample to sample is more than "
            f"{settings.sample_count_max} samples a reading can average: a loose contact, a "
            "missing ground, or an oscillating output",
            measured=scatter_na,
            limit=limit_na,
            unit="nA",
        ),
    )


def judge_way_back(
    way_back: WayBack | None, settings: MetrologySettings, *, version: int
) -> tuple[Finding, ...]:
    """Judge what changed between the way out and the way back.

    Args:
        way_back: What changed; `None` without a way back.
        settings: Limits and converter.
        version: Format of the result that states the findings.
    """
    if way_back is None:
        return ()
    if findings := _judge_drift(way_back, settings, version):
        return findings
    # In LSB, four deviations of one code's difference: the mean of all is in the drift already.
    noise_lsb = way_back.gain_drift_u_ppm / PPM * _spread(settings)
    limit_lsb = max(settings.hysteresis_limit_lsb, _DRIFT_SIGMAS * noise_lsb)
    if abs(way_back.hysteresis_lsb) > limit_lsb:
        return (
            make_finding(
                FindingName.HYSTERESIS,
                f"code {way_back.hysteresis_code} differs by {way_back.hysteresis_lsb:+.2f} LSB "
                "between the way out and the way back",
                measured=way_back.hysteresis_lsb,
                limit=limit_lsb,
                unit="LSB",
            ),
        )
    return ()


def _judge_drift(
    way_back: WayBack, settings: MetrologySettings, version: int
) -> tuple[Finding, ...]:
    limit_ppm = max(settings.drift_limit_ppm, _DRIFT_SIGMAS * way_back.gain_drift_u_ppm)
    offset_limit_na = max(
        settings.drift_limit_ppm * settings.working_span_na / PPM,
        _DRIFT_SIGMAS * way_back.offset_drift_u_na,
    )
    gain = make_finding(
        FindingName.DRIFT,
        f"between the way out and the way back the gain changed by "
        f"{way_back.gain_drift_ppm:+.0f} ppm: the unit or the fixture drifts",
        measured=way_back.gain_drift_ppm,
        limit=limit_ppm,
        unit="ppm",
    )
    offset = make_finding(
        FindingName.DRIFT,
        f"between the way out and the way back the current at mid-code changed by "
        f"{way_back.offset_drift_na:+.0f} nA: the unit or the fixture drifts",
        measured=way_back.offset_drift_na,
        limit=offset_limit_na,
        unit="nA",
    )
    findings = tuple(one for one in (gain, offset) if abs(one.measured) > one.limit)
    if findings and version < THIRD_FORMAT:
        # It stated the gain's figures whichever decided; its results stay what they were.
        both = (
            f"between the way out and the way back the gain changed by "
            f"{way_back.gain_drift_ppm:+.0f} ppm and the offset by "
            f"{way_back.offset_drift_na:+.0f} nA: the unit or the fixture drifts"
        )
        return (gain.model_copy(update={"message": both}),)
    return findings


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
        make_finding(
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
