"""The closed forms against dense sampling of random waveforms, and how their work grows."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.waveform_analysis import analyze_train
from firmware_images.waveform_window import find_largest_window_mean

from .waveform_builders import build_train, segments


def analyze(parts, *, area_cm2=1.0, **options):
    return analyze_train(build_train(parts), area_cm2=area_cm2, **options)


def _sample(parts, per_segment=400):
    """Midpoints of many thin slices: times, currents, slice widths."""
    widths, currents = [], []
    for duration_us, start_ua, end_ua in parts:
        middles = (np.arange(per_segment) + 0.5) / per_segment
        currents.append(start_ua + (end_ua - start_ua) * middles)
        widths.append(np.full(per_segment, duration_us / per_segment))
    return np.concatenate(currents), np.concatenate(widths)


@given(parts=segments, area_cm2=st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_closed_forms_agree_with_dense_sampling(parts, area_cm2):
    currents, widths = _sample(parts)
    period_us = widths.sum()
    figures = analyze(parts, area_cm2=area_cm2)
    rms_ua = sqrt((currents**2 * widths).sum() / period_us)
    # midpoints integrate a line exactly, its square to 1/12n², its modulus but for one slice
    assert figures.net_charge_uc == pytest.approx((currents * widths).sum() / 1e6, abs=1e-6)
    assert figures.idc_ua == pytest.approx((currents * widths).sum() / period_us, abs=1e-6)
    assert figures.irms_ua == pytest.approx(rms_ua, rel=1e-4, abs=1e-6)
    assert figures.iavg_ua == pytest.approx(
        (abs(currents) * widths).sum() / period_us, rel=1e-4, abs=0.01
    )
    assert figures.ipeak_ua == max(max(abs(a), abs(b)) for _, a, b in parts)
    assert figures.jrms_ma_cm2 == pytest.approx(rms_ua / 1000 / area_cm2, rel=1e-4, abs=1e-9)
    assert figures.power_density_w_cm2 == pytest.approx(
        (rms_ua * 1e-6) ** 2 * 500 / area_cm2, rel=1e-3, abs=1e-15
    )


@given(parts=segments, dead_band_ua=st.sampled_from([0, 7, 50]))
@settings(max_examples=60, deadline=None)
def test_phases_agree_with_dense_sampling(parts, dead_band_ua):
    currents, widths = _sample(parts)
    signs = np.where(currents > dead_band_ua, 1, np.where(currents < -dead_band_ua, -1, 0))
    breaks = np.flatnonzero(signs != np.roll(signs, 1))
    if len(breaks):
        currents, widths, signs = (np.roll(v, -breaks[0]) for v in (currents, widths, signs))
    edges = np.flatnonzero(np.diff(signs)) + 1
    charges = [
        abs((c * w).sum()) * (abs(s[0]) > 0)
        for c, w, s in zip(
            np.split(currents, edges), np.split(widths, edges), np.split(signs, edges), strict=True
        )
    ]
    expected_uc = max(charges) / 1e6
    found_uc = analyze(parts, dead_band_ua=dead_band_ua).phase_charge_uc
    # sampling cannot see a touch of the dead band that lasts an instant, so it may join phases
    slack_uc = 400 * max(widths) * 2 / 1e6
    assert found_uc <= expected_uc + slack_uc
    touches = any(abs(value) == dead_band_ua for _, a, b in parts for value in (a, b))
    if not touches:
        assert found_uc == pytest.approx(expected_uc, abs=slack_uc)


@given(parts=segments, window_us=st.sampled_from([10_000.0, 250_000.0, 1_000_000.0]))
@settings(max_examples=60, deadline=None)
def test_the_window_agrees_with_sliding_it_in_small_steps(parts, window_us):
    currents, widths = _sample(parts)
    charge = np.concatenate([[0], np.cumsum(currents * widths)])
    times = np.concatenate([[0], np.cumsum(widths)])
    period_us = times[-1]
    whole, rest_us = divmod(window_us, period_us)
    starts = np.concatenate([times[:-1], np.linspace(0, period_us, 5000, endpoint=False)])

    def charge_until(moments):
        laps, within = np.divmod(moments, period_us)
        return laps * charge[-1] + np.interp(within, times, charge)

    sums = charge_until(starts + rest_us) - charge_until(starts) + whole * charge[-1]
    expected_ua = abs(sums).max() / window_us
    exact_ua = abs(find_largest_window_mean(build_train(parts), window_us).mean_na) / 1000
    slack_ua = 800 * (period_us / 5000 + max(widths)) / window_us + 1e-6
    assert expected_ua - 1e-3 <= exact_ua + slack_ua / 100
    assert exact_ua == pytest.approx(expected_ua, abs=slack_ua)


@given(parts=segments, shift=st.integers(0, 11))
@settings(max_examples=60, deadline=None)
def test_where_the_period_begins_changes_no_figure(parts, shift):
    turned = parts[shift % len(parts) :] + parts[: shift % len(parts)]
    figures, others = analyze(parts).to_json(), analyze(turned).to_json()
    assert (figures.pop("shannon_k") is None) == (others.pop("shannon_k") is None)
    assert figures == pytest.approx(others, rel=1e-9, abs=1e-9)


COUNT_CALLS = """
import sys
from firmware_images.waveform_analysis import analyze_train
from firmware_images.waveform_csv import parse_csv_waveform

def count(rows_wanted):
    rows = [f"{50 * i},{(i * 37) % 801 - 400}" for i in range(rows_wanted + 1)]
    content = "\\n".join(rows).encode()
    calls = 0

    def on_event(frame, event, argument):
        nonlocal calls
        calls += 1

    sys.setprofile(on_event)
    waveform = parse_csv_waveform(content, where="big.csv")
    analyze_train(waveform.to_train(), area_cm2=1.0)
    sys.setprofile(None)
    return calls

print(count(2_500), count(10_000))
"""


def test_the_work_is_linear_in_the_number_of_segments():
    # calls are counted, not seconds; in a process of its own, away from the coverage tool
    done = subprocess.run(
        [sys.executable, "-c", COUNT_CALLS], capture_output=True, text=True, check=True, timeout=60
    )
    small, large = map(int, done.stdout.split())
    assert large < 4.4 * small


def largest_mean_in_fractions(parts, window_us) -> Fraction:
    """Every position at which the mean over the window can be extreme, in exact fractions.

    Charge until a moment is looked up segment by segment, so this shares nothing with the product
    but the definition.
    """
    period = Fraction(sum(duration for duration, _, _ in parts))

    def current(moment, *, before):
        moment %= period
        if before and moment == 0:
            moment = period
        start = Fraction(0)
        for duration, a, b in parts:
            is_here = moment <= start + duration if before else moment < start + duration
            if is_here:
                return a + (b - a) * (moment - start) / duration
            start += duration
        raise AssertionError(moment)

    def charge_until(moment):
        laps, left = divmod(moment, period)
        charge = laps * sum(Fraction(d * (a + b), 2) for d, a, b in parts)
        for duration, a, b in parts:
            within = min(left, duration)
            charge += within * (a + (a + (b - a) * within / Fraction(duration))) / 2
            left -= within
        return charge

    ends = [Fraction(0)]
    for duration, _, _ in parts:
        ends.append(ends[-1] + duration)
    moments = sorted({*ends, *((end - window_us) % period for end in ends)})
    candidates = list(moments)
    for begin, end in pairwise(moments):
        first = current(begin + window_us, before=False) - current(begin, before=False)
        last = current(end + window_us, before=True) - current(end, before=True)
        if first * last < 0:
            candidates.append(begin + (end - begin) * first / (first - last))
    charges = (charge_until(at + window_us) - charge_until(at) for at in candidates)
    return max(map(abs, charges)) / window_us


@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from([1, 7, 1000, 33_300, 250_000, 999_999, 1_000_000, 2_345_678]),
            st.integers(-400, 400),
            st.integers(-400, 400),
        ),
        min_size=1,
        max_size=6,
    ),
    is_reversing=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_the_worst_second_is_exact_for_trains_that_reverse_and_trains_that_do_not(
    parts, is_reversing
):
    if is_reversing:
        parts = [*parts, *((d, -a, -b) for d, a, b in parts)]
    figures = analyze(parts)
    exact_ua = float(largest_mean_in_fractions(parts, Fraction(1_000_000)))
    assert figures.idc_window_ua == pytest.approx(exact_ua, rel=1e-12, abs=1e-11)
    if is_reversing:
        assert figures.idc_ua == pytest.approx(0, abs=1e-12)
