"""Calibration of simulated output stages: truth recovered, faults named, results recomputable."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.calibration_record import round_half_away
from provisioning.calibration import calibrate_unit, recompute_calibration
from provisioning.calibration_fit import IMPEDANCE_CAP_OHM
from provisioning.calibration_plan import bit_codes, carry_codes, sweep_codes, working_codes
from provisioning.calibration_result import (
    FindingName,
    calibration_digest,
    parse_calibration_result,
    serialize_calibration_result,
)
from provisioning.errors import CalibrationError, InstrumentError
from provisioning.line_fit import fit_ols
from provisioning.measurement_settings import MetrologySettings
from provisioning.simulator.analog import AnalogTruth, draw_truth
from provisioning.simulator.faults import AnalogFault
from tests.provisioning.metrology_bench import (
    SETTINGS,
    MetrologyBench,
    SteppingClock,
    ignore_progress,
)

QUIET = AnalogTruth(
    gain=1.021, offset_na=4_200, output_impedance_ohm=1e6, noise_rms_na=500, contact_ohm=20
)


def calibrate(bench, settings=SETTINGS):
    return calibrate_unit(
        bench, bench.meter, settings, progress=ignore_progress, clock=SteppingClock()
    )


def names(result):
    return [finding.name for finding in result.findings]


@pytest.fixture(scope="module")
def good():
    with MetrologyBench(index=3) as bench:
        return bench.truth, calibrate(bench)


def test_the_worked_case_two_codes_give_gain_and_offset_back():
    """Code 1000 reads -518.2648 µA and 3000 reads +478.8055 µA: gain 1.0210, offset 4.2000 µA."""
    lsb_ua = SETTINGS.lsb_na / 1_000
    codes = [1_000 - 2_048, 0, 3_000 - 2_048]
    reads = [-518.2648, 4.2, 478.8055]
    line = fit_ols(codes, reads)
    assert line.slope / lsb_ua == pytest.approx(1.0210, abs=5e-7)
    assert line.intercept == pytest.approx(4.2, abs=5e-5)


def test_the_worked_case_80_ua_goes_from_85_96_to_79_977():
    """Uncalibrated 80 µA is code 2212 and 85.96 µA, calibrated it is code 2200 and 79.977 µA."""

    def current_ua(code: int) -> float:
        return 1.021 * SETTINGS.lsb_na * (code - 2_048) / 1_000 + 4.2

    assert SETTINGS.nominal_code(80_000) == 2_212
    assert current_ua(2_212) == pytest.approx(85.96, abs=0.005)
    calibrated = 2_048 + round_half_away(
        (80_000 - 4_200) * 4_096 * 1_000_000, 1_021_000 * 2_000_000
    )
    assert calibrated == 2_200
    assert current_ua(calibrated) == pytest.approx(79.977, abs=0.0005)


@pytest.mark.parametrize("index", range(6))
def test_gain_offset_and_impedance_of_drawn_boards_lie_within_their_stated_uncertainty(index):
    with MetrologyBench(index=index) as bench:
        truth, result = bench.truth, calibrate(bench)
    assert result.is_accepted
    fit = result.fit
    divider = truth.output_impedance_ohm / (
        truth.output_impedance_ohm + SETTINGS.reference_load_ohm + truth.contact_ohm
    )
    # 4 u, plus what a best line through a bent converter may differ from its middle.
    assert fit.gain_ppm == pytest.approx(1e6 * truth.gain * divider, abs=4 * fit.gain_u_ppm + 2_000)
    assert fit.offset_na == pytest.approx(
        truth.offset_na * divider, abs=4 * fit.offset_u_na + 2 * SETTINGS.lsb_na
    )
    assert 1e9 / truth.output_impedance_ohm == pytest.approx(
        fit.conductance_ns, abs=4 * fit.conductance_u_ns
    )
    assert fit.output_impedance_ohm == pytest.approx(truth.output_impedance_ohm, rel=0.1)


def test_a_straight_converter_is_recovered_within_4_u():
    with MetrologyBench(QUIET) as bench:
        fit = calibrate(bench).fit
    divider = 1e6 / (1e6 + 5_020)
    assert fit.gain_ppm == pytest.approx(1.021e6 * divider, abs=4 * fit.gain_u_ppm)
    assert fit.offset_na == pytest.approx(4_200 * divider, abs=4 * fit.offset_u_na)
    assert fit.inl_lsb < 0.5


def test_an_infinite_output_impedance_is_stored_as_the_cap():
    with MetrologyBench(replace(QUIET, output_impedance_ohm=math.inf)) as bench:
        result = calibrate(bench)
    assert result.is_accepted
    assert result.output_impedance_ohm > 30e6
    assert result.output_impedance_ohm <= IMPEDANCE_CAP_OHM


def test_systematic_terms_are_added_after_the_fit(good):
    """The specification dominates the gain's uncertainty but not chi-square."""
    _, result = good
    fit = result.fit
    specification_ppm = 0.05 / 100 / math.sqrt(3) * 1e6
    assert fit.gain_u_ppm > specification_ppm
    assert math.sqrt(fit.fit_covariance[0][0]) < fit.gain_u_ppm
    assert 0.1 < fit.chi2 / fit.dof < 2
    assert fit.covariance[0][1] == fit.covariance[1][0]


def test_nonlinearity_common_to_both_loads_does_not_blur_the_impedance():
    """One current error at each code, the same at both loads, leaves their ratio alone."""
    bent = replace(QUIET, inl_sine_codes=(1.2, -0.6, 0.3), noise_rms_na=50)
    with MetrologyBench(bent) as bench:
        result = calibrate(bench)
    assert result.output_impedance_ohm == pytest.approx(1e6, rel=0.01)
    assert math.sqrt(result.fit.fit_covariance[2][2]) < 0.02 * result.fit.conductance_ns


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (AnalogFault.STUCK_BIT, FindingName.STUCK_BIT),
        (AnalogFault.SWAPPED_POLARITY, FindingName.SWAPPED_POLARITY),
        (AnalogFault.OPEN_SENSE, FindingName.OPEN_SENSE),
        (AnalogFault.LOW_COMPLIANCE, FindingName.COMPLIANCE),
        (AnalogFault.GAIN_TIMES_10, FindingName.GAIN_TIMES_TEN),
        (AnalogFault.HIGH_OFFSET, FindingName.OFFSET),
        (AnalogFault.HIGH_NONLINEARITY, FindingName.INL),
    ],
)
@pytest.mark.parametrize("index", [1, 4])
def test_each_fault_is_named_and_the_unit_refused(fault, expected, index):
    with MetrologyBench(None, fault, index=index) as bench:
        result = calibrate(bench)
        assert not bench.stage.is_enabled
    assert set(names(result)) == {expected}
    assert not result.is_accepted
    assert result.findings[0].message
    assert recompute_calibration(result) == result


def test_a_unit_that_runs_to_its_rail_is_not_swept():
    with MetrologyBench(None, AnalogFault.OPEN_SENSE) as bench:
        result = calibrate(bench)
    assert len(bench.codes) == 3
    assert result.fit is None
    with pytest.raises(CalibrationError, match="rail"):
        _ = result.gain_ppm


class BrokenOutput(MetrologyBench):
    """An output whose converter does something else with each code."""

    def __init__(self, transform, truth=QUIET) -> None:
        super().__init__(truth)
        self.transform = transform

    def set_output_code(self, code):
        super().set_output_code(self.transform(code))


@pytest.mark.parametrize("bit", range(12))
@pytest.mark.parametrize("state", ["low", "high"])
def test_every_stuck_bit_is_named(bit, state):
    mask = 1 << bit
    stuck = (lambda code: code & ~mask) if state == "low" else (lambda code: code | mask)
    with BrokenOutput(stuck) as bench:
        result = calibrate(bench)
    assert names(result) == [FindingName.STUCK_BIT]
    assert f"bit {bit} " in result.findings[0].message


def test_an_output_that_does_not_respond_is_named():
    with BrokenOutput(lambda _: 2_048) as bench:
        result = calibrate(bench)
    assert names(result) == [FindingName.OPEN_SENSE]
    assert "does not follow" in result.findings[0].message


def test_a_step_backwards_is_named():
    with BrokenOutput(lambda code: code + 60 if code == 2_559 else code) as bench:
        result = calibrate(bench)
    assert FindingName.NOT_MONOTONIC in names(result)


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (replace(QUIET, gain=1.06), {FindingName.GAIN}),
        (replace(QUIET, gain=1.4), {FindingName.GAIN}),
        (replace(QUIET, gain=0.9), {FindingName.GAIN}),
        (replace(QUIET, offset_na=-7_000), {FindingName.OFFSET}),
        (replace(QUIET, output_impedance_ohm=120e3), {FindingName.OUTPUT_IMPEDANCE}),
        (replace(QUIET, compliance_v=9.5), {FindingName.COMPLIANCE}),
        (replace(QUIET, compliance_v=7.0), {FindingName.COMPLIANCE}),
    ],
)
def test_figures_that_calibration_must_not_correct_are_named(truth, expected):
    with MetrologyBench(truth) as bench:
        result = calibrate(bench)
    assert set(names(result)) & expected == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gain": 0.25}, FindingName.GAIN),
        ({"gain": 0.4}, FindingName.GAIN),
        ({"gain": 0.35, "offset_na": 50_000}, FindingName.GAIN),
        ({"offset_na": 100_000}, FindingName.OFFSET),
        ({"offset_na": -600_000}, FindingName.OFFSET),
        ({"compliance_v": 0.3}, FindingName.COMPLIANCE),
    ],
)
def test_a_unit_that_is_far_off_is_named_and_never_asked_for_a_code_it_lacks(changes, expected):
    with MetrologyBench(replace(QUIET, **changes)) as bench:
        result = calibrate(bench)
    assert set(names(result)) == {expected}
    assert 0 <= min(bench.codes) <= max(bench.codes) <= SETTINGS.max_code
    assert recompute_calibration(result) == result


def test_a_unit_at_the_ends_of_its_tolerances_is_accepted():
    """Gain ±3 %, offset ±5 µA, the lowest impedance and compliance: all of that is correctable."""
    for sign in (1, -1):
        truth = replace(
            QUIET,
            gain=1 + sign * 0.03,
            offset_na=-sign * 5_000,
            output_impedance_ohm=250e3,
            compliance_v=11.4,
            contact_ohm=50,
        )
        with MetrologyBench(truth) as bench:
            result = calibrate(bench)
        assert names(result) == []
        assert result.fit.span_min_na < -600_000
        assert result.fit.span_max_na > 600_000


def test_drawn_boards_are_accepted_except_those_with_8_lsb():
    """Judged on truth alone, without a meter: the limit of 3 LSB separates 2 from 8."""
    boards = [draw_truth(bytes([2, 0, 0, 0, index >> 8, index & 255])) for index in range(300)]
    peaks = [max(abs(b.nonlinearity_codes(c)) for c in range(0, 4_096, 16)) for b in boards]
    assert any(peak > 6 for peak in peaks)
    for board in (boards[peaks.index(max(peaks))], boards[peaks.index(min(peaks))]):
        with MetrologyBench(board) as bench:
            result = calibrate(bench)
        assert (FindingName.INL in names(result)) == (board is boards[peaks.index(max(peaks))])


def test_the_output_is_off_after_an_instrument_failure():
    with MetrologyBench() as bench:
        bench.meter.close()
        with pytest.raises(InstrumentError):
            calibrate(bench)
        assert not bench.stage.is_enabled


def test_the_plan_has_the_middle_every_bit_and_the_carries_and_goes_outward():
    codes = sweep_codes(SETTINGS)
    assert codes[0] == 2_048
    assert {1_023, 1_024, 2_047, 2_048, 3_071, 3_072} <= set(codes)
    assert set(bit_codes(SETTINGS)) | set(carry_codes(SETTINGS)) <= set(codes)
    assert set(working_codes(SETTINGS)) <= set(codes)
    distances = [abs(code - 2_048) for code in codes]
    assert distances == sorted(distances)
    assert len(codes) == len(set(codes)) < 50


def test_a_result_survives_json_and_is_recomputable(good):
    _, result = good
    document = json.loads(json.dumps(serialize_calibration_result(result)))
    stored = parse_calibration_result(document)
    assert stored == result
    assert recompute_calibration(stored) == result
    assert calibration_digest(stored) == calibration_digest(result)
    changed = stored.model_copy(update={"settings": MetrologySettings(offset_limit_na=1)})
    assert names(recompute_calibration(changed)) == [FindingName.OFFSET]
    assert calibration_digest(changed) != calibration_digest(result)


def test_a_stored_result_that_lacks_readings_cannot_be_recomputed(good):
    _, result = good
    cut = result.model_copy(update={"readings": result.readings[:-1]})
    with pytest.raises(CalibrationError, match="lacks readings"):
        recompute_calibration(cut)


def test_a_stored_result_of_another_shape_is_refused(good):
    _, result = good
    document = serialize_calibration_result(result)
    with pytest.raises(CalibrationError, match="another schema"):
        parse_calibration_result(document | {"schema": "ampforge.calibration-result/9"})
    with pytest.raises(CalibrationError, match="damaged"):
        parse_calibration_result(document | {"surprise": 1})
    with pytest.raises(CalibrationError, match="damaged"):
        parse_calibration_result(document | {"fit": float("nan")})


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["readings", "fit", "settings", "started_at", "findings"]))
def test_arbitrary_documents_raise_only_our_error(value, key):
    document = {"schema": "ampforge.calibration-result/1", key: value}
    for candidate in (value, document):
        with pytest.raises(CalibrationError):
            parse_calibration_result(candidate)
