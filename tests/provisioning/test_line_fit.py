"""Line fits against certified and published results, and against bad data."""

from __future__ import annotations

import math

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
