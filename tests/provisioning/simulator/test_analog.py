from __future__ import annotations

import math
import statistics

import pytest

from provisioning.simulator.analog import (
    DAC_CODES,
    LSB_NA,
    AnalogTruth,
    OutputStage,
    draw_truth,
)
from provisioning.simulator.board_folder import mac_for
from provisioning.simulator.faults import AnalogFault, FaultPlan

MACS = [mac_for(7, index) for index in range(400)]


def with_fault(*faults: AnalogFault) -> OutputStage:
    return OutputStage(AnalogTruth(), faults=FaultPlan(analog=frozenset(faults)))


def test_the_worked_case_of_the_domain_comes_out():
    stage = OutputStage(AnalogTruth(gain=1.021, offset_na=4200.0))
    assert stage.current_na(1000, 0.0) == pytest.approx(-518_264.8, abs=0.1)
    assert stage.current_na(3000, 0.0) == pytest.approx(478_805.5, abs=0.1)
    assert stage.current_na(2212, 0.0) == pytest.approx(85_960, abs=10)
    assert stage.current_na(2200, 0.0) == pytest.approx(79_977, abs=1)


def test_an_ideal_stage_is_zero_at_mid_code_and_half_a_microamp_a_code():
    stage = OutputStage(AnalogTruth())
    assert stage.current_na(2048, 1000.0) == 0
    assert stage.current_na(2049, 1000.0) == LSB_NA == 488.28125


def test_the_same_mac_draws_the_same_figures_and_others_differ():
    assert draw_truth(MACS[0]) == draw_truth(MACS[0])
    assert len({draw_truth(mac).gain for mac in MACS}) == len(MACS)


def test_drawn_figures_have_the_stated_spread():
    truths = [draw_truth(mac) for mac in MACS]
    assert statistics.stdev(t.gain for t in truths) == pytest.approx(0.012, rel=0.15)
    assert statistics.stdev(t.offset_na for t in truths) == pytest.approx(2000, rel=0.15)
    assert all(abs(t.gain - 1) <= 0.03 and abs(t.offset_na) <= 5000 for t in truths)
    assert all(250e3 <= t.output_impedance_ohm <= 4e6 for t in truths)
    assert all(11.4 <= t.compliance_v <= 12.6 and 5 <= t.contact_ohm <= 50 for t in truths)


def test_nonlinearity_is_zero_at_mid_code_and_one_unit_in_fifty_is_bad():
    def peak(truth: AnalogTruth) -> float:
        return max(abs(truth.nonlinearity_codes(code)) for code in range(0, DAC_CODES, 32))

    truths = [draw_truth(mac) for mac in MACS]
    assert all(abs(truth.nonlinearity_codes(2048)) < 1e-9 for truth in truths)
    bad = sum(peak(truth) > 4 for truth in truths)
    assert 2 <= bad <= 20
    assert all(peak(truth) < 2.6 or peak(truth) > 6 for truth in truths)


def test_output_impedance_divides_and_contact_resistance_adds():
    stage = OutputStage(AnalogTruth(output_impedance_ohm=1e6, contact_ohm=20.0))
    short_na = OutputStage(AnalogTruth()).current_na(3000, 0.0)
    assert stage.current_na(3000, 9980.0) == pytest.approx(short_na / 1.01)


def test_compliance_limits_only_high_loads():
    stage = OutputStage(AnalogTruth())
    assert stage.current_na(3072, 10_000.0) == 500_000
    assert stage.current_na(3072, 20_000.0) == 500_000
    assert stage.current_na(3072, 30_000.0) == pytest.approx(400_000)
    assert stage.current_na(1024, 30_000.0) == pytest.approx(-400_000)


def test_drift_follows_temperature():
    stage = OutputStage(AnalogTruth(gain_drift_ppm_per_c=100.0, offset_drift_na_per_c=20.0))
    stage.temperature_c = 33.0
    assert stage.current_na(3072, 0.0) == pytest.approx(500_000 * 1.001 + 200)


def test_a_long_aperture_averages_the_noise():
    stage = OutputStage(AnalogTruth(noise_rms_na=500.0), noise_seed=b"n")
    stage.set_code(3072)

    def spread(aperture_s: float) -> float:
        return statistics.stdev(
            stage.measure_mean_na(0.0, aperture_s=aperture_s) for _ in range(300)
        )

    assert spread(0.0001) == pytest.approx(500, rel=0.15)
    assert spread(0.2) == pytest.approx(25, rel=0.15)


def test_the_same_board_repeats_its_noise_and_time_is_virtual():
    def readings() -> list[float]:
        stage = OutputStage(draw_truth(MACS[1]), noise_seed=MACS[1])
        stage.set_code(3000)
        return [stage.measure_mean_na(1000.0, aperture_s=3600.0) for _ in range(3)]

    assert readings() == readings()


def test_nothing_flows_when_it_is_off_or_the_fixture_is_open():
    stage = OutputStage(AnalogTruth())
    assert stage.measure_mean_na(1000.0, aperture_s=0.1) == 0
    stage.set_code(3000)
    assert stage.measure_mean_na(math.inf, aperture_s=0.1) == 0
    stage.switch_off()
    assert not stage.is_enabled


def test_each_fault_shows_where_it_should():
    assert with_fault(AnalogFault.SWAPPED_POLARITY).current_na(3072, 0.0) == -500_000
    assert with_fault(AnalogFault.GAIN_TIMES_10).current_na(2148, 0.0) == pytest.approx(488_281.25)
    assert with_fault(AnalogFault.HIGH_OFFSET).current_na(2048, 0.0) == 9000
    stuck = with_fault(AnalogFault.STUCK_BIT)
    assert stuck.current_na(2048, 0.0) == 16 * LSB_NA
    assert stuck.current_na(2064, 0.0) == 16 * LSB_NA


def test_an_open_sense_resistor_drives_to_the_compliance():
    stage = with_fault(AnalogFault.OPEN_SENSE)
    assert stage.current_na(2049, 10_000.0) == pytest.approx(1_200_000)
    assert stage.current_na(2047, 10_000.0) == pytest.approx(-1_200_000)


def test_a_five_volt_supply_passes_low_loads_and_fails_at_20_kilohms():
    stage = with_fault(AnalogFault.LOW_COMPLIANCE)
    assert stage.current_na(2867, 10_000.0) == pytest.approx(399_902, abs=1)
    assert stage.current_na(3072, 20_000.0) == pytest.approx(250_000)


def test_high_nonlinearity_peaks_at_eight_codes():
    truth = with_fault(AnalogFault.HIGH_NONLINEARITY).truth
    peak = max(abs(truth.nonlinearity_codes(code)) for code in range(DAC_CODES))
    assert peak == pytest.approx(8, abs=0.05)


def test_fixture_drift_grows_with_virtual_time():
    stage = with_fault(AnalogFault.FIXTURE_DRIFT)
    stage.set_code(3072)
    first = stage.measure_mean_na(0.0, aperture_s=1.0)
    stage.measure_mean_na(0.0, aperture_s=3600.0)
    last = stage.measure_mean_na(0.0, aperture_s=1.0)
    assert last / first == pytest.approx(1.01, rel=1e-3)
