"""Gauge studies against published results, a second way of computing them, and their symmetries."""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from statistics import fmean

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from provisioning.distributions import f_upper_tail
from provisioning.errors import GaugeDataError
from provisioning.gauge_data import GaugeData, parse_gauge_data
from provisioning.gauge_plot import plot_gauge
from provisioning.gauge_study import GaugeMethod, analyse_gauge, range_limit
from provisioning.spread_constants import (
    D2_D3,
    many_ranges_factor,
    one_range_factor,
    range_limit_factor,
)
from tests.provisioning.aiag_study import TEXT

BOTH = tuple(GaugeMethod)


@pytest.fixture(scope="module")
def aiag():
    return parse_gauge_data(TEXT.encode(), where="aiag.csv")


def make_study(values) -> GaugeData:
    """A study from `values[part][appraiser][trial]`."""
    parts, appraisers, trials = len(values), len(values[0]), len(values[0][0])
    return GaugeData(
        parts=tuple(f"p{n}" for n in range(parts)),
        appraisers=tuple(f"a{n}" for n in range(appraisers)),
        trials=tuple(f"{n}" for n in range(trials)),
        values=tuple(tuple(tuple(map(Fraction, cell)) for cell in row) for row in values),
    )


def test_anova_reproduces_the_manuals_example(aiag):
    study = analyse_gauge(aiag, GaugeMethod.ANOVA)
    assert study.ev == pytest.approx(0.199933, abs=5e-7)
    assert study.av == pytest.approx(0.226838, abs=1e-6)
    assert study.interaction == 0
    assert study.grr == pytest.approx(0.302373, abs=2e-6)
    assert study.pv == pytest.approx(1.042327, abs=1e-6)
    assert study.tv == pytest.approx(1.0853, abs=5e-5)
    assert study.percent_grr == pytest.approx(27.9, abs=0.05)
    assert study.ndc == 4
    table = study.anova
    assert [row.dof for _, row in table.rows()] == [9, 2, 18, 60]
    sums = [float(row.sum_of_squares) for _, row in table.rows()]
    assert sums == pytest.approx([88.3619, 3.1673, 0.3590, 2.7589], abs=5e-5)
    assert table.interaction_f == pytest.approx(0.434, abs=5e-4)
    assert table.is_pooled
    assert "pooled into repeatability: its p is 0.974" in study.remarks[0]


def test_average_and_range_reproduces_the_manuals_example(aiag):
    """The manual rounds the mean range to four digits first, hence its last digit."""
    study = analyse_gauge(aiag, GaugeMethod.RANGE)
    assert study.ev == pytest.approx(0.20188, abs=3e-5)
    assert study.av == pytest.approx(0.22963, abs=4e-5)
    assert study.grr == pytest.approx(0.30575, abs=3e-5)
    assert study.pv == pytest.approx(1.10456, abs=4e-5)
    assert study.tv == pytest.approx(1.14610, abs=4e-5)
    assert study.percent_grr == pytest.approx(26.68, abs=5e-3)
    assert study.ndc == 5
    assert study.anova is None


def test_a_range_beyond_its_limit_is_named_with_part_and_appraiser(aiag):
    assert float(range_limit(aiag)) == pytest.approx(0.880, abs=5e-4)
    assert "for part 4, appraiser B:" in analyse_gauge(aiag, GaugeMethod.RANGE).remarks[-1]


def test_the_factors_are_those_of_the_manuals_form():
    assert [float(many_ranges_factor(n)) for n in (2, 3)] == [0.8862, 0.5908]
    assert [float(one_range_factor(n)) for n in range(2, 11)] == [
        0.7071, 0.5231, 0.4467, 0.4030, 0.3742, 0.3534, 0.3375, 0.3249, 0.3146,
    ]  # fmt: skip
    assert [round(range_limit_factor(n), 3) for n in range(2, 6)] == [3.267, 2.575, 2.282, 2.114]


def test_mean_and_spread_of_a_range_are_what_integration_gives():
    """E[R] and E[R²] of n normal values, from the distribution of smallest and largest."""
    nodes, weights = np.polynomial.legendre.leggauss(150)
    x, w, width = 9 * nodes, 9 * weights, 9 * (nodes + 1)
    phi = np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2)
    low, high, upper = phi(x)[:, None], phi(-x)[:, None], phi(x[:, None] + width)
    for n, (d2, d3) in D2_D3.items():
        mean = float(((1 - low**n - high**n)[:, 0] * w).sum())
        joint = 1 - upper**n - high**n + np.clip(upper - low, 0, 1) ** n
        square = 2 * float((joint * w[:, None] * w[None, :]).sum())
        assert (mean, math.sqrt(square - mean**2)) == pytest.approx((d2, d3), abs=1e-6)


def brute_force(data: GaugeData, *, is_pooled: bool) -> dict[str, float]:
    """The same by residuals: every reading is taken apart into effects, in floating point."""
    y = np.array([[[float(v) for v in cell] for cell in row] for row in data.values])
    parts, appraisers, trials = y.shape
    grand, cell = y.mean(), y.mean(axis=2, keepdims=True)
    part = y.mean(axis=(1, 2), keepdims=True) - grand
    appraiser = y.mean(axis=(0, 2), keepdims=True) - grand
    both = cell - grand - part - appraiser

    def mean_square(effect, dof):
        return float((np.broadcast_to(effect, y.shape) ** 2).sum()) / dof

    of_both = mean_square(both, (parts - 1) * (appraisers - 1))
    error = mean_square(y - cell, parts * appraisers * (trials - 1))
    if is_pooled:
        pooled = float(((y - grand - part - appraiser) ** 2).sum())
        error = of_both = pooled / (y.size - parts - appraisers + 1)
    return {
        "ev": error**0.5,
        "interaction": max(0.0, (of_both - error) / trials) ** 0.5,
        "av": max(0.0, (mean_square(appraiser, appraisers - 1) - of_both) / parts / trials) ** 0.5,
        "pv": max(0.0, (mean_square(part, parts - 1) - of_both) / appraisers / trials) ** 0.5,
    }


def studies(elements):
    def of_shape(shape):
        parts, appraisers, trials = shape
        cell = st.lists(elements, min_size=trials, max_size=trials)
        row = st.lists(cell, min_size=appraisers, max_size=appraisers)
        return st.lists(row, min_size=parts, max_size=parts)

    return st.tuples(st.integers(2, 5), st.integers(2, 4), st.integers(2, 3)).flatmap(of_shape)


WHOLE = studies(st.integers(-50, 50))


def figures(values, method):
    try:
        study = analyse_gauge(make_study(values), method)
    except GaugeDataError:
        assume(False)
        raise
    return study


@settings(max_examples=60, deadline=None)
@given(WHOLE, st.sampled_from([0, 0.25, 1]))
def test_anova_agrees_with_taking_every_reading_apart(values, alpha):
    data = make_study(values)
    try:
        study = analyse_gauge(data, GaugeMethod.ANOVA, pooling_alpha=alpha)
    except GaugeDataError:
        return
    expected = brute_force(data, is_pooled=study.anova.is_pooled)
    for name, value in expected.items():
        assert getattr(study, name) == pytest.approx(value, rel=1e-9, abs=1e-6), name
    assert study.grr == pytest.approx(math.hypot(study.ev, study.av, study.interaction), rel=1e-12)
    assert study.tv == pytest.approx(math.hypot(study.grr, study.pv), rel=1e-12)
    assert study.percent_grr == pytest.approx(100 * study.grr / study.tv, rel=1e-12)
    assert study.ndc == math.floor(1.41 * study.pv / study.grr + 1e-12)


@settings(max_examples=40, deadline=None)
@given(WHOLE, st.sampled_from(BOTH), st.randoms())
def test_the_order_of_rows_changes_nothing(values, method, random):
    data = make_study(values)
    rows = [
        f"{part},{who},{trial},{float(value)}\n"
        for part, row in zip(data.parts, data.values, strict=True)
        for who, cell in zip(data.appraisers, row, strict=True)
        for trial, value in zip(data.trials, cell, strict=True)
    ]
    head = "part,appraiser,trial,value\n"
    expected = figures(values, method)
    random.shuffle(rows)
    shuffled = analyse_gauge(parse_gauge_data((head + "".join(rows)).encode(), where="-"), method)
    for name in ("ev", "av", "interaction", "grr", "pv", "tv", "percent_grr", "ndc"):
        assert getattr(shuffled, name) == getattr(expected, name)


@settings(max_examples=40, deadline=None)
@given(WHOLE, st.sampled_from(BOTH), st.sampled_from([1, -7, 10**15, Fraction(1, 3)]))
def test_an_added_constant_changes_nothing_at_all(values, method, constant):
    moved = [[[v + constant for v in cell] for cell in row] for row in values]
    assert figures(moved, method) == figures(values, method)


@settings(max_examples=40, deadline=None)
@given(WHOLE, st.sampled_from(BOTH), st.sampled_from([Fraction(1, 1000), 25400, -3, 10**12]))
def test_another_unit_scales_the_spreads_and_leaves_the_shares(values, method, factor):
    scaled = figures([[[v * factor for v in cell] for cell in row] for row in values], method)
    plain = figures(values, method)
    for name in ("ev", "av", "interaction", "grr", "pv", "tv"):
        expected = abs(float(factor)) * getattr(plain, name)
        assert getattr(scaled, name) == pytest.approx(expected, rel=1e-15), name
    assert (scaled.percent_grr, scaled.ndc) == (plain.percent_grr, plain.ndc)


def test_a_large_offset_costs_no_digits():
    """Floats would have lost every digit of the spread; the text has them all."""
    near = analyse_gauge(parse_gauge_data(TEXT.encode(), where="-"), GaugeMethod.ANOVA)
    head, *rows = TEXT.splitlines()
    fields = [row.rsplit(",", 1) for row in rows]
    far = "\n".join(
        [head, *(f"{keys},{float(Fraction(value) * 100) + 1e12:.0f}" for keys, value in fields)]
    )
    study = analyse_gauge(parse_gauge_data(far.encode(), where="-"), GaugeMethod.ANOVA)
    assert study.ev == pytest.approx(100 * near.ev, rel=1e-15)


def test_appraisers_who_agree_have_their_negative_variance_set_to_zero_and_said():
    values = [[[1, 3], [3, 1]], [[5, 7], [7, 5]], [[9, 12], [12, 9]]]
    for method in BOTH:
        study = analyse_gauge(make_study(values), method)
        assert study.av == 0
        assert any("appraisers came out negative" in remark for remark in study.remarks)


def test_an_interaction_is_kept_unless_its_p_is_above_alpha():
    """By hand: mean square 4.3075 of the interaction, 0.0075 of the equipment, two trials."""
    values = [
        [["10.0", "10.1"], ["12.0", "12.1"]],
        [["12.0", "12.2"], ["10.0", "9.9"]],
        [["11.0", "11.1"], ["11.0", "11.1"]],
    ]
    data = make_study(values)
    kept = analyse_gauge(data, GaugeMethod.ANOVA)
    assert kept.interaction == pytest.approx(math.sqrt(2.15), rel=1e-15)
    assert kept.ev == pytest.approx(math.sqrt(0.0075), rel=1e-15)
    assert kept.grr > kept.interaction > kept.ev
    assert "appraisers differ from part to part" in kept.remarks[0]
    pooled = analyse_gauge(data, GaugeMethod.ANOVA, pooling_alpha=0)
    assert (pooled.interaction, pooled.anova.is_pooled) == (0, True)


def test_trials_that_agree_to_the_last_digit_leave_a_real_interaction():
    study = analyse_gauge(make_study([[[1, 1], [2, 2]], [[3, 3], [3, 3]]]), GaugeMethod.ANOVA)
    assert (study.ev, study.anova.interaction_p) == (0, 0)
    assert study.interaction == pytest.approx(0.5)


@pytest.mark.parametrize("method", BOTH)
def test_a_gauge_that_never_varies_is_refused(method):
    with pytest.raises(GaugeDataError, match="no variation of the gauge"):
        analyse_gauge(make_study([[[1, 1], [1, 1]], [[2, 2], [2, 2]]]), method)


def test_a_small_study_is_told_what_the_range_method_supposes():
    values = [[[1, 3], [3, 2]], [[5, 7], [7, 5]]]
    assert "more than 15 ranges" in analyse_gauge(make_study(values), GaugeMethod.RANGE).remarks[0]


def test_more_parts_than_the_range_method_knows_are_left_to_anova():
    data = make_study([[[n, n + 1], [n, n]] for n in range(26)])
    with pytest.raises(GaugeDataError, match="at most 25, got 26"):
        analyse_gauge(data, GaugeMethod.RANGE)
    assert analyse_gauge(data, GaugeMethod.ANOVA).ndc > 0


@settings(max_examples=60, deadline=None)
@given(studies(st.floats(allow_nan=False, allow_infinity=False)), st.sampled_from(BOTH))
def test_any_finite_values_give_finite_figures_or_our_error(values, method):
    try:
        study = analyse_gauge(make_study(values), method)
    except GaugeDataError:
        return
    assert all(math.isfinite(getattr(study, name)) for name in ("ev", "av", "grr", "pv", "tv"))


@given(st.binary(max_size=150))
def test_arbitrary_bytes_raise_only_our_error(content):
    for text in (content, b"part,appraiser,trial,value\n" + content):
        with suppress(GaugeDataError):
            parse_gauge_data(text, where="-")


def f_tail_by_simpson(ratio: float, above: int, below: int) -> float:
    """The F density integrated over the whole tail, with t = ratio/x from 0 to 1."""
    front = math.lgamma((above + below) / 2) - math.lgamma(above / 2) - math.lgamma(below / 2)
    front += above / 2 * math.log(above / below)

    def density(x):
        log = (above / 2 - 1) * math.log(x)
        return math.exp(front + log - (above + below) / 2 * math.log1p(above * x / below))

    steps = 4000
    t = [(n + 0.5) / steps for n in range(steps)]
    return fmean(density(ratio / s) * ratio / s**2 for s in t)


@pytest.mark.parametrize(
    ("ratio", "above", "below"), [(0.434, 18, 60), (3.49, 3, 12), (1.2, 1, 4), (8.0, 40, 900)]
)
def test_the_f_tail_is_the_integral_of_its_density(ratio, above, below):
    expected = f_tail_by_simpson(ratio, above, below)
    assert f_upper_tail(ratio, above, below) == pytest.approx(expected, abs=2e-6)


def test_the_f_tail_has_the_tables_values_and_its_ends():
    assert f_upper_tail(3.4903, 3, 12) == pytest.approx(0.05, abs=1e-5)
    assert f_upper_tail(4.9646, 1, 10) == pytest.approx(0.05, abs=1e-5)
    assert (f_upper_tail(0, 5, 7), f_upper_tail(math.inf, 5, 7)) == (1, 0)


def test_the_picture_is_the_same_every_time_and_takes_any_name():
    odd = make_study([[[1, 3], [3, 2]], [[5, 7], [7, 5]]])
    data = GaugeData(
        parts=("$x^", "部品"), appraisers=("_a", "<b>"), trials=odd.trials, values=odd.values
    )
    study = analyse_gauge(data, GaugeMethod.RANGE)
    picture = plot_gauge(data, study, picture_format="svg")
    assert picture == plot_gauge(data, study, picture_format="svg")
    for text in ("$x^", "部品", "_a", "&lt;b&gt;", f"{study.percent_grr:.1f} %"):
        assert text.encode() in picture
