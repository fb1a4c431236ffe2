"""Soft starts, soft stops and the end of a session: against a device played tick by tick."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.errors import TickError, WaveformError, WaveformSourceError
from firmware_images.limits import judge_table
from firmware_images.waveform import Balance, Level, Segment
from firmware_images.waveform_compile import compile_modes
from firmware_images.waveform_export import build_session_segments
from firmware_images.waveform_ramp import build_session_train, measure_session
from firmware_images.waveform_session import Session, Share, scale_na, session_double_charge
from firmware_images.waveform_source import parse_waveforms
from firmware_images.waveform_window import find_largest_window_mean

from .waveform_builders import (
    E1,
    E3,
    build_mode,
    build_table,
    change_policy,
    flare_policy,
    name_mode,
)

TOML = """
format = 1
tick_us = 100
[[mode]]
name = "TRIAL"
balance = "balanced"
regulation = "current"
levels_ua = [80, 400]
session_s = 10
pulses_per_burst = 20
{lines}
segments = [{{ms=10, at=1}}, {{ms=10, at=-1}}, {{ms=105, at=0}}]
"""


def compile_lines(lines, *, burst="pulses_per_burst = 20"):
    text = TOML.format(lines=lines).replace("pulses_per_burst = 20", burst)
    source = parse_waveforms(text.encode(), where="soft.toml", load_csv=lambda name: name)
    return compile_modes(source)[0]


def session_of(mode, *, end_ticks=None):
    return Session(mode=mode, level=mode.levels[-1], end_ticks=end_ticks or mode.session_ticks)


def play(mode):
    """The pulses of a session by the definition alone: begin, sign, share, in exact fractions."""
    level, pulses, moment, burst = mode.levels[-1], [], 0, 0
    while True:
        for _ in range(mode.pulses_per_burst):
            if moment + level.pulse_ticks > mode.session_ticks:
                count = len(pulses)
                return [
                    (begin, sign, share_by_definition(mode, number, count))
                    for number, (begin, sign) in enumerate(pulses, start=1)
                ]
            pulses.append((moment, -1 if mode.flips_each_burst and burst % 2 else 1))
            moment += level.pulse_ticks
        moment += mode.burst_off_ticks
        burst += 1


def share_by_definition(mode, number, count):
    share = Fraction(1)
    if mode.soft_start_pulses:
        share = min(share, Fraction(number, mode.soft_start_pulses))
    if mode.soft_stop_pulses:
        share = min(share, Fraction(count - number + 1, mode.soft_stop_pulses))
    return share


def nearest(value: Fraction) -> int:
    """Halves away from zero, by another route than the product's."""
    down, part = divmod(abs(value), 1)
    magnitude = int(down) + (part >= Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


@st.composite
def ramped_modes(draw):
    currents = st.integers(-400_000, 400_000)
    parts = draw(st.lists(st.tuples(st.integers(1, 40), currents, currents), max_size=3))
    parts.append((draw(st.integers(1, 40)), 400_001, 0))
    level = Level(
        peak_na=400_001,
        segments=tuple(Segment(duration_ticks=d, start_na=a, end_na=b) for d, a, b in parts),
    )
    mode = build_mode(
        E1,
        levels=(level,),
        pulses_per_burst=draw(st.integers(1, 5)),
        burst_off_ticks=draw(st.sampled_from([0, 7, 300])),
        flips_each_burst=draw(st.booleans()),
        session_ticks=draw(st.integers(level.pulse_ticks, 60 * level.pulse_ticks)),
    )
    count = len(play(mode))
    start = draw(st.integers(0, count))
    stop = draw(st.integers(0, count - start))
    return replace(
        mode,
        soft_start_pulses=0 if start == 1 else start,
        soft_stop_pulses=0 if stop == 1 else stop,
    )


@given(mode=ramped_modes())
@settings(max_examples=80, deadline=None)
def test_a_session_is_what_the_definition_plays(mode):
    session, played = session_of(mode), play(mode)
    assert session.pulse_count == len(played)
    for pulse, (begin, sign, share) in enumerate(played):
        assert session.start_ticks(pulse) == begin
        assert session.sign(pulse) == sign
        assert Fraction(*session.share(pulse)) == share
    assert session.played_ticks == played[-1][0] + mode.levels[0].pulse_ticks
    assert dict(session.ramp_pulses()) == {
        pulse: session.share(pulse) for pulse, (_, _, share) in enumerate(played) if share != 1
    }
    doubled = sum(
        sign * s.duration_ticks * (nearest(share * s.start_na) + nearest(share * s.end_na))
        for _, sign, share in played
        for s in mode.levels[0].segments
    )
    assert session_double_charge(session) == doubled


@given(mode=ramped_modes())
@settings(max_examples=60, deadline=None)
def test_an_exported_session_is_what_the_definition_plays(mode):
    segments = build_session_segments(mode, mode.levels[0])
    assert sum(segment.duration_ticks for segment in segments) == mode.session_ticks
    moment, corners = 0, []
    for segment in segments:
        corners.append((moment, segment.start_na, segment.end_na))
        moment += segment.duration_ticks
    expected = []
    for begin, sign, share in play(mode):
        at = begin
        for s in mode.levels[0].segments:
            currents = (sign * nearest(share * i) for i in (s.start_na, s.end_na))
            expected.append((at, *currents))
            at += s.duration_ticks
    moments = {begin for begin, _, _ in expected}
    assert [corner for corner in corners if corner[0] in moments] == expected
    assert all(a == b == 0 for begin, a, b in corners if begin not in moments)


@given(mode=ramped_modes(), tick_us=st.sampled_from([100, 1000, 5000]))
@settings(max_examples=60, deadline=None)
def test_the_shortened_session_has_the_worst_second_of_the_whole_one(mode, tick_us):
    shortened = build_session_train(session_of(mode), tick_us)
    if shortened is None:
        assert (mode.soft_start_pulses, mode.soft_stop_pulses) == (0, 0)
        return
    whole = replace(
        shortened.train,
        pieces=(shortened.train.pieces[0], *whole_session_pieces(mode, tick_us)),
        on_us=1.0,
    )
    found = find_largest_window_mean(shortened.train, 1e6)
    expected = find_largest_window_mean(whole, 1e6)
    assert abs(found.mean_na) == pytest.approx(abs(expected.mean_na), rel=1e-9, abs=1e-6)
    at_us = shortened.time_us(found.start_us)
    assert 0 <= at_us <= mode.session_ticks * tick_us


def whole_session_pieces(mode, tick_us):
    from firmware_images.waveform_train import build_pieces

    return build_pieces(build_session_segments(mode, mode.levels[0]), tick_us)


@given(
    current_na=st.integers(-(2**31) + 1, 2**31 - 1),
    whole=st.integers(2, 65_536),
    data=st.data(),
)
def test_a_scaled_current_is_the_nearest_and_keeps_its_opposite(current_na, whole, data):
    share = Share(data.draw(st.integers(1, whole)), whole)
    scaled = scale_na(current_na, share)
    exact = Fraction(current_na * share.parts, whole)
    assert scaled == nearest(exact)
    assert abs(scaled - exact) <= Fraction(1, 2)
    assert abs(scaled) <= abs(current_na)
    assert scale_na(-current_na, share) == -scaled


def test_an_envelope_inside_a_pulse_would_unbalance_what_scaling_whole_pulses_does_not():
    mode = build_mode(E3, soft_start_pulses=24, session_ticks=1250 * 80)
    figures = measure_session(session_of(mode), 100)
    assert (figures.ramp_net_charge_uc, figures.session_net_charge_uc) == (0, 0)
    assert (figures.session_pulses, figures.session_played_s) == (80, 10.0)
    # the same ramp as a straight envelope over 24 pulses: the middle of each phase is 50 ms apart
    unpaired_uc = 16 * 0.05 / 3
    assert unpaired_uc > 0.01 * 16


def test_tighten_of_the_example_product_leaves_its_last_third_of_a_millisecond_silent():
    parts = ((2000, 250, 250), (500, 0, 0), (2000, -250, -250), (28_800, 0, 0))
    mode = build_mode(parts, pulses_per_burst=60, burst_off_ticks=9990, flips_each_burst=True)
    session = session_of(mode)
    assert (session.pulse_count, session.played_ticks) == (6009, 2_999_997)
    assert session_double_charge(session) == 0


@pytest.mark.parametrize(
    ("lines", "telling", "place"),
    [
        ("flip_each_burst = true\nsoft_start_pulses = 1", "soft start has too few", "mode TRIAL"),
        ("flip_each_burst = true\nsoft_stop_pulses = -3", "soft stop has too few", "mode TRIAL"),
        ("flip_each_burst = true\nsoft_start_pulses = 30000", "few or too many", "mode TRIAL"),
        (
            "flip_each_burst = true\nsoft_start_ms = 5000\nsoft_stop_pulses = 41",
            "longer than the session",
            "level of 80 µA",
        ),
        ("flip_each_burst = true\nsoft_start_ms = 260", "whole number of pulses", "soft_start_ms"),
        ("flip_each_burst = true\nsoft_stop_ms = 0.05", "whole number of ticks", "soft_stop_ms"),
        ("flip_every_ms = 2499.95", "whole number of ticks", "flip_every_ms"),
    ],
)
def test_a_ramp_that_cannot_be_is_refused_by_its_place(lines, telling, place):
    with pytest.raises(TickError, match=telling) as caught:
        compile_lines(lines)
    assert place in (caught.value.where or "")


@pytest.mark.parametrize(
    "lines",
    [
        "flip_each_burst = true\nsoft_start_ms = 250\nsoft_start_pulses = 2",
        "flip_each_burst = true\nflip_every_ms = 2500",
        "",
    ],
)
def test_what_is_said_twice_or_not_at_all_is_refused(lines):
    with pytest.raises(WaveformSourceError, match="once"):
        compile_lines(lines)


def test_ramps_and_reversals_may_be_written_as_times():
    by_count = compile_lines(
        "flip_each_burst = true\nsoft_start_pulses = 24\nsoft_stop_pulses = 12"
    )
    lines = "flip_every_ms = 2500\nsoft_start_ms = 3000\nsoft_stop_ms = 1500"
    assert compile_lines(lines, burst="") == by_count
    assert compile_lines(lines) == by_count
    assert (by_count.soft_start_pulses, by_count.soft_stop_pulses) == (24, 12)


@pytest.mark.parametrize(
    ("burst", "flip_ms", "telling", "place"),
    [
        (
            "",
            "2515",
            "21 short: 2 phases played, 2 µC left unpaired, the output stepping by 400",
            "segment 2",
        ),
        ("", "2505", "1 phase played, 2 µC left unpaired", "segment 1, at 2505 ms"),
        ("pulses_per_burst = 4\nburst_off_ms = 300", "505", "in the rest", "at 505 ms"),
        ("pulses_per_burst = 4\nburst_off_ms = 300", "900", "after pulse 0|inside pulse 1", "900"),
        ("pulses_per_burst = 4\nburst_off_ms = 300", "140", "inside pulse 2", "segment 2"),
        ("pulses_per_burst = 4\nburst_off_ms = 300", "1600", "several bursts", "at 1600 ms"),
        ("pulses_per_burst = 4\nburst_off_ms = 300", "250", "after pulse 2 of", "at 250 ms"),
    ],
)
def test_a_reversal_by_time_inside_a_burst_names_segment_and_time(burst, flip_ms, telling, place):
    with pytest.raises(TickError, match=telling) as caught:
        compile_lines(f"flip_every_ms = {flip_ms}", burst=burst)
    assert "mode TRIAL" in (caught.value.where or "")
    assert place in (caught.value.where or "")


def test_a_session_without_a_whole_pulse_is_refused():
    with pytest.raises(TickError, match="before its first pulse"):
        build_mode(E1, session_ticks=99)


def test_a_ramp_whose_second_cannot_be_unrolled_is_refused():
    parts = ((2, 400, -400), (2, -400, 0))
    mode = build_mode(parts, tick_us=1, session_ticks=1_000_000)
    build_table(flare_policy(), mode, tick_us=1)
    with pytest.raises(WaveformError, match="segments in a second of TRIAL"):
        build_table(flare_policy(), replace(mode, soft_start_pulses=2), tick_us=1)


def test_a_session_that_no_csv_file_holds_is_refused_before_it_is_built():
    mode = build_mode(E1, session_ticks=2**32 - 1)
    with pytest.raises(WaveformError, match="too many segments to be written"):
        build_session_segments(mode, mode.levels[0])


def judge(mode, **changes):
    policy = change_policy(flare_policy(), modes=name_mode("TRIAL", mode.balance), **changes)
    return judge_table(build_table(policy, mode), policy)


def test_balance_judges_the_pulse_of_a_ramp_that_rounding_hurts_most():
    # 3 µA for 100 s against 1 µA for 300 s: in full the charges are the same
    parts = ((100_000_000, 3, 3), (300_000_000, -1, -1), (1_000_000, 0, 0))
    mode = build_mode(parts, soft_start_pulses=7, session_ticks=10 * 4_010_000)
    worst = max(
        abs(100 * nearest(Fraction(k * 3000, 7)) - 300 * nearest(Fraction(k * 1000, 7)))
        for k in range(1, 7)
    )
    findings = judge(mode, SESSION="10000")
    (finding,) = (f for f in findings if "soft start" in f.what)
    assert worst > 0
    assert finding.value == pytest.approx(worst / 1000)
    assert finding.is_violation == (worst / 1000 > finding.limit)
    assert finding.detail == "pulse 2 of the session, 2/7 of the level"
    assert (finding.segment, finding.time_ms) == (1, 401_000)
    assert measure_session(session_of(mode), 100).ramp_net_charge_uc == pytest.approx(worst / 1000)
    (in_full,) = (f for f in findings if f.what == "charge that each pulse leaves unpaired")
    assert in_full.value == 0


def test_jdc_sees_that_alternating_pulses_do_not_cancel_while_they_grow():
    parts = ((250_000, 100, 100), (250_000, 0, 0))
    changes = {"flips_each_burst": True, "balance": Balance.GALVANIC, "session_ticks": 600_000}
    steady = build_mode(parts, **changes)
    ramped = replace(steady, soft_start_pulses=2)
    (endless,) = (f for f in judge(steady) if f.rule == "JDC")
    assert endless.value == pytest.approx(2 / 1000 / 0.5)  # the offset alone
    findings = [f for f in judge(ramped) if f.rule == "JDC"]
    assert findings[0].value == endless.value
    # the last pulse of the session stands alone in its second
    assert findings[1].value == pytest.approx((25 * 1.1 + 2) / 1000 / 0.5)
    assert "soft start" in findings[1].detail


def test_dose_plays_whole_pulses_and_counts_the_offset_until_the_end():
    parts = ((600_000, 100, 100), (400_000, 0, 0))
    mode = build_mode(parts, balance=Balance.GALVANIC, session_ticks=105_000)
    (finding,) = (f for f in judge(mode) if f.rule == "DOSE")
    # ten pulses of 60 µC; half of an eleventh would have been 30 more
    assert finding.value * 60_000 == pytest.approx(600 * 1.1 + 2 * 10.5)
    ramped = replace(mode, soft_start_pulses=10)
    (finding,) = (f for f in judge(ramped) if f.rule == "DOSE")
    assert finding.value * 60_000 == pytest.approx(600 * 1.1 + 2 * 10.5)


def test_every_finding_about_a_level_names_where_and_why():
    mode = build_mode(E3, soft_start_pulses=8, soft_stop_pulses=4, flips_each_burst=True)
    for finding in judge(mode):
        document = finding.to_json()
        for key in ("rule", "clause", "source", "unit", "what"):
            assert document[key] or (key, finding.rule) == ("unit", "SHANNON"), (key, finding)
        for key in ("value", "limit", "margin"):
            assert isinstance(document[key], float), (key, finding)
        if finding.rule in {"TICK", "HEADER", "MODE"}:
            continue
        assert (document["mode"], document["level"]) == ("TRIAL", 1)
        if "open-circuit" not in finding.what:
            assert document["time_ms"] is not None, finding
        if finding.rule != "SESSION" and "open-circuit" not in finding.what:
            assert document["segment"] in range(1, 8), finding


def test_neighbouring_pulses_of_a_ramp_differ_by_one_part():
    mode = build_mode(E3, soft_start_pulses=10, session_ticks=1250 * 20)
    shares = [Fraction(*session_of(mode).share(pulse)) for pulse in range(12)]
    assert {later - share for share, later in pairwise(shares[:10])} == {Fraction(1, 10)}
    assert shares[9:] == [1, 1, 1]


def test_where_the_hard_stop_cuts_the_session_both_ramps_meet():
    mode = build_mode(E3, soft_start_pulses=10, soft_stop_pulses=10, session_ticks=1250 * 20)
    session = session_of(mode, end_ticks=1250 * 11)
    shares = [Fraction(*session.share(pulse)) * 10 for pulse in range(11)]
    assert shares == [1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]
    assert session_double_charge(session) == 0
    none = session_of(mode, end_ticks=1249)
    assert (none.pulse_count, none.played_ticks, list(none.ramp_pulses())) == (0, 0, [])
