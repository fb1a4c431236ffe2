"""A station flashes no release past a step that it asks for, and none over a newer one."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from firmware_images.device_record import DeviceRecord
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.release_constraints import ReleaseConstraints
from provisioning.errors import ReleaseOrderError
from provisioning.ledger_queries import list_jobs, list_units
from provisioning.ledger_units import find_unit
from provisioning.ledger_values import JobState, UnitState
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_values import Step
from provisioning.supervision import Act
from tests.firmware_images.release_parts import APP_1_5_0
from tests.provisioning.station_bench import (
    SEED,
    make_bench,
    open_bench,
    slot_configs,
    stop_before,
    write_bundle,
)
from tests.provisioning.test_admission import order


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A station and a unit that passed with release counter 1, its board's flash beside it."""
    folder = tmp_path_factory.mktemp("returned")
    make_bench(folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (result,) = run(folder, line)
        assert result.report.is_passed
    return folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "bench")


@pytest.fixture
def line(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        yield line


def run(folder, line, **options):
    station = open_bench(folder)
    try:
        return run_slots(station, slot_configs(line), **options)
    finally:
        station.ledger.verify_chains()
        station.close()


def write_release(folder, counter, *, step=0):
    constraints = ReleaseConstraints(minimum_current_counter=step)
    write_bundle(folder, app=APP_1_5_0, release_counter=counter, constraints=constraints)


def record_of(line):
    board = line.slots[0].board
    table = board.running.table
    return DeviceRecord(board.flash, table.find("devrec"))


def flash_of(line):
    flash = line.slots[0].board.flash
    return flash.read(0, flash.size_bytes)


def state_in_ledger(folder):
    station = open_bench(folder)
    try:
        (unit,) = list_units(station.ledger.database)
        jobs = [job.state for job in list_jobs(station.ledger.database, unit.serial)]
        return unit.state, jobs
    finally:
        station.close()


def refused(folder, line, match, **options):
    """The station refuses the board; flash, unit and jobs stay as they were."""
    before = flash_of(line), state_in_ledger(folder)
    (result,) = run(folder, line, **options)
    assert isinstance(result.error, ReleaseOrderError)
    assert match in str(result.error)
    assert (flash_of(line), state_in_ledger(folder)) == before
    return result.error


def test_a_returned_unit_takes_the_step_at_the_station_first(folder, line):
    write_release(folder, 3, step=2)
    error = refused(folder, line, "must take a step before release 1.5.0", again=True)
    assert "release counter 2 or later, got release counter 1" in str(error)
    assert "bundle of a release with counter 2 for this board" in str(error.hint)
    for counter, step in ((2, 1), (3, 2)):
        write_release(folder, counter, step=step)
        (result,) = run(folder, line, again=True)
        assert result.report.is_passed
        assert record_of(line).load_update_state().release_counter == counter


def test_a_returned_unit_keeps_nothing_of_a_longer_waveform_slot(folder, line):
    """What follows the approval must be 0xFF: the board refuses a slot with anything else."""
    board = line.slots[0].board
    slot = board.running.table.find("wave_0")
    tail_bytes = slot.offset_bytes + 3 * SECTOR_BYTES
    board.flash.write(tail_bytes, bytes(SECTOR_BYTES))
    write_release(folder, 2)
    (result,) = run(folder, line, again=True)
    assert result.report.is_passed
    assert board.flash.read(tail_bytes, SECTOR_BYTES) == b"\xff" * SECTOR_BYTES


def test_a_unit_that_passed_and_is_left_alone_is_not_asked(folder, line):
    write_release(folder, 3, step=2)
    (result,) = run(folder, line)
    assert (result.report.is_passed, result.report.job) == (True, None)


def test_a_unit_that_a_supervisor_sends_back_is_asked_too(folder, line):
    station = open_bench(folder)
    (unit,) = list_units(station.ledger.database)
    order(station, Act.REWORK, unit.mac)
    station.close()
    write_release(folder, 3, step=2)
    refused(folder, line, "must take a step")
    assert state_in_ledger(folder)[0] is UnitState.REWORK


def test_an_older_bundle_is_not_written_over_a_newer_release(folder, line):
    """It would leave an older application beside a counter that keeps it from ever passing."""
    record_of(line).save_update_state(
        replace(record_of(line).load_update_state(), release_counter=5)
    )
    write_release(folder, 4)
    error = refused(folder, line, "had a newer release before", again=True)
    assert "release counter 4 or lower, got 5" in str(error)
    write_release(folder, 5)
    (result,) = run(folder, line, again=True)
    assert result.report.is_passed


def test_a_table_under_an_older_policy_is_not_written_either(folder, line):
    state = record_of(line).load_update_state()
    record_of(line).save_update_state(replace(state, policy_version_floor=2))
    assert "policy version 1 or lower, got 2" in str(
        refused(folder, line, "had a newer release before", again=True)
    )


def test_a_new_board_has_taken_nothing_and_needs_no_step(folder, tmp_path):
    write_release(folder, 3, step=2)
    with SimulatedLine(tmp_path / "new", board_count=1, seed=SEED + 1) as line:
        (result,) = run(folder, line)
        assert result.report.is_passed
        assert record_of(line).load_update_state().release_counter == 3


@pytest.mark.parametrize("step", [Step.KEY_STORAGE, Step.IDENTITY, Step.CALIBRATE])
def test_a_new_board_goes_on_after_a_stop_at_any_step(folder, tmp_path, step):
    """What the station itself began is no returned unit, with or without its counter."""
    write_release(folder, 3, step=2)
    with SimulatedLine(tmp_path / "new", board_count=1, seed=SEED + 1) as line:
        run(folder, line, **stop_before(step))
        (result,) = run(folder, line)
        assert result.report.is_passed


def test_what_a_board_forgot_the_ledger_still_knows(folder, line):
    """A unit whose update state was erased took at least what it was seen to hold."""
    record_of(line).update_state.erase()
    write_release(folder, 3, step=2)
    assert "got release counter 1" in str(refused(folder, line, "must take a step", again=True))
    write_release(folder, 3, step=1)
    (result,) = run(folder, line, again=True)
    assert result.report.is_passed


def test_a_board_whose_update_state_is_damaged_is_flashed_and_never_passes(folder, line):
    """It cannot say what it took; its own firmware refuses to go on as if it had taken nothing."""
    board = line.slots[0].board
    offset_bytes = board.running.table.find("devrec").offset_bytes + 6 * SECTOR_BYTES
    board.flash.write(offset_bytes, bytes(2 * SECTOR_BYTES))
    write_release(folder, 3, step=2)
    (result,) = run(folder, line, again=True)
    assert (result.report.state, result.report.failed_step) == (UnitState.FAIL, Step.IDENTITY)
    assert "STORAGE" in result.report.reasons[0]
    station = open_bench(folder)
    unit = find_unit(station.ledger.database, serial=result.report.serial)
    jobs = list_jobs(station.ledger.database, unit.serial)
    station.close()
    assert (unit.state, jobs[-1].state) == (UnitState.FAIL, JobState.CLOSED)
