"""Line fits against certified and published results, and against bad data."""

from __future__ import annotations

import math
import os
import random
from fractions import Fraction
from operator import mul

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import FitDataError
from provisioning.fit_data import FIT_DATA_MAX_BYTES, load_fit_data, parse_fit_data
from provisioning.line_fit import fit_ols, fit_wls, fit_york

# NIST Statistical Reference Datasets, linear regression, Norris.
NORRIS_X = (
    "0.2 337.4 118.2 884.6 10.1 226.5 666.3 996.3 448.6 777.0 558.2 0.4 0.6 775.5 666.9 338.0 "
    "447.5 11.6 556.0 228.1 995.8 887.6 120.2 0.3 0.3 556.8 339.1 887.2 999.0 779.0 11.1 118.3 "
    "229.2 669.1 448.9 0.5"
)
NORRIS_Y = (
    "0.1 338.8 118.1 888.0 9.2 228.1 668.5 998.5 449.1 778.9 559.2 0.3 0.1 778.1 668.8 339.3 "
    "448.9 10.8 557.7 228.3 998.0 888.8 119.6 0.3 0.6 557.6 339.3 888.0 998.5 778.9 10.2 117.6 "
    "228.9 668.4 449.2 0.2"
)
# Pearson's points with York's weights (D. York, Canadian Journal of Physics 44 (1966) 1079).
PEARSON_X = (0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4)
PEARSON_Y = (5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5)
YORK_WEIGHT_X = (1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1)
YORK_WEIGHT_Y = (1, 1.8, 4, 8, 20, 20, 70, 70, 100, 500)


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split()]


def test_ols_reproduces_nist_norris_to_nine_digits_and_more():
    line = fit_ols(numbers(NORRIS_X), numbers(NORRIS_Y))
    assert line.intercept == pytest.approx(-0.262323073774029, rel=1e-11)
    assert line.slope == pytest.approx(1.00211681802045, rel=1e-13)
    assert line.intercept_se == pytest.approx(0.232818234301152, rel=1e-12)
    assert line.slope_se == pytest.approx(0.429796848199937e-3, rel=1e-12)
    assert line.residual_sd == pytest.approx(0.884796396144373, rel=1e-12)
    assert line.dof == 34
    assert line.chi2 == pytest.approx(26.6173985294224, rel=1e-12)


def test_norris_keeps_its_digits_far_from_zero():
    """Centring: a shift of x by a million costs no more than the digits of the data themselves."""
    line = fit_ols([x + 2.0**20 for x in numbers(NORRIS_X)], numbers(NORRIS_Y))
    assert line.slope == pytest.approx(1.00211681802045, rel=1e-10)
    assert line.slope_se == pytest.approx(0.429796848199937e-3, rel=1e-10)


def exact_line(x, y, u):
    """The weighted line in rational arithmetic: intercept, slope, their variances, covariance."""
    x, y = [Fraction(v) for v in x], [Fraction(v) for v in y]
    w = [1 / Fraction(v) ** 2 for v in u]
    s, sx, sy = sum(w), sum(map(mul, w, x)), sum(map(mul, w, y))
    sxx = sum(a * b * b for a, b in zip(w, x, strict=True))
    sxy = sum(a * b * c for a, b, c in zip(w, x, y, strict=True))
    det = s * sxx - sx * sx
    return (sxx * sy - sx * sxy) / det, (s * sxy - sx * sy) / det, sxx / det, s / det, -sx / det


@pytest.mark.parametrize("offset", [0, 1e3, 1e9, 1e12])
@pytest.mark.parametrize("level", [0, 1e9])
@pytest.mark.parametrize("gain", [1, -1e-12, 1e12])
def test_huge_offsets_and_tiny_slopes_agree_with_rational_arithmetic(offset, level, gain):
    draw = random.Random(7)
    x = [offset + draw.uniform(0, 8) for _ in range(9)]
    y = [level + gain * (v - offset) + draw.gauss(0, abs(gain)) for v in x]
    u = [draw.uniform(0.1, 3) * abs(gain) for _ in x]
    line = fit_wls(x, y, u)
    intercept, slope, *variances = exact_line(x, y, u)
    assert line.intercept == pytest.approx(float(intercept), rel=1e-11)
    assert line.slope == pytest.approx(float(slope), rel=1e-11)
    assert (line.intercept_se**2, line.slope_se**2, line.covariance) == pytest.approx(
        tuple(map(float, variances)), rel=1e-9
    )
    within = Fraction(x[3])
    assert line.value_at(x[3]) == pytest.approx(float(intercept + slope * within), rel=1e-13)
    variance = variances[0] + 2 * within * variances[2] + within**2 * variances[1]
    assert line.standard_error_at(x[3]) == pytest.approx(float(variance) ** 0.5, rel=1e-9)


def test_two_points_with_stated_uncertainty_make_a_line_without_scatter():
    x, y, u = [1.0, 3.0], [10.0, 16.0], [0.3, 0.4]
    for line in (fit_wls(x, y, u), fit_york(x, y, [0.0, 0.0], u)):
        assert (line.intercept, line.slope) == pytest.approx((7, 3), rel=1e-14)
        assert line.slope_se == pytest.approx(0.25, rel=1e-14)
        assert line.standard_error_at(1) == pytest.approx(0.3, rel=1e-12)
        assert line.standard_error_at(3) == pytest.approx(0.4, rel=1e-12)
        assert (line.residual_sd, line.dof) == (None, 0)
        assert line.chi2 == pytest.approx(0, abs=1e-20)
    with pytest.raises(FitDataError, match="too few points"):
        fit_wls(x[:1], y[:1], u[:1])


def test_points_exactly_on_a_line_keep_their_correlation():
    """It depends on x alone: -x̄/√(mean of x²), whatever the scatter."""
    line = fit_ols([1, 2, 3], [5, 7, 9])
    assert (line.slope_se, line.intercept_se) == (0, 0)
    assert line.correlation == pytest.approx(-2 / math.sqrt(14 / 3), rel=1e-14)


def test_york_settles_far_from_zero_and_on_a_slope_of_nothing():
    near = fit_york(
        PEARSON_X, PEARSON_Y, [w**-0.5 for w in YORK_WEIGHT_X], [w**-0.5 for w in YORK_WEIGHT_Y]
    )
    far = fit_york(
        [v + 2.0**30 for v in PEARSON_X],
        [v - 2.0**30 for v in PEARSON_Y],
        [w**-0.5 for w in YORK_WEIGHT_X],
        [w**-0.5 for w in YORK_WEIGHT_Y],
    )
    assert far.slope == pytest.approx(near.slope, rel=1e-7)
    assert far.slope_se == pytest.approx(near.slope_se, rel=1e-7)
    assert far.chi2 == pytest.approx(near.chi2, rel=1e-7)
    flat = fit_york([0, 1, 2, 3.3], [1, -1, -1.1, 1.2], [0.1, 0.2, 0.1, 0.3], [0.3, 0.1, 0.2, 0.1])
    assert abs(flat.slope) < 10 * flat.slope_se


def test_york_takes_the_better_of_two_lines():
    """Points far off their uncertainties: from the weighted slope alone a worse line is found."""
    x, y = [0.0, 1.0, 2.0, 3.0, 4.0], [0.3, -1.4, -1.5, -2.2, -4.4]
    u_x, u_y = [0.1, 0.3, 0.01, 0.3, 0.01], [0.01, 1.0, 0.1, 0.01, 1.0]
    line = fit_york(x, y, u_x, u_y)

    def chi2(slope: float) -> float:
        w = [1 / (v * v + slope * slope * u * u) for u, v in zip(u_x, u_y, strict=True)]
        mean_x, mean_y = (sum(map(mul, w, column)) / sum(w) for column in (x, y))
        return sum(
            a * (q - mean_y - slope * (p - mean_x)) ** 2 for a, p, q in zip(w, x, y, strict=True)
        )

    assert line.chi2 == pytest.approx(chi2(line.slope), rel=1e-12)
    assert line.chi2 <= min(chi2(step / 1_000) for step in range(-5_000, 5_000)) * (1 + 1e-12)


def test_ols_reproduces_the_thermometer_of_jcgm_100_annex_h3():
    temperature = numbers(
        "21.521 22.012 22.512 23.003 23.507 23.999 24.513 25.002 25.503 26.010 26.511"
    )
    correction = numbers("-.171 -.169 -.166 -.159 -.164 -.165 -.156 -.157 -.159 -.161 -.160")
    line = fit_ols([t - 20 for t in temperature], correction)
    assert round(line.intercept, 4) == -0.1712
    assert round(line.intercept_se, 4) == 0.0029
    assert round(line.slope, 5) == 0.00218
    assert round(line.slope_se, 5) == 0.00067
    assert round(line.correlation, 3) == -0.930
    assert round(line.residual_sd, 4) == 0.0035
    assert round(line.value_at(10), 4) == -0.1494
    assert round(line.standard_error_at(10), 4) == 0.0041


def test_york_reproduces_pearsons_points_with_yorks_weights():
    line = fit_york(
        PEARSON_X, PEARSON_Y, [w**-0.5 for w in YORK_WEIGHT_X], [w**-0.5 for w in YORK_WEIGHT_Y]
    )
    assert line.intercept == pytest.approx(5.47991022, abs=5e-9)
    assert line.slope == pytest.approx(-0.480533407, abs=5e-10)
    assert line.intercept_se == pytest.approx(0.294970735, abs=5e-9)
    assert line.slope_se == pytest.approx(0.0579850090, abs=5e-10)
    assert line.chi2 == pytest.approx(11.8663532, abs=5e-7)
    # Others publish the same errors scaled by the scatter, which ours are not.
    scale = math.sqrt(line.chi2 / line.dof)
    assert scale * line.intercept_se == pytest.approx(0.359246522, abs=5e-9)
    assert scale * line.slope_se == pytest.approx(0.0706202695, abs=5e-10)


def test_york_without_uncertainty_in_x_is_wls():
    u_y = [w**-0.5 for w in YORK_WEIGHT_Y]
    york = fit_york(PEARSON_X, PEARSON_Y, [0.0] * 10, u_y)
    wls = fit_wls(PEARSON_X, PEARSON_Y, u_y)
    assert york.slope == pytest.approx(wls.slope, rel=1e-12)
    assert york.intercept_se == pytest.approx(wls.intercept_se, rel=1e-12)
    assert york.chi2 == pytest.approx(wls.chi2, rel=1e-12)


def test_wls_takes_standard_errors_from_the_stated_uncertainty_and_not_from_the_scatter():
    x, y = [1.0, 2.0, 3.0, 4.0], [2.0, 4.1, 5.9, 8.05]
    narrow, wide = fit_wls(x, y, [0.1] * 4), fit_wls(x, y, [0.2] * 4)
    assert narrow.slope == pytest.approx(fit_ols(x, y).slope, rel=1e-14)
    assert wide.slope_se == pytest.approx(2 * narrow.slope_se, rel=1e-14)
    assert narrow.slope_se == pytest.approx(0.1 / math.sqrt(5), rel=1e-14)
    assert narrow.covariance == pytest.approx(-2.5 * 0.01 / 5, rel=1e-14)
    assert narrow.correlation == pytest.approx(
        narrow.covariance / (narrow.slope_se * narrow.intercept_se), rel=1e-14
    )


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.lists(st.floats(-1e3, 1e3), min_size=3))
def test_points_on_a_line_are_fitted_by_that_line(intercept, slope, x):
    if max(x) - min(x) < 1:
        x = [*x, min(x) + 1]
    y = [intercept + slope * v for v in x]
    for line in (fit_ols(x, y), fit_wls(x, y, [0.5] * len(x))):
        assert line.value_at(x[0]) == pytest.approx(y[0], abs=1e-6)
        assert line.slope == pytest.approx(slope, abs=1e-6)


@given(
    st.lists(st.tuples(st.floats(), st.floats(), st.floats(), st.floats()), min_size=3, max_size=5)
)
def test_any_floats_give_a_finite_line_or_our_error(points):
    x, y, u_x, u_y = (list(column) for column in zip(*points, strict=True))
    for fit in (
        lambda: fit_ols(x, y),
        lambda: fit_wls(x, y, u_y),
        lambda: fit_york(x, y, u_x, u_y),
    ):
        try:
            line = fit()
        except FitDataError:
            continue
        assert math.isfinite(line.slope)
        assert math.isfinite(line.intercept_se)


@pytest.mark.parametrize(
    ("x", "y", "telling"),
    [
        ([1, 2], [1, 2], "too few points"),
        ([1, 2, 3], [1, 2], "different lengths"),
        ([5, 5, 5], [1, 2, 3], "no spread"),
        ([1, 2, math.inf], [1, 2, 3], "finite"),
    ],
)
def test_points_without_a_line_are_refused(x, y, telling):
    with pytest.raises(FitDataError, match=telling):
        fit_ols(x, y)


def test_a_zero_uncertainty_is_refused_as_a_weight():
    with pytest.raises(FitDataError, match=r"u_y, point 2"):
        fit_wls([1, 2, 3], [1, 2, 3], [0.1, 0.0, 0.1])
    with pytest.raises(FitDataError, match="not every point"):
        fit_wls([1, 2, 3], [1, 2, 3], [0.1])


def test_points_that_determine_no_slope_do_not_hang_yorks_iteration():
    with pytest.raises(FitDataError, match="does not settle"):
        fit_york([2.3, 1.6, 1.3], [1.8, 2.8, 1.1], [1.2, 2.5, 0.6], [0.8, 1.0, 2.7])


def test_csv_columns_may_come_in_any_order():
    data = parse_fit_data(b"\xef\xbb\xbfy, x ,u_y\r\n2,1,.1\r\n\r\n4,2,.1\n", where="d.csv")
    assert (data.x, data.y, data.u_y, data.u_x) == ((1, 2), (2, 4), (0.1, 0.1), None)


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        (b"", "header"),
        (b"1,2\n3,4\n", "header"),
        (b"x,x\n", "header"),
        (b"x,y,z\n", "header"),
        (b"x,y\n1,2,3\n", r"number of fields.*line 2"),
        (b"x,y\n1,2\n3,four\n", r"finite number.*line 3, column y"),
        (b"x,y\n1,nan\n", "finite number"),
        (b"x,y\n\xff,1\n", "UTF-8"),
        (b'x,y\n"' + b"1" * 200_000 + b'",1\n', "CSV text"),
        (b"x" * (FIT_DATA_MAX_BYTES + 1), "too large"),
    ],
)
def test_bad_csv_is_refused_with_line_and_column(text, telling):
    with pytest.raises(FitDataError, match=telling):
        parse_fit_data(text, where="d.csv")


@pytest.mark.parametrize(
    "text", ["1_0", "\uff11", "\u0663", "0x10", "1d3", "nan", "1e999", "1 0", ""]
)
def test_only_plain_decimal_numbers_are_taken(text):
    with pytest.raises(FitDataError, match=r"finite number.*line 2, column y"):
        parse_fit_data(f"x,y\n1,{text}\n".encode(), where="d.csv")


def test_a_pipe_that_nobody_writes_to_is_an_error_and_not_a_wait(tmp_path):
    os.mkfifo(tmp_path / "d.csv")
    with pytest.raises(FitDataError, match="header"):
        load_fit_data(tmp_path / "d.csv")


def test_a_missing_file_is_our_error(tmp_path):
    with pytest.raises(FitDataError, match="cannot be read"):
        load_fit_data(tmp_path / "none.csv")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_our_error(content):
    try:
        parse_fit_data(b"x,y\n" + content, where="d.csv")
        parse_fit_data(content, where="d.csv")
    except FitDataError:
        pass


@pytest.mark.parametrize("overload", ["9.9E37", "-9.9e+37", "9.91E37"])
def test_an_overload_among_the_readings_is_named_and_not_fitted(overload):
    data = f"x,y\n1,2\n2,{overload}\n3,4\n".encode()
    with pytest.raises(FitDataError, match="overload") as refused:
        parse_fit_data(data, where="readings.csv")
    assert "line 3, column y" in refused.value.where


ISO_X = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
ISO_EXAMPLES = (
    (ISO_X, (3.3, 5.6, 7.1, 9.3, 10.7, 12.1), None, (0.5,) * 6,
     (1.867, 1.757, 0.465, 0.120, -0.050, 1.665)),
    (ISO_X, (3.2, 4.3, 7.6, 8.6, 11.7, 12.8), None, (0.5, 0.5, 0.5, 1.0, 1.0, 1.0),
     (0.885, 2.057, 0.530, 0.178, -0.082, 4.131)),
    ((1.2, 1.9, 2.9, 4.0, 4.7, 5.9), (3.4, 4.4, 7.2, 8.5, 10.8, 13.5), (0.2,) * 6,
     (0.2, 0.2, 0.2, 0.4, 0.4, 0.4), (0.5788, 2.1597, 0.4764, 0.1355, -0.0577, 2.743)),
)  # fmt: skip


@pytest.mark.parametrize(("x", "y", "u_x", "u_y", "published"), ISO_EXAMPLES)
def test_the_examples_of_iso_ts_28037_come_out(x, y, u_x, u_y, published):
    """Straight-line calibration functions: equal weights, other weights, both coordinates."""
    line = fit_wls(x, y, u_y) if u_x is None else fit_york(x, y, u_x, u_y)
    found = (
        line.intercept, line.slope, line.intercept_se, line.slope_se, line.covariance, line.chi2,
    )  # fmt: skip
    for value, told in zip(found, published, strict=True):
        assert value == pytest.approx(told, abs=0.6 * 10 ** -len(str(told).partition(".")[2]))
