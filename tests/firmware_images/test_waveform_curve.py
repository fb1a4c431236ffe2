"""Half sines and sine bursts: against the sine itself, in charge, distance and symmetry."""

from __future__ import annotations

from decimal import Decimal
from math import pi, sin, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import TickError, WaveformError, WaveformSourceError
from firmware_images.waveform_analysis import analyze_train
from firmware_images.waveform_compile import compile_modes, find_deviations
from firmware_images.waveform_curve import CurveSegment, expand_curve, find_largest_deviation_na
from firmware_images.waveform_source import parse_waveforms
from firmware_images.waveform_train import build_pulse

HALF = "{ ms = 10, half_sine = 1 }, { ms = 10, half_sine = -1 }, { ms = 5, at = 0 }"


def load(segments, *, tick_us=100, level="400"):
    text = f"""
format = 1
tick_us = {tick_us}
[[mode]]
name = "TRIAL"
balance = "balanced"
regulation = "current"
levels_ua = [{level}]
session_s = 300
pulses_per_burst = 1
flip_each_burst = false
segments = [{segments}]
"""
    return parse_waveforms(text.encode(), where="w.toml", load_csv=pytest.fail)


def compile_level(segments, **options):
    source = load(segments, **options)
    (mode,) = compile_modes(source)
    return mode.levels[0], source


def expand(crest_ua, ticks, *, half_waves=1, pieces=16):
    curve = CurveSegment(
        duration_us=Decimal(ticks),
        amplitude=Decimal(1),
        half_waves=half_waves,
        pieces=pieces,
        where="segment 1",
    )
    return expand_curve(
        curve, crest_ua=Decimal(crest_ua), duration_ticks=ticks, tick_us=1, where="w"
    )


def test_a_half_sine_reaches_its_level_and_gives_it_all_back():
    level, source = compile_level(HALF)
    assert level.peak_na == 400_000
    assert len(level.segments) == 33
    analysis = analyze_train(build_pulse(level, 100), area_cm2=1.0)
    assert analysis.net_charge_uc == 0
    # the chords lie inside the curve: a little less than 2·Ip·d/π and Ip/√2
    true_uc = 2 * 400 * 0.01 / pi
    assert true_uc * 0.995 < analysis.phase_charge_uc < true_uc
    assert analysis.irms_ua == pytest.approx(400 / sqrt(2) * sqrt(20 / 25), rel=0.005)
    (first, second) = find_deviations(source)
    assert (first.mode, first.segment, first.pieces) == ("TRIAL", "segment 1", 16)
    assert 0.005 < first.largest_na / 400_000 < 0.0055  # 50 ticks in 8 pieces: some of 7
    assert second.largest_na == pytest.approx(first.largest_na)


def test_more_pieces_come_closer_with_the_square():
    coarse, fine = (
        find_largest_deviation_na(expand(400, 100_000, pieces=pieces), 1) for pieces in (16, 64)
    )
    assert coarse / fine == pytest.approx(16, rel=0.05)


def test_a_burst_is_whole_cycles_of_alternating_half_waves():
    segments = (
        "{ ms = 4, sine = -0.5, cycles = 2, pieces = 4 }, { ms = 1, at = 1 }, { ms = 1, at = 0 }"
    )
    level, _ = compile_level(segments)
    tops = [s.end_na for s in level.segments[:16]][1::4]
    assert tops == [-200_000, 200_000, -200_000, 200_000]
    assert [s.duration_ticks for s in level.segments[:16]] == [3, 2, 2, 3] * 4
    assert sum(s.duration_ticks * (s.start_na + s.end_na) for s in level.segments[:16]) == 0


def test_a_short_half_wave_has_one_piece_a_tick():
    assert len(expand(400, 6)) == 6
    assert [s.end_na for s in expand(400, 2)] == [400_000, 0]


@given(
    st.integers(1, 2_000_000).map(lambda na: Decimal(na) / 1000),
    st.integers(1, 50_000),
    st.integers(1, 4),
    st.integers(1, 32).map(lambda n: 2 * n),
)
def test_pieces_lie_on_the_sine_and_within_the_stated_distance(
    crest_ua, quarter_ticks, half_waves, pieces
):
    ticks = 2 * quarter_ticks * half_waves
    segments = expand(crest_ua, ticks, half_waves=half_waves, pieces=pieces)
    stated_na = find_largest_deviation_na(segments, half_waves)
    crest_na = float(crest_ua) * 1000
    assert sum(s.duration_ticks for s in segments) == ticks
    assert max(abs(s.end_na) for s in segments) == crest_na
    assert len(segments) == half_waves * min(pieces, 2 * quarter_ticks)
    at = 0
    for s in segments:
        true_na = crest_na * sin(pi * at / (2 * quarter_ticks))
        assert abs(s.start_na - true_na) <= 0.5 + 1e-6 * crest_na
        for share in (0.25, 0.5, 0.75):
            moment = at + share * s.duration_ticks
            chord_na = s.start_na + share * (s.end_na - s.start_na)
            true_na = crest_na * sin(pi * moment / (2 * quarter_ticks))
            assert abs(true_na - chord_na) <= stated_na + 1e-6 * crest_na
        at += s.duration_ticks
    mirrored = expand(-crest_ua, ticks, half_waves=half_waves, pieces=pieces)
    assert [(s.start_na, s.end_na) for s in mirrored] == [
        (-s.start_na, -s.end_na) for s in segments
    ]


def test_a_crest_between_ticks_is_refused_with_its_neighbours():
    with pytest.raises(TickError) as caught:
        compile_level("{ ms = 10.1, half_sine = 1 }, { ms = 1, at = 0 }")
    assert "10000 µs or 10200 µs" in (caught.value.expected or "")
    assert "mode TRIAL, 400 µA, segment 1" in (caught.value.where or "")
    with pytest.raises(TickError, match="even number of ticks"):
        compile_level("{ ms = 0.1, half_sine = 1 }, { ms = 1, at = 0 }")


@pytest.mark.parametrize(
    "segment",
    [
        "{ ms = 10, half_sine = 0 }",
        "{ ms = 10, half_sine = 1.5 }",
        "{ ms = 10, half_sine = 1, cycles = 2 }",
        "{ ms = 10, half_sine = 1, at = 1 }",
        "{ ms = 10, half_sine = 1, pieces = 3 }",
        "{ ms = 10, sine = 1 }",
        "{ ms = 10, sine = 1, cycles = 0 }",
        "{ ms = 10, sine = 1, cycles = 2000 }",
        "{ ms = 10, at = 1, pieces = 4 }",
        "{ ms = 10, sine = 1, cycles = 1, half_sine = 1 }",
    ],
)
def test_a_curve_that_is_not_one_is_refused(segment):
    with pytest.raises(WaveformSourceError) as caught:
        load(f"{segment}, {{ ms = 1, at = 0 }}")
    assert "w.toml" in (caught.value.where or "")


def test_pieces_of_all_curves_are_bounded_before_they_are_made():
    with pytest.raises(WaveformError, match="too many segments"):
        load("{ ms = 10, half_sine = 1, pieces = 256 }, " * 17 + "{ ms = 1, at = 0 }")
