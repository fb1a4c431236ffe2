"""Straight lines through measured points, with the covariance of intercept and slope.

Three estimators: ordinary least squares, least squares weighted by the stated uncertainty of y, and
York's for uncertainty in both coordinates. All are computed about the weighted centre of x with
compensated sums, so that data far from zero keep their digits. Implements
docs/spec/calibration.md §2. Reading data from a file is `fit_data`; deciding about a unit is
`calibration`.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING

from provisioning.errors import FitDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_POINTS = 3
YORK_TOLERANCE = 1e-14
YORK_MAX_ITERATIONS = 200


@unique
class FitMethod(StrEnum):
    """How a line is fitted."""

    OLS = "ols"
    WLS = "wls"
    YORK = "york"


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLine:
    """A line y = intercept + slope·x with its statistics.

    Attributes:
        intercept: Value at x = 0, in units of y.
        slope: In units of y per unit of x.
        intercept_se: Standard error of the intercept.
        slope_se: Standard error of the slope.
        covariance: Covariance of intercept and slope.
        correlation: The same divided by both standard errors.
        residual_sd: sqrt(Σ residual² / dof), unweighted, in units of y.
        chi2: The sum that was minimised; for OLS the residual sum of squares.
        dof: Points minus two.
        center_x: Weighted centre of x, where intercept and slope are uncorrelated.
        center_se: Standard error of the line at `center_x`.
    """

    intercept: float
    slope: float
    intercept_se: float
    slope_se: float
    covariance: float
    correlation: float
    residual_sd: float
    chi2: float
    dof: int
    center_x: float
    center_se: float

    def value_at(self, x: float) -> float:
        """Return the line's value."""
        return self.intercept + self.slope * x

    def standard_error_at(self, x: float) -> float:
        """Return the standard error of the line itself, without the scatter of points."""
        return math.hypot(self.center_se, (x - self.center_x) * self.slope_se)


def fit_ols(x: Sequence[float], y: Sequence[float]) -> FittedLine:
    """Fit by ordinary least squares; standard errors come from the scatter.

    Raises:
        FitDataError: Fewer than three points, unequal lengths, or no spread in x.
    """
    _check_points(x, y)
    with _representable():
        line = _fit_weighted(x, y, [1.0] * len(x))
    sd = line.residual_sd
    return _line(
        line.center_x,
        line.value_at(line.center_x),
        line.slope,
        center_se=line.center_se * sd,
        slope_se=line.slope_se * sd,
        residual_sd=sd,
        chi2=line.chi2,
        dof=line.dof,
    )


def fit_wls(x: Sequence[float], y: Sequence[float], u_y: Sequence[float]) -> FittedLine:
    """Fit with weights 1/u²; standard errors come from the stated u, unscaled.

    Raises:
        FitDataError: As `fit_ols`, or an uncertainty is not positive.
    """
    _check_points(x, y)
    _check_uncertainty(u_y, len(x), name="u_y")
    with _representable():
        return _fit_weighted(x, y, [1 / (u * u) for u in u_y])


def fit_york(
    x: Sequence[float], y: Sequence[float], u_x: Sequence[float], u_y: Sequence[float]
) -> FittedLine:
    """Fit with independent uncertainty in both coordinates, standard errors unscaled.

    D. York et al., American Journal of Physics 72 (2004) 367, with uncorrelated errors. The
    standard errors are those of the adjusted points.

    Raises:
        FitDataError: As `fit_wls`, or the iteration does not settle.
    """
    _check_points(x, y)
    _check_uncertainty(u_y, len(x), name="u_y")
    _check_uncertainty(u_x, len(x), name="u_x", is_zero_allowed=True)
    slope = fit_wls(x, y, u_y).slope
    with _representable():
        return _fit_york(x, y, [u * u for u in u_x], [u * u for u in u_y], slope)


def _fit_york(
    x: Sequence[float],
    y: Sequence[float],
    var_x: Sequence[float],
    var_y: Sequence[float],
    slope: float,
) -> FittedLine:
    for _ in range(YORK_MAX_ITERATIONS):
        weights = [1 / (vy + slope * slope * vx) for vx, vy in zip(var_x, var_y, strict=True)]
        total = math.fsum(weights)
        mean_x = math.fsum(w * v for w, v in zip(weights, x, strict=True)) / total
        mean_y = math.fsum(w * v for w, v in zip(weights, y, strict=True)) / total
        beta = [
            w * ((xi - mean_x) * vy + slope * (yi - mean_y) * vx)
            for w, xi, yi, vx, vy in zip(weights, x, y, var_x, var_y, strict=True)
        ]
        new = math.fsum(
            w * b * (yi - mean_y) for w, b, yi in zip(weights, beta, y, strict=True)
        ) / math.fsum(w * b * (xi - mean_x) for w, b, xi in zip(weights, beta, x, strict=True))
        is_settled = abs(new - slope) <= YORK_TOLERANCE * abs(new)
        slope = new
        if is_settled:
            break
    else:
        raise FitDataError(
            "the fit with uncertainty in both coordinates does not settle",
            expected=f"a slope that settles within {YORK_MAX_ITERATIONS} iterations",
            got=f"{slope:.6g} and still moving",
            hint="look at the stated uncertainties: they may exceed the spread of the points",
        )
    adjusted = [mean_x + b for b in beta]
    center = math.fsum(w * v for w, v in zip(weights, adjusted, strict=True)) / total
    spread = math.fsum(w * (v - center) ** 2 for w, v in zip(weights, adjusted, strict=True))
    intercept = mean_y - slope * mean_x
    residuals = [yi - intercept - slope * xi for xi, yi in zip(x, y, strict=True)]
    dof = len(x) - 2
    return _line(
        center,
        intercept + slope * center,
        slope,
        center_se=1 / math.sqrt(total),
        slope_se=1 / math.sqrt(spread),
        residual_sd=math.sqrt(math.fsum(r * r for r in residuals) / dof),
        chi2=math.fsum(w * r * r for w, r in zip(weights, residuals, strict=True)),
        dof=dof,
    )


def _fit_weighted(x: Sequence[float], y: Sequence[float], weights: Sequence[float]) -> FittedLine:
    total = math.fsum(weights)
    center = math.fsum(w * v for w, v in zip(weights, x, strict=True)) / total
    level = math.fsum(w * v for w, v in zip(weights, y, strict=True)) / total
    scale = max(abs(v - center) for v in x)
    t = [(v - center) / scale for v in x]
    spread = math.fsum(w * v * v for w, v in zip(weights, t, strict=True))
    slope = math.fsum(w * v * (yi - level) for w, v, yi in zip(weights, t, y, strict=True)) / spread
    # One step of refinement: the residuals of the first solution are fitted again, which recovers
    # the digits that the products above lost.
    residuals = [yi - level - slope * v for v, yi in zip(t, y, strict=True)]
    level_step = math.fsum(w * r for w, r in zip(weights, residuals, strict=True)) / total
    step = (
        math.fsum(w * v * (r - level_step) for w, v, r in zip(weights, t, residuals, strict=True))
        / spread
    )
    level, slope = level + level_step, slope + step
    residuals = [yi - level - slope * v for v, yi in zip(t, y, strict=True)]
    dof = len(x) - 2
    return _line(
        center,
        level,
        slope / scale,
        center_se=1 / math.sqrt(total),
        slope_se=1 / (math.sqrt(spread) * scale),
        residual_sd=math.sqrt(math.fsum(r * r for r in residuals) / dof),
        chi2=math.fsum(w * r * r for w, r in zip(weights, residuals, strict=True)),
        dof=dof,
    )


def _line(
    center: float,
    level: float,
    slope: float,
    *,
    center_se: float,
    slope_se: float,
    residual_sd: float,
    chi2: float,
    dof: int,
) -> FittedLine:
    intercept = level - slope * center
    intercept_se = math.hypot(center_se, center * slope_se)
    if not all(map(math.isfinite, (intercept, slope, intercept_se, slope_se, chi2))):
        raise ArithmeticError("a result is not finite")
    covariance = -center * slope_se * slope_se
    scatter = intercept_se * slope_se
    return FittedLine(
        intercept=intercept,
        slope=slope,
        intercept_se=intercept_se,
        slope_se=slope_se,
        covariance=covariance,
        correlation=covariance / scatter if scatter > 0 else 0.0,
        residual_sd=residual_sd,
        chi2=chi2,
        dof=dof,
        center_x=center,
        center_se=center_se,
    )


@contextmanager
def _representable() -> Iterator[None]:
    # Sums of any floats overflow, cancel to nothing or meet infinities: one fault of the data.
    try:
        yield
    except (ArithmeticError, ValueError) as error:
        raise FitDataError(
            "the numbers are too large, too small or too close together for a fit",
            got=str(error),
            hint="express the columns in units in which the numbers are ordinary",
        ) from error


def _check_points(x: Sequence[float], y: Sequence[float]) -> None:
    if len(x) != len(y):
        raise FitDataError("x and y have different lengths", expected=len(x), got=len(y))
    if len(x) < MIN_POINTS:
        raise FitDataError(
            "too few points for a line with a scatter",
            expected=f"at least {MIN_POINTS}",
            got=len(x),
            hint="measure more points",
        )
    if not all(math.isfinite(v) for v in (*x, *y)):
        raise FitDataError("a point is not a finite number", expected="finite x and y")
    if min(x) == max(x):
        raise FitDataError(
            "the points have no spread in x",
            expected="at least two different x",
            got=f"x = {x[0]:g} everywhere",
            hint="measure at different settings",
        )


def _check_uncertainty(
    u: Sequence[float], count: int, *, name: str, is_zero_allowed: bool = False
) -> None:
    if len(u) != count:
        raise FitDataError(
            "not every point has a stated uncertainty", expected=count, got=len(u), where=name
        )
    for index, value in enumerate(u):
        if not math.isfinite(value) or value < 0 or (value == 0 and not is_zero_allowed):
            raise FitDataError(
                "a stated uncertainty cannot be used as a weight",
                expected="zero or more" if is_zero_allowed else "more than zero",
                got=value,
                where=f"{name}, point {index + 1}",
                hint="state the standard uncertainty of each point, in units of the column",
            )
