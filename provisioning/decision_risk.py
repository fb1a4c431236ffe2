"""The risk that a decision is wrong: joint probabilities of false accept and of false reject.

Implements docs/spec/calibration.md §7.2. Normal distributions use `math.erfc`, integrals a fixed
Gauss-Legendre rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.errors import RiskError
from provisioning.uncertainty import normal_cdf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_REACH_SIGMAS: Final = 9.0
_PANELS_PER_SIGMA: Final = 4
_RATIO_MAX: Final = 1e100
"""Beyond this a standard deviation and the tolerance are not of one unit, and floats overflow."""
_SPREAD: Final = 2 * math.sqrt(10 / 7)
_SKEW: Final = 13 * math.sqrt(70)
# Nodes and weights of the five-point Gauss-Legendre rule on [-1, 1].
_RULE: Final = (
    (0.0, 128 / 225),
    (math.sqrt(5 - _SPREAD) / 3, (322 + _SKEW) / 900),
    (-math.sqrt(5 - _SPREAD) / 3, (322 + _SKEW) / 900),
    (math.sqrt(5 + _SPREAD) / 3, (322 - _SKEW) / 900),
    (-math.sqrt(5 + _SPREAD) / 3, (322 - _SKEW) / 900),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """Joint probabilities of a wrong decision.

    Attributes:
        pfa: A bad unit is made and accepted.
        pfr: A good unit is made and rejected.
    """

    pfa: float
    pfr: float


def compute_risk(
    *, tolerance: float, process_sd: float, measurement_sd: float, guard_band: float = 0.0
) -> Risk:
    """Return the joint probabilities of false accept and false reject (JCGM 106 §9).

    True values are normal with mean 0, measurement errors normal and independent of them. Limits
    are ±tolerance, acceptance is within ±(tolerance - guard_band); a negative guard band accepts
    more. All arguments are in one unit.

    Raises:
        RiskError: A value is negative or not finite, or the guard band leaves nothing to accept,
            or the values differ by more than a hundred decades.
    """
    _refuse_undecidable(tolerance, process_sd, measurement_sd, guard_band)
    # Counted in tolerances, so that no unit is too large or too small for the floats.
    process_sd, measurement_sd, guard_band = (
        value / tolerance if abs(value) > tolerance / _RATIO_MAX else 0.0
        for value in (process_sd, measurement_sd, guard_band)
    )
    tolerance = 1.0
    accept = tolerance - guard_band
    if process_sd == 0:
        # Every unit is exactly right; only noise can reject it.
        return Risk(pfa=0.0, pfr=_outside(accept, measurement_sd))
    if measurement_sd == 0:
        return Risk(
            pfa=max(_outside(tolerance, process_sd) - _outside(accept, process_sd), 0.0),
            pfr=max(_outside(accept, process_sd) - _outside(tolerance, process_sd), 0.0),
        )

    # The unit has true value x; both sides are symmetric, so only x > 0 is integrated.
    def density(x: float) -> float:
        return math.exp(-0.5 * (x / process_sd) ** 2) / (process_sd * math.sqrt(2 * math.pi))

    def accepted(x: float) -> float:
        return density(x) * (
            normal_cdf((accept - x) / measurement_sd) - normal_cdf((-accept - x) / measurement_sd)
        )

    def rejected(x: float) -> float:
        return density(x) * (
            normal_cdf((x - accept) / measurement_sd) + normal_cdf((-accept - x) / measurement_sd)
        )

    # Beyond nine standard deviations of either bell the integrand is below 1e-18 of its peak. It
    # is as narrow as the noise where acceptance turns into rejection, elsewhere as the process.
    reach, edge = _REACH_SIGMAS * process_sd, _REACH_SIGMAS * measurement_sd
    bounds = (0.0, max(0.0, accept - edge), accept + edge)
    widths = (process_sd, min(process_sd, measurement_sd), process_sd)
    return Risk(
        pfa=min(
            2
            * _integrate(
                accepted, tolerance, min(max(reach, tolerance), bounds[2]), bounds, widths
            ),
            1.0,
        ),
        pfr=min(2 * _integrate(rejected, bounds[1], min(reach, tolerance), bounds, widths), 1.0),
    )


def _refuse_undecidable(
    tolerance: float, process_sd: float, measurement_sd: float, guard_band: float
) -> None:
    for name, value in (
        ("tolerance", tolerance),
        ("process sd", process_sd),
        ("measurement sd", measurement_sd),
    ):
        if not math.isfinite(value) or value < 0 or (value == 0 and name == "tolerance"):
            raise RiskError(
                f"the {name} describes no decision",
                expected="a finite number, zero or more; the tolerance more than zero",
                got=value,
                hint="give all values in one unit, standard deviations as 1 sigma",
            )
    if not math.isfinite(guard_band) or guard_band >= tolerance:
        raise RiskError(
            "the guard band leaves nothing to accept",
            expected=f"less than the tolerance {tolerance:g}",
            got=guard_band,
            hint="measure better, or widen the tolerance",
        )
    largest = max(process_sd, measurement_sd, abs(guard_band))
    if largest > tolerance * _RATIO_MAX:
        raise RiskError(
            "the values are too far apart for one decision",
            expected=f"at most {_RATIO_MAX:g} times the tolerance {tolerance:g}",
            got=largest,
            hint="give all values in one unit, standard deviations as 1 sigma",
        )


def _outside(limit: float, sd: float) -> float:
    # Probability that a normal value of mean 0 is outside ±limit.
    return math.erfc(limit / (sd * math.sqrt(2))) if sd > 0 else 0.0


def _integrate(
    function: Callable[[float], float],
    begin: float,
    end: float,
    bounds: Sequence[float],
    widths: Sequence[float],
) -> float:
    # Panels of a quarter of the width that holds from each bound on.
    total = 0.0
    for start, stop, width in zip(bounds, (*bounds[1:], math.inf), widths, strict=True):
        low, high = max(begin, start), min(end, stop)
        if high <= low:
            continue
        panels = max(math.ceil((high - low) / width * _PANELS_PER_SIGMA), 1)
        half = (high - low) / panels / 2
        total += half * math.fsum(
            weight * function(low + (2 * index + 1 + node) * half)
            for index in range(panels)
            for node, weight in _RULE
        )
    return total
