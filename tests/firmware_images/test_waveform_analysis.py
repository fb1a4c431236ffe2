"""The closed forms: worked cases, phases, the sliding window, and dense sampling as an oracle."""

from __future__ import annotations

from itertools import pairwise
from math import pi, sqrt

import numpy as np
import pytest

from firmware_images.errors import WaveformError
from firmware_images.waveform_analysis import analyze_train
from firmware_images.waveform_phases import find_phases, find_runs
from firmware_images.waveform_train import PulseTrain, build_repeat_period
from firmware_images.waveform_window import find_largest_window_mean

from .waveform_builders import E1, E3, E5, build_train, flare_table


def analyze(parts, *, area_cm2=1.0, **options):
    return analyze_train(build_train(parts), area_cm2=area_cm2, **options)


def reverse(parts):
    return tuple((d, -a, -b) for d, a, b in parts)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            E1,
            {
                "phase_charge_uc": 0.2,
                "net_charge_uc": 0,
                "idc_ua": 0,
                "iavg_ua": 40,
                "irms_ua": 126.49110640673517,
                "shannon_k": -1.3979400086720375,
                "power_density_w_cm2": 8e-6,
                "shannon_k_applies": True,
                "period_s": 0.01,
            },
        ),
        (
            E3,
            {
                "phase_charge_uc": 16,
                "net_charge_uc": 0,
                "idc_ua": 0,
                "iavg_ua": 256,
                "irms_ua": 306.37667447575623,
                "shannon_k": 2.4082399653118496,
                "power_density_w_cm2": 4.693333333333333e-05,
                "shannon_k_applies": False,
                "period_s": 0.125,
            },
        ),
        (
            E5,
            {
                "net_charge_uc": 11600,
                "phase_charge_uc": 11600,
                "idc_ua": 193.33333333333334,
                "irms_ua": 195.50504398158835,
                "power_density_w_cm2": 1.911111111111111e-05,
                "idc_window_ua": 200,
                "period_s": 60,
            },
        ),
    ],
    ids=["E1", "E3", "E5"],
)
def test_worked_cases(parts, expected):
    figures = analyze(parts).to_json()
    assert {key: figures[key] for key in expected} == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_document_has_the_keys_that_scripts_rely_on():
    assert list(analyze(E1).to_json()) == [
        "phase_charge_uc",
        "net_charge_uc",
        "idc_ua",
        "idc_window_ua",
        "iavg_ua",
        "irms_ua",
        "irms_burst_ua",
        "ipeak_ua",
        "jrms_ma_cm2",
        "power_density_w_cm2",
        "shannon_k",
        "shannon_k_applies",
        "period_s",
        "iavg_burst_ua",
        "jpeak_ma_cm2",
        "jrms_burst_ma_cm2",
        "power_density_burst_w_cm2",
    ]


def test_half_sine_of_many_segments_approaches_the_textbook_figures():
    peak_ua, frequency_hz, count = 300.0, 10.0, 4000
    half_us = 1e6 / (2 * frequency_hz)
    angles = [pi * i / count for i in range(count + 1)]
    parts = [
        (half_us / count, peak_ua * np.sin(a), peak_ua * np.sin(b)) for a, b in pairwise(angles)
    ]
    figures = analyze([*parts, *reverse(parts)])
    assert figures.phase_charge_uc == pytest.approx(peak_ua / (pi * frequency_hz), rel=1e-6)
    assert figures.irms_ua == pytest.approx(peak_ua / sqrt(2), rel=1e-6)
    assert figures.iavg_ua == pytest.approx(2 * peak_ua / pi, rel=1e-6)


def test_a_balanced_period_has_a_net_charge_of_exactly_zero():
    for mode in flare_table().modes:
        for level in mode.levels:
            figures = analyze_train(build_repeat_period(mode, level, 100), area_cm2=0.5)
            assert figures.net_charge_uc == 0
            assert figures.idc_ua == 0


def test_rms_inside_the_burst_is_larger_by_the_root_of_the_duty():
    mode = flare_table().mode("TIGHTEN")
    figures = analyze_train(build_repeat_period(mode, mode.levels[-1], 100), area_cm2=1)
    assert figures.period_s == pytest.approx(5.994)
    assert figures.irms_burst_ua == pytest.approx(figures.irms_ua * sqrt(1.5))
    assert figures.jrms_burst_ma_cm2 == pytest.approx(figures.jrms_ma_cm2 * sqrt(1.5))
    assert figures.iavg_burst_ua == pytest.approx(figures.iavg_ua * 1.5)
    assert figures.power_density_burst_w_cm2 == pytest.approx(figures.power_density_w_cm2 * 1.5)
    assert figures.jpeak_ma_cm2 == pytest.approx(0.25)


def test_a_phase_wraps_around_the_end_of_the_period():
    whole = analyze(((1000, 0, 0), (600, 100, 100), (1000, 0, 0)))
    cut = analyze(((200, 100, 100), (2000, 0, 0), (400, 100, 100)))
    assert cut.phase_charge_uc == pytest.approx(whole.phase_charge_uc) == pytest.approx(0.06)
    assert cut.shannon_k_applies


def test_a_period_that_touches_zero_at_its_ends_does_not_wrap():
    assert len(find_phases(build_train(((10, 0, 100), (10, 100, 0))))) == 1
    assert len(find_phases(build_train(((10, 100, 0), (10, 0, 100))))) == 1
    assert len(find_phases(build_train(((10, 100, 0), (10, 0, 100), (5, 0, 100))))) == 2


def test_constant_current_is_one_phase_as_long_as_the_period():
    figures = analyze(((1_000_000, 50, 50), (1_000_000, 50, 50)))
    assert figures.phase_charge_uc == pytest.approx(100)
    assert (figures.idc_ua, figures.idc_window_ua) == pytest.approx((50, 50))


def test_the_dead_band_cuts_the_feet_of_a_ramp_off():
    train = build_train(((100, 0, 100), (100, 100, 0), (100, 0, -100), (100, -100, 0)))
    phases = find_phases(train, 20_000)
    assert [phase.sign for phase in phases] == [1, -1]
    assert [phase.duration_us for phase in phases] == pytest.approx([160, 160])
    assert phases[0].charge_na_us == pytest.approx(2 * 80 * 60_000)
    assert analyze(E1, dead_band_ua=400).phase_charge_uc == 0
    assert analyze(E1, dead_band_ua=400).shannon_k is None


def test_a_dip_below_the_dead_band_separates_two_phases():
    parts = ((100, 100, 100), (50, 100, 10), (50, 10, 100), (100, 100, 100), (100, 0, 0))
    assert len(find_phases(build_train(parts))) == 1
    assert len(find_phases(build_train(parts), 20_000)) == 2


def test_a_reversing_train_has_no_mean_and_a_full_window():
    figures = analyze((*E5, *E5, *reverse(E5), *reverse(E5)))
    assert figures.idc_ua == 0
    assert figures.idc_window_ua == pytest.approx(200)


def test_the_window_finds_its_peak_between_the_corners():
    # 0.5 s triangles: the best second is centred on the rising zero crossing's neighbour
    train = build_train(((1_000_000, 0, 300), (1_000_000, 300, 0), (3_000_000, 0, 0)))
    best = find_largest_window_mean(train, 1_000_000)
    assert best.mean_na == pytest.approx(225_000)
    assert best.start_us == pytest.approx(500_000)


def test_a_window_longer_than_the_period_counts_whole_periods():
    train = build_train(((200_000, 100, 100), (200_000, 0, 0)))
    # 1 s holds two periods and the 200 ms in which the current flows
    assert find_largest_window_mean(train, 1_000_000).mean_na == pytest.approx(60_000)
    assert find_largest_window_mean(train, 800_000).mean_na == pytest.approx(50_000)


def test_a_window_as_long_as_the_period_is_the_mean():
    train = build_train(((300_000, 100, 50), (700_000, -20, 10)))
    assert find_largest_window_mean(train, 1_000_000).mean_na == pytest.approx(19_000)


@pytest.mark.parametrize("area_cm2", [0, -1, float("nan"), float("inf")])
def test_an_area_that_cannot_be_is_refused(area_cm2):
    with pytest.raises(WaveformError, match="area"):
        analyze(E1, area_cm2=area_cm2)


@pytest.mark.parametrize("dead_band_ua", [-1, float("nan"), float("inf")])
def test_a_dead_band_that_cannot_be_is_refused(dead_band_ua):
    with pytest.raises(WaveformError, match="dead band"):
        analyze(E1, dead_band_ua=dead_band_ua)


def test_a_period_without_pieces_is_refused():
    with pytest.raises(WaveformError, match="repeat period"):
        PulseTrain(pieces=(), on_us=0)


def test_a_run_of_one_polarity_lasts_over_rests_and_zero_crossings_end_it():
    period = build_train((*E5, *E5, *reverse(E5), *reverse(E5)))
    runs = find_runs(period, 240e6)
    assert [run.sign for run in runs] == [1, -1]
    assert [run.charge_na_us for run in runs] == pytest.approx([23.2e12, 23.2e12])
    assert [run.duration_us for run in runs] == pytest.approx([120e6, 120e6])


def test_a_run_that_wraps_is_found_whole_and_a_short_session_cuts_it():
    parts = ((100, 50, 50), (100, -50, -50), (200, 50, 50))
    longest = max(find_runs(build_train(parts), 10_000), key=lambda run: run.charge_na_us)
    assert longest.charge_na_us == pytest.approx(300 * 50_000)
    assert [run.charge_na_us for run in find_runs(build_train(parts), 150)] == pytest.approx(
        [100 * 50_000, 50 * 50_000]
    )


def test_a_current_that_never_reverses_adds_up_over_the_session():
    (run,) = find_runs(build_train(((100, 0, 100), (100, 0, 0))), 1050)
    assert run.charge_na_us == pytest.approx(5 * 100 * 50_000 + 50 * 25_000)
    (whole,) = find_runs(build_train(((100, 0, 100), (100, 0, 0))), 1000)
    assert whole.charge_na_us == pytest.approx(5 * 100 * 50_000)
    assert find_runs(build_train(((100, 0, 0),)), 1000) == ()
