"""The statement of conformity of a unit: rule, coverage factor, and what its verdict promises.

Implements docs/spec/calibration.md §6.2 and §9.2 in the words of ILAC-G8:09/2019 and JCGM 106:2012.
This module does no input or output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from provisioning.ledger_values import UnitState
from provisioning.measurement_choices import ONE_SIDED_95_SIGMAS, CoverageRule, DecisionRule
from provisioning.report_texts import format_probability
from provisioning.uncertainty import COVERAGE_FACTOR, Outcome, normal_cdf

if TYPE_CHECKING:
    from provisioning.ledger_events import Event
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.verification_result import VerificationResult


def state_conformity(final: Event, verification: VerificationResult) -> str:
    """Return the statement of conformity that a verdict allows."""
    settings = verification.settings
    sigmas = _guard_sigmas(settings)
    rule = f"{_state_rule(settings)}, U = k·u with {state_coverage(verification)}. "
    if final.data.get("outcome") == UnitState.PASS.value:
        return (
            f"{rule}PASS: every measured error lies within its acceptance limit. The specific risk "
            f"of a false accept is {format_probability(_accept_risk(verification))} for any one "
            "point."
        )
    match verification.outcome:
        case Outcome.PASS:
            return (
                f"{rule}PASS for all that was verified; the unit did not pass for the reasons "
                "stated, and no conformity of the unit is stated."
            )
        case Outcome.CONDITIONAL_PASS:
            return (
                f"{rule}CONDITIONAL PASS: every measured error lies within its tolerance limit, "
                "but not every one within its acceptance limit. The risk of a false accept is at "
                "most 50 % for any one point. Not released without a signed disposition."
            )
        case Outcome.CONDITIONAL_FAIL:
            return (
                f"{rule}CONDITIONAL FAIL: a measured error lies beyond its tolerance limit by not "
                "more than the guard band. The risk of a false reject is at most 50 %."
            )
        case Outcome.FAIL:
            return (
                f"{rule}FAIL: a measured error lies beyond its tolerance limit by more than the "
                f"guard band, or a check without one failed. The risk of a false reject is "
                f"{format_probability(normal_cdf(-sigmas))} where a point decided."
            )


def _guard_sigmas(settings: MetrologySettings) -> float:
    """Return the least w/u of a rule: k is never less than that of infinite degrees of freedom."""
    return settings.guard_share(COVERAGE_FACTOR) * COVERAGE_FACTOR


def _accept_risk(verification: VerificationResult) -> float:
    """Return what bounds the specific risk of an accepted point (JCGM 106 §7).

    An error at the acceptance limit may in truth be beyond the near limit, or, where a limit is
    little more than u, beyond the far one.
    """
    sigmas = _guard_sigmas(verification.settings)
    far = (
        normal_cdf(sigmas - 2 * point.deciding_limit_na / point.standard_uncertainty_na)
        for point in (*verification.points, *verification.idle)
        if point.standard_uncertainty_na
    )
    return normal_cdf(-sigmas) + max(far, default=0.0)


def _state_rule(settings: MetrologySettings) -> str:
    accepted = "acceptance limit = tolerance limit"
    # A guard band of nothing is none, whatever the rule is called.
    is_guarded = settings.guard_share(COVERAGE_FACTOR) > 0
    rule = settings.decision_rule if is_guarded else DecisionRule.SIMPLE
    match rule:
        case DecisionRule.SIMPLE:
            return f"Simple acceptance, ILAC-G8:09/2019: {accepted}, w = 0"
        case DecisionRule.ILAC_G8:
            return (
                f"Non-binary decision rule with guard band, ILAC-G8:09/2019: {accepted} "
                f"\N{MINUS SIGN} w, w = {settings.guard_factor:g}·U"
            )
        case DecisionRule.ONE_SIDED_95:
            return (
                f"Non-binary decision rule with guard band, JCGM 106:2012: {accepted} "
                f"\N{MINUS SIGN} w, w = {ONE_SIDED_95_SIGMAS:g}·u, u taken as known"
            )
        case _:
            assert_never(rule)


def state_coverage(verification: VerificationResult) -> str:
    """Say which coverage factors the expanded uncertainties of a verification have."""
    if verification.settings.coverage is CoverageRule.TWO:
        return f"k = {COVERAGE_FACTOR:g}"
    factors = [
        point.budget.coverage_factor
        for point in (*verification.points, *verification.idle)
        if point.budget is not None
    ]
    span = "k"
    if factors:
        least, most = f"{min(factors):.2f}", f"{max(factors):.2f}"
        span = f"k = {least}" if least == most else f"k = {least} to {most}"
    return f"{span} for 95.45 %, Student's t"
