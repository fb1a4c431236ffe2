"""The driver against instruments of another make (sinstruments), over TCP and a serial line."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioning.errors import (
    InstrumentError,
    InstrumentOverloadError,
    InstrumentSettlingError,
    InstrumentTimeoutError,
)
from provisioning.fixture_checks import check_fixture
from provisioning.instrument_description import Quantity, built_in_description
from provisioning.meter_settings import MeterSettings
from provisioning.scpi_meter import open_meter
from provisioning.simulator.analog import AnalogTruth
from tests.provisioning.metrology_bench import NOON, SETTINGS, MetrologyBench
from tests.untraced import untraced_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TRUEVOLT = built_in_description("keysight-truevolt")
VOLTMETER = TRUEVOLT.model_copy(update={"quantity": Quantity.VOLTAGE})


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    link = tmp_path_factory.mktemp("serial") / "meter"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.provisioning.sinstruments_meters", str(link)],
        cwd=ROOT,
        env=untraced_environment(),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def opened(addresses: dict[str, str], name: str, **changes: object) -> Iterator:
    options = {"description": TRUEVOLT, "timeout_s": 0.3, "switch_address": addresses["switch"]}
    meter = open_meter(addresses[name], SETTINGS, clock=lambda: NOON, **(options | changes))
    try:
        yield meter
    finally:
        meter.close()


def read(meter, *, nplc: float = 0.2, count: int = 3):
    meter.select_load(10_000)
    return meter.read_current(range_ua=100, nplc=nplc, count=count)


@pytest.mark.parametrize("name", ["good", "serial"])
def test_a_truevolt_is_read_over_tcp_and_over_a_serial_line(addresses, name):
    with opened(addresses, name, timeout_s=2.0) as meter:
        assert meter.identity.model == "34465A"
        reading = read(meter)
        assert reading.mean_na == pytest.approx(80_000, rel=1e-7)
        assert (reading.count, reading.range_ua, reading.load_ohm) == (3, 100, 10_000)


def test_a_voltage_across_the_load_is_corrected_for_the_input_resistance(addresses):
    with opened(addresses, "good", description=VOLTMETER) as meter:
        mean_na = read(meter).mean_na
    # 10 MΩ beside 10 kΩ: without the correction this would be 79 920 nA.
    assert mean_na == pytest.approx(80_000, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "error", "telling"),
    [
        ("nan", InstrumentError, "not a current or voltage"),
        ("overload", InstrumentOverloadError, "overloaded"),
        ("late", InstrumentTimeoutError, "does not answer"),
        ("truncated", InstrumentTimeoutError, "does not answer"),
        ("vanishing", InstrumentError, "does not answer|connection to the instrument|cut off"),
        ("restless", InstrumentSettlingError, "does not settle"),
        ("units", InstrumentError, "another unit"),
        ("front-panel", InstrumentError, "measures something else"),
        ("model", InstrumentError, "another model"),
    ],
)
def test_what_goes_wrong_is_an_error_with_its_own_name(addresses, name, error, telling):
    with pytest.raises(error, match=telling), opened(addresses, name) as meter:
        read(meter)


@pytest.mark.parametrize("description", [TRUEVOLT, VOLTMETER], ids=["current", "voltage"])
def test_the_samples_of_a_capture_follow_each_other_without_a_gap(addresses, description):
    """Autozero and an automatic delay would come between them: what rises slowly would tell."""

    def every_s(reading):
        steps = [after - before for before, after in pairwise(reading.samples_na)]
        assert steps == pytest.approx([steps[0]] * (reading.count - 1), rel=1e-4)
        risen_per_s = 1e3 if description is TRUEVOLT else 1e3 * (1 / 10_000 + 1 / 10_000_000)
        return steps[0] / risen_per_s

    with opened(addresses, "ramp", description=description) as meter:
        meter.select_load(10_000)
        captured = meter.read_aperture(range_ua=100, aperture_s=2e-3, count=5)
        assert every_s(captured) == pytest.approx(2e-3, rel=1e-4)
        # Where a current stands still both are on again.
        assert every_s(read(meter, nplc=1.0)) == pytest.approx(2 * 20e-3 + 1.5e-3, rel=1e-4)


def test_a_block_that_had_not_settled_is_taken_again(addresses):
    with opened(addresses, "settling") as meter:
        assert read(meter).samples_na == pytest.approx([80_000] * 3, rel=1e-7)


def test_an_integration_time_that_the_instrument_lacks_is_refused(
    addresses,
):
    with opened(addresses, "good") as meter:
        with pytest.raises(InstrumentError, match="no such integration time"):
            read(meter, nplc=3)
        with pytest.raises(InstrumentError, match="so long or so short"):
            meter.read_aperture(range_ua=100, aperture_s=20e-6, count=1)
        assert read(meter).count == 3


def test_a_meter_without_relays_needs_a_switch(addresses):
    with (
        opened(addresses, "good", switch_address=None) as meter,
        pytest.raises(InstrumentError, match="cannot switch loads"),
    ):
        read(meter)


def test_the_simulated_meters_volts_and_amperes_agree():
    volts = built_in_description().model_copy(update={"quantity": Quantity.VOLTAGE})
    with MetrologyBench() as bench:
        bench.set_output_code(2_048 + 400)
        bench.meter.select_load(10_000)
        amperes = bench.meter.read_current(range_ua=1_000, nplc=10, count=8)
        bench.meter.close()
        meter = open_meter(bench.address, SETTINGS, clock=lambda: NOON, description=volts)
        meter.select_load(10_000)
        voltage = meter.read_current(range_ua=1_000, nplc=10, count=8)
        meter.close()
    assert voltage.mean_na == pytest.approx(amperes.mean_na, abs=200)


def test_a_fixture_in_order_passes_its_checks_and_the_output_is_off():
    with MetrologyBench() as bench:
        check_fixture(bench, bench.meter, SETTINGS, MeterSettings())
        assert not bench.stage.is_enabled


def test_an_open_lead_is_an_error_of_the_station():
    with MetrologyBench() as bench:
        bench.stage.has_open_lead = True
        with pytest.raises(InstrumentError, match="leads are open"):
            check_fixture(bench, bench.meter, SETTINGS, MeterSettings())
        assert not bench.stage.is_enabled


def test_current_with_the_output_off_is_an_error_of_the_station():
    with MetrologyBench() as bench:
        bench.output_off = lambda: bench.stage.set_code(2_060)  # a second source on the fixture
        with pytest.raises(InstrumentError, match="current flows although the output is off"):
            check_fixture(bench, bench.meter, SETTINGS, MeterSettings())


def test_a_zero_that_no_budget_holds_is_an_error_of_the_station_unless_it_is_configured():
    """A budget grants 25 nA to the instrument's zero and 5 nA to leakage."""
    truth = AnalogTruth(offset_na=100, noise_rms_na=0)
    with MetrologyBench(truth) as bench:
        bench.output_off = lambda: bench.stage.set_code(SETTINGS.mid_code)
        with pytest.raises(InstrumentError, match=r"expected at most 60 nA, got 95\.8 nA"):
            check_fixture(bench, bench.meter, SETTINGS, MeterSettings())
        check_fixture(bench, bench.meter, SETTINGS, MeterSettings(zero_limit_na=200.0))
