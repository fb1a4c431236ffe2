"""A meter that fails in the middle of a job: an error, nothing on the board, and on it goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioning.errors import (
    InstrumentError,
    InstrumentTimeoutError,
)
from provisioning.ledger_queries import list_jobs, list_units
from provisioning.ledger_values import JobState, UnitState
from provisioning.meter_settings import MeterSettings
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from provisioning.station_values import Step
from tests.conftest import IS_SOAK
from tests.provisioning.station_bench import SEED, make_bench, open_bench, slot_configs, stop_before
from tests.provisioning.vanishing_meter import Failure, VanishingMeter

SETTINGS = StationSettings(meter=MeterSettings(timeout_s=0.2))
EXPECTED = {
    Failure.CLOSED: (InstrumentTimeoutError, "does not answer"),  # PyVISA-py waits for more
    Failure.RESET: (InstrumentError, "connection to the instrument failed"),
    Failure.SILENT: (InstrumentTimeoutError, "does not answer"),
    Failure.HALF_AND_CLOSED: (InstrumentTimeoutError, "does not answer"),
    Failure.HALF_AND_SILENT: (InstrumentTimeoutError, "does not answer"),
    Failure.NOT_A_NUMBER: (InstrumentError, "not a current"),
    Failure.OTHER_UNIT: (InstrumentError, "another unit"),
    Failure.ONE_TOO_FEW: (InstrumentError, "another number of samples"),
    Failure.OVERLOAD: (InstrumentError, "overload where the current is inside the range"),
    Failure.OVERLOAD_FOR_EVER: (InstrumentError, "overloaded although the output is off"),
}
READINGS = (1, 5, 30) if IS_SOAK else (5,)
FIXTURE_READINGS = 3
"""Zero and leads; what overloads there has errors of its own."""
CASES = [
    pytest.param(failure, reading, id=f"{failure.name.lower()}-{reading}")
    for failure in EXPECTED
    for reading in READINGS
    if reading > FIXTURE_READINGS or not failure.name.startswith("OVERLOAD")
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A board that is flashed and waits for its calibration."""
    folder = tmp_path_factory.mktemp("bench")
    make_bench(folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        station = open_bench(folder, SETTINGS)
        (stopped,) = run_slots(station, slot_configs(line), **stop_before(Step.CALIBRATE))
        assert stopped.report is None
        station.close()
        yield folder, line


def run(folder, slot):
    station = open_bench(folder, SETTINGS)
    (result,) = run_slots(station, [slot])
    (unit,) = list_units(station.ledger.database)
    job = list_jobs(station.ledger.database, unit.serial)[-1]
    steps = {
        chained.event.step
        for chained in station.ledger.events(serial=unit.serial)
        if chained.event.phase == "CONFIRM"
    }
    station.ledger.verify_chains()
    station.close()
    return result, unit, job, steps


@pytest.mark.parametrize(("failure", "reading"), CASES)
def test_a_meter_that_fails_stops_the_slot_and_writes_nothing_to_the_board(bench, failure, reading):
    folder, line = bench
    (slot,) = slot_configs(line)
    (flash,) = (folder / "line").glob("**/*1/flash.bin")
    content = flash.read_bytes()
    meter = VanishingMeter(slot.meter, failure, at_reading=reading)
    result, unit, job, steps = run(folder, replace(slot, meter=meter.address))
    meter.close()
    error, telling = EXPECTED[failure]
    assert meter.has_failed
    assert type(result.error) is error
    assert telling in str(result.error)
    assert result.error.hint
    assert (unit.state, job.state) == (UnitState.IN_WORK, JobState.OPEN)
    assert not steps & {"calibrate", "record", "verify", "final"}
    assert flash.read_bytes() == content


def test_the_next_run_finishes_the_job(bench):
    folder, line = bench
    result, unit, job, steps = run(folder, *slot_configs(line))
    assert result.error is None
    assert (unit.state, job.number, job.state) == (UnitState.PASS, 1, JobState.CLOSED)
    assert {"calibrate", "record", "verify", "final"} <= steps
