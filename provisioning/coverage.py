"""Effective degrees of freedom, and the coverage factor of an expanded uncertainty.

Implements docs/spec/calibration.md §5.3 (JCGM 100 §G.3 and §G.4).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from provisioning.distributions import student_two_sided_quantile

if TYPE_CHECKING:
    from collections.abc import Iterable

COVERAGE_PROBABILITY: Final = math.erf(math.sqrt(2))
"""95.45 %: what two standard deviations of a normal distribution hold."""
_DOF_MAX: Final = 1_000_000
"""From here on Student's distribution is the normal one to the digits that are kept."""
_FACTOR_DECIMALS: Final = 6


def welch_satterthwaite(components: Iterable[tuple[float, float]]) -> float:
    """Return the effective degrees of freedom of a root sum of squares (JCGM 100 §G.4.1).

    Args:
        components: Standard uncertainty and degrees of freedom of each independent term.

    Returns:
        u⁴ / Σ(uᵢ⁴/νᵢ); infinite when no term has finite degrees of freedom, or all are zero.
    """
    pairs = [(standard, dof) for standard, dof in components if standard > 0]
    largest = max((standard for standard, _ in pairs), default=1.0)
    # Counted in the largest term, so that no fourth power leaves the floats.
    total = math.fsum((standard / largest) ** 2 for standard, _ in pairs)
    spread = math.fsum((standard / largest) ** 4 / dof for standard, dof in pairs)
    return total**2 / spread if spread > 0 else math.inf


def coverage_factor(dof: float) -> float:
    """Return k for a coverage probability of 95.45 %, to six decimals.

    Degrees of freedom are cut to the next lower whole number (JCGM 100 §G.4.1, note 1).

    Args:
        dof: Effective degrees of freedom; below 1 there is no such factor, and 1 is taken.
    """
    if dof >= _DOF_MAX:
        return 2.0
    return _factor_of(max(math.floor(dof), 1))


@lru_cache(maxsize=4_096)
def _factor_of(dof: int) -> float:
    return round(student_two_sided_quantile(COVERAGE_PROBABILITY, dof), _FACTOR_DECIMALS)
