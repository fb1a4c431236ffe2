"""A board whose number was lost with the ledger gets it back, once, on a supervisor's order."""

from __future__ import annotations

import shutil
import signal
from contextlib import closing

import pytest

from firmware_images.nvs_plan import parse_nvs_plan
from provisioning.board_adoption import adopt_board
from provisioning.board_evidence import parse_evidence
from provisioning.classification import BoardIdentity, RecordCondition
from provisioning.errors import (
    FlashError,
    LinkTimeoutError,
    LockedChipError,
    QuarantineError,
    SetAsideError,
    SupervisionError,
)
from provisioning.lease_taking import take_lease
from provisioning.ledger import Ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_quarantine import find_quarantine, list_quarantines
from provisioning.ledger_queries import find_void, list_jobs, list_serials, list_units
from provisioning.ledger_restore import restore_for_station
from provisioning.ledger_supervision import carry_out, prepare_order
from provisioning.ledger_values import JobState, SerialState, UnitState, Writer
from provisioning.ledger_verification import verify_ledger
from provisioning.ledger_witness import writing_as_station
from provisioning.serial_numbers import parse_serial
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from provisioning.supervision import Act, sign_act
from signing.errors import SigningError
from signing.roles import RoleKeys
from tests.conftest import IS_SOAK
from tests.firmware_images.release_parts import APP_1_5_0
from tests.provisioning.station_bench import (
    EFUSES,
    SEED,
    STATION,
    make_bench,
    open_bench,
    outside,
    slot_configs,
    write_bundle,
)
from tests.provisioning.test_station_kill import Killer
from tests.signing.fixed_keys import fixed_signer

in_soak = pytest.mark.skipif(not IS_SOAK, reason="boards take seconds: in the soak")
BACKUP = "backup.jsonl"
LEDGER = f"{STATION}/ledger.sqlite3"
SECURE = 'user_data = "{serial}"\ndisable_jtag = true\ndownload_mode = "secure"\n'
OFF = 'download_mode = "off"\n'
NVS = '[namespaces.factory]\nserial = { string = "{serial}" }\n'
SETTINGS = StationSettings(boot_timeout_s=1.0)


def run(folder, line, nvs_plan=None):
    station = open_bench(folder, SETTINGS, nvs_plan=nvs_plan)
    try:
        (result,) = run_slots(station, slot_configs(line))
        return result
    finally:
        station.close()


def adopt(folder, line, *, key="supervisor", nvs_plan=None, reason="lost with the ledger"):
    station = open_bench(folder, SETTINGS, nvs_plan=nvs_plan)
    try:
        port = slot_configs(line)[0].port
        return adopt_board(
            station, port, reason=reason, sign=lambda order: sign_act(order, [fixed_signer(key)])
        )
    finally:
        station.close()


def back_up(folder):
    write_backup(folder / LEDGER, folder / BACKUP, now=outside().now())


def lose_ledger(folder):
    """Lose the ledger, and restore the backup from before the boards were made."""
    for path in (folder / STATION).glob("ledger.sqlite3*"):
        path.unlink()
    writer = Writer(station="station-1", now=outside().now, new_job=outside().new_job)
    restore_for_station(
        folder / BACKUP, folder / LEDGER, writer, folder=folder / STATION, opening="opening-2",
        reason="the disk died",
    )  # fmt: skip


def look(folder):
    """Return units, numbers, jobs and open quarantines, after all of the ledger was verified."""
    station = open_bench(folder)
    try:
        verify_ledger(
            station.ledger, folder=folder / STATION, now=outside().now(), is_ca_needed=True
        )
        database = station.ledger.database
        units = list_units(database)
        jobs = [job for unit in units for job in list_jobs(database, unit.serial)]
        return units, list_serials(database), jobs, list_quarantines(station.ledger)
    finally:
        station.close()


def flash_of(line):
    return line.slots[0].board.flash.read(0, 4 << 20)


def make_lost(folder, plan, nvs_plan=None):
    """A finished board, made after the backup from which the ledger was restored."""
    # A key that the processes know that are killed.
    supervisor = RoleKeys(threshold=1, keys=(fixed_signer("supervisor").public_key,))
    make_bench(folder, supervisor=supervisor)
    if plan is not None:
        (folder / EFUSES).write_text(plan)
    back_up(folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        result = run(folder, line, nvs_plan)
        assert result.error is None, result.error
        assert result.report.is_passed
    lose_ledger(folder)
    return result.report.serial


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost") / "bench"
    folder.mkdir()
    return folder, make_lost(folder, SECURE)


@pytest.fixture
def folder(lost, tmp_path):
    shutil.copytree(lost[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_locked_board_of_the_lost_time_gets_its_number_back_and_passes_again(lost, folder):
    serial = lost[1]
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        refused = run(folder, line)
        assert isinstance(refused.error, QuarantineError)
        flash = flash_of(line)
        chained, proved = adopt(folder, line)
        assert flash_of(line) == flash, "nothing is written to the board"
        assert (proved.serial, proved.mac) == (serial, line.slots[0].board.mac)
        assert chained.event.data["act"] == "adopt"
        (unit,), (number,), (job,), quarantined = look(folder)
        assert (unit.serial, unit.mac, unit.state) == (serial, proved.mac, UnitState.REWORK)
        assert (number.serial, number.state) == (serial, SerialState.ASSIGNED)
        assert (job.number, job.state, job.outcome) == (1, JobState.ABANDONED, None)
        assert quarantined == ()
        result = run(folder, line)
        assert result.error is None, result.error
        assert (result.report.serial, result.report.is_passed) == (serial, True)
    (unit,), (number,), jobs, _ = look(folder)
    assert (unit.state, number.state, len(jobs)) == (UnitState.PASS, SerialState.RELEASED, 2)
    station = open_bench(folder)
    assert find_void(station.ledger.database, parse_serial(serial)) is None
    records = [
        chained.event.data["generation"]
        for chained in station.ledger.events(serial=serial)
        if (chained.event.step, chained.event.phase) == ("record", "INTENT")
    ]
    assert records == [1, 2], "the records go on from the one that the board has"
    station.close()


@in_soak
def test_a_board_that_was_adopted_is_not_adopted_again(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        adopt(folder, line)
        before = look(folder)
        with pytest.raises(SupervisionError, match="there is nothing to adopt"):
            adopt(folder, line)
    assert look(folder) == before


def test_an_adoption_needs_no_fixture_before_and_no_other_than_the_supervisor(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        with pytest.raises(SigningError):
            adopt(folder, line, key="operator")
        units, numbers, _, (quarantined,) = look(folder)
        assert (units, numbers) == ((), ())
        assert "this ledger knows neither" in quarantined.reason
        adopt(folder, line)
    assert [unit.state for unit in look(folder)[0]] == [UnitState.REWORK]


def test_a_board_that_was_adopted_gets_no_number_of_a_lease_when_the_ledger_vanishes(folder):
    """Not even when its identity is gone: the ledger has its number."""
    server = folder / "server"
    server.mkdir()
    (folder / LEDGER).rename(server / "ledger.sqlite3")

    def at_work():
        return closing(open_bench(folder, SETTINGS, ledger_address=server / "ledger.sqlite3"))

    with at_work() as station:
        pass
    ledger = Ledger.open(server / "ledger.sqlite3")
    with writing_as_station(folder / STATION, ledger, station=station.writer.station):
        take_lease(
            folder / STATION, ledger, station.writer, station.keys.station_signer,
            prefix="AMP", model="FL1", count=5, days=1,
            random_bytes=station.outside.random_bytes,
        )  # fmt: skip
    ledger.close()
    blank = BoardIdentity(condition=RecordCondition.BLANK)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        mac = line.slots[0].board.mac
        with at_work() as station:
            station.opened.outbox.require_own(mac, blank)
            adopt_board(
                station, slot_configs(line)[0].port, reason="lost with the ledger",
                sign=lambda order: sign_act(order, [fixed_signer("supervisor")]),
            )  # fmt: skip
    server.rename(folder / "away")
    with at_work() as station:
        assert station.opened.is_offline
        with pytest.raises(SetAsideError, match="must wait for the ledger"):
            station.opened.outbox.require_own(mac, blank)


COMMITS = 3
"""The quarantine, the adoption, and the head that is signed at the end."""
MOMENTS = [[edge, commit] for commit in range(1, COMMITS + 1) for edge in ("before", "after")]


@pytest.fixture(scope="module")
def killer():
    with Killer() as killer:
        yield killer


@pytest.mark.parametrize("moment", MOMENTS if IS_SOAK else MOMENTS[3:4], ids=str)
def test_a_kill_at_any_durable_step_of_an_adoption_leads_to_the_same_end(
    moment, lost, folder, killer
):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        flash = flash_of(line)
        assert killer.run(folder, line, moment, what="adopt") == -signal.SIGKILL
        units, numbers, jobs, quarantined = look(folder)
        is_adopted = moment[1] > MOMENTS[3][1] or moment == MOMENTS[3]
        assert (len(units), len(numbers), len(jobs)) == ((1, 1, 1) if is_adopted else (0, 0, 0))
        assert len(quarantined) == (not is_adopted and moment != MOMENTS[0])
        if is_adopted:
            with pytest.raises(SupervisionError, match="there is nothing to adopt"):
                adopt(folder, line)
        else:
            adopt(folder, line)
        assert flash_of(line) == flash
    (unit,), (number,), (job,), quarantined = look(folder)
    assert (unit.serial, unit.state) == (lost[1], UnitState.REWORK)
    assert (number.state, job.state, quarantined) == (
        SerialState.ASSIGNED, JobState.ABANDONED, ()
    )  # fmt: skip


@pytest.mark.parametrize("reason", ["", "x" * 401, "two\nlines"] if IS_SOAK else [""])
def test_an_adoption_needs_a_reason(folder, reason):
    with (
        SimulatedLine(folder / "line", board_count=1, seed=SEED) as line,
        pytest.raises(SupervisionError, match="needs a reason"),
    ):
        adopt(folder, line, reason=reason)
    assert look(folder) == ((), (), [], ())


def test_a_locked_board_is_adopted_only_with_release_and_plan_that_it_was_made_by(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        (folder / EFUSES).write_text(OFF)
        with pytest.raises(LockedChipError, match="locked otherwise than the eFuse plan"):
            adopt(folder, line)
        (folder / EFUSES).unlink()
        with pytest.raises(LockedChipError, match="locked otherwise than the eFuse plan"):
            adopt(folder, line)
        (folder / EFUSES).write_text(SECURE)
        write_bundle(folder, app=APP_1_5_0)
        with pytest.raises(LockedChipError, match="runs something else than the release"):
            adopt(folder, line)
    assert look(folder) == ((), (), [], ())


@in_soak
def test_a_plan_that_contradicts_the_locks_is_found_when_the_board_is_worked_on(tmp_path):
    """The supervisor vouches for the plan; what the chip still tells is compared with it."""
    make_lost(tmp_path, SECURE.replace("disable_jtag = true\n", ""))
    (tmp_path / EFUSES).write_text(SECURE)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        adopt(tmp_path, line)
        result = run(tmp_path, line)
    assert "is not as it was burned" in str(result.error)
    (unit,), (number,), _, _ = look(tmp_path)
    assert (unit.state, number.state) == (UnitState.IN_WORK, SerialState.ASSIGNED)


@in_soak
def test_a_board_of_another_factory_is_not_adopted(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "bench"
    other.mkdir()
    make_bench(other)
    (other / EFUSES).write_text(SECURE)
    with (
        SimulatedLine(folder / "line", board_count=1, seed=SEED) as line,
        pytest.raises(SigningError, match="not issued by the factory CA"),
    ):
        adopt(other, line)
    assert look(other) == ((), (), [], ())


@in_soak
def test_a_board_whose_application_is_gone_is_not_adopted(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        line.slots[0].board.flash.erase(0, 4 << 20)
        with pytest.raises(LinkTimeoutError):
            adopt(folder, line)
    assert look(folder) == ((), (), [], ())


@in_soak
def test_a_board_without_download_mode_is_adopted_with_its_nvs(tmp_path):
    plan = parse_nvs_plan(NVS.encode(), where="nvs.toml")
    serial = make_lost(tmp_path, OFF, plan)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        assert isinstance(run(tmp_path, line, plan).error, FlashError), "nobody locked it"
        chained, _ = adopt(tmp_path, line, nvs_plan=plan)
        evidence = parse_evidence(bytes.fromhex(chained.event.data["evidence"]))
        assert (evidence.loader, evidence.nvs_plan) == ("silent", plan.digest)
        result = run(tmp_path, line, plan)
        assert result.error is None, result.error
        assert (result.report.serial, result.report.is_passed) == (serial, True)
    look(tmp_path)


@in_soak
def test_an_open_board_keeps_its_number_and_its_label_too(tmp_path):
    serial = make_lost(tmp_path, None)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        chained, _ = adopt(tmp_path, line)
        evidence = parse_evidence(bytes.fromhex(chained.event.data["evidence"]))
        assert (evidence.loader, evidence.efuse_plan, evidence.key_block) == ("open", b"", 0)
        result = run(tmp_path, line)
        assert (result.report.serial, result.report.is_passed) == (serial, True)
    look(tmp_path)


@in_soak
def test_a_number_that_another_board_has_stays_with_it(folder, lost):
    """A second ledger of the same numbers: the one that came first keeps its word."""
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        adopt(folder, line)
        station = open_bench(folder)
        mac = line.slots[0].board.mac
        station.close()
    # The board's number moves to another module; the old one, which proves the number, comes back.
    station = open_bench(folder)
    wish = prepare_order(
        station.ledger, station.writer, act=Act.REBIND, mac=mac, new_mac=bytes([2, 0, 0, 0, 0, 9]),
        reason="module replaced",
    )  # fmt: skip
    signed = sign_act(wish, [fixed_signer("supervisor")])
    carry_out(station.ledger, station.writer, wish, signed)
    station.close()
    before = look(folder)[:3]
    with (
        SimulatedLine(folder / "line", board_count=1, seed=SEED) as line,
        pytest.raises(SupervisionError, match="taken out of unit"),
    ):
        adopt(folder, line)
    assert look(folder)[:3] == before
    station = open_bench(folder)
    assert find_quarantine(station.ledger, mac).board_class == "clone"
    station.close()
