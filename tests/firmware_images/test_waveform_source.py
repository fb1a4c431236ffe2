"""TOML waveforms: what compiles, what is refused, and where the error points."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.errors import TickError, WaveformError, WaveformSourceError
from firmware_images.waveform import Balance, Regulation, Segment
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_csv import parse_csv_waveform
from firmware_images.waveform_source import load_waveforms, parse_waveforms

from .waveform_builders import (
    E3,
    FLARE,
    REJECTED,
    change_policy,
    flare_policy,
    flare_table,
    format_csv,
)

# refused before anything is judged: error, telling part, place
REFUSED = {
    "burst_cutting_a_pulse_after_its_first_phase.toml": (
        TickError,
        "0.5 µC left unpaired",
        "mode TIGHTEN, burst_on_ms, segment 1, at 2000 ms",
    ),
    "polarity_reversed_in_the_middle_of_a_hold.toml": (
        TickError,
        "stepping by 400 µA",
        "mode LIFT, burst_on_ms, segment ",
    ),
    "phase_of_50_us_on_a_tick_of_250_us.toml": (
        TickError,
        "whole number of ticks",
        "mode TIGHTEN, 50 µA, segment 1",
    ),
    "levels_not_rising.toml": (TickError, "rise strictly", "mode LIFT, level 2"),
    "pulse_not_ending_at_zero.toml": (TickError, "last sample", "mode TIGHTEN, 50 µA, segment 2"),
    "pulse_below_its_level.toml": (WaveformSourceError, "reach its level", "mode LIFT"),
    "segment_without_an_end.toml": (WaveformSourceError, "must say what it is", "segment 1"),
    "key_misspelled.toml": (WaveformSourceError, "sesion_s is not a key", "key_misspelled.toml"),
    "level_as_text.toml": (WaveformSourceError, "levels_ua.1 must be a number", "level_as_text"),
    "reversal_every_2525_ms.toml": (
        TickError,
        "a reversal cuts pulse 21 short: 1 phase played, 8 µC left unpaired, the output stepping",
        "mode LIFT, flip_every_ms, segment 2, at 2525 ms",
    ),
    "soft_start_ending_inside_a_pulse.toml": (
        TickError,
        "ramp is not a whole number of pulses",
        "mode LIFT, soft_start_ms",
    ),
    "soft_start_and_stop_longer_than_the_session.toml": (
        TickError,
        "longer than the session",
        "mode LIFT, level of 400 µA",
    ),
    "session_shorter_than_a_pulse.toml": (TickError, "before its first pulse", "mode LIFT"),
    "soft_start_given_twice.toml": (WaveformSourceError, "ramp's length", "mode LIFT"),
    "flip_given_twice.toml": (WaveformSourceError, "polarity flips must be said", "mode LIFT"),
    "burst_given_twice.toml": (WaveformSourceError, "burst's length", "mode LIFT"),
    "pulse_missing.toml": (WaveformSourceError, "pulse must be given once", "mode LIFT"),
    "csv_in_another_folder.toml": (WaveformSourceError, "beside the TOML", "mode LIFT"),
    "mode_name_in_small_letters.toml": (WaveformSourceError, "mode's name", "small_letters"),
    "not_toml.toml": (WaveformSourceError, "not TOML", "not_toml.toml"),
    "not_text.toml": (WaveformSourceError, "not UTF-8", "not_text.toml"),
    "too_many_pulses_in_a_burst.toml": (WaveformSourceError, "repeat period", "too_many_pulses"),
}

MODE = """
format = 1
tick_us = 100
[[mode]]
name = "TRIAL"
balance = "galvanic"
regulation = "voltage"
levels_ua = [0.001, 33.333]
session_s = 10
pulses_per_burst = 1
flip_each_burst = false
{pulse}
"""


def parse(text, **files):
    def load_csv(name):
        return parse_csv_waveform(files[name.removesuffix(".csv")].encode(), where=name)

    return parse_waveforms(text.encode(), where="wave.toml", load_csv=load_csv)


def compile_text(text, **files):
    return compile_table(parse(text, **files), flare_policy(), "flare-c3")


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_refused_by_mode_and_segment(name):
    kind, telling, place = REFUSED[name]
    with pytest.raises(kind, match=telling) as caught:
        compile_table(load_waveforms(REJECTED / name), flare_policy(), "flare-c3")
    assert type(caught.value) is kind
    assert name in (caught.value.where or "")
    assert place in f"{caught.value.where} {caught.value.what}"


def test_the_example_product_is_as_its_designers_wrote_it():
    table = flare_table()
    assert [mode.name for mode in table.modes] == ["LIFT", "TIGHTEN", "INFUSE"]
    lift, tighten, infuse = table.modes
    assert [level.peak_na for level in lift.levels] == [80_000, 160_000, 240_000, 320_000, 400_000]
    assert lift.levels[4].segments[3] == Segment(duration_ticks=100, start_na=0, end_na=-400_000)
    assert (lift.levels[0].pulse_ticks, lift.pulses_per_burst) == (1250, 20)
    assert (tighten.levels[0].pulse_ticks, tighten.pulses_per_burst) == (333, 60)
    assert tighten.burst_off_ticks == 9990
    assert tighten.repeat_ticks(tighten.levels[0]) == 59_940
    assert (infuse.balance, infuse.session_ticks) == (Balance.GALVANIC, 2_400_000)
    assert infuse.bursts_per_repeat == 2
    assert (table.clamp_na, table.hard_stop_ticks) == (600_000, 12_000_000)
    assert (table.contact_area_mm2, table.policy_digest) == (50, flare_policy().digest)


def test_currents_round_to_the_nearest_nanoamp_alike_in_both_polarities():
    text = MODE.format(pulse="segments = [{ms=1, from=-0.5, to=0.5}, {ms=1, at=1}, {ms=1, at=0}]")
    (mode,) = compile_text(text).modes
    assert mode.regulation is Regulation.VOLTAGE
    assert mode.levels[0].segments[0] == Segment(duration_ticks=10, start_na=-1, end_na=1)
    assert mode.levels[1].segments[0] == Segment(duration_ticks=10, start_na=-16_667, end_na=16_667)


def test_a_pulse_can_come_from_a_csv_file_beside_the_toml():
    (mode,) = compile_text(MODE.format(pulse='csv = "e3.csv"'), e3=format_csv(E3)).modes
    assert [level.peak_na for level in mode.levels] == [1, 33_333]
    assert [s.duration_ticks for s in mode.levels[0].segments] == [
        100,
        300,
        100,
        100,
        300,
        100,
        250,
    ]
    assert mode.levels[1].segments[1].start_na == 33_333


def test_a_csv_row_between_ticks_is_refused_by_its_line():
    text = MODE.format(pulse='csv = "odd.csv"')
    with pytest.raises(TickError, match="whole number") as caught:
        compile_text(text, odd="0,0\n50,1\n100,0\n")
    assert "line 2" in (caught.value.where or "")


def test_a_pulse_without_current_and_without_segments_is_refused():
    with pytest.raises(WaveformSourceError, match="no current"):
        compile_text(MODE.format(pulse="segments = [{ms=1, at=0}]"))
    with pytest.raises(WaveformSourceError, match="few or too many"):
        compile_text(MODE.format(pulse="segments = []"))


def test_a_burst_of_whole_pulses_may_be_given_as_a_time():
    text = (FLARE / "waveforms.toml").read_text()
    changed = text.replace("pulses_per_burst = 20 ", "burst_on_ms = 2500.0 ")
    assert changed != text
    assert compile_text(changed) == flare_table()


def test_a_session_or_a_hard_stop_between_ticks_is_refused():
    text = MODE.format(pulse="segments = [{ms=1, at=1}, {ms=1, at=0}]")
    with pytest.raises(TickError) as caught:
        compile_text(text.replace("session_s = 10", "session_s = 10.00005"))
    assert "session_s" in (caught.value.where or "")
    with pytest.raises(TickError) as caught:
        compile_table(parse(text), change_policy(flare_policy(), SESSION="1.00005"), "flare-c3")
    assert "SESSION" in (caught.value.where or "")


def test_a_level_of_nothing_is_refused():
    text = MODE.format(pulse="segments = [{ms=1, at=1}, {ms=1, at=0}]")
    for level in ("0", "-1", "0.0001", "3e9", "1e999999"):
        with pytest.raises(WaveformSourceError, match="level is out of range"):
            parse(text.replace("0.001, 33.333", level))
    with pytest.raises(WaveformSourceError, match="finite"):
        parse(text.replace("0.001, 33.333", "nan"))


def test_what_the_model_refuses_names_the_file():
    with pytest.raises(WaveformSourceError, match="hardware class") as caught:
        compile_table(load_waveforms(FLARE / "waveforms.toml"), flare_policy(), "FLARE")
    assert "waveforms.toml" in (caught.value.where or "")


@given(text=st.text(max_size=100))
@settings(max_examples=60, deadline=None)
def test_arbitrary_text_raises_only_our_errors(text):
    with pytest.raises(WaveformError):
        parse(text)


numbers = st.one_of(
    st.integers(-(10**6), 10**6), st.decimals(allow_nan=False, allow_infinity=False, places=4)
)


@given(
    ms=st.lists(numbers, min_size=1, max_size=4),
    at=st.lists(numbers, min_size=4, max_size=4),
    level=numbers,
    session=numbers,
)
@settings(max_examples=100, deadline=None)
def test_any_numbers_compile_or_raise_only_our_errors(ms, at, level, session):
    pulse = ", ".join(f"{{ms={m}, at={a}}}" for m, a in zip(ms, at, strict=False))
    text = MODE.format(pulse=f"segments = [{pulse}]")
    text = text.replace("0.001, 33.333", str(level)).replace(
        "session_s = 10", f"session_s = {session}"
    )
    with suppress(WaveformError):
        compile_text(text)


def test_nothing_is_rounded_in_time():
    source = load_waveforms(FLARE / "waveforms.toml")
    mode = source.modes[1]
    shape = replace(
        mode.shape,
        segments=(
            replace(mode.shape.segments[0], duration_us=Decimal("2000.0000001")),
            *mode.shape.segments[1:],
        ),
    )
    with pytest.raises(TickError) as caught:
        compile_table(
            replace(source, modes=(replace(mode, shape=shape),)), flare_policy(), "flare-c3"
        )
    assert caught.value.got == "2000.0000001 µs"
    assert caught.value.expected == "a multiple of 100 µs: 2000 µs or 2100 µs"
