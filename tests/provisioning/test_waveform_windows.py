"""Windows of a played mode: where they lie, that good units pass, that wrong engines are found."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from provisioning.errors import VerificationError
from provisioning.measurement_settings import MetrologySettings, WaveformCheck
from provisioning.simulator.analog import AnalogTruth
from provisioning.simulator.meter import SimulatedMeter
from provisioning.uncertainty import Outcome
from provisioning.verification import recompute_verification, verify_unit
from provisioning.verification_result import (
    parse_verification_result,
    serialize_verification_result,
)
from provisioning.waveform_train import WaveformShape
from provisioning.waveform_windows import WindowName, find_events, plan_windows
from tests.conftest import IS_SOAK
from tests.provisioning.metrology_bench import (
    SETTINGS,
    TABLE,
    MetrologyBench,
    SteppingClock,
    build_table,
    ignore_progress,
    segments,
)

MODES = ("LIFT", "TIGHTEN", "INFUSE")
LATE_S = 0.1


def plan(mode, settings=SETTINGS, *, hard_stop_ticks=TABLE.hard_stop_ticks):
    return plan_windows(
        mode, len(mode.levels) - 1, settings, tick_us=100, hard_stop_ticks=hard_stop_ticks
    )


def alone(mode):
    """One mode with one level, so that little else is measured."""
    return build_table(modes=(replace(mode, levels=mode.levels[-1:]),))


def verify(bench, table, settings=SETTINGS):
    return verify_unit(
        bench, bench.meter, table, settings, progress=ignore_progress, clock=SteppingClock()
    )


def see(windows):
    return [(window.name.value, window.event_us) for window in windows]


def test_windows_show_the_start_every_reversal_burst_and_corner():
    assert see(plan(TABLE.mode("LIFT")).windows) == [
        ("start", 0),
        ("reversal", 2_500_000),
        ("reversal", 0),
    ]
    assert see(plan(TABLE.mode("TIGHTEN")).windows) == [
        ("start", 0),
        ("burst end", 1_998_000),
        ("burst begin", 2_997_000),
        ("burst end", 4_995_000),
        ("burst begin", 0),
    ]
    # The session of INFUSE ends with its period, so its second reversal never comes.
    assert see(plan(TABLE.mode("INFUSE")).windows) == [
        ("start", 0),
        ("corner", 2_000_000),
        ("corner", 58_000_000),
        ("joint", 60_000_000),
        ("reversal", 120_000_000),
        ("corner", 122_000_000),
        ("corner", 178_000_000),
        ("joint", 180_000_000),
    ]


@pytest.mark.parametrize("name", MODES)
def test_a_window_holds_its_event_with_whole_pulses_beside_it_however_late_the_meter_is(name):
    mode = TABLE.mode(name)
    shape = WaveformShape.of(mode, len(mode.levels) - 1, tick_us=100)
    chosen = plan(mode)
    length_us = chosen.sample_count * chosen.sample_aperture_us
    side_us = max(60_000, shape.pulse_us) if shape.pulse_us < 250_000 else 100_000
    for window in chosen.windows[1:]:
        since_us = window.start_us % shape.period_us
        event_us = window.event_us or shape.period_us
        for late_us in (0, LATE_S * 1e6):
            assert since_us + late_us + side_us <= event_us
            assert event_us + side_us <= since_us + late_us + length_us
        assert window.start_us % 100 == 0
    per_pulse = shape.pulse_us / chosen.sample_aperture_us
    assert name == "INFUSE" or per_pulse == pytest.approx(round(per_pulse))


def test_windows_lie_between_soft_start_and_soft_stop():
    mode = replace(TABLE.mode("LIFT"), soft_start_pulses=30, soft_stop_pulses=10)
    windows = plan(mode).windows
    assert windows[0].start_us == 29 * 125_000
    assert see(windows[1:]) == [("reversal", 0), ("reversal", 2_500_000)]
    for window in windows:
        assert window.start_us >= 29 * 125_000
    last_us = max(window.start_us for window in windows)
    ending = plan(mode, hard_stop_ticks=(last_us + 1_300_000) // 100).windows
    assert len(ending) < len(windows)


def test_a_session_without_room_or_a_short_period_is_captured_whole():
    lift = TABLE.mode("LIFT")
    assert plan(replace(lift, session_ticks=3_000)) is None
    assert plan(replace(lift, pulses_per_burst=2)) is None
    jagged = segments(*((2_000, 1_000 * (k % 2), 1_000) for k in range(63)), (1, 0, 0))
    busy = replace(TABLE.mode("INFUSE").levels[0], peak_na=1_000, segments=jagged)
    assert plan(replace(TABLE.mode("INFUSE"), levels=(busy,), pulses_per_burst=1)) is None


def test_a_train_without_bursts_has_no_events_but_its_start():
    mode = replace(TABLE.mode("LIFT"), flips_each_burst=False)
    assert find_events(WaveformShape.of(mode, 4, tick_us=100)) == ()
    assert see(plan(mode).windows) == [("start", 0)]


@pytest.mark.parametrize("seed", range(40 if IS_SOAK else 3))
def test_a_good_unit_passes_however_late_the_meter_is(seed):
    draw = random.Random(seed)
    middle_s = draw.uniform(0.005, 0.095)
    with MetrologyBench(AnalogTruth(noise_rms_na=500), index=seed) as bench:
        bench.next_delay_s = lambda: middle_s + draw.uniform(-0.004, 0.004)
        result = verify(bench, TABLE)
    assert result.reasons == ()
    for waveform in result.waveforms:
        assert waveform.delay_spread_s <= 0.0085
        for window in waveform.windows[1:]:
            # An error of 1 LSB moves a ramp of 100 µA/s by 5 ms.
            assert window.delay_s == pytest.approx(middle_s, abs=0.012)


def test_each_window_states_the_aperture_of_its_means():
    with MetrologyBench(AnalogTruth(noise_rms_na=500)) as bench:
        result = verify(bench, TABLE)
    shown = {waveform.mode: waveform for waveform in result.waveforms}
    reversal = shown["LIFT"].windows[1]
    assert [(s.burst, s.is_rest, s.aperture_s) for s in reversal.stretches] == [
        (0, False, 0.125),
        (1, False, 0.125),
    ]
    end = shown["TIGHTEN"].windows[1]
    assert [(s.burst, s.is_rest) for s in end.stretches] == [(0, False), (0, True)]
    for waveform in result.waveforms:
        stretches = [stretch for window in waveform.windows for stretch in window.stretches]
        assert waveform.aperture_s == pytest.approx(sum(s.aperture_s for s in stretches))
        assert {s.burst for s in stretches if not s.is_rest} == {0, 1}


class WrongTable(MetrologyBench):
    """An engine that plays something else, and tells the table's period."""

    wrong = TABLE

    def play(self, table, mode, level_index, start_us):
        super().play(self.wrong, mode, level_index, start_us)
        chosen = table.mode(mode)
        return chosen.repeat_ticks(chosen.levels[level_index]) * table.tick_us


class HalfOffset(MetrologyBench):
    """An engine whose output is 3 µA off in every second burst."""

    def play(self, table, mode, level_index, start_us):
        period_us = super().play(table, mode, level_index, start_us)
        began_s = self.stage.time_s - start_us * 1e-6
        pieces, half_s = self.stage._source, period_us * 0.5e-6

        def shifted(begin_s, end_s):
            is_second = (begin_s - began_s) // half_s % 2
            return [(code + 6 * int(is_second), spent) for code, spent in pieces(begin_s, end_s)]

        self.stage.play(shifted)
        return period_us


def lost_pulse(mode):
    """The rest takes its place."""
    rest = mode.burst_off_ticks + mode.levels[0].pulse_ticks
    return replace(mode, pulses_per_burst=mode.pulses_per_burst - 1, burst_off_ticks=rest)


def cut_pulse(mode):
    """The burst is shorter by it."""
    return replace(mode, pulses_per_burst=mode.pulses_per_burst - 1)


def long_burst(mode):
    return replace(mode, pulses_per_burst=mode.pulses_per_burst + 1)


def no_reversal(mode):
    return replace(mode, flips_each_burst=False)


def late_reversal(mode):
    """By 60 ms of rest."""
    return replace(mode, burst_off_ticks=mode.burst_off_ticks + 600)


def wrong_level(mode):
    """Nine tenths of what the table says."""
    level = mode.levels[0]
    parts = ((s.duration_ticks, s.start_na * 9 // 10, s.end_na * 9 // 10) for s in level.segments)
    peak_na = level.peak_na * 9 // 10
    return replace(mode, levels=(replace(level, peak_na=peak_na, segments=segments(*parts)),))


CHANGES = (lost_pulse, cut_pulse, long_burst, no_reversal, late_reversal, wrong_level)


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_engine_is_found_although_it_tells_the_right_period(name, change):
    table = alone(TABLE.mode(name))
    with WrongTable(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = bench.wrong = table
        bench.next_delay_s = lambda: 0.04
        assert verify(bench, table).outcome is Outcome.PASS
        bench.wrong = replace(table, modes=(change(table.modes[0]),))
        result = verify(bench, table)
    assert {point.outcome for point in result.points} == {Outcome.PASS}
    assert result.outcome is Outcome.FAIL
    assert len(result.reasons) == 1
    assert name in result.reasons[0]
    assert result.waveforms[0].period_us == result.waveforms[0].expected_period_us


@pytest.mark.parametrize("name", MODES)
def test_a_clipped_waveform_is_found(name):
    table = alone(TABLE.mode(name))
    with WrongTable(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        bench.wrong = replace(table, clamp_na=table.modes[0].levels[0].peak_na * 88 // 100)
        result = verify(bench, table)
    assert result.outcome is Outcome.FAIL
    assert "% of the table's" in result.reasons[0] or "from the table" in result.reasons[0]


@pytest.mark.parametrize("name", MODES)
def test_an_offset_in_one_half_is_found(name):
    table = alone(TABLE.mode(name))
    with HalfOffset(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        result = verify(bench, table)
    assert result.outcome is Outcome.FAIL
    waveform = result.waveforms[0]
    assert waveform.mean_na == pytest.approx(1_465, abs=250), "half of it over the whole period"
    bad = {
        stretch.burst
        for window in waveform.windows
        for stretch in window.stretches
        if stretch.outcome is Outcome.FAIL
    }
    assert bad == {1}


@pytest.mark.parametrize("name", MODES)
def test_a_wrong_polarity_of_one_half_is_found(name):
    table = alone(TABLE.mode(name))
    flipped = replace(table.modes[0], flips_each_burst=False)
    with WrongTable(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        bench.wrong = replace(table, modes=(flipped,))
        result = verify(bench, table)
    assert result.outcome is Outcome.FAIL
    assert result.waveforms[0].windows[0].outcome is Outcome.PASS, "the first half is right"


def test_a_board_that_can_begin_at_the_start_only_is_captured_whole():
    table = alone(TABLE.mode("TIGHTEN"))
    with MetrologyBench(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        bench.knows_starts = False
        result = verify(bench, table)
    assert result.outcome is Outcome.PASS
    assert result.waveforms[0].windows == ()
    assert result.waveforms[0].aperture_s == pytest.approx(5.994)


def test_windows_survive_json_and_are_judged_again_from_their_samples():
    table = alone(TABLE.mode("TIGHTEN"))
    with MetrologyBench(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        result = verify(bench, table)
    document = json.loads(json.dumps(serialize_verification_result(result)))
    stored = parse_verification_result(document)
    assert stored == result
    assert recompute_verification(stored) == result
    end = document["waveforms"][0]["windows"][1]
    assert end["name"] == WindowName.BURST_END.value
    end["samples_na"] = end["samples_na"][66:] + [0] * 66
    changed = recompute_verification(parse_verification_result(document))
    assert changed.outcome is Outcome.FAIL
    assert "do not agree on the timing" in changed.reasons[0]
    end["name"] = "nowhere"
    with pytest.raises(VerificationError, match="damaged"):
        parse_verification_result(document)


@pytest.fixture(scope="module")
def document():
    table = alone(TABLE.mode("TIGHTEN"))
    with MetrologyBench(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        return json.dumps(serialize_verification_result(verify(bench, table)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("shape",), None),
        (("shape", "pulses_per_burst"), 10**9),
        (("shape", "segments"), []),
        (("shape", "segments"), [[0, 1, 1]]),
        (("shape", "segments"), [[5, 0, 0]]),
        (("shape", "segments"), [[5, 10**12, 0]]),
        (("shape", "tick_us"), 10**9),
        (("sample_aperture_s",), 0.0),
        (("sample_aperture_s",), 60.0),
        (("expected_period_us",), 0),
        (("windows", 1, "samples_na"), []),
        (("windows", 1, "samples_na"), [0] * 2_001),
        (("windows", 1, "samples_na", 0), 10**400),
        (("windows", 1, "start_us"), -1),
        (("windows", 1, "delay_s"), float("nan")),
    ],
)
def test_a_stored_window_that_cannot_be_judged_is_refused(document, path, value):
    stored = json.loads(document)
    where = stored["waveforms"][0]
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    with pytest.raises(VerificationError, match="damaged"):
        parse_verification_result(stored)


def test_an_overload_in_a_window_fails_the_mode():
    table = alone(TABLE.mode("LIFT"))

    class Strong(MetrologyBench):
        def play(self, table, mode, level_index, start_us):
            self.stage.truth = replace(self.stage.truth, gain=4.0)
            return super().play(table, mode, level_index, start_us)

    with Strong(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        result = verify(bench, table)
    assert result.waveforms[0].is_overload
    assert "larger than 1000 µA" in result.reasons[0]
    assert recompute_verification(result) == result


@pytest.mark.parametrize("check", WaveformCheck)
def test_what_the_meter_needs_to_be_configured_is_no_delay_of_the_board(monkeypatch, check):
    """A real one needs tens of milliseconds; were they waited while it plays, this would fail."""
    configure = SimulatedMeter._configure

    def configure_slowly(meter, text):
        configure(meter, text)
        meter._output.time_s += 0.115  # more than start_delay_max_s, less than a pulse

    monkeypatch.setattr(SimulatedMeter, "_configure", configure_slowly)
    table = alone(TABLE.mode("LIFT"))
    with MetrologyBench(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        assert verify(bench, table, MetrologySettings(waveform_check=check)).reasons == ()


def test_more_delay_than_the_settings_allow_is_no_fault_of_the_unit_but_is_seen():
    table = alone(TABLE.mode("LIFT"))
    with MetrologyBench(AnalogTruth(noise_rms_na=500)) as bench:
        bench.table = table
        bench.next_delay_s = lambda: 0.16
        assert verify(bench, table).outcome is Outcome.FAIL
        assert verify(bench, table, MetrologySettings(start_delay_max_s=0.2)).reasons == ()
