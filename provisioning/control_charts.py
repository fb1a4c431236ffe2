"""Control charts: whether a process is the same as it was, value by value in the order of making.

Individuals with moving range (I-MR), and the exponentially weighted moving average (EWMA), which
sees a small lasting shift sooner. Implements docs/spec/capability.md §4. Limits come from the
process itself and say nothing about tolerances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Final

from provisioning.errors import CapabilityDataError
from provisioning.spread_constants import range_limit_factor

if TYPE_CHECKING:
    from collections.abc import Sequence

PAIR_D2: Final = 2 / math.sqrt(math.pi)
"""Mean distance of two normal values, in standard deviations: 1.128."""
CHART_SIGMAS: Final = 3.0
EWMA_WEIGHT: Final = 0.2
EWMA_WIDTH: Final = 3.0
BASELINE_MIN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlChart:
    """A chart: points, center and limits, in the unit of the values.

    Attributes:
        name: What is charted.
        points: One for each value; of moving ranges, one fewer.
        center: Center line.
        lower: Lower limit at each point.
        upper: Upper limit at each point.
        first_value: Number of the value that the first point belongs to, from 1.
    """

    name: str
    points: tuple[float, ...]
    center: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    first_value: int = 1

    @property
    def signals(self) -> tuple[int, ...]:
        """Numbers of the values, from 1, at which the chart is outside its limits."""
        return tuple(
            number
            for number, (point, lower, upper) in enumerate(
                zip(self.points, self.lower, self.upper, strict=True), start=self.first_value
            )
            if not lower <= point <= upper
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a process is when nothing is wrong.

    Attributes:
        mean: Mean of the values.
        sd: Standard deviation from one value to the next: mean moving range over d2.
        mean_moving_range: Mean distance of neighbours.
    """

    mean: float
    sd: float
    mean_moving_range: float


def moving_ranges(values: Sequence[float]) -> list[float]:
    """Return the distance of each value from the one before."""
    return [abs(value - before) for before, value in pairwise(values)]


def find_baseline(values: Sequence[float]) -> Baseline:
    """Return mean and short-term spread of values in the order of making.

    Raises:
        CapabilityDataError: Fewer than three values, no two neighbours that differ, or values too
            large for their differences to be floats.
    """
    if len(values) < BASELINE_MIN:
        raise CapabilityDataError(
            "there are too few values for a process",
            expected=f"at least {BASELINE_MIN}",
            got=len(values),
            hint="measure more units; thirty say something",
        )
    origin = values[0]
    try:
        mean = origin + fmean(value - origin for value in values)
        mean_moving_range = fmean(moving_ranges(values))
    except (OverflowError, ValueError):
        mean = mean_moving_range = math.inf
    if not math.isfinite(mean) or not math.isfinite(mean_moving_range):
        raise CapabilityDataError(
            "the values are too far apart to be of one quantity",
            expected="differences that are numbers",
            got="more than any float holds",
            hint="look for an overload (9.9E37) among the values",
        )
    if mean_moving_range == 0:
        raise CapabilityDataError(
            "the values have no spread",
            expected="values that differ",
            got=f"{values[0]:g}, {len(values)} times",
            hint="the instrument's resolution is too coarse, or one value was copied",
        )
    return Baseline(mean=mean, sd=mean_moving_range / PAIR_D2, mean_moving_range=mean_moving_range)


def chart_individuals(
    values: Sequence[float], baseline: Baseline
) -> tuple[ControlChart, ControlChart]:
    """Return the charts of the values themselves (mean ± 3 sd) and of their moving ranges.

    Args:
        values: In the order of making.
        baseline: What they are compared with.
    """
    reach = CHART_SIGMAS * baseline.sd
    distances = moving_ranges(values)
    return (
        ControlChart(
            name="individuals",
            points=tuple(values),
            center=baseline.mean,
            lower=(baseline.mean - reach,) * len(values),
            upper=(baseline.mean + reach,) * len(values),
        ),
        ControlChart(
            name="moving range",
            points=tuple(distances),
            center=baseline.mean_moving_range,
            lower=(0.0,) * len(distances),
            upper=(range_limit_factor(2) * baseline.mean_moving_range,) * len(distances),
            first_value=2,
        ),
    )


def chart_ewma(
    values: Sequence[float],
    *,
    center: float,
    sd: float,
    weight: float = EWMA_WEIGHT,
    width: float = EWMA_WIDTH,
) -> ControlChart:
    """Return the chart z = λ·x + (1 - λ)·z before, from the center, with its exact limits.

    Args:
        values: In the order of making.
        center: Where the process belongs: its mean, or a target.
        sd: Standard deviation of one value.
        weight: λ, above 0 and at most 1; with 1 this is the chart of individuals.
        width: L, the limits in standard deviations of z.

    Raises:
        CapabilityDataError: A parameter is out of its range.
    """
    if not (0 < weight <= 1 and 0 < width < math.inf and 0 < sd < math.inf):
        raise CapabilityDataError(
            "an EWMA chart cannot be drawn like this",
            expected="a weight in (0, 1], a width above 0 and a standard deviation above 0",
            got=f"weight {weight:g}, width {width:g}, standard deviation {sd:g}",
        )
    points, lower, upper = [], [], []
    level, remaining = 0.0, 1.0
    for value in values:
        level += weight * ((value - center) - level)
        remaining *= (1 - weight) ** 2
        reach = width * sd * math.sqrt(weight / (2 - weight) * (1 - remaining))
        points.append(center + level)
        lower.append(center - reach)
        upper.append(center + reach)
    return ControlChart(
        name="EWMA",
        points=tuple(points),
        center=center,
        lower=tuple(lower),
        upper=tuple(upper),
    )
