"""Straight lines through measured points, with the covariance of intercept and slope.

Three estimators: ordinary least squares, least squares weighted by the stated uncertainty of y, and
York's for uncertainty in both coordinates. All are computed on differences from the first point,
about the weighted centre and with compensated sums, so that data far from zero keep their digits.
Implements docs/spec/calibration.md §2. Reading data from a file is `fit_data`; deciding about a
unit is `calibration`.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from provisioning.errors import FitDataError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_POINTS = 2
MIN_POINTS_WITH_SCATTER = 3
YORK_TOLERANCE = 1e-14
YORK_MAX_ITERATIONS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLine:
    """A line y = intercept + slope·x with its statistics.

    Attributes:
        intercept: Value at x = 0, in units of y.
        slope: In units of y per unit of x.
        intercept_se: Standard error of the intercept.
        slope_se: Standard error of the slope.
        covariance: Covariance of intercept and slope.
        correlation: Their correlation; it depends on x and the weights alone.
        residual_sd: sqrt(Σ residual² / dof), unweighted, in units of y; `None` without a degree of
            freedom.
        chi2: The sum that was minimised; for OLS the residual sum of squares.
        dof: Points minus two.
        origin: The point that everything below is counted from.
        center: Weighted centre in x, where level and slope are uncorrelated, and the line there.
        center_se: Standard error of the line at the centre.
    """

    intercept: float
    slope: float
    intercept_se: float
    slope_se: float
    covariance: float
    correlation: float
    residual_sd: float | None
    chi2: float
    dof: int
    origin: tuple[float, float]
    center: tuple[float, float]
    center_se: float

    def value_at(self, x: float) -> float:
        """Return the line's value."""
        rise = self.center[1] + self.slope * (x - self.origin[0] - self.center[0])
        return self.origin[1] + rise

    def standard_error_at(self, x: float) -> float:
        """Return the standard error of the line itself, without the scatter of points."""
        reach = x - self.origin[0] - self.center[0]
        return math.hypot(self.center_se, reach * self.slope_se)


class _Centred(NamedTuple):
    """A line as it is computed: counted from the origin, about its centre."""

    center: float
    level: float
    slope: float
    center_se: float
    slope_se: float
    square_sum: float
    chi2: float


def fit_ols(x: Sequence[float], y: Sequence[float]) -> FittedLine:
    """Fit by ordinary least squares; standard errors come from the scatter.

    Raises:
        FitDataError: Fewer than three points, unequal lengths, or no spread in x.
    """
    _check_points(x, y, least=MIN_POINTS_WITH_SCATTER)
    with _representable():
        dx, dy = _differences(x), _differences(y)
        line = _fit_weighted(dx, dy, [1.0] * len(x))
        return _finish(line, (x[0], y[0]), len(x), scale=math.sqrt(line.chi2 / (len(x) - 2)))


def fit_wls(x: Sequence[float], y: Sequence[float], u_y: Sequence[float]) -> FittedLine:
    """Fit with weights 1/u²; standard errors come from the stated u, unscaled.

    Raises:
        FitDataError: Fewer than two points, unequal lengths, no spread in x, or an uncertainty that
            is not positive.
    """
    _check_points(x, y, least=MIN_POINTS)
    _check_uncertainty(u_y, len(x), name="u_y")
    with _representable():
        line = _fit_weighted(_differences(x), _differences(y), [1 / (u * u) for u in u_y])
        return _finish(line, (x[0], y[0]), len(x))


def fit_york(
    x: Sequence[float], y: Sequence[float], u_x: Sequence[float], u_y: Sequence[float]
) -> FittedLine:
    """Fit with independent uncertainty in both coordinates, standard errors unscaled.

    D. York et al., American Journal of Physics 72 (2004) 367, with uncorrelated errors. The
    standard errors are those of the adjusted points.

    Raises:
        FitDataError: As `fit_wls`, or the iteration does not settle.
    """
    _check_points(x, y, least=MIN_POINTS)
    _check_uncertainty(u_y, len(x), name="u_y")
    _check_uncertainty(u_x, len(x), name="u_x", is_zero_allowed=True)
    with _representable():
        dx, dy = _differences(x), _differences(y)
        # Points far off their uncertainties have more than one line: the better one counts.
        starts = [
            _fit_weighted(dx, dy, weights).slope
            for weights in ([1 / (u * u) for u in u_y], [1.0] * len(x))
        ]
        lines = [
            _fit_york(dx, dy, [u * u for u in u_x], [u * u for u in u_y], slope) for slope in starts
        ]
        settled = [line for line in lines if line is not None]
        if not settled:
            raise FitDataError(
                "the fit with uncertainty in both coordinates does not settle",
                expected=f"a slope that settles within {YORK_MAX_ITERATIONS} iterations",
                got=f"{len(x)} points, slope about {starts[0]:.6g}",
                hint="look at the stated uncertainties: they may exceed the spread of the points",
            )
        return _finish(min(settled, key=lambda line: line.chi2), (x[0], y[0]), len(x))


def _differences(values: Sequence[float]) -> list[float]:
    # The difference of two floats that are close is exact, so a large offset costs nothing.
    return [value - values[0] for value in values]


def _fit_york(
    x: Sequence[float],
    y: Sequence[float],
    var_x: Sequence[float],
    var_y: Sequence[float],
    slope: float,
) -> _Centred | None:
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
        center = math.fsum(w * b for w, b in zip(weights, beta, strict=True)) / total
        spread = math.fsum(w * (b - center) ** 2 for w, b in zip(weights, beta, strict=True))
        slope_se = 1 / math.sqrt(spread)
        # A slope of nothing has no digits of its own: what its uncertainty hides is settled, too.
        is_settled = abs(new - slope) <= YORK_TOLERANCE * max(abs(new), slope_se)
        slope = new
        if is_settled:
            break
    else:
        return None
    residuals = [yi - mean_y - slope * (xi - mean_x) for xi, yi in zip(x, y, strict=True)]
    return _Centred(
        center=mean_x + center,
        level=mean_y + slope * center,
        slope=slope,
        center_se=1 / math.sqrt(total),
        slope_se=slope_se,
        square_sum=math.fsum(r * r for r in residuals),
        chi2=math.fsum(w * r * r for w, r in zip(weights, residuals, strict=True)),
    )


def _fit_weighted(x: Sequence[float], y: Sequence[float], weights: Sequence[float]) -> _Centred:
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
    return _Centred(
        center=center,
        level=level,
        slope=slope / scale,
        center_se=1 / math.sqrt(total),
        slope_se=1 / (math.sqrt(spread) * scale),
        square_sum=math.fsum(r * r for r in residuals),
        chi2=math.fsum(w * r * r for w, r in zip(weights, residuals, strict=True)),
    )


def _finish(
    line: _Centred, origin: tuple[float, float], count: int, *, scale: float = 1.0
) -> FittedLine:
    """Count from zero again; multiply the standard errors by `scale`."""
    center = origin[0] + line.center
    lever = math.hypot(line.center_se, center * line.slope_se)
    intercept = origin[1] + (line.level - line.slope * center)
    intercept_se, slope_se = lever * scale, line.slope_se * scale
    if not all(map(math.isfinite, (intercept, line.slope, intercept_se, slope_se, line.chi2))):
        raise ArithmeticError("a result is not finite")
    dof = count - 2
    return FittedLine(
        intercept=intercept,
        slope=line.slope,
        intercept_se=intercept_se,
        slope_se=slope_se,
        covariance=-center * slope_se * slope_se,
        correlation=-center * line.slope_se / lever,
        residual_sd=math.sqrt(line.square_sum / dof) if dof else None,
        chi2=line.chi2,
        dof=dof,
        origin=origin,
        center=(line.center, line.level),
        center_se=line.center_se * scale,
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


def _check_points(x: Sequence[float], y: Sequence[float], *, least: int) -> None:
    if len(x) != len(y):
        raise FitDataError("x and y have different lengths", expected=len(x), got=len(y))
    if len(x) < least:
        raise FitDataError(
            "too few points for a line"
            if least == MIN_POINTS
            else "too few points for a line with a scatter",
            expected=f"at least {least}",
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
