"""Capability, charts and yield against published results, integration, and their symmetries."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from statistics import NormalDist, fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.capability_data import parse_process_data
from provisioning.capability_plot import plot_capability
from provisioning.control_charts import chart_ewma, chart_individuals, find_baseline
from provisioning.distributions import chi_square_lower_tail, chi_square_quantile
from provisioning.errors import CapabilityDataError
from provisioning.process_capability import (
    Limits,
    assess_capability,
    moving_range_dof,
)
from provisioning.retest_truth import Attempt, tell_retests

# NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.2 (flow rates) and 6.3.2.4 (EWMA).
FLOW = (49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1)
EWMA_DATA = (52.0, 47.0, 53.0, 49.3, 50.1, 47.0, 51.0, 50.1, 51.2, 50.5, *FLOW)
EWMA = (
    50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33,
    50.11, 49.36, 49.52, 50.05, 49.38, 49.92, 50.73, 51.23, 51.94, 51.99,
)  # fmt: skip
FINITE = st.floats(-1e6, 1e6)


def exact_sample(count: int, mean: float, sd: float) -> list[float]:
    """Values whose mean and standard deviation are given."""
    draw = random.Random(count)
    raw = [draw.gauss() for _ in range(count)]
    center, spread = fmean(raw), stdev(raw)
    return [mean + sd * (value - center) / spread for value in raw]


def test_the_chart_of_individuals_reproduces_the_handbooks_flow_rates():
    """The handbook divides by 1.128 instead of 2/√π: hence the fourth digit after the point."""
    values, ranges = chart_individuals(FLOW, find_baseline(FLOW))
    assert values.center == pytest.approx(50.81)
    assert (values.upper[0], values.lower[0]) == pytest.approx((55.8041, 45.8159), abs=2e-3)
    assert ranges.center == pytest.approx(1.8778, abs=5e-5)
    assert ranges.upper[0] == pytest.approx(3.267 * 1.8778, abs=2e-3)
    assert (values.signals, ranges.signals) == ((), ())


def test_the_ewma_chart_reproduces_the_handbooks_example():
    chart = chart_ewma(EWMA_DATA, center=50, sd=2.0539, weight=0.3)
    assert chart.points == pytest.approx(EWMA, abs=6e-3)
    assert (chart.upper[-1], chart.lower[-1]) == pytest.approx((52.5884, 47.4115), abs=2e-3)
    assert chart.upper[0] == pytest.approx(50 + 3 * 2.0539 * 0.3)
    assert chart.signals == ()


def test_ewma_with_all_weight_on_the_newest_value_is_the_chart_of_individuals():
    baseline = find_baseline(FLOW)
    chart = chart_ewma(FLOW, center=baseline.mean, sd=baseline.sd, weight=1)
    individuals, _ = chart_individuals(FLOW, baseline)
    assert chart.points == pytest.approx(individuals.points)
    assert chart.upper == pytest.approx(individuals.upper)


def test_ewma_sees_a_small_lasting_shift_that_no_single_value_shows():
    values = [0.8, -0.8] * 30 + [2.3, 0.7] * 30
    baseline = find_baseline(values[:60])
    assert (baseline.mean, baseline.sd) == pytest.approx((0, 1.6 / 1.128379))
    individuals, ranges = chart_individuals(values, baseline)
    assert (individuals.signals, ranges.signals) == ((), ())
    signals = chart_ewma(values, center=baseline.mean, sd=baseline.sd).signals
    assert 60 < min(signals) < 80


def test_a_signal_is_named_by_the_number_of_its_value():
    values = [1, 2, 1, 2, 1, 2, 1, 2, 30, 1, 2]
    individuals, ranges = chart_individuals(values, find_baseline(values[:8]))
    assert individuals.signals == (9,)
    assert ranges.signals == (9, 10)


@pytest.mark.parametrize(
    ("weight", "width", "sd"), [(0, 3, 1), (1.1, 3, 1), (0.2, 0, 1), (0.2, 3, 0)]
)
def test_an_ewma_chart_of_impossible_parameters_is_refused(weight, width, sd):
    with pytest.raises(CapabilityDataError, match="cannot be drawn like this"):
        chart_ewma(FLOW, center=50, sd=sd, weight=weight, width=width)


def test_cp_of_a_published_case_has_its_published_interval():
    """D. C. Montgomery: n = 20, s = 1.75, limits 38 and 62: 2.29, from 1.57 to 3.01."""
    capability = assess_capability(exact_sample(20, 50, 1.75), Limits(lower=38, upper=62))
    pp = capability.pp
    assert (pp.estimate, pp.low, pp.high) == pytest.approx((2.29, 1.57, 3.01), abs=6e-3)


def test_the_interval_of_cpk_is_the_published_formulas():
    """By hand: 1.33 ± 1.96·√(1/(9·20) + 1.33²/(2·19))."""
    ppk = assess_capability(exact_sample(20, 0, 1), Limits(lower=-3.99, upper=9)).ppk
    assert (ppk.estimate, ppk.low, ppk.high) == pytest.approx((1.33, 0.8826, 1.7774), abs=1e-4)


def test_the_handbooks_case_has_its_indices():
    """NIST/SEMATECH 6.1.6: limits 8 and 20, mean 16, s = 2: Cp 1.0, Cpk 0.6667."""
    capability = assess_capability(exact_sample(50, 16, 2), Limits(lower=8, upper=20))
    assert capability.pp.estimate == pytest.approx(1.0)
    assert capability.ppk.estimate == pytest.approx(2 / 3)
    upper = assess_capability(exact_sample(50, 16, 2), Limits(lower=None, upper=20))
    assert (upper.pp, upper.ppk) == (None, capability.ppk)
    lower = assess_capability(exact_sample(50, 16, 2), Limits(lower=8, upper=None))
    assert lower.ppk.estimate == pytest.approx(4 / 3)


def test_subgroups_make_the_short_term_spread_their_own():
    """By hand: 1 ± 1 and 11 ± 2 in pairs; the sum of squares 2 + 8 over two degrees of freedom."""
    values, names = [0, 9, 2, 13], ["a", "b", "a", "b"]
    capability = assess_capability(values, Limits(lower=-9, upper=21), subgroups=names)
    assert capability.sd_within == pytest.approx(math.sqrt(5))
    assert capability.dof_within == 2
    assert capability.sd_overall == pytest.approx(stdev(values))
    with pytest.raises(CapabilityDataError, match="no subgroup has two values"):
        assess_capability(values, Limits(lower=-9, upper=21), subgroups=["a", "b", "c", "d"])
    with pytest.raises(CapabilityDataError, match="no spread within"):
        assess_capability([1, 1, 2, 2], Limits(lower=0, upper=9), subgroups=["a", "a", "b", "b"])


def test_a_mean_moving_range_is_as_sure_as_simulation_says():
    """0.876 degrees of freedom for one range, which is (d2/d3)²/2, and 0.605 a value for many."""
    assert moving_range_dof(2) == pytest.approx((1.128379 / 0.852502) ** 2 / 2, rel=1e-5)
    assert moving_range_dof(10_001) / 10_000 == pytest.approx(0.605, abs=5e-4)
    draw = random.Random(11)
    sds = [find_baseline([draw.gauss() for _ in range(10)]).sd for _ in range(4000)]
    simulated = fmean(sds) ** 2 / (2 * stdev(sds) ** 2)
    assert moving_range_dof(10) == pytest.approx(simulated, rel=0.08)


@pytest.mark.no_cover
def test_the_intervals_hold_the_truth_as_often_as_they_promise():
    """300 processes of Cpk 1.2: 95 % of the intervals, give or take what chance does."""
    draw = random.Random(5)
    limits = Limits(lower=-3.6, upper=3.6)
    held = dict.fromkeys(("cp", "pp", "cpk", "ppk"), 0)
    for _ in range(300):
        capability = assess_capability([draw.gauss() for _ in range(60)], limits)
        for name in held:
            index = getattr(capability, name)
            held[name] += index.low <= 1.2 <= index.high
    assert all(275 <= count <= 297 for count in held.values()), held


def test_an_unstable_process_is_called_so():
    values = [*[0.0, 0.1] * 20, *[5.0, 5.1] * 20]
    capability = assess_capability(values, Limits(lower=-9, upper=9))
    assert "the process is not stable: 80 of 80 values" in capability.remarks[0]
    assert capability.cpk.estimate > 10 > capability.ppk.estimate
    outside = assess_capability(values, Limits(lower=4, upper=9))
    assert "the mean itself is outside the limits" in outside.remarks
    assert outside.outside_count == 40
    assert outside.ppk.estimate < 0


def test_few_values_are_said_to_say_little():
    assert "10 values say little" in assess_capability(FLOW, Limits(lower=45, upper=55)).remarks[0]


def test_the_expected_share_outside_is_that_of_the_normal_distribution():
    capability = assess_capability(exact_sample(100, 1, 2), Limits(lower=-3, upper=7))
    expected = NormalDist(1, 2).cdf(-3) + 1 - NormalDist(1, 2).cdf(7)
    assert capability.outside_expected == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "telling"),
    [
        ([], "too few"),
        ([1, 2], "too few"),
        ([4, 4, 4], "no spread"),
        ([1e308, -1e308, 1e308], "too far apart"),
        ([0, 1e-300, 0], "not of one unit"),
    ],
)
def test_values_that_are_no_process_are_refused(values, telling):
    with pytest.raises(CapabilityDataError, match=telling):
        assess_capability(values, Limits(lower=-1, upper=1))


@pytest.mark.parametrize(
    ("lower", "upper"), [(None, None), (1, 1), (2, 1), (math.nan, 1), (0, math.inf)]
)
def test_limits_that_enclose_nothing_are_refused(lower, upper):
    with pytest.raises(CapabilityDataError, match="enclose nothing"):
        Limits(lower=lower, upper=upper)


@given(st.lists(st.floats(), max_size=8), st.floats(), st.floats())
def test_any_floats_give_finite_figures_or_our_error(values, lower, upper):
    with suppress(CapabilityDataError):
        capability = assess_capability(values, Limits(lower=lower, upper=upper))
        for index in (capability.cp, capability.cpk, capability.pp, capability.ppk):
            assert all(map(math.isfinite, (index.estimate, index.low, index.high)))
            assert index.low <= index.estimate <= index.high


@given(st.lists(FINITE, min_size=3, max_size=20), st.sampled_from([1e-3, 25.4, 1e9]), FINITE)
def test_another_unit_or_zero_point_changes_no_index(values, factor, constant):
    if max(values) - min(values) < 1:
        values = [*values, max(values) + 1]
    limits = Limits(lower=-1e6, upper=2e6)
    plain = assess_capability(values, limits)
    moved = assess_capability(
        [factor * (value + constant) for value in values],
        Limits(lower=factor * (-1e6 + constant), upper=factor * (2e6 + constant)),
    )
    assert moved.sd_overall == pytest.approx(factor * plain.sd_overall, rel=1e-6)
    for name in ("cp", "cpk", "pp", "ppk"):
        before, after = getattr(plain, name), getattr(moved, name)
        assert after.estimate == pytest.approx(before.estimate, rel=1e-6, abs=1e-9)
        assert after.high == pytest.approx(before.high, rel=1e-6, abs=1e-9)


@pytest.mark.no_cover
def test_a_million_values_are_taken_and_one_more_is_refused():
    text = b"value\n" + b"1\n2\n" * 500_000
    assert len(parse_process_data(text, where="-").values) == 1_000_000
    with pytest.raises(CapabilityDataError, match="at most 1000001, got 1000002"):
        parse_process_data(text + b"3\n", where="-")


@given(st.binary(max_size=150))
def test_arbitrary_bytes_raise_only_our_error(content):
    for text in (content, b"value\n" + content):
        with suppress(CapabilityDataError):
            parse_process_data(text, where="-")


@pytest.mark.parametrize(
    ("probability", "dof", "expected"),
    [(0.025, 19, 8.9065), (0.975, 19, 32.8523), (0.95, 1, 3.8415), (0.05, 100, 77.9295)],
)
def test_chi_square_quantiles_are_those_of_the_tables(probability, dof, expected):
    assert chi_square_quantile(probability, dof) == pytest.approx(expected, abs=6e-5)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.5, 1e6))
def test_a_chi_square_quantile_is_the_inverse_of_its_tail(probability, dof):
    value = chi_square_quantile(probability, dof)
    assert chi_square_lower_tail(value, dof) == pytest.approx(probability, rel=1e-7, abs=1e-12)


@given(st.floats(0, 200), st.integers(1, 40))
def test_the_chi_square_of_even_degrees_is_a_sum_of_poisson_terms(value, half):
    upper = math.fsum(
        math.exp(-value / 2 + n * math.log(value / 2 or 1e-300) - math.lgamma(n + 1))
        for n in range(half)
    )
    assert chi_square_lower_tail(value, 2 * half) == pytest.approx(1 - upper, abs=1e-12)


def attempts(text: str) -> tuple[Attempt, ...]:
    """`p` passed, `f` failed; upper case: a supervisor had sent the unit back before."""
    return tuple(Attempt(is_passed=c in "pP", was_sent_back=c.isupper()) for c in text)


def test_a_pass_on_retest_is_no_first_pass_and_is_told_apart_from_rework():
    units = ["p", "p", "p", "f", "fp", "fFP", "ffP", "fP", "pf", "pp", "fpf", ""]
    counted = tell_retests(map(attempts, units))
    assert (counted.first_pass.count, counted.first_pass.total) == (5, 11)
    assert counted.final.count == 8
    assert (counted.retest_passed, counted.rework_passed) == (1, 3)
    assert counted.passed_then_failed == 2
    assert counted.retest_count == 6


def test_the_interval_of_a_yield_is_wilsons():
    """10 of 10: from 72.2 %; 5 of 10: 23.7 to 76.3 %."""
    whole = tell_retests(map(attempts, ["p"] * 10)).first_pass
    assert (whole.low, whole.high) == pytest.approx((0.7225, 1), abs=1e-4)
    half = tell_retests(map(attempts, ["p"] * 5 + ["f"] * 5)).first_pass
    assert (half.low, half.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    nothing = tell_retests([]).first_pass
    assert (nothing.fraction, nothing.low, nothing.high) == (None, 0, 1)


def test_the_picture_of_a_process_states_its_indices_and_is_the_same_every_time():
    limits = Limits(lower=None, upper=55)
    capability = assess_capability(FLOW, limits)
    first = plot_capability(FLOW, limits, capability, picture_format="svg")
    assert first == plot_capability(FLOW, limits, capability, picture_format="svg")
    assert b"Cpk 0.84" in first
    assert b"upper limit 55" in first
    assert b"lower limit" not in first
