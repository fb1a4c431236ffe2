"""Each fault is injected into several units, and must be found by its own name and no other."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date

import pytest

from provisioning.calibration import calibrate_unit, recompute_calibration
from provisioning.calibration_result import FindingName, ReadingStep
from provisioning.calibration_sampling import plan_sampling, wanted_step
from provisioning.errors import CalibrationError, InstrumentError
from provisioning.measurement_choices import SweepPlan
from provisioning.measurement_settings import MetrologySettings
from provisioning.meter_accuracy import AgedAccuracy, InstrumentCalibration
from provisioning.simulation_study import FAULT_NAMES, is_within_design
from provisioning.simulator.analog import AnalogTruth, draw_truth
from provisioning.simulator.faults import AnalogFault
from provisioning.station_settings import StationSettings
from tests.provisioning.metrology_bench import (
    NOON,
    SETTINGS,
    MetrologyBench,
    SteppingClock,
    ignore_progress,
)

SEEDS = range(100) if os.environ.get("AMPFORGE_SOAK") else range(3)
QUIET = AnalogTruth(
    gain=1.021, offset_na=4_200, output_impedance_ohm=1e6, noise_rms_na=500, contact_ohm=20
)


def calibrate(bench, settings=SETTINGS):
    return calibrate_unit(
        bench, bench.meter, settings, progress=ignore_progress, clock=SteppingClock()
    )


def names(result):
    return [finding.name for finding in result.findings]


def good_truth(seed):
    """A board that should pass, drawn from the seed."""
    for attempt in range(100):
        truth = draw_truth(bytes([4, 0, 0, seed >> 8, seed & 255, attempt]))
        if is_within_design(truth):
            return truth
    raise AssertionError("no good board drawn")


@pytest.mark.parametrize("seed", [*SEEDS, *range(100, 110)])
def test_a_good_unit_has_no_finding(seed):
    with MetrologyBench(good_truth(seed), index=seed) as bench:
        result = calibrate(bench)
    assert names(result) == []
    assert result.is_accepted
    assert recompute_calibration(result) == result


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", FAULT_NAMES)
def test_a_fault_of_the_output_has_one_name_in_every_unit(fault, seed):
    with MetrologyBench(good_truth(seed), fault, index=seed) as bench:
        result = calibrate(bench)
        assert not bench.stage.is_enabled
    assert set(names(result)) == {FAULT_NAMES[fault]}
    assert result.findings[0].message
    assert not result.is_accepted


class StuckBit(MetrologyBench):
    """One bit of the converter does not move."""

    def __init__(self, truth, bit, *, is_high, index):
        super().__init__(truth, index=index)
        self.mask, self.is_high = 1 << bit, is_high

    def set_output_code(self, code):
        super().set_output_code(code | self.mask if self.is_high else code & ~self.mask)


@pytest.mark.parametrize("seed", list(SEEDS)[:20])
@pytest.mark.parametrize("is_high", [True, False])
def test_every_bit_that_is_stuck_in_a_drawn_unit_is_named_with_its_number(is_high, seed):
    for bit in range(12):
        with StuckBit(good_truth(seed), bit, is_high=is_high, index=seed) as bench:
            result = calibrate(bench)
        assert set(names(result)) == {FindingName.STUCK_BIT}
        assert f"bit {bit} " in result.findings[0].message


class SlowFixture(MetrologyBench):
    """A fixture whose relays and settling take their time."""

    seconds_per_code = 20.0

    def set_output_code(self, code):
        self.stage.time_s += self.seconds_per_code
        super().set_output_code(code)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fixture_that_drifts_one_percent_an_hour_is_named_where_a_sweep_takes_long_enough(seed):
    """Twenty seconds a code: out and back are then 0.2 % apart on average, and not mistaken."""
    with SlowFixture(good_truth(seed), AnalogFault.FIXTURE_DRIFT, index=seed) as bench:
        result = calibrate(bench)
    assert set(names(result)) == {FindingName.DRIFT}
    assert result.way_back.gain_drift_ppm > SETTINGS.drift_limit_ppm
    assert recompute_calibration(result) == result


def test_the_same_drift_within_seconds_is_too_small_to_matter_and_is_left_to_the_check_standard():
    with MetrologyBench(good_truth(1), AnalogFault.FIXTURE_DRIFT, index=1) as bench:
        result = calibrate(bench)
        assert bench.stage.time_s < 10
    assert result.is_accepted
    assert abs(result.way_back.gain_drift_ppm) < 4 * result.way_back.gain_drift_u_ppm + 30


class OneCodeLags(MetrologyBench):
    """At one code the way back differs."""

    def set_output_code(self, code):
        is_back = code in self.codes
        super().set_output_code(code)
        if is_back and code == SETTINGS.nominal_code(SETTINGS.working_span_na / 2):
            self.stage.set_code(code + 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_code_that_differs_on_the_way_back_is_hysteresis_and_not_drift(seed):
    with OneCodeLags(good_truth(seed), index=seed) as bench:
        result = calibrate(bench)
    assert set(names(result)) == {FindingName.HYSTERESIS}
    assert recompute_calibration(result) == result


@pytest.mark.parametrize("seed", SEEDS)
def test_a_noisy_output_is_named_and_never_averaged_beyond_the_bound(seed):
    truth = replace(good_truth(seed), noise_rms_na=3_000)
    with MetrologyBench(truth, index=seed) as bench:
        result = calibrate(bench)
    assert set(names(result)) == {FindingName.NOISE}
    assert max(reading.count for reading in result.readings) <= SETTINGS.sample_count_max


def test_the_idle_current_is_measured_at_level_0_with_the_output_enabled():
    with MetrologyBench(QUIET) as bench:
        result = calibrate(bench)
    idle = result.readings[-1]
    assert idle.step is ReadingStep.IDLE
    assert idle.load_ohm == SETTINGS.reference_load_ohm
    # 4.2 µA of offset are taken out by the code, to half a step and the instrument's error.
    assert idle.code != SETTINGS.mid_code
    assert abs(idle.mean_na) < 0.52 * SETTINGS.lsb_na + 200


def test_a_result_without_its_idle_current_or_its_way_back_cannot_be_judged():
    with MetrologyBench(QUIET) as bench:
        result = calibrate(bench)
    for missing in set(ReadingStep) - {ReadingStep.OVERLOAD}:
        readings = tuple(reading for reading in result.readings if reading.step is not missing)
        with pytest.raises(CalibrationError, match="lacks readings"):
            recompute_calibration(result.model_copy(update={"readings": readings}))


@pytest.mark.parametrize(("mean_na", "is_found"), [(1_600, False), (1_750, True), (-2_500, True)])
def test_an_idle_current_is_accepted_inside_its_guarded_limit_only(mean_na, is_found):
    with MetrologyBench(QUIET) as bench:
        result = calibrate(bench)
    idle = result.readings[-1].model_copy(
        update={
            "samples_na": tuple(
                sample - result.readings[-1].mean_na + mean_na
                for sample in result.readings[-1].samples_na
            )
        }
    )
    judged = recompute_calibration(
        result.model_copy(update={"readings": (*result.readings[:-1], idle)})
    )
    assert (names(judged) == [FindingName.IDLE_CURRENT]) == is_found
    assert judged.is_accepted == (not is_found)


def test_the_number_of_samples_follows_from_the_noise():
    """Twice the noise takes four times the samples, and twice the share a quarter of them."""
    with MetrologyBench(QUIET) as bench:
        result = calibrate(bench)
    noise = next(reading for reading in result.readings if reading.step is ReadingStep.NOISE)
    plan = result.sampling
    assert plan.noise_bound_na == pytest.approx(1.4373 * noise.sd_na, rel=1e-3)  # χ²(0.05, 15)
    assert plan.count_for_step == pytest.approx(
        (plan.noise_bound_na / wanted_step(SETTINGS)) ** 2, abs=1
    )
    counts = {reading.code: reading.count for reading in result.readings if reading.code == 2_049}
    assert counts == {2_049: plan.count_for_step}
    loud = noise.model_copy(update={"sd_na": 20 * noise.sd_na})
    louder = noise.model_copy(update={"sd_na": 40 * noise.sd_na})
    first = plan_sampling(loud, SETTINGS, age_days=None)
    second = plan_sampling(louder, SETTINGS, age_days=None)
    assert second.count_for_fit == pytest.approx(4 * first.count_for_fit, rel=0.05)
    generous = SETTINGS.model_copy(update={"repeatability_share_max": 1.0})
    assert plan_sampling(louder, generous, age_days=None).count_for_fit == pytest.approx(
        second.count_for_fit / 4, rel=0.05
    )


def test_repeatability_is_no_more_than_its_share_of_the_fit_s_uncertainty():
    with MetrologyBench(QUIET) as bench:
        result = calibrate(bench)
    fit, share = result.fit, SETTINGS.repeatability_share_max
    # Without the allowance for nonlinearity the fit's own covariance is repeatability alone.
    bare = SETTINGS.model_copy(update={"inl_allowance_lsb": 1e-9})
    alone = recompute_calibration(result.model_copy(update={"settings": bare})).fit
    for index in (0, 1):
        others = fit.covariance[index][index] - alone.fit_covariance[index][index]
        assert alone.fit_covariance[index][index] <= share**2 * others


def test_an_outward_sweep_has_the_fixed_number_of_samples_and_no_way_back():
    settings = SETTINGS.model_copy(update={"sweep": SweepPlan.OUTWARD})
    with MetrologyBench(QUIET) as bench:
        result = calibrate(bench, settings)
    assert result.is_accepted
    assert result.sampling is None
    assert result.way_back is None
    steps = {reading.step for reading in result.readings}
    assert steps == {ReadingStep.PROBE, ReadingStep.SWEEP, ReadingStep.COMPLIANCE}
    assert recompute_calibration(result) == result


class TestAgeOfTheInstrument:
    """The accuracy is that of the days since the certificate."""

    def settings(self, serial_number, calibrated):
        columns = (AgedAccuracy(days=90, reading_percent=0.03, range_percent=0.005),)
        return MetrologySettings(
            accuracy=tuple(
                entry.model_copy(update={"younger": columns}) for entry in SETTINGS.accuracy
            ),
            instruments=(
                InstrumentCalibration(
                    serial_number=serial_number,
                    certificate="C-1",
                    due=date(2030, 1, 1),
                    calibrated=calibrated,
                ),
            ),
        )

    def test_a_young_certificate_narrows_the_gain_s_uncertainty(self):
        results = {}
        for calibrated in (date(2026, 2, 1), date(2025, 9, 1)):
            with MetrologyBench(QUIET) as bench:
                settings = self.settings(bench.meter.identity.serial_number, calibrated)
                results[calibrated] = calibrate(bench, settings)
        young, old = results.values()
        assert young.certificate_age_days == (NOON.date() - date(2026, 2, 1)).days
        assert young.fit.gain_u_ppm < 0.8 * old.fit.gain_u_ppm
        assert recompute_calibration(young) == young

    @pytest.mark.parametrize("calibrated", [date(2025, 3, 1), date(2026, 3, 3)])
    def test_an_age_that_the_table_lacks_stops_before_anything_is_driven(self, calibrated):
        with MetrologyBench(QUIET) as bench:
            settings = self.settings(bench.meter.identity.serial_number, calibrated)
            with pytest.raises(InstrumentError, match="of this age"):
                calibrate(bench, settings)
            assert bench.codes == []


@pytest.mark.parametrize("temperature_centi_c", [1_899, 2_701, -500])
def test_a_station_too_cold_or_warm_for_its_instrument_s_specification_is_refused(
    temperature_centi_c,
):
    with pytest.raises(ValueError, match="where the instrument's accuracy holds"):
        StationSettings(temperature_centi_c=temperature_centi_c)
    assert StationSettings(temperature_centi_c=1_900).temperature_centi_c == 1_900
