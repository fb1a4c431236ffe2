"""A finished, locked board says who it is by signature, because its loader tells nothing."""

from __future__ import annotations

import shutil
import threading

import pytest

from firmware_images.nvs_plan import parse_nvs_plan
from provisioning.errors import EfuseError, LockedChipError, QuarantineError
from provisioning.ledger_queries import list_serials, list_units
from provisioning.ledger_values import UnitState
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from provisioning.station_values import Step
from signing.errors import SigningError
from tests.conftest import IS_SOAK
from tests.firmware_images.release_parts import APP_1_5_0
from tests.provisioning.station_bench import (
    EFUSES,
    SEED,
    make_bench,
    open_bench,
    slot_configs,
    write_bundle,
)
from tests.provisioning.test_station_kill import Killer

MOMENTS = [["before", n] for n in ([22] if not IS_SOAK else range(19, 26))]
SECURE = 'user_data = "{serial}"\ndisable_jtag = true\ndownload_mode = "secure"\n'


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    (folder / EFUSES).write_text(SECURE)
    return folder


@pytest.fixture(scope="module")
def finished(template, tmp_path_factory):
    """A station with one board that passed and is locked."""
    folder = tmp_path_factory.mktemp("finished") / "bench"
    shutil.copytree(template, folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        result, _ = run(folder, line)
        assert result.report.is_passed
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(folder, line, nvs_plan=None, **options):
    station = open_bench(folder, StationSettings(boot_timeout_s=1.0), nvs_plan=nvs_plan)
    try:
        (result,) = run_slots(station, slot_configs(line), **options)
        units = list_units(station.ledger.database)
        sources = [{}, *({"serial": unit.serial} for unit in units)]
        return result, [c.event for source in sources for c in station.ledger.events(**source)]
    finally:
        station.close()


def units_of(folder):
    station = open_bench(folder)
    units, serials = list_units(station.ledger.database), list_serials(station.ledger.database)
    station.ledger.verify_chains()
    station.close()
    assert len(units) == len(serials)
    return units


def last_detected(events):
    return [e.data["identified_by"] for e in events if (e.step, e.phase) == ("detect", "CONFIRM")][-1]  # fmt: skip  # noqa: E501


def test_a_locked_board_that_passed_is_recognised_and_left_alone(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        result, events = run(folder, line)
        assert result.error is None, result.error
        assert (result.report.job, result.report.state) == (None, UnitState.PASS)
        assert result.report.mac == line.slots[0].board.mac
    assert last_detected(events) == "signed identity"
    assert len(units_of(folder)) == 1


def test_a_locked_board_is_calibrated_again_without_its_loader(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        fuses = line.slots[0].board.efuse_path.read_bytes()
        result, events = run(folder, line, again=True)
        assert result.error is None, result.error
        assert result.report.is_passed
        assert line.slots[0].board.efuse_path.read_bytes() == fuses
    flashed = [e.data["regions"] for e in events if (e.step, e.phase) == ("flash", "CONFIRM")]
    assert [len(regions) for regions in flashed] == [4, 0]
    assert len(units_of(folder)) == 1


def test_a_locked_board_with_another_release_is_not_touched(folder):
    write_bundle(folder, app=APP_1_5_0)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        flash = line.slots[0].board.flash.read(0, 4 << 20)
        result, _ = run(folder, line, again=True)
        assert line.slots[0].board.flash.read(0, 4 << 20) == flash
    assert isinstance(result.error, LockedChipError)
    assert "runs something else than the release" in result.error.what


def test_a_locked_board_that_proves_nothing_gets_no_number(folder, template, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "bench"
    other.mkdir()
    make_bench(other)  # another factory, another CA
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        result, _ = run(other, line)
    assert isinstance(result.error, SigningError)
    assert units_of(other) == ()


def test_a_locked_board_of_this_factory_that_the_ledger_does_not_know_is_foreign(folder, template):
    for path in (folder / "station").glob("ledger*"):
        path.unlink()  # with what the station remembers of it, or it would refuse the other one
    for path in (template / "station").glob("ledger.sqlite3*"):
        shutil.copy(path, folder / "station")
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        result, _ = run(folder, line)
    assert isinstance(result.error, QuarantineError)
    assert "this ledger knows neither" in str(result.error)
    assert units_of(folder) == ()


def test_a_locked_board_without_its_application_is_an_error_about_the_loader(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        line.slots[0].board.flash.erase(0, 4 << 20)
        result, _ = run(folder, line)
    assert isinstance(result.error, LockedChipError)
    assert "does not say who it is" in result.error.what


def test_a_board_whose_download_mode_is_off_comes_back_too(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    (tmp_path / EFUSES).write_text('download_mode = "off"\n')
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        first, events = run(tmp_path, line)
        assert first.error is None, first.error
        assert first.report.is_passed
        (proof,) = [e.data["proof"] for e in events if (e.step, e.phase) == ("lock", "CONFIRM")]
        assert proof == "the loader does not start"
        second, events = run(tmp_path, line)
        assert second.report.serial == first.report.serial
    assert last_detected(events) == "signed identity"


def test_a_station_that_stops_after_the_locks_goes_on_with_the_locked_board(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    stop = threading.Event()
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:

        def on_progress(progress):
            if progress.step is Step.LOCK:
                stop.set()

        stopped, _ = run(tmp_path, line, on_progress=on_progress, stop=stop)
        assert "before step recheck" in stopped.error.got
        result, events = run(tmp_path, line)
        assert result.report.is_passed
    assert last_detected(events) == "signed identity"
    steps = [(event.step, event.phase.value) for event in events]
    assert steps.count(("lock", "INTENT")) == steps.count(("calibrate", "INTENT")) == 1


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_a_kill_around_the_burning_leaves_a_board_that_is_finished_on_the_next_start(
    template, tmp_path, moment
):
    """Before the 22nd commit the board is locked, and no CONFIRM says so."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    with Killer() as killer, SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        assert killer.run(tmp_path, line, moment) == -9
        result, events = run(tmp_path, line)
        assert result.error is None, result.error
        assert result.report.is_passed
    confirmed = [event.step for event in events if event.phase.value == "CONFIRM"]
    assert {"efuses", "lock", "recheck", "final"} <= set(confirmed)
    assert confirmed.count("calibrate") == 1
    (unit,) = units_of(tmp_path)
    assert unit.state is UnitState.PASS


NVS = '[namespaces.factory]\nserial = { string = "{serial}" }\n'


@pytest.mark.parametrize("was_written", [True, False] if IS_SOAK else [True])
def test_a_locked_board_passes_only_with_the_nvs_that_an_earlier_job_wrote(
    template, tmp_path, was_written
):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    plan = parse_nvs_plan(NVS.encode(), where="nvs.toml")
    other = parse_nvs_plan(NVS.replace("serial =", "number =").encode(), where="nvs.toml")
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        first, _ = run(tmp_path, line, nvs_plan=plan if was_written else None)
        assert first.report.is_passed
        flash = line.slots[0].board.flash.read(0, 4 << 20)
        refused, events = run(tmp_path, line, again=True, nvs_plan=other)
        assert isinstance(refused.error, LockedChipError)
        assert "locked before its NVS was written by this plan" in refused.error.what
        assert [event.step for event in events if event.phase == "INTENT"].count("calibrate") == 1
        assert line.slots[0].board.flash.read(0, 4 << 20) == flash
        result, _ = run(tmp_path, line, again=True, nvs_plan=plan)
        if was_written:
            assert result.report.is_passed
        else:
            assert isinstance(result.error, LockedChipError)


def test_a_locked_board_is_not_taken_through_another_plan(folder):
    (folder / EFUSES).write_text(SECURE.replace("disable_jtag = true\n", ""))
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        result, events = run(folder, line, again=True)
    assert isinstance(result.error, EfuseError)
    assert "locked before its eFuses were compared with this plan" in result.error.what
    assert [event.step for event in events if event.phase == "INTENT"].count("calibrate") == 1
