"""A job that stopped around its calibration record and goes on, in another version or climate."""

from __future__ import annotations

import pytest

from firmware_images.calibration_record import parse_signed_record, reach_of_table_na
from provisioning import unit_measuring
from provisioning.ledger_queries import list_units
from provisioning.ledger_values import UnitState
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from provisioning.station_values import Step
from provisioning.unit_calibration_record import build_calibration_record
from provisioning.unit_replay import replay_events
from tests.provisioning.station_bench import SEED, make_bench, open_bench, slot_configs, stop_before


@pytest.fixture
def folder(tmp_path):
    make_bench(tmp_path)
    return tmp_path


def run(folder, line, settings=None, **how):
    station = open_bench(folder, settings)
    try:
        (result,) = run_slots(station, slot_configs(line), **how)
        assert (result.report is None) == bool(how), result.error
        (unit,) = list_units(station.ledger.database)
        events = tuple(chained.event for chained in station.ledger.events(serial=unit.serial))
        return unit, events, reach_of_table_na(station.bundle.waveform_table)
    finally:
        station.close()


def confirmed_records(events):
    return [
        parse_signed_record(bytes.fromhex(event.data["stored"]))
        for event in events
        if (event.step, event.phase) == (Step.RECORD.value, "CONFIRM")
    ]


def test_a_record_that_states_the_span_of_the_fit_is_replaced_before_it_is_verified(
    folder, monkeypatch
):
    """As versions made it that did not tell the verified span from the fitted one."""
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        with monkeypatch.context() as earlier:
            earlier.setattr(
                unit_measuring,
                "build_calibration_record",
                lambda *what, **how: build_calibration_record(*what, **(how | {"reach_na": None})),
            )
            earlier.setattr(unit_measuring, "REACH_KEY", "unknown")
            run(folder, line, **stop_before(Step.VERIFY))
        unit, events, reach_na = run(folder, line)
    assert unit.state is UnitState.PASS
    before, after = confirmed_records(events)
    assert before.verified_max_na > reach_na
    assert (after.verified_min_na, after.verified_max_na) == (-reach_na, reach_na)
    assert (before.generation, after.generation) == (1, 2)
    assert before.fit_digest == after.fit_digest
    assert not any(result.differences for result in replay_events(events, where="unit"))


def test_a_record_states_the_temperature_of_its_calibration_whenever_it_is_written(folder):
    warmer = StationSettings(temperature_centi_c=2_500)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        run(folder, line, **stop_before(Step.RECORD))
        unit, events, _ = run(folder, line, warmer)
    assert unit.state is UnitState.PASS
    (record,) = confirmed_records(events)
    assert record.temperature_centi_c == StationSettings().temperature_centi_c
    assert not any(result.differences for result in replay_events(events, where="unit"))


def test_a_job_that_stopped_behind_its_record_keeps_it(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        run(folder, line, **stop_before(Step.VERIFY))
        unit, events, _ = run(folder, line)
    assert unit.state is UnitState.PASS
    (record,) = confirmed_records(events)
    assert record.generation == 1
