"""The uncertainty budget of every verified point of a unit, and how far they are one error.

Built from the readings and settings of the unit's last confirmed verification, not from today's.
Implements docs/spec/calibration.md §5.5.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from provisioning.errors import ExportError
from provisioning.ledger_events import Phase, format_time
from provisioning.station_values import Step
from provisioning.uncertainty import nonconformity_probability
from provisioning.uncertainty_covariance import covariance_of
from provisioning.verification_budgets import budgets_of_result
from provisioning.verification_result import parse_verification_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioning.ledger_events import Event
    from provisioning.uncertainty import Budget, BudgetTerm
    from provisioning.verification_result import PointResult

BUDGET_SCHEMA: Final = "ampforge.unit-budget/1"


def budget_document(
    serial: str, events: Iterable[Event], *, with_covariance: bool
) -> dict[str, object]:
    """Return the budgets of a unit as a JSON document (schema `ampforge.unit-budget/1`).

    Args:
        serial: The unit.
        events: Its events.
        with_covariance: Add the covariance matrix of all points, nA².

    Raises:
        ExportError: It was never verified.
        VerificationError: The stored result cannot be read.
    """
    last = None
    for event in events:
        if event.phase is Phase.CONFIRM and event.step == Step.VERIFY.value:
            last = event
    if last is None:
        raise ExportError(
            "the unit was never verified",
            expected="a confirmed verification",
            got="none",
            where=serial,
            hint="see `ampforge unit history` for what was done to it",
        )
    result = parse_verification_result(last.data.get("result"))
    budgets = budgets_of_result(result)
    points = (*result.points, *result.idle)
    settings = result.settings
    document: dict[str, object] = {
        "schema": BUDGET_SCHEMA,
        "serial": serial,
        "at": format_time(last.at),
        "instrument": str(result.instrument),
        "certificate": result.certificate,
        "certificate_age_days": result.certificate_age_days,
        "decision_rule": settings.decision_rule.value,
        "coverage": settings.coverage.value,
        "points": [
            _describe(point, budget, guard_share=settings.guard_share(budget.coverage_factor))
            for point, budget in zip(points, budgets, strict=True)
        ],
    }
    if with_covariance:
        document["covariance_na2"] = [list(row) for row in covariance_of(budgets)]
    return document


def _describe(point: PointResult, budget: Budget, *, guard_share: float) -> dict[str, object]:
    standard_na = budget.standard_na
    return {
        "mode": point.mode,
        "level": point.level_index + 1,
        "target_na": point.target_na,
        "load_ohm": point.load_ohm,
        "range_ua": point.range_ua,
        "measured_na": point.measured_na,
        "error_na": point.error_na,
        "limit_na": point.deciding_limit_na,
        "terms": [_describe_term(term) for term in budget.terms],
        "standard_uncertainty_na": standard_na,
        "effective_dof": _finite(budget.effective_dof),
        "coverage_factor": budget.coverage_factor,
        "expanded_uncertainty_na": budget.expanded_na,
        "guard_band_na": guard_share * budget.expanded_na,
        "test_uncertainty_ratio": point.deciding_limit_na / budget.expanded_na,
        "nonconformity_probability": nonconformity_probability(
            point.error_na, limit=point.deciding_limit_na, standard_uncertainty=standard_na
        ),
        "outcome": point.outcome.value,
    }


def _describe_term(term: BudgetTerm) -> dict[str, object]:
    return {
        "source": term.source.value,
        "type": term.evaluation,
        "distribution": term.distribution,
        "size": term.size,
        "unit": term.unit,
        "divisor": term.divisor,
        "sensitivity_na": term.sensitivity_na,
        "standard_uncertainty_na": term.standard_na,
        "dof": _finite(term.dof),
        "group": term.group,
    }


def _finite(dof: float) -> float | None:
    return None if math.isinf(dof) else dof
