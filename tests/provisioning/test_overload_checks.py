"""An overload is the unit's when its current is there on a larger range; else the station's."""

from __future__ import annotations

import pytest

from provisioning.calibration import recompute_calibration
from provisioning.calibration_result import (
    FindingName,
    ReadingStep,
    parse_calibration_result,
    serialize_calibration_result,
)
from provisioning.errors import InstrumentError, InstrumentOverloadError
from provisioning.measurement_choices import WaveformCheck
from provisioning.simulator.analog import AnalogTruth
from provisioning.simulator.faults import AnalogFault
from provisioning.uncertainty import Outcome
from tests.provisioning.metrology_bench import SETTINGS, MetrologyBench
from tests.provisioning.test_calibration import calibrate, names
from tests.provisioning.test_verification import verify

WHOLE = SETTINGS.model_copy(update={"waveform_check": WaveformCheck.WHOLE})
LARGEST_UA = SETTINGS.accuracy[-1].range_ua


class FalseOverload:
    """A meter that says overload at some of its readings, and measures at the others."""

    def __init__(self, meter, *numbers):
        self._meter, self._numbers, self._count = meter, numbers, 0

    def __getattr__(self, name):
        return getattr(self._meter, name)

    def read_current(self, **how):
        return self._read(self._meter.read_current, how)

    def read_aperture(self, **how):
        return self._read(self._meter.read_aperture, how)

    def _read(self, read, how):
        self._count += 1
        if self._count in self._numbers:
            raise InstrumentOverloadError("the instrument is overloaded")
        return read(**how)


def test_a_unit_whose_current_leaves_the_range_has_it_on_record_from_a_larger_one():
    with MetrologyBench(AnalogTruth(gain=2.5, compliance_v=15.0)) as bench:
        result = calibrate(bench)
    assert names(result) == [FindingName.GAIN]
    overloaded = [one for one in result.readings if one.is_overload]
    seen = [one for one in result.readings if one.step is ReadingStep.OVERLOAD]
    assert overloaded
    assert [one.code for one in seen] == [one.code for one in overloaded]
    for reading in seen:
        assert reading.range_ua == LARGEST_UA
        assert abs(reading.mean_na) > 1_000_000
        assert reading.at is not None
    stored = parse_calibration_result(serialize_calibration_result(result))
    assert recompute_calibration(stored) == result


def test_ten_times_the_gain_is_named_by_its_own_name():
    with MetrologyBench(AnalogTruth(gain=10.0, compliance_v=15.0)) as bench:
        assert names(calibrate(bench)) == [FindingName.GAIN_TIMES_TEN]


def test_a_rail_beyond_every_range_is_the_unit_s_when_it_goes_and_comes_with_the_output():
    truth = AnalogTruth(compliance_v=30.0)
    with MetrologyBench(truth, AnalogFault.OPEN_SENSE) as bench:
        result = calibrate(bench)
    assert names(result) == [FindingName.OPEN_SENSE]
    assert all(one.is_overload for one in result.readings)


@pytest.mark.parametrize("number", [1, 4, 5, 30])
def test_an_overload_of_a_good_unit_is_the_instrument_s(number):
    """The first is of the probe, on the largest range; the others have a larger one."""
    with MetrologyBench(index=3) as bench:
        bench.meter = FalseOverload(bench.meter, number)
        with pytest.raises(InstrumentError, match="inside the range") as refused:
            calibrate(bench)
        assert not bench.stage.is_enabled
    assert type(refused.value) is InstrumentError
    assert refused.value.hint


def test_an_input_that_stays_overloaded_without_the_output_is_the_instrument_s():
    with MetrologyBench(index=3) as bench:
        bench.meter = FalseOverload(bench.meter, *range(4, 10_000))
        with pytest.raises(InstrumentError, match="although the output is off"):
            calibrate(bench)
        assert not bench.stage.is_enabled


def test_a_point_of_the_verification_that_overloads_once_is_read_on_the_next_range():
    with MetrologyBench(index=3) as bench:
        bench.write_record(calibrate(bench))
        bench.meter = FalseOverload(bench.meter, 3)
        assert verify(bench).outcome is Outcome.PASS


@pytest.mark.parametrize("settings", [SETTINGS, WHOLE], ids=["windows", "whole"])
def test_a_capture_that_overloads_once_is_the_instrument_s(settings):
    with MetrologyBench(index=3) as bench:
        bench.write_record(calibrate(bench))
        points = len(verify(bench).points) + len(verify(bench).idle)
        bench.meter = FalseOverload(bench.meter, points + 1)
        with pytest.raises(InstrumentError, match="inside the range"):
            verify(bench, settings)
        assert not bench.stage.is_enabled
