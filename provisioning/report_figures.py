"""The figures that a report states about one unit: worst error and U per mode, budget, risk.

Pure functions of stored results; no formatting. Implements docs/spec/calibration.md §9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.uncertainty import Outcome, Source, nonconformity_probability, worst_outcome
from provisioning.verification_budgets import budgets_of_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.capability_report import CurrentCapability
    from provisioning.uncertainty import Budget, BudgetTerm
    from provisioning.verification_result import PointResult, VerificationResult

RANKED_MAX: Final = 60
"""A report shows this many units as pictures: the worst ones; the table has all."""
_SOURCE_NAMES: Final = {
    Source.INSTRUMENT: "instrument specification",
    Source.LOAD: "load tolerance",
    Source.LEAKAGE: "fixture leakage",
    Source.REPEATABILITY: "repeatability, s/√n",
    Source.QUANTISATION: "step of the unit's converter",
    Source.LOADING: "burden, leads, contacts",
    Source.LOAD_TEMPERATURE: "temperature of the load",
    Source.GAIN_TEMPERATURE: "temperature, unit's gain",
    Source.OFFSET_TEMPERATURE: "temperature, unit's offset",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeFigures:
    """One mode of one unit.

    Attributes:
        mode: Name of the mode.
        worst: The point that is closest to its limit, or furthest beyond it.
        outcome: Worst outcome of the mode, its played waveform included.
        mean_na: Whole-period mean while the mode plays, nA, or `None` when it was not played.
        aperture_s: Integration time of that mean, s.
    """

    mode: str
    worst: PointResult
    outcome: Outcome
    mean_na: float | None
    aperture_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFigures:
    """Probability that a unit is outside a limit although it measured as it did.

    Attributes:
        worst_point: Largest probability of a single point.
        unit_bound: Sum over all points: an upper bound for the unit, whatever their correlation.
    """

    worst_point: float
    unit_bound: float


def build_mode_figures(result: VerificationResult) -> tuple[ModeFigures, ...]:
    """Return the figures of each mode, in the order of the table."""
    figures = []
    for mode in dict.fromkeys(point.mode for point in result.points):
        points = [point for point in result.points if point.mode == mode]
        played = [waveform for waveform in result.waveforms if waveform.mode == mode]
        figures.append(
            ModeFigures(
                mode=mode,
                worst=worst_point(points),
                outcome=worst_outcome(
                    [*(point.outcome for point in points), *(entry.outcome for entry in played)]
                ),
                mean_na=played[0].mean_na if played else None,
                aperture_s=played[0].aperture_s if played else None,
            )
        )
    order = {mode: index for index, mode in enumerate(w.mode for w in result.waveforms)}
    return tuple(sorted(figures, key=lambda entry: order.get(entry.mode, len(order))))


def worst_point(points: Iterable[PointResult]) -> PointResult:
    """Return the point with the largest share of its deciding limit."""
    return max(points, key=lambda point: point.share_of_limit)


def rank_units(
    units: Sequence[tuple[str, VerificationResult]],
) -> list[tuple[str, VerificationResult]]:
    """Return the units closest to a limit, or furthest beyond it, at most `RANKED_MAX`."""
    return sorted(units, key=lambda entry: -worst_of_unit(entry[1]).share_of_limit)[:RANKED_MAX]


def worst_of_unit(result: VerificationResult) -> PointResult:
    """Return the worst point of a unit, its idle currents included."""
    return worst_point((*result.points, *result.idle))


def build_risk_figures(result: VerificationResult) -> RiskFigures:
    """Return the probabilities of a false accept, given what was measured (JCGM 106 §7)."""
    probabilities = [point_risk(point) for point in (*result.points, *result.idle)]
    return RiskFigures(
        worst_point=max(probabilities), unit_bound=min(math.fsum(probabilities), 1.0)
    )


def least_capable(
    currents: Iterable[CurrentCapability], *, by_mode: bool = False
) -> tuple[CurrentCapability, ...]:
    """Return of each target the load with the smallest Ppk, or of each mode the target as well."""
    least: dict[tuple[object, ...], CurrentCapability] = {}
    for current in currents:
        key = current.key
        place = (key.mode,) if by_mode else (key.mode, key.level_index, key.target_na)
        known = least.setdefault(place, current)
        if known is current or current.capability is None:
            continue
        if known.capability is None or (
            current.capability.ppk.estimate < known.capability.ppk.estimate
        ):
            least[place] = current
    return tuple(least.values())


def point_risk(point: PointResult) -> float:
    """Return the probability that a point is outside its deciding limit, given its reading."""
    return nonconformity_probability(
        point.error_na,
        limit=point.deciding_limit_na,
        standard_uncertainty=point.standard_uncertainty_na,
    )


def rebuild_budget(result: VerificationResult, point: PointResult) -> Budget:
    """Return the budget behind a stored point.

    Args:
        result: The verification that it belongs to.
        point: One of its points or idle currents.
    """
    points = (*result.points, *result.idle)
    return budgets_of_result(result)[points.index(point)]


def build_budget_rows(result: VerificationResult) -> list[tuple[str, BudgetTerm]]:
    """Return the terms of the worst point's budget, each with its name in words."""
    budget = rebuild_budget(result, worst_point(result.points))
    return [(_SOURCE_NAMES[term.source], term) for term in budget.terms]
