"""Which static points a verification measures, in which order, and with how many samples.

Implements docs/spec/calibration.md §6.1. This module measures nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioning.errors import MetrologySettingsError
from provisioning.measurement_choices import LevelChoice
from provisioning.uncertainty import build_budget
from provisioning.verification_readings import RawPoint

if TYPE_CHECKING:
    from firmware_images.waveform import Mode, WaveformTable
    from provisioning.measurement_settings import MetrologySettings

IDLE_LEVEL: Final = -1
SAMPLES_MIN: Final = 2
"""One sample says nothing about its scatter."""


def refuse_unverified_claim(
    settings: MetrologySettings, *, load_min_ohm: int, load_max_ohm: int
) -> tuple[int, int]:
    """Return the span of loads that a verification covers; the product's claim is inside it.

    Implements docs/spec/calibration-record.md §4.

    Args:
        settings: The loads of the fixture.
        load_min_ohm: Lowest load that the product claims.
        load_max_ohm: Highest load that it claims.

    Raises:
        MetrologySettingsError: The product claims a load at which nobody would measure it.
    """
    low_ohm, high_ohm = verified_loads(settings)
    if load_min_ohm < low_ohm or load_max_ohm > high_ohm:
        raise MetrologySettingsError(
            "the product claims loads that this station does not verify",
            expected=f"a claim inside {low_ohm} to {high_ohm} ohm",
            got=f"{load_min_ohm} to {load_max_ohm} ohm",
            where="[product] claim_load_min_ohm and claim_load_max_ohm",
            hint="add the loads to the fixture, and to claim_loads_ohm, claim_end_load_ohm and "
            "load_channels of [station.metrology]",
        )
    return low_ohm, high_ohm


def verified_loads(settings: MetrologySettings) -> tuple[int, int]:
    """Return the lowest and the highest load at which the claim is verified, Ω."""
    loads_ohm = (*settings.claim_loads_ohm, settings.claim_end_load_ohm)
    return min(loads_ohm), max(loads_ohm)


def plan_points(
    table: WaveformTable,
    settings: MetrologySettings,
    *,
    sample_sd_na: float | None,
    age_days: int | None,
) -> list[RawPoint]:
    """Return the points in the order in which they are measured.

    Args:
        table: The released waveform table.
        settings: Loads, levels and what the instrument can do.
        sample_sd_na: Scatter of one sample as calibration saw it, nA; `None` if it is not known.
        age_days: Days since the instrument's calibration; `None` is the longest time.
    """
    # Loads change least often, then ranges: both cost settling on a real fixture.
    loads = (settings.reference_load_ohm, *settings.claim_loads_ohm)
    plan = [plan_point("", IDLE_LEVEL, 0, load_ohm, settings) for load_ohm in loads]
    for mode in table.modes:
        for index in chosen_levels(mode, settings):
            is_highest = index == len(mode.levels) - 1
            ends = (settings.claim_end_load_ohm,) if is_highest else ()
            plan += [
                plan_point(mode.name, index, sign * mode.levels[index].peak_na, load_ohm, settings)
                for load_ohm in dict.fromkeys((*loads, *ends))
                for sign in (1, -1)
            ]
    counted = [
        replace(
            point,
            count=samples_needed(point, settings, sample_sd_na=sample_sd_na, age_days=age_days),
        )
        for point in plan
    ]
    return sorted(counted, key=lambda point: (point.load_ohm, point.range_ua))


def plan_point(
    mode: str, level_index: int, target_na: int, load_ohm: int, settings: MetrologySettings
) -> RawPoint:
    """Return one point on the range that it is measured on, with the largest sample count."""
    room_na = abs(target_na) + settings.claim_limit_at(target_na)
    return RawPoint(
        mode=mode,
        level_index=level_index,
        target_na=target_na,
        load_ohm=load_ohm,
        range_ua=settings.accuracy_for(room_na).range_ua,
        count=settings.sample_count,
    )


def chosen_levels(mode: Mode, settings: MetrologySettings) -> tuple[int, ...]:
    """Return the levels of a mode that are measured, from 0: lowest, middle and top, or all."""
    count = len(mode.levels)
    if settings.levels is LevelChoice.ALL:
        return tuple(range(count))
    return tuple(sorted({0, count // 2, count - 1}))


def samples_needed(
    point: RawPoint,
    settings: MetrologySettings,
    *,
    sample_sd_na: float | None,
    age_days: int | None,
) -> int:
    """Return how many samples make repeatability a small part of a point's uncertainty.

    Args:
        point: The point; its target stands for the reading.
        settings: The largest share of the other terms that repeatability may have, and the bound.
        sample_sd_na: Scatter of one sample, nA; `None` asks for the bound.
        age_days: Days since the instrument's calibration; `None` is the longest time.
    """
    share = settings.repeatability_share_max
    if sample_sd_na is None or share is None:
        return settings.sample_count
    others_na = build_budget(
        point.target_na,
        range_ua=point.range_ua,
        load_ohm=point.load_ohm,
        sample_sd_na=0.0,
        count=1,
        settings=settings,
        age_days=age_days,
    ).standard_na
    needed = math.ceil((sample_sd_na / (share * others_na)) ** 2)
    return min(max(needed, SAMPLES_MIN), settings.sample_count)
