"""A station on simulated boards, whose ledger is taken away in the middle of its work."""

from __future__ import annotations

from provisioning.errors import SetAsideError
from provisioning.lease_taking import take_lease
from provisioning.ledger import Ledger
from provisioning.ledger_queries import list_units
from provisioning.ledger_values import UnitState
from provisioning.ledger_witness import writing_as_station
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_values import Step
from tests.provisioning.station_bench import (
    SEED,
    STATION,
    make_bench,
    open_bench,
    slot_configs,
    stop_before,
)


def test_the_board_that_lay_on_the_fixture_when_the_ledger_went_waits_and_a_new_one_goes_on(
    tmp_path,
):
    make_bench(tmp_path)
    server = tmp_path / "server"
    server.mkdir()
    (tmp_path / STATION / "ledger.sqlite3").rename(server / "ledger.sqlite3")

    def run(slots, **options):
        station = open_bench(tmp_path, ledger_address=server / "ledger.sqlite3")
        try:
            return station.opened.is_offline, run_slots(station, slots, **options)
        finally:
            station.close()

    station = open_bench(tmp_path, ledger_address=server / "ledger.sqlite3")
    station.close()
    ledger = Ledger.open(server / "ledger.sqlite3")
    with writing_as_station(tmp_path / STATION, ledger, station=station.writer.station):
        take_lease(
            tmp_path / STATION, ledger, station.writer, station.keys.station_signer,
            prefix="AMP", model="FL1", count=5, days=1,
            random_bytes=station.outside.random_bytes,
        )  # fmt: skip
    ledger.close()
    with SimulatedLine(tmp_path / "line", board_count=2, seed=SEED) as line:
        first, second = slot_configs(line)
        _, (stopped,) = run([first], **stop_before(Step.FLASH))
        assert stopped.report is None
        (flash,) = (tmp_path / "line").glob("**/*1/flash.bin")
        content = flash.read_bytes()
        server.rename(tmp_path / "away")
        is_offline, (waiting, made) = run([first, second])
        assert is_offline
        assert isinstance(waiting.error, SetAsideError)
        assert flash.read_bytes() == content
        assert made.report.is_passed
        (tmp_path / "away").rename(server)
        is_offline, (resumed, left_alone) = run([first, second])
        assert not is_offline
        assert resumed.report.is_passed
        assert (left_alone.report.serial, left_alone.report.job) == (made.report.serial, None)
    ledger = Ledger.open(server / "ledger.sqlite3")
    ledger.verify_chains()
    assert {unit.state for unit in list_units(ledger.database)} == {UnitState.PASS}
    assert {unit.serial for unit in list_units(ledger.database)} == {
        resumed.report.serial, made.report.serial
    }  # fmt: skip
    ledger.close()
