"""Uncertainty budgets, guarded decisions and risks against closed forms and published figures."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.decision_risk import compute_risk
from provisioning.errors import RiskError
from provisioning.measurement_choices import CoverageRule, DecisionRule
from provisioning.measurement_settings import MetrologySettings
from provisioning.meter_accuracy import AgedAccuracy
from provisioning.uncertainty import (
    Outcome,
    Source,
    build_budget,
    judge_error,
    nonconformity_probability,
    normal_cdf,
    worst_outcome,
)
from tests.provisioning.metrology_bench import SETTINGS


@pytest.mark.parametrize(
    ("reading_na", "range_ua", "expanded_ua"),
    [(10_000, 100, 0.035), (100_000, 100, 0.087), (500_000, 1_000, 0.346)],
)
def test_the_instrument_alone_gives_the_published_u(reading_na, range_ua, expanded_ua):
    """6½ digits: U = 0.035 µA at 10 µA, 0.087 at 100 µA, 0.346 at 500 µA."""
    budget = build_budget(
        reading_na, range_ua=range_ua, load_ohm=1_000, sample_sd_na=0, count=1, settings=SETTINGS
    )
    assert 2 * budget.of(Source.INSTRUMENT) / 1_000 == pytest.approx(expanded_ua, abs=0.0006)


def test_the_budget_adds_in_quadrature_and_each_line_is_size_times_sensitivity_over_divisor():
    budget = build_budget(
        -400_000, range_ua=1_000, load_ohm=10_000, sample_sd_na=80, count=4, settings=SETTINGS
    )
    assert [term.source for term in budget.terms] == list(Source)
    for term in budget.terms:
        assert term.standard_na == pytest.approx(
            abs(term.sensitivity_na) * term.size / term.divisor, rel=1e-12
        )
    assert budget.of(Source.REPEATABILITY) == 40
    assert budget.of(Source.QUANTISATION) == pytest.approx(488.28125 / math.sqrt(12))
    assert budget.of(Source.LOAD) == pytest.approx(400_000 * 10 / 210 * 0.001 / math.sqrt(3))
    assert budget.of(Source.LOADING) == pytest.approx(400_000 / 210e3 * 50 / math.sqrt(3))
    assert budget.of(Source.LOAD_TEMPERATURE) == pytest.approx(
        400_000 / 210e3 * 10_000 * 25e-6 / math.sqrt(3)
    )
    assert budget.of(Source.GAIN_TEMPERATURE) == pytest.approx(400_000 * 60e-6 / math.sqrt(3))
    assert budget.of(Source.OFFSET_TEMPERATURE) == pytest.approx(20 / math.sqrt(3))
    assert budget.standard_na == pytest.approx(
        math.hypot(*(term.standard_na for term in budget.terms))
    )
    assert budget.expanded_na == 2 * budget.standard_na


def test_few_samples_widen_u_by_student_s_factor():
    """Where repeatability is nearly all, two samples have one degree of freedom and k = 13.97."""
    noisy = {"range_ua": 100, "load_ohm": 1_000, "sample_sd_na": 1e5, "settings": SETTINGS}
    two = build_budget(0, count=2, sample_dof=1, **noisy)
    assert two.effective_dof == pytest.approx(1, rel=1e-4)
    assert two.expanded_na / two.standard_na == pytest.approx(13.97, abs=0.005)
    fixed = SETTINGS.model_copy(update={"coverage": CoverageRule.TWO})
    plain = build_budget(0, count=2, sample_dof=1, **(noisy | {"settings": fixed}))
    assert plain.expanded_na == 2 * plain.standard_na


def test_the_accuracy_is_that_of_the_instrument_s_age():
    columns = (
        AgedAccuracy(days=1, reading_percent=0.01, range_percent=0.002),
        AgedAccuracy(days=90, reading_percent=0.03, range_percent=0.005),
    )
    wide = SETTINGS.accuracy_of_range(1_000)
    settings = SETTINGS.model_copy(
        update={"accuracy": (wide.model_copy(update={"younger": columns}),)}
    )

    def instrument_na(age_days):
        return build_budget(
            500_000,
            range_ua=1_000,
            load_ohm=1_000,
            sample_sd_na=0,
            count=1,
            settings=settings,
            age_days=age_days,
        ).of(Source.INSTRUMENT) * math.sqrt(3)

    assert instrument_na(0) == instrument_na(1) == pytest.approx(50 + 20)
    assert instrument_na(2) == instrument_na(90) == pytest.approx(150 + 50)
    assert instrument_na(91) == instrument_na(None) == pytest.approx(250 + 50)


@pytest.mark.parametrize(
    ("rule", "factor", "guard_band_in_u"),
    [
        (DecisionRule.SIMPLE, 1.0, 0.0),
        (DecisionRule.ILAC_G8, 1.0, 2.0),
        (DecisionRule.ILAC_G8, 0.5, 1.0),
        (DecisionRule.ONE_SIDED_95, 1.0, 1.645),
    ],
)
def test_a_rule_has_its_guard_band_whatever_the_coverage_factor(rule, factor, guard_band_in_u):
    """W = 0, r·U and 1.645·u: only the second one depends on k."""
    settings = MetrologySettings(decision_rule=rule, guard_factor=factor)
    assert settings.guard_share(2.0) * 2.0 == pytest.approx(guard_band_in_u)
    if rule is DecisionRule.ONE_SIDED_95:
        assert settings.guard_share(3.3) * 3.3 == pytest.approx(1.645)


def test_a_guard_factor_for_a_rule_that_has_none_is_refused():
    with pytest.raises(ValueError, match="the rule simple has none"):
        MetrologySettings(decision_rule=DecisionRule.SIMPLE, guard_factor=0.5)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (0.0, Outcome.PASS),
        (1.2, Outcome.PASS),
        (-1.21, Outcome.CONDITIONAL_PASS),
        (1.5, Outcome.CONDITIONAL_PASS),
        (1.51, Outcome.CONDITIONAL_FAIL),
        (-1.8, Outcome.CONDITIONAL_FAIL),
        (1.81, Outcome.FAIL),
    ],
)
def test_the_guard_band_makes_four_outcomes(error, outcome):
    got = judge_error(error, limit=1.5, expanded_uncertainty=0.3, guard_factor=1.0)
    assert got is outcome


def test_without_a_guard_band_there_are_two_outcomes():
    for error, outcome in ((1.5, Outcome.PASS), (1.501, Outcome.FAIL)):
        assert judge_error(error, limit=1.5, expanded_uncertainty=0.3, guard_factor=0) is outcome


def test_the_worst_outcome_decides():
    assert worst_outcome(reversed(Outcome)) is Outcome.FAIL
    assert worst_outcome([Outcome.PASS, Outcome.CONDITIONAL_PASS]) is Outcome.CONDITIONAL_PASS


def test_an_accepted_result_at_the_guarded_limit_is_wrong_in_less_than_2_5_percent():
    """With w = U = 2u the probability that the true value is outside is Φ(-2)."""
    probability = nonconformity_probability(1.2, limit=1.5, standard_uncertainty=0.15)
    assert probability == pytest.approx(normal_cdf(-2), rel=1e-9)
    assert probability < 0.025
    one_sided_95 = nonconformity_probability(
        1.5 - 1.645 * 0.15, limit=1.5, standard_uncertainty=0.15
    )
    assert one_sided_95 == pytest.approx(0.05, abs=1e-4)


def bivariate_risk(tolerance, process_sd, measurement_sd, guard):
    """Two-dimensional midpoint sum over the joint density: slow, and another way."""
    accept = tolerance - guard
    pfa = pfr = 0.0
    n = 1_200
    for i in range(n):
        x = (i + 0.5) / n * 16 * process_sd - 8 * process_sd
        density = math.exp(-0.5 * (x / process_sd) ** 2) / math.sqrt(2 * math.pi) * 16 / n
        inside = 0.5 * (
            math.erf((accept - x) / measurement_sd / math.sqrt(2))
            + math.erf((accept + x) / measurement_sd / math.sqrt(2))
        )
        if abs(x) > tolerance:
            pfa += density * inside
        else:
            pfr += density * (1 - inside)
    return pfa, pfr


@pytest.mark.parametrize(
    ("tolerance", "process_sd", "measurement_sd", "guard"),
    [(2.0, 1.0, 0.5, 0.0), (2.0, 1.0, 0.5, 0.5), (3.0, 1.0, 1.0, 1.0), (1.0, 0.5, 0.25, -0.2)],
)
def test_risks_agree_with_a_plain_sum(tolerance, process_sd, measurement_sd, guard):
    # The midpoint grid is aligned with the tolerance, so that its step is not smeared.
    risk = compute_risk(
        tolerance=tolerance,
        process_sd=process_sd,
        measurement_sd=measurement_sd,
        guard_band=guard,
    )
    pfa, pfr = bivariate_risk(tolerance, process_sd, measurement_sd, guard)
    assert risk.pfa == pytest.approx(pfa, rel=1e-3)
    assert risk.pfr == pytest.approx(pfr, rel=1e-3)


@given(st.floats(0.1, 10), st.floats(0.01, 5), st.floats(0.001, 5), st.floats(-0.5, 0.9))
def test_accepting_and_rejecting_add_up(tolerance, process_sd, measurement_sd, part):
    """P(accept) = P(good) - PFR + PFA, and P(accept) has a closed form."""
    guard = part * tolerance
    risk = compute_risk(
        tolerance=tolerance,
        process_sd=process_sd,
        measurement_sd=measurement_sd,
        guard_band=guard,
    )
    total = math.hypot(process_sd, measurement_sd)
    p_accept = math.erf((tolerance - guard) / total / math.sqrt(2))
    p_good = math.erf(tolerance / process_sd / math.sqrt(2))
    assert p_good - risk.pfr + risk.pfa == pytest.approx(p_accept, abs=1e-9)


@given(st.floats(0.1, 10), st.floats(0.01, 5), st.floats(0.01, 5))
def test_a_guard_band_trades_false_accepts_for_false_rejects(tolerance, process_sd, sd):
    plain = compute_risk(tolerance=tolerance, process_sd=process_sd, measurement_sd=sd)
    guarded = compute_risk(
        tolerance=tolerance, process_sd=process_sd, measurement_sd=sd, guard_band=tolerance / 4
    )
    assert guarded.pfa <= plain.pfa + 1e-15
    assert guarded.pfr >= plain.pfr - 1e-15


def test_limits_of_the_integral_have_their_closed_forms():
    perfect = compute_risk(tolerance=1, process_sd=0.5, measurement_sd=0, guard_band=0.2)
    assert perfect.pfa == 0
    assert perfect.pfr == pytest.approx(math.erf(2 / math.sqrt(2)) - math.erf(1.6 / math.sqrt(2)))
    relaxed = compute_risk(tolerance=1, process_sd=0.5, measurement_sd=0, guard_band=-0.2)
    assert relaxed.pfa == pytest.approx(math.erf(2.4 / math.sqrt(2)) - math.erf(2 / math.sqrt(2)))
    exact = compute_risk(tolerance=1, process_sd=0, measurement_sd=0.5)
    assert (exact.pfa, exact.pfr) == (0, pytest.approx(math.erfc(2 / math.sqrt(2))))
    nothing = compute_risk(tolerance=1, process_sd=0, measurement_sd=0)
    assert (nothing.pfa, nothing.pfr) == (0, 0)


@pytest.mark.parametrize("unit", [1e-300, 1e-9, 1e9, 1e307])
def test_risk_does_not_depend_on_the_unit(unit):
    values = {"tolerance": 1.5, "process_sd": 0.6, "measurement_sd": 0.15, "guard_band": 0.3}
    risk = compute_risk(**{name: value * unit for name, value in values.items()})
    assert risk.pfa == pytest.approx(compute_risk(**values).pfa, rel=1e-9)
    assert risk.pfr == pytest.approx(compute_risk(**values).pfr, rel=1e-9)


@pytest.mark.parametrize("noise", [1e-3, 1e-6, 1e-9, 1e-200])
def test_a_very_good_instrument_comes_to_the_closed_form(noise):
    """With acceptance far outside the limits nothing else is between: no panel may be too wide."""
    relaxed = compute_risk(tolerance=1, process_sd=5, measurement_sd=noise, guard_band=-5)
    expected = math.erf(6 / 5 / math.sqrt(2)) - math.erf(1 / 5 / math.sqrt(2))
    assert relaxed.pfa == pytest.approx(expected, rel=1e-7)
    strict = compute_risk(tolerance=1, process_sd=5, measurement_sd=noise, guard_band=0.5)
    expected = math.erf(1 / 5 / math.sqrt(2)) - math.erf(0.5 / 5 / math.sqrt(2))
    assert strict.pfr == pytest.approx(expected, rel=1e-7)


def test_risks_agree_with_a_seeded_experiment():
    draw = random.Random(1)
    risk = compute_risk(tolerance=1.5, process_sd=0.8, measurement_sd=0.3, guard_band=0.2)
    false_accepts = 0
    for _ in range(100_000):
        true = draw.gauss(0, 0.8)
        false_accepts += abs(true) > 1.5 and abs(true + draw.gauss(0, 0.3)) <= 1.3
    assert false_accepts / 100_000 == pytest.approx(risk.pfa, abs=4 * math.sqrt(risk.pfa / 1e5))


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"process_sd": -1.0}, "process sd"),
        ({"measurement_sd": math.inf}, "measurement sd"),
        ({"guard_band": 1.5}, "nothing to accept"),
        ({"guard_band": math.nan}, "nothing to accept"),
        ({"process_sd": 1e308}, "too far apart"),
        ({"measurement_sd": 1e308}, "too far apart"),
        ({"guard_band": -1e308}, "too far apart"),
        ({"tolerance": 5e-324, "guard_band": 0.0}, "too far apart"),
    ],
)
def test_values_that_describe_no_decision_are_refused(changes, telling):
    values = {"tolerance": 1.5, "process_sd": 0.4, "measurement_sd": 0.1, "guard_band": 0.1}
    with pytest.raises(RiskError, match=telling):
        compute_risk(**(values | changes))
