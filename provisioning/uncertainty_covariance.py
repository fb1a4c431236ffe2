"""How far the errors of several readings are the same error: their covariance matrix.

Implements docs/spec/calibration.md §5.4. A term of one source and group is one and the same error
in every reading that has it; everything else is independent (JCGM 100 §F.1.2.3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.uncertainty import Budget

Matrix = tuple[tuple[float, ...], ...]


def covariance_of(budgets: Sequence[Budget]) -> Matrix:
    """Return the covariance matrix of readings, nA².

    Its diagonal is u² of each reading. It is positive semidefinite: each shared error adds the
    outer product of its signed parts.

    Args:
        budgets: One for each reading.
    """
    shared: list[dict[tuple[str, str], float]] = [
        {
            (term.source.value, term.group): term.signed_na
            for term in budget.terms
            if term.group is not None and term.standard_na
        }
        for budget in budgets
    ]
    rows = [[0.0] * len(budgets) for _ in budgets]
    for first, budget in enumerate(budgets):
        rows[first][first] = math.fsum(term.standard_na**2 for term in budget.terms)
        for second in range(first):
            covariance = math.fsum(
                part * shared[second].get(key, 0.0) for key, part in shared[first].items()
            )
            rows[first][second] = rows[second][first] = covariance
    return tuple(tuple(row) for row in rows)


def correlation_of(covariance: Matrix) -> Matrix:
    """Return the correlation matrix of a covariance matrix; 0 where a variance is 0."""
    deviations = [math.sqrt(row[index]) for index, row in enumerate(covariance)]
    return tuple(
        tuple(
            value / (deviations[first] * deviations[second])
            if deviations[first] and deviations[second]
            else 0.0
            for second, value in enumerate(row)
        )
        for first, row in enumerate(covariance)
    )
