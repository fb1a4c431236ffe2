"""How many samples a reading of a calibration takes: as many as its uncertainty budget needs.

Implements docs/spec/calibration.md §4.1.1. Repeatability is the only term that more samples lower,
so they are taken until it counts for little beside the others, and no longer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from provisioning.calibration_plan import working_codes
from provisioning.calibration_result import SamplingPlan
from provisioning.distributions import chi_square_quantile

if TYPE_CHECKING:
    from provisioning.calibration_result import CodeReading
    from provisioning.measurement_settings import MetrologySettings

NOISE_SAMPLES: Final = 16
"""Samples of the reading that measures the noise: 15 degrees of freedom."""
STEP_SIGMAS: Final = 4.0
"""A step counts when it is this many standard deviations of the difference."""
_CONFIDENCE: Final = 0.95
_COUNT_MIN: Final = 2
_PARTS: Final = (0.0, 0.5, 1.0)


def plan_sampling(
    noise: CodeReading, settings: MetrologySettings, *, age_days: int | None
) -> SamplingPlan:
    """Return how many samples each reading of the sweep takes.

    Args:
        noise: Many samples at one code, on the range of the sweep.
        settings: Plan, instrument specification, unit and limits.
        age_days: Days since the instrument's calibration, or `None`.

    Returns:
        The plan; its counts may be more than the settings allow.
    """
    dof = noise.count - 1
    bound_na = noise.sd_na * math.sqrt(dof / chi_square_quantile(1 - _CONFIDENCE, dof))
    codes = working_codes(settings)
    squares = math.fsum(float(code - settings.mid_code) ** 2 for code in codes)
    loads = len(settings.loads_ohm)
    reading_percent, range_percent = settings.accuracy_of_range(noise.range_ua).at_age(age_days)
    allowance_na = settings.inl_allowance_lsb * settings.lsb_na
    needs = []
    for part in _PARTS:
        current_na = part * settings.working_span_na
        # u(line) of one load's codes, in units of one reading's; loads repeat noise, not bends.
        spread = math.sqrt(1 / len(codes) + (current_na / settings.lsb_na) ** 2 / squares)
        others_na = math.hypot(
            current_na * reading_percent / 100 / math.sqrt(3),
            noise.range_ua * 1_000 * range_percent / 100 / math.sqrt(3),
            settings.leakage_na / math.sqrt(3),
            allowance_na * spread,
        )
        # Without a share of its own repeatability may be as large as all the rest.
        wanted_na = (settings.repeatability_share_max or 1.0) * others_na
        needs.append((_count(bound_na * spread / math.sqrt(loads) / wanted_na), wanted_na))
    count_for_fit, wanted_fit_na = max(needs, key=lambda need: need[0])
    wanted_step_na = wanted_step(settings)
    count_for_step = _count(bound_na / wanted_step_na)
    return SamplingPlan(
        noise_na=noise.sd_na,
        noise_dof=dof,
        noise_bound_na=bound_na,
        wanted_fit_na=wanted_fit_na,
        count_for_fit=max(count_for_fit, _COUNT_MIN),
        wanted_step_na=wanted_step_na,
        count_for_step=max(count_for_step, _COUNT_MIN),
    )


def wanted_step(settings: MetrologySettings) -> float:
    """Return how far a code's mean may scatter, nA: half a step of one LSB stands out of it."""
    return settings.lsb_na / 2 / (STEP_SIGMAS * math.sqrt(2))


def _count(ratio: float) -> int:
    # So many samples bring a standard deviation down to what is wanted: it falls with 1/√n.
    return max(math.ceil(ratio * ratio), 1)
