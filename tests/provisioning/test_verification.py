"""Verification of simulated units: good ones pass, each fault fails, results are recomputable."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from firmware_images.waveform import Level, Regulation
from provisioning.calibration import calibrate_unit
from provisioning.errors import InstrumentError, VerificationError
from provisioning.instrument_time import measuring_pace, verification_time_s
from provisioning.measurement_choices import LevelChoice, WaveformCheck
from provisioning.measurement_settings import MetrologySettings
from provisioning.report_figures import rebuild_budget
from provisioning.simulator.analog import AnalogTruth
from provisioning.uncertainty import Outcome, Source, build_budget
from provisioning.verification import recompute_verification, refuse_unmeasurable, verify_unit
from provisioning.verification_plan import plan_point, plan_points, samples_needed
from provisioning.verification_result import (
    parse_verification_result,
    serialize_verification_result,
)
from provisioning.waveform_expectation import WaveformExpectation
from tests.provisioning.metrology_bench import (
    SETTINGS,
    TABLE,
    MetrologyBench,
    SteppingClock,
    build_table,
    ignore_progress,
    segments,
)

EVERYTHING = MetrologySettings(levels=LevelChoice.ALL, waveform_check=WaveformCheck.WHOLE)


def verify(bench, settings=SETTINGS, table=TABLE, calibration=None):
    return verify_unit(
        bench,
        bench.meter,
        table,
        settings,
        progress=ignore_progress,
        clock=SteppingClock(),
        calibration=calibration,
    )


def calibrate(bench):
    result = calibrate_unit(
        bench, bench.meter, SETTINGS, progress=ignore_progress, clock=SteppingClock()
    )
    bench.write_record(result)
    return result


@pytest.fixture(scope="module")
def good():
    with MetrologyBench(index=5) as bench:
        calibration = calibrate(bench)
        return verify(bench, calibration=calibration)


def test_a_calibrated_unit_passes_lowest_middle_and_top_level_in_each_polarity_and_load(good):
    assert good.outcome is Outcome.PASS
    assert good.reasons == ()
    seen = {(p.mode, p.level_index, math.copysign(1, p.target_na), p.load_ohm) for p in good.points}
    for mode in TABLE.modes:
        for index in (0, len(mode.levels) // 2, len(mode.levels) - 1):
            for sign in (1, -1):
                assert {
                    (mode.name, index, sign, load_ohm) for load_ohm in (1_000, 5_000, 10_000)
                } <= seen
        assert (mode.name, len(mode.levels) - 1, 1, 500) in seen
    assert len(good.points) == len(seen) == 9 * 2 * 3 + 3 * 2
    assert {point.load_ohm for point in good.idle} == {1_000, 5_000, 10_000}


def test_every_level_is_measured_where_the_settings_say_so():
    plan = plan_points(TABLE, EVERYTHING, sample_sd_na=None, age_days=None)
    for mode in TABLE.modes:
        levels = {point.level_index for point in plan if point.mode == mode.name}
        assert levels == set(range(len(mode.levels)))
    assert len(plan) == 3 + 14 * 2 * 3 + 3 * 2


def test_repeatability_is_a_small_part_of_every_points_uncertainty(good):
    """Two samples do: 79 nA of scatter against 150 nA of everything else."""
    assert {point.count for point in (*good.points, *good.idle)} == {2}
    for point in good.points:
        budget = rebuild_budget(good, point)
        others = math.sqrt(budget.standard_na**2 - budget.of(Source.REPEATABILITY) ** 2)
        assert budget.standard_na < 1.2 * others


@pytest.mark.parametrize(
    ("sample_sd_na", "count"), [(None, 40), (0.0, 2), (79.0, 2), (200.0, 8), (400.0, 32), (1e4, 40)]
)
def test_as_many_samples_are_taken_as_the_budget_needs(sample_sd_na, count):
    """U of the rest is 151.6 nA, half of it is 75.8: (200/75.8)² is 7.0, (400/75.8)² is 27.9."""
    settings = MetrologySettings(sample_count=40)
    point = plan_point("LIFT", 4, 0, 5_000, settings)
    others_na = build_budget(
        0, range_ua=100, load_ohm=5_000, sample_sd_na=0, count=1, settings=settings
    ).standard_na
    assert point.range_ua == 100
    assert others_na == pytest.approx(141.7, abs=0.5)
    assert samples_needed(point, settings, sample_sd_na=sample_sd_na, age_days=None) == count


def test_a_whole_job_takes_at_most_fifteen_seconds_of_the_instruments_time():
    with MetrologyBench(index=5) as bench:
        calibration = calibrate(bench)
        verification = verify(bench, calibration=calibration)
        pace = measuring_pace([(calibration, verification)], slots=4)
        assert bench.stage.time_s < 15
        assert pace.unit_s == pytest.approx(bench.stage.time_s, abs=0.01)
    assert pace.units_per_hour == pytest.approx(4 * 3_600 / pace.unit_s)
    assert "4 slots with a meter each measure" in str(pace)
    assert measuring_pace([], slots=4) is None


def test_the_calibration_limit_is_judged_at_the_reference_load_only(good):
    for point in good.points:
        if point.load_ohm == 5_000:
            limit = max(abs(point.target_na) * 0.01, 1_500)
            assert point.calibration_limit_na == limit
            assert point.deciding_limit_na == limit
        else:
            assert point.calibration_limit_na is None
        assert point.claim_limit_na == max(abs(point.target_na) * 0.1, 8_000)


def test_each_modes_whole_period_mean_states_its_aperture():
    with MetrologyBench(index=5) as bench:
        calibration = calibrate(bench)
        began_s = bench.stage.time_s
        result = verify(bench, EVERYTHING, calibration=calibration)
        assert verification_time_s(result) == pytest.approx(bench.stage.time_s - began_s, abs=0.01)
    assert result.outcome is Outcome.PASS
    apertures = {waveform.mode: waveform.aperture_s for waveform in result.waveforms}
    assert apertures == {"LIFT": 5.0, "TIGHTEN": pytest.approx(5.994), "INFUSE": 240.0}
    for waveform in result.waveforms:
        assert waveform.period_us == waveform.expected_period_us
        assert waveform.expected_mean_na == pytest.approx(0, abs=1e-6)
        assert abs(waveform.mean_na) < 1_000
        assert not waveform.is_inverted
        assert waveform.shape_rms_na < waveform.shape_limit_na


def test_the_test_uncertainty_ratio_is_at_least_four(good):
    for point in good.points:
        assert point.deciding_limit_na / point.expanded_uncertainty_na >= 4


@pytest.mark.parametrize("seed", range(8, 12))
def test_drawn_boards_pass_after_calibration(seed):
    with MetrologyBench(index=seed) as bench:
        calibration = calibrate(bench)
        assert verify(bench, calibration=calibration).outcome is Outcome.PASS


def test_an_uncalibrated_unit_fails_although_it_keeps_its_claim():
    """85.96 µA for 80 µA is inside ±8 µA and outside the calibration limit of 1.5 µA."""
    truth = AnalogTruth(gain=1.021, offset_na=4_200, noise_rms_na=500)
    with MetrologyBench(truth) as bench:
        result = verify(bench)
    assert result.outcome is Outcome.FAIL
    point = next(
        p for p in result.points if (p.mode, p.target_na, p.load_ohm) == ("LIFT", 80_000, 5_000)
    )
    assert point.measured_na == pytest.approx(85_960, abs=250)
    assert point.outcome is Outcome.FAIL
    claims = [p for p in result.points if p.calibration_limit_na is None]
    assert max(abs(p.error_na) / p.claim_limit_na for p in claims) < 1.6
    assert "more points" in result.reasons[0]


def test_a_foreign_record_fails_whatever_it_measures():
    with MetrologyBench(index=5) as bench:
        calibration = calibrate(bench)
        bench.gain_ppm += 1_500
        result = verify(bench, calibration=calibration)
    assert result.outcome is Outcome.FAIL
    assert any("own calibration record" in reason for reason in result.reasons)
    assert {point.outcome for point in result.points} == {Outcome.PASS}


def test_an_offset_behind_calibration_shows_in_the_idle_current():
    """3.1 µA of direct current is outside 2 µA by far more than U."""
    with MetrologyBench(AnalogTruth(offset_na=3_100, noise_rms_na=500)) as bench:
        result = verify(bench)
    assert {point.outcome for point in result.idle} == {Outcome.FAIL}
    assert {waveform.outcome for waveform in result.waveforms} == {Outcome.FAIL}
    assert any("idle current" in reason for reason in result.reasons)
    assert any("mean" in reason for reason in result.reasons)


@pytest.mark.parametrize(
    ("offset_na", "outcome"),
    [
        (1_500, Outcome.PASS),
        (1_850, Outcome.CONDITIONAL_PASS),
        (2_150, Outcome.CONDITIONAL_FAIL),
        (2_600, Outcome.FAIL),
    ],
)
def test_the_guard_band_decides_near_the_limit(offset_na, outcome):
    settings = MetrologySettings(calibration_limit_na=8_000, nplc=10.0)
    with MetrologyBench(AnalogTruth(offset_na=offset_na)) as bench:
        result = verify(bench, settings)
    assert result.outcome is outcome


def test_a_low_output_impedance_fails_at_the_ends_of_the_claim_only():
    truth = AnalogTruth(gain=1 + 5_000 / 40_000, output_impedance_ohm=40_000, noise_rms_na=500)
    with MetrologyBench(truth) as bench:
        result = verify(bench)
    by_load = {
        load: {p.outcome for p in result.points if p.load_ohm == load and p.level_index > 2}
        for load in (500, 5_000, 10_000)
    }
    assert by_load[5_000] == {Outcome.PASS}
    assert Outcome.FAIL in by_load[10_000] | by_load[500]


def test_the_ratio_that_a_station_needs_has_the_permitted_repeatability_in_it():
    """Without it the smallest limit/U would be 4.68, and the points of a unit could be below it."""

    def refuse(least):
        settings = SETTINGS.model_copy(update={"test_uncertainty_ratio_min": least})
        refuse_unmeasurable(TABLE, settings, None)

    refuse(4.18)
    with pytest.raises(VerificationError, match="not good enough") as refused:
        refuse(4.19)
    assert refused.value.where == "mode TIGHTEN, 150 µA"


@pytest.mark.parametrize("index", range(3))
def test_no_point_of_a_good_unit_is_below_the_ratio_that_its_station_needs(index):
    with MetrologyBench(index=index) as bench:
        calibration = calibrate(bench)
        bench.write_record(calibration)
        result = verify(bench, calibration=calibration)
    ratios = [
        point.deciding_limit_na / point.expanded_uncertainty_na
        for point in (*result.points, *result.idle)
    ]
    assert min(ratios) >= SETTINGS.test_uncertainty_ratio_min


def test_an_output_at_its_rail_fails_by_overload():
    with MetrologyBench(AnalogTruth(gain=40.0, compliance_v=30.0)) as bench:
        result = verify(bench)
    assert result.outcome is Outcome.FAIL
    overloaded = [point for point in result.points if point.is_overload]
    assert overloaded
    assert {point.outcome for point in overloaded} == {Outcome.FAIL}
    assert {waveform.is_overload for waveform in result.waveforms} == {True}
    assert recompute_verification(result) == result


class WrongEngine(MetrologyBench):
    """A firmware whose waveform engine is not what the table says."""

    swapped = False
    other_mode = False

    def play(self, table, mode, level_index, start_us):
        self.stage.truth = replace(self.stage.truth, gain=-1.0 if self.swapped else 1.0)
        chosen = "TIGHTEN" if self.other_mode else mode
        level = level_index % 4 if self.other_mode else level_index
        return super().play(table, chosen, level, start_us)

    def set_output_current_na(self, current_na):
        self.stage.truth = replace(self.stage.truth, gain=1.0)
        return super().set_output_current_na(current_na)


def test_an_inverted_polarity_of_the_engine_is_found_although_its_mean_is_zero():
    with WrongEngine(AnalogTruth(noise_rms_na=500)) as bench:
        bench.swapped = True
        result = verify(bench)
    assert {point.outcome for point in result.points} == {Outcome.PASS}
    assert [waveform.is_inverted for waveform in result.waveforms] == [True] * 3
    assert result.outcome is Outcome.FAIL
    assert any("polarity" in reason for reason in result.reasons)


def test_another_waveform_than_the_tables_is_found_by_its_shape():
    with WrongEngine(AnalogTruth(noise_rms_na=500)) as bench:
        bench.other_mode = True
        result = verify(bench)
    shapes = {waveform.mode: waveform for waveform in result.waveforms}
    assert shapes["LIFT"].outcome is Outcome.FAIL
    assert any("from the table" in reason for reason in result.reasons)


def test_a_period_that_is_not_the_tables_fails():
    with MetrologyBench(AnalogTruth(noise_rms_na=500)) as bench:
        bench.period_factor = 1.01
        result = verify(bench)
    assert {waveform.outcome for waveform in result.waveforms} == {Outcome.FAIL}
    assert any("the period is" in reason for reason in result.reasons)


def test_a_soft_start_is_let_pass_before_the_waveform_is_measured():
    lift = replace(TABLE.mode("LIFT"), soft_start_pulses=30, soft_stop_pulses=10)
    tighten = replace(TABLE.mode("TIGHTEN"), soft_start_pulses=90)
    table = build_table(modes=(lift, tighten))
    with MetrologyBench() as bench:
        calibrate(bench)
        bench.table = table
        result = verify(bench, table=table)
    assert {waveform.outcome for waveform in result.waveforms} == {Outcome.PASS}


def test_a_late_start_is_no_fault():
    expectation = WaveformExpectation(TABLE.mode("LIFT"), 4, tick_us=100)
    a = expectation.sample_aperture_s
    edges = [0.06 + k * a for k in range(201)]

    def charge(t: float) -> float:
        """LIFT at 400 µA: ramp 10 ms, hold 30 ms, ramp 10 ms, mirror, rest, 8 Hz."""
        whole, t = divmod(t, 0.125)
        assert whole < 20
        sign = -1 if t >= 0.05 else 1
        before = 16_000.0 if sign < 0 else 0.0
        t = min(t - (0.05 if sign < 0 else 0.0), 0.05)
        up = min(t, 0.01)
        hold = min(max(t - 0.01, 0), 0.03)
        down = max(t - 0.04, 0)
        part = 400e3 * (up * up / 0.02 + hold + down - down * down / 0.02)
        return before + sign * part

    samples = [(charge(b) - charge(t)) / a for t, b in pairwise(edges)]
    match = expectation.match(samples, aperture_s=a, delay_max_s=0.25)
    assert match.delay_s == pytest.approx(0.06, abs=a / 8)
    assert match.rms_error_na < 1.0
    assert not match.is_inverted


@pytest.mark.parametrize("seed", range(8))
def test_a_train_that_is_its_own_mirror_image_is_not_called_inverted(seed):
    """Half a pulse later it is upside down, so noise alone says which way fits better."""
    triangle = ((50, 0, 100_000), (50, 100_000, 0), (50, 0, -100_000), (50, -100_000, 0))
    mirror = Level(peak_na=100_000, segments=segments(*triangle))
    mode = replace(TABLE.mode("LIFT"), levels=(mirror,), flips_each_burst=False)
    expectation = WaveformExpectation(mode, 0, tick_us=100)
    draw = random.Random(seed)
    means_na = [5_000 + 10_000 * (k if k < 10 else 19 - k) for k in range(20)]
    samples = [
        means_na[k % 20] * (-1 if k // 20 % 2 else 1) + draw.gauss(0, 500)
        for k in range(expectation.sample_count)
    ]
    match = expectation.match(samples, aperture_s=0.5e-3, delay_max_s=0.25)
    assert match.rms_error_na < 700
    assert not match.is_inverted


def test_a_galvanic_blocks_polarity_reverses_at_the_block_boundary():
    expectation = WaveformExpectation(TABLE.mode("INFUSE"), 3, tick_us=100)
    assert expectation.is_capture_whole
    assert expectation.period_us == 240_000_000
    assert expectation.mean_na == pytest.approx(0, abs=1e-6)


def test_a_station_that_cannot_resolve_the_limit_is_refused_before_anything_is_measured():
    with MetrologyBench() as bench:
        with pytest.raises(VerificationError, match="not good enough"):
            verify(
                bench, MetrologySettings(calibration_limit_na=600, calibration_limit_percent=0.5)
            )
        with pytest.raises(VerificationError, match=r"not good enough.*idle current"):
            verify(bench, MetrologySettings(idle_limit_na=500))
        assert bench.stage.time_s == 0


def test_a_mode_that_regulates_voltage_is_refused():
    mode = replace(TABLE.modes[0], regulation=Regulation.VOLTAGE)
    with MetrologyBench() as bench, pytest.raises(VerificationError, match="mode LIFT"):
        verify(bench, table=build_table(modes=(mode,)))


def test_the_output_is_off_after_an_instrument_failure():
    with MetrologyBench() as bench:
        bench.meter.close()
        with pytest.raises(InstrumentError):
            verify(bench)
        assert not bench.stage.is_enabled


def test_a_result_survives_json_and_is_recomputable(good):
    document = json.loads(json.dumps(serialize_verification_result(good)))
    stored = parse_verification_result(document)
    assert stored == good
    assert recompute_verification(stored) == good
    stricter = stored.model_copy(update={"settings": MetrologySettings(idle_limit_na=1)})
    assert recompute_verification(stricter).outcome is not Outcome.PASS


def test_a_stored_result_of_another_shape_is_refused(good):
    document = serialize_verification_result(good)
    for candidate in ({}, None, document | {"schema": "x"}):
        with pytest.raises(VerificationError, match="another schema"):
            parse_verification_result(candidate)
    for change in ({"outcome": "MAYBE"}, {"points": 3}, {"idle": float("inf")}):
        with pytest.raises(VerificationError, match="damaged"):
            parse_verification_result(document | change)
