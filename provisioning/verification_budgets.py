"""The uncertainty budget of each reading of a verification, from what was read.

Implements docs/spec/calibration.md §5. Judgement, report and covariance take their budgets from
here, so they cannot differ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from provisioning.uncertainty import build_budget
from provisioning.verification_readings import RawPoint
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.measurement_settings import MetrologySettings
    from provisioning.uncertainty import Budget
    from provisioning.verification_result import VerificationResult

_NOISY: Final = 4.0
"""A point that scatters so many times as much as all points do is noisy itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledScatter:
    """Scatter of one sample, pooled over readings.

    Attributes:
        sd_na: Standard deviation, nA.
        dof: Its degrees of freedom.
    """

    sd_na: float
    dof: int


def pool_scatter(points: Sequence[RawPoint]) -> PooledScatter:
    """Return the scatter of one sample, pooled over all points."""
    dof = sum(point.count - 1 for point in points)
    if dof == 0:
        return PooledScatter(sd_na=0.0, dof=0)
    total = math.fsum((point.count - 1) * point.sd_na**2 for point in points)
    return PooledScatter(sd_na=math.sqrt(total / dof), dof=dof)


def budget_of_point(
    raw: RawPoint, pooled: PooledScatter, settings: MetrologySettings, age_days: int | None
) -> Budget:
    """Return the budget of one point.

    Args:
        raw: The reading.
        pooled: The scatter of all readings.
        settings: Instrument specification, fixture, unit and converter.
        age_days: Days since the instrument's calibration, or `None`.
    """
    # A few samples guess their scatter badly, all together well. Where the budget chose how many,
    # only a point that is noisy itself counts for itself; before that the larger one did.
    noisy = 1.0 if settings.repeatability_share_max is None else _NOISY
    is_own = raw.sd_na > noisy * pooled.sd_na
    dof = raw.count - 1 if is_own else pooled.dof
    return build_budget(
        raw.mean_na,
        range_ua=raw.range_ua,
        load_ohm=raw.load_ohm,
        sample_sd_na=raw.sd_na if is_own else pooled.sd_na,
        count=raw.count,
        settings=settings,
        sample_dof=dof or math.inf,
        age_days=age_days,
        code=raw.code,
    )


def budgets_of_result(result: VerificationResult) -> tuple[Budget, ...]:
    """Return the budgets of all points and then of all idle currents of a stored result."""
    raw = [RawPoint.from_result(point) for point in (*result.points, *result.idle)]
    pooled = pool_scatter(raw)
    age_days = result.certificate_age_days
    return tuple(budget_of_point(point, pooled, result.settings, age_days) for point in raw)
