"""Groups of segments: unrolled as if they had been written out, and bounded."""

from __future__ import annotations

import pytest

from firmware_images.errors import TickError, WaveformSourceError
from firmware_images.waveform_compile import compile_modes, find_deviations
from firmware_images.waveform_source import parse_waveforms


def load(segments):
    text = f"""
format = 1
tick_us = 100
[[mode]]
name = "TRIAL"
balance = "galvanic"
regulation = "current"
levels_ua = [400]
session_s = 300
pulses_per_burst = 1
flip_each_burst = false
segments = [{segments}]
"""
    return parse_waveforms(text.encode(), where="w.toml", load_csv=pytest.fail)


def test_a_group_is_what_it_repeats_written_out():
    short = load(
        "{ ms = 1, at = 0 }, { repeat = 3, segments = [{ ms = 2, at = 1 }, { ms = 1, at = 0 }] }"
    )
    pair = "{ ms = 2, at = 1 }, { ms = 1, at = 0 }"
    assert compile_modes(short) == compile_modes(
        load(f"{{ ms = 1, at = 0 }}, {pair}, {pair}, {pair}")
    )


def test_a_curve_in_a_group_is_stated_once():
    source = load("{ repeat = 5, segments = [{ ms = 10, half_sine = 1 }, { ms = 1, at = 0 }] }")
    assert len(compile_modes(source)[0].levels[0].segments) == 5 * 17
    (deviation,) = find_deviations(source)
    assert deviation.segment == "segment 1.1"


def test_an_error_names_the_segment_in_its_group():
    source = load("{ repeat = 2, segments = [{ ms = 2, at = 1 }, { ms = 0.05, at = 0 }] }")
    with pytest.raises(TickError) as caught:
        compile_modes(source)
    assert "segment 1.2" in (caught.value.where or "")


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ("{ repeat = 2 }", "a group is what it repeats"),
        ("{ segments = [{ ms = 1, at = 1 }] }", "a group is what it repeats"),
        ("{ repeat = 2, ms = 1, segments = [{ ms = 1, at = 1 }] }", "a group is what it repeats"),
        ("{ repeat = 0, segments = [{ ms = 1, at = 1 }] }", "repeat"),
        ("{ repeat = 2, segments = [] }", "segments"),
        ("{ repeat = 2, segments = [{ repeat = 2, segments = [] }] }", "repeat is not a key"),
        ("{ repeat = 4096, segments = [{ ms = 1, at = 1 }] }, { ms = 1, at = 0 }", "too many segm"),
        ("{ repeat = 4000, segments = [{ ms = 1, half_sine = 1 }] }", "repeated too often"),
        ("{ at = 1 }", "how long it lasts"),
    ],
)
def test_a_group_that_is_not_one_is_refused(segment, message):
    with pytest.raises(WaveformSourceError, match=message) as caught:
        load(segment)
    assert "w.toml" in (caught.value.where or "")
