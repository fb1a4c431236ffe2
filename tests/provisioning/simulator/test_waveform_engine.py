from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_images.waveform import Balance, Level, Mode, Regulation, Segment
from provisioning.simulator.waveform_engine import WaveformEngine
from tests.provisioning.simulator.parts import waveform_table


def code_for_na(current_na: int) -> int:
    return 2048 + round(current_na / 1000)


def make_engine(level_index: int = 1) -> WaveformEngine:
    table = waveform_table()
    mode = table.modes[0]
    return WaveformEngine(
        table, mode, mode.levels[level_index], start_s=10.0, code_for_na=code_for_na
    )


def mean_code(engine: WaveformEngine, start_s: float, end_s: float) -> float:
    pieces = engine.pieces(start_s, end_s)
    return sum((code - 2048) * spent_s for code, spent_s in pieces) / (end_s - start_s)


def driven(engine: WaveformEngine, start_s: float, end_s: float) -> list[tuple[int, float]]:
    """The pieces longer than a nanosecond: shorter ones are rounding."""
    return [(code, spent) for code, spent in engine.pieces(start_s, end_s) if spent > 1e-9]


def test_the_period_counts_pulses_rests_and_the_polarity_cycle():
    assert make_engine().period_us == 120_000


def test_the_first_phase_is_positive_and_the_second_negative():
    engine = make_engine()
    assert driven(engine, 10.0, 10.01) == [(2448, pytest.approx(0.01))]
    assert driven(engine, 10.01, 10.02) == [(1648, pytest.approx(0.01))]
    assert driven(engine, 10.02, 10.025) == [(2048, pytest.approx(0.005))]


def test_every_second_burst_is_flipped_and_the_rest_between_is_zero():
    engine = make_engine()
    assert driven(engine, 10.05, 10.06) == [(2048, pytest.approx(0.01))]
    assert driven(engine, 10.06, 10.07) == [(1648, pytest.approx(0.01))]


@pytest.mark.parametrize("start_s", [10.0, 10.0123, 17.77])
def test_a_whole_period_is_balanced_from_any_start(start_s):
    assert mean_code(make_engine(), start_s, start_s + 0.12) == pytest.approx(0, abs=1e-6)


def test_all_time_inside_the_session_is_accounted_for():
    engine = make_engine()
    assert sum(spent for _, spent in engine.pieces(9.0, 12.5)) == pytest.approx(2.5)
    assert sum(spent for _, spent in engine.pieces(69.0, 80.0)) == pytest.approx(1.0)
    assert engine.is_running(69.9)
    assert not engine.is_running(70.1)


def test_a_ramp_has_the_mean_of_its_ends():
    ramp = Level(
        peak_na=400_000,
        segments=(
            Segment(duration_ticks=100, start_na=0, end_na=400_000),
            Segment(duration_ticks=100, start_na=400_000, end_na=0),
        ),
    )
    mode = Mode(
        name="INFUSE",
        balance=Balance.GALVANIC,
        regulation=Regulation.CURRENT,
        levels=(ramp,),
        pulses_per_burst=1,
        burst_off_ticks=0,
        flips_each_burst=False,
        session_ticks=1000,
    )
    table = waveform_table(modes=(mode,))
    engine = WaveformEngine(table, mode, ramp, start_s=0.0, code_for_na=code_for_na)
    assert mean_code(engine, 0.0, 0.01) == pytest.approx(200)
    assert mean_code(engine, 0.0, 0.02) == pytest.approx(200)


def test_the_clamp_of_the_table_holds_whatever_a_segment_says():
    table = waveform_table(clamp_na=100_000)
    mode = table.modes[0]
    engine = WaveformEngine(table, mode, mode.levels[1], start_s=0.0, code_for_na=code_for_na)
    assert {code for code, _ in engine.pieces(0.0, 1.0)} == {1948, 2048, 2148}


def ramped_engine(**changes) -> WaveformEngine:
    """Pulses of 25 ms in bursts of two, 10 ms apart; a session of 330 ms unless told otherwise."""
    table = waveform_table()
    fields = {"session_ticks": 3300, "soft_start_pulses": 4, "soft_stop_pulses": 2} | changes
    mode = replace(table.modes[0], **fields)
    return WaveformEngine(table, mode, mode.levels[1], start_s=0.0, code_for_na=code_for_na)


def pulse_codes(engine: WaveformEngine, pulse: int) -> list[int]:
    start_s = pulse // 2 * 0.06 + pulse % 2 * 0.025
    return [code - 2048 for code, _ in driven(engine, start_s, start_s + 0.025)]


def test_a_soft_start_and_a_soft_stop_scale_whole_pulses():
    engine = ramped_engine()
    # 330 ms hold five bursts of 60 ms, and one pulse of the sixth
    assert [pulse_codes(engine, pulse)[0] for pulse in range(11)] == [
        100, 200, -300, -400, 400, 400, -400, -400, 400, 400, -200,
    ]  # fmt: skip
    for pulse in range(11):
        up, down, rest = pulse_codes(engine, pulse)
        assert (up + down, rest) == (0, 0)


@pytest.mark.parametrize("session_ticks", [3000, 3001, 3249, 3250, 3299, 3300, 3553])
def test_a_session_ends_between_pulses_and_leaves_no_charge(session_ticks):
    engine = ramped_engine(session_ticks=session_ticks)
    end_s = session_ticks * 1e-4
    assert mean_code(engine, 0.0, end_s) == pytest.approx(0, abs=1e-9)
    assert sum(spent for _, spent in engine.pieces(0.0, 1.0)) == pytest.approx(end_s)


def test_the_hard_stop_ends_a_session_like_the_session_itself():
    table = waveform_table(hard_stop_ticks=770)
    mode = replace(table.modes[0], soft_start_pulses=2, soft_stop_pulses=2)
    engine = WaveformEngine(table, mode, mode.levels[1], start_s=0.0, code_for_na=code_for_na)
    # two pulses, the rest, and no third one: it would end at 85 ms
    assert [pulse_codes(engine, pulse)[0] for pulse in range(2)] == [200, 200]
    assert driven(engine, 0.05, 0.2) == [(2048, pytest.approx(0.027))]
