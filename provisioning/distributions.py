"""Tail probabilities and quantiles of the F, chi-square and Student distributions.

By the continued fractions of the incomplete beta and gamma functions (NIST Digital Library of
Mathematical Functions §8.17(v) and §8.9; modified Lentz evaluation). The normal distribution is
`statistics.NormalDist`.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_TINY: Final = 1e-300
_EPSILON: Final = 1e-15
_HALVINGS: Final = 200
_STEPS_MAX: Final = 200
_EPSILON_OF_QUANTILE: Final = 1e-13


def f_upper_tail(ratio: float, dof_above: int, dof_below: int) -> float:
    """Return the probability that an F-distributed ratio is larger than `ratio`.

    Args:
        ratio: Mean square over mean square; not negative, may be infinite.
        dof_above: Degrees of freedom of the numerator.
        dof_below: Degrees of freedom of the denominator.
    """
    if math.isinf(ratio):
        return 0.0
    share = dof_below / (dof_below + dof_above * ratio)
    return _incomplete_beta(dof_below / 2, dof_above / 2, share)


def chi_square_lower_tail(value: float, dof: float) -> float:
    """Return the probability that a chi-square with `dof` degrees of freedom is at most `value`."""
    shape, half = dof / 2, value / 2
    if half <= 0:
        return 0.0
    scale = math.exp(shape * math.log(half) - half - math.lgamma(shape))
    if half < shape + 1:
        return min(1.0, scale * _lower_gamma_series(shape, half))
    return 1 - scale / _evaluate(half + 1 - shape, _gamma_terms(shape, half))


def chi_square_quantile(probability: float, dof: float) -> float:
    """Return the value that a chi-square exceeds with probability 1 - `probability`.

    Args:
        probability: Between 0 and 1, both excluded.
        dof: Degrees of freedom, above 0; need not be whole.
    """
    # Wilson and Hilferty's cube is within a few per cent; from there the interval is widened until
    # it holds the answer, and halved.
    spread = 2 / (9 * dof)
    cube_root = 1 - spread + NormalDist().inv_cdf(probability) * math.sqrt(spread)
    low = high = dof * max(1e-3, cube_root) ** 3
    while chi_square_lower_tail(low, dof) > probability:
        low *= 0.9
    while chi_square_lower_tail(high, dof) < probability:
        high *= 1.1
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high or high - low < 1e-13 * high:
            break
        if chi_square_lower_tail(middle, dof) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def student_two_sided_quantile(probability: float, dof: float) -> float:
    """Return the t that |t| stays below with a probability (Student's distribution).

    Args:
        probability: Between 0 and 1, both excluded.
        dof: Degrees of freedom, above 0.
    """
    log_height = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - math.log(math.pi * dof) / 2
    tails = 1 - probability
    value = NormalDist().inv_cdf((1 + probability) / 2)
    # The normal quantile lies below, and the tails fall ever slower beyond it: Newton's steps come
    # from below, each closer, until rounding ends them.
    for _ in range(_STEPS_MAX):
        squared = value * value
        excess = _incomplete_beta(dof / 2, 0.5, dof / (dof + squared)) - tails
        step = excess / (2 * math.exp(log_height - (dof + 1) / 2 * math.log1p(squared / dof)))
        value += step
        if step < _EPSILON_OF_QUANTILE * value:
            break
    return value


def _incomplete_beta(a: float, b: float, x: float) -> float:
    # DLMF 8.17.22 converges fast below (a + 1)/(a + b + 2); above, 8.17.4 mirrors it.
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = a * math.log(x) + b * math.log1p(-x)
    log_front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / (a * _evaluate(1.0, _beta_terms(a, b, x)))


def _beta_terms(a: float, b: float, x: float) -> Iterator[tuple[float, float]]:
    m = 0
    while True:
        yield -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), 1.0
        m += 1
        yield m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), 1.0


def _gamma_terms(shape: float, x: float) -> Iterator[tuple[float, float]]:
    n = 0
    while True:
        n += 1
        yield n * (shape - n), x + 2 * n + 1 - shape


def _lower_gamma_series(shape: float, x: float) -> float:
    term = total = 1 / shape
    n = 0
    while term > total * _EPSILON:
        n += 1
        term *= x / (shape + n)
        total += term
    return total


def _evaluate(first: float, terms: Iterator[tuple[float, float]]) -> float:
    """Return first + a1/(b1 + a2/(b2 + ...)) of the terms (a, b)."""
    value = first or _TINY
    numerator, denominator = value, 0.0
    for a, b in terms:
        denominator = 1 / ((b + a * denominator) or _TINY)
        numerator = (b + a / numerator) or _TINY
        factor = numerator * denominator
        value *= factor
        if abs(factor - 1) < _EPSILON:
            break
    return value
