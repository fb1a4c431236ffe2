"""Process capability: how well what is made fits between its limits, and how sure that is.

Cp and Cpk with the short-term spread, Pp and Ppk with the whole spread, each with a confidence
interval. Implements docs/spec/capability.md §3. Everything rests on normal values in the order of
making; what speaks against that is said in the remarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from provisioning.control_charts import CHART_SIGMAS, PAIR_D2, find_baseline
from provisioning.distributions import chi_square_quantile
from provisioning.errors import CapabilityDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE: Final = 0.95
ENOUGH_VALUES: Final = 30
BOTH_SIDES: Final = 2
_RATIO_MAX: Final = 1e9
"""No process is a thousand million standard deviations away from its limits."""
_OUTSIDE_BY_CHANCE: Final = 2 * NormalDist().cdf(-CHART_SIGMAS)
_DISTANCE_VARIANCE: Final = 2 - 4 / math.pi
_NEIGHBOUR_COVARIANCE: Final = 4 / math.pi * (math.sqrt(0.75) + math.pi / 12) - 4 / math.pi
"""Covariance of |X1 - X2| and |X2 - X3| of standard normal values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Tolerance limits; at least one is there.

    Attributes:
        lower: Lower limit, or `None`.
        upper: Upper limit, or `None`.
    """

    lower: float | None
    upper: float | None

    def __post_init__(self) -> None:
        given = [limit for limit in (self.lower, self.upper) if limit is not None]
        if not given or not all(map(math.isfinite, given)) or given != sorted(set(given)):
            raise CapabilityDataError(
                "these limits enclose nothing",
                expected="a lower limit, an upper limit, or a lower one below an upper one",
                got=" and ".join(map(str, given)) or "neither",
                hint="give --lower, --upper or both",
            )

    def distances(self, mean: float) -> tuple[float, ...]:
        """Return how far each limit is from a mean; negative when the mean is beyond it."""
        below = () if self.lower is None else (mean - self.lower,)
        return below if self.upper is None else (*below, self.upper - mean)

    def count_outside(self, values: Sequence[float]) -> int:
        """Return how many values are outside; on a limit is inside."""
        lower = -math.inf if self.lower is None else self.lower
        upper = math.inf if self.upper is None else self.upper
        return sum(not lower <= value <= upper for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A capability index with its two-sided confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What a process can do. Spreads are standard deviations, in the unit of the values.

    Attributes:
        count: Values.
        mean: Their mean.
        sd_within: Short-term spread: from moving ranges, or pooled within subgroups.
        dof_within: Its degrees of freedom.
        sd_overall: Spread of all values.
        cp: Width of the limits over 6·sd_within; `None` with one limit.
        cpk: Distance of the mean from the nearer limit over 3·sd_within.
        pp: As cp, with sd_overall.
        ppk: As cpk, with sd_overall.
        outside_count: Values outside the limits.
        outside_expected: The share outside that a normal process of this mean and sd_overall has.
        signal_count: Values beyond mean ± 3·sd_within.
        confidence: Of the intervals.
        remarks: What speaks against believing it, one sentence each.
    """

    count: int
    mean: float
    sd_within: float
    dof_within: float
    sd_overall: float
    cp: Index | None
    cpk: Index
    pp: Index | None
    ppk: Index
    outside_count: int
    outside_expected: float
    signal_count: int
    confidence: float
    remarks: tuple[str, ...]


def assess_capability(
    values: Sequence[float],
    limits: Limits,
    *,
    subgroups: Sequence[str] | None = None,
    confidence: float = CONFIDENCE,
) -> Capability:
    """State the capability of a process.

    Args:
        values: In the order of making.
        limits: Tolerance limits.
        subgroups: What each value was made together with, such as a batch: the short-term spread
            is then that within subgroups. `None`: from one value to the next.
        confidence: Of the intervals, between 0 and 1.

    Raises:
        CapabilityDataError: Too few values, no spread, or no subgroup with two values.
    """
    baseline = find_baseline(values)
    count, mean = len(values), baseline.mean
    sd_overall = _root_mean_square([value - mean for value in values], count - 1)
    if subgroups is None:
        sd_within, dof_within = baseline.sd, moving_range_dof(count)
    else:
        sd_within, dof_within = _pool(values, subgroups)
    reach = CHART_SIGMAS * sd_within
    signal_count = Limits(lower=mean - reach, upper=mean + reach).count_outside(values)
    tail = (1 - confidence) / 2
    sides = limits.distances(mean)
    cp, cpk = (
        _width_index(sides, sd_within, dof_within, tail),
        _side_index(min(sides), sd_within, dof_within, count, tail),
    )
    pp, ppk = (
        _width_index(sides, sd_overall, count - 1, tail),
        _side_index(min(sides), sd_overall, count - 1, count, tail),
    )
    return Capability(
        count=count,
        mean=mean,
        sd_within=sd_within,
        dof_within=dof_within,
        sd_overall=sd_overall,
        cp=cp,
        cpk=cpk,
        pp=pp,
        ppk=ppk,
        outside_count=limits.count_outside(values),
        outside_expected=_expect_outside(limits, mean, sd_overall),
        signal_count=signal_count,
        confidence=confidence,
        remarks=tuple(_remark(count, signal_count, mean, limits)),
    )


def moving_range_dof(count: int) -> float:
    """Return the degrees of freedom of a standard deviation from moving ranges: 0.6 a value.

    Those of the chi that has the same relative variance; neighbouring ranges share a value, which
    their covariance takes into account.
    """
    ranges = count - 1
    variance = (_DISTANCE_VARIANCE + 2 * (ranges - 1) / ranges * _NEIGHBOUR_COVARIANCE) / ranges
    return PAIR_D2**2 / (2 * variance)


def _pool(values: Sequence[float], subgroups: Sequence[str]) -> tuple[float, int]:
    groups: dict[str, list[float]] = {}
    for value, name in zip(values, subgroups, strict=True):
        groups.setdefault(name, []).append(value)
    dof = len(values) - len(groups)
    if dof < 1:
        raise CapabilityDataError(
            "no subgroup has two values",
            expected="values that were made together",
            got=f"{len(groups)} subgroups of one value",
            hint="leave the column subgroup out: neighbours are then compared",
        )
    deviations = []
    for group in groups.values():
        mean = group[0] + math.fsum(value - group[0] for value in group) / len(group)
        deviations += [value - mean for value in group]
    if not any(deviations):
        raise CapabilityDataError(
            "the values have no spread within their subgroups",
            expected="values that differ",
            got=f"{len(groups)} subgroups of equal values",
            hint="the instrument's resolution is too coarse, or one value was copied",
        )
    return _root_mean_square(deviations, dof), dof


def _root_mean_square(deviations: Sequence[float], dof: int) -> float:
    # Scaled, so that the squares of very small values are not nothing.
    scale = max(map(abs, deviations))
    return scale * math.sqrt(math.fsum((each / scale) ** 2 for each in deviations) / dof)


def _width_index(sides: Sequence[float], sd: float, dof: float, tail: float) -> Index | None:
    if len(sides) < BOTH_SIDES:
        return None
    estimate = _ratio(math.fsum(sides), 6 * sd)
    return Index(
        estimate=estimate,
        low=estimate * math.sqrt(chi_square_quantile(tail, dof) / dof),
        high=estimate * math.sqrt(chi_square_quantile(1 - tail, dof) / dof),
    )


def _side_index(distance: float, sd: float, dof: float, count: int, tail: float) -> Index:
    # Bissell's normal approximation (Applied Statistics 39 (1990) 331), with the degrees of
    # freedom that the standard deviation really has.
    estimate = _ratio(distance, 3 * sd)
    reach = -NormalDist().inv_cdf(tail) * math.hypot(
        1 / (3 * math.sqrt(count)), estimate / math.sqrt(2 * dof)
    )
    return Index(estimate=estimate, low=estimate - reach, high=estimate + reach)


def _ratio(distance: float, spread: float) -> float:
    # By a product: the quotient by a tiny spread may be infinite.
    if abs(distance) >= _RATIO_MAX * spread:
        raise CapabilityDataError(
            "the limits and the values are not of one unit",
            expected=f"limits within {_RATIO_MAX:g} standard deviations",
            got=f"{abs(distance):g} against a spread of {spread:g}",
            hint="give the limits in the unit of the column value",
        )
    return distance / spread


def _expect_outside(limits: Limits, mean: float, sd: float) -> float:
    normal = NormalDist()
    below = 0.0 if limits.lower is None else normal.cdf((limits.lower - mean) / sd)
    above = 0.0 if limits.upper is None else normal.cdf((mean - limits.upper) / sd)
    return below + above


def _remark(count: int, signal_count: int, mean: float, limits: Limits) -> list[str]:
    remarks = []
    if count < ENOUGH_VALUES:
        remarks.append(f"{count} values say little: look at the intervals")
    by_chance = _OUTSIDE_BY_CHANCE * count
    if signal_count > by_chance + CHART_SIGMAS * math.sqrt(by_chance) + 1:
        remarks.append(
            f"the process is not stable: {signal_count} of {count} values are beyond mean ± 3 "
            f"short-term sd, and {by_chance:.2g} would be by chance; Cp and Cpk promise nothing"
        )
    if limits.count_outside([mean]):
        remarks.append("the mean itself is outside the limits")
    return remarks
