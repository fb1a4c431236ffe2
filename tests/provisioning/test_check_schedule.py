"""When a check standard is read: before and after each run, or every so many units and so long."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic import ValidationError

from provisioning.check_history import read_checks, read_history
from provisioning.check_schedule import find_standing
from provisioning.check_standard_settings import CheckStandardSettings
from provisioning.errors import CheckEntryError
from provisioning.lease_taking import take_lease
from provisioning.ledger import Ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_values import UnitState, Writer
from provisioning.ledger_witness import writing_as_station
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_checking import check_slots
from provisioning.station_settings import StationSettings
from provisioning.unit_records import describe_unit
from tests.provisioning import check_bench
from tests.provisioning.check_bench import BAD_NA, STANDARD_SECTION, check, measure
from tests.provisioning.ledger_sites import a_writer, create
from tests.provisioning.station_bench import STATION, make_bench, open_bench, slot_configs

EACH_RUN = CheckStandardSettings(**STANDARD_SECTION)
EVERY_THREE = CheckStandardSettings(**STANDARD_SECTION, every_units=3, every_s=3_600.0)


@pytest.fixture
def at(tmp_path):
    create(tmp_path / "ledger.sqlite3")
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    yield ledger, a_writer()
    ledger.close()


def stand(at, standard=EVERY_THREE, *, after_s=60.0, **changes):
    ledger, writer = at
    arguments = {"station": "station-1", "slot": "left", "instrument": "MY1", "certificate": "K-1"}
    now = writer.now() + dt.timedelta(seconds=after_s)
    return find_standing(ledger, standard, now=now, **(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"every_units": 0},
        {"every_units": 1_001},
        {"every_units": 2.5},
        {"every_s": 59.0},
        {"every_s": 604_801.0},
        {"every_s": float("nan")},
        {"every_s": float("inf")},
        {"every_minutes": 5},
        {"limit_na": 50.0},  # U alone uses it up
        {"limit_na": float("inf")},
        {"sd_na": 0.0},
        {"reference_na": float("nan")},
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(changes):
    with pytest.raises(ValidationError):
        CheckStandardSettings(**(STANDARD_SECTION | changes))


def test_without_a_schedule_it_is_read_each_run(at):
    check(at)
    assert stand(at, EACH_RUN).due == "it is read before and after each run"


def test_it_is_due_at_the_start_and_after_so_many_units(at):
    assert "never read" in stand(at).due
    check(at)
    assert stand(at).due is None
    for board in (1, 2):
        measure(at, board)
        measure(at, board, again=True)  # the same unit counts once
    assert (stand(at).due, stand(at).units_since) == (None, 2)
    measure(at, 3)
    assert stand(at).due == "3 units were measured since the last good reading"
    check(at)
    assert (stand(at).due, stand(at).units_since) == (None, 0)


def test_it_is_due_after_so_long_and_when_the_clock_was_set_back(at):
    check(at)
    assert stand(at, after_s=3_599).due is None
    assert "1.0 h old" in stand(at, after_s=3_601).due
    assert "future" in stand(at, after_s=-60).due


@pytest.mark.parametrize(
    "changes",
    [{"slot": "right"}, {"instrument": "MY2"}, {"certificate": "K-2"}, {"certificate": None}],
)
def test_another_slot_instrument_or_certificate_begins_with_a_reading(at, changes):
    check(at)
    assert "never read" in stand(at, **changes).due


def test_after_a_bad_reading_one_is_due_until_it_is_good(at):
    check(at)
    check(at, BAD_NA)
    assert stand(at).due == "the last reading was not good"
    assert "BAD" in str(stand(at))
    check(at, slot="right")  # by the same instrument, in another slot
    assert stand(at).due == "the last reading was not good"
    check(at)
    assert stand(at).due is None


def test_a_unit_waits_for_the_instrument_that_verified_it(at):
    measure(at, 1, meter="MY1", verified_by="MY2")
    assert check(at, instrument="MY1").released == ()
    assert len(check(at, instrument="MY2", slot="right").released) == 1
    # It is held, released or not, when the one that calibrated it is found wrong.
    measure(at, 2, meter="MY1", verified_by="MY2")
    check(at, instrument="MY2", slot="right")
    assert len(check(at, BAD_NA, instrument="MY1").held) == 1


def test_a_first_bad_reading_leaves_alone_what_was_made_before_there_was_a_standard(at):
    """A wrong figure in the section must not put the whole history on hold."""
    old, failed = (
        measure(at, 1, awaits_check=False),
        measure(at, 2, awaits_check=False, verdict=UnitState.FAIL),
    )
    assert stand(at).units_since == 0
    under_it = [
        measure(at, 3),
        measure(at, 4, verdict=UnitState.FAIL),
        measure(at, 5, verdict=None),
    ]
    assert stand(at).units_since == 3
    assert list(check(at, BAD_NA).held) == under_it
    ledger, _ = at
    ledger.verify_chains()
    assert check_bench.standing(ledger)[1] == ("pass", "released")
    assert {old, failed}.isdisjoint(check(at, BAD_NA).held)


def test_a_judgement_looks_back_as_far_as_it_matters_and_no_further(at, monkeypatch):
    for number in range(8):
        check(at, 500_000.0 + number)
    with at[0].database.reading() as connection:
        assert len(read_checks(connection, "station-1")) == 8
        assert read_checks(connection, "station-1", instrument="another") == []
        arguments = {"instrument": "MY1", "chart": check_bench.facts().chart}
        assert len(read_history(connection, "station-1", **arguments).charted) == 8
        monkeypatch.setattr("provisioning.check_history.CHART_LENGTH", 3)
        before = read_history(connection, "station-1", **arguments)
    assert [told.entry.mean_na for told in before.charted] == [500_005.0, 500_006.0, 500_007.0]
    assert before.last == before.last_good == before.last_of_chart == before.charted[-1]


def test_the_standing_tells_the_last_reading_and_its_limits(at):
    check(at, 500_123.0)
    measure(at, 1)
    document = stand(at).document()
    assert (document["is_due"], document["units_since"], document["every_units"]) == (False, 1, 3)
    assert document["last"]["deviation_na"] == pytest.approx(123.0)
    assert document["limit_na"] == 400.0
    assert "+123.0 nA from the reference, at most 400 nA; 1 units since; none is due" in str(
        stand(at)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"mean_na": None},
        {"mean_na": "500000"},
        {"samples_na": []},
        {"sd_na": 0},
        {"is_good": 1},
        {"moment": "noon"},
        {"more": 1},
    ],
)
def test_an_event_that_is_no_reading_is_damage(at, changes):
    ledger, writer = at
    entry = check_bench.facts().model_dump(mode="json") | {
        "center_na": 0.0, "ewma_na": 0.0, "lower_na": 0.0, "upper_na": 0.0, "is_good": True,
        "reasons": [],
    }  # fmt: skip
    ledger.append(writer, step="check-standard", phase=Phase.CONFIRM, data=entry | changes)
    with pytest.raises(CheckEntryError, match="not a reading"):
        stand(at)
    with pytest.raises(CheckEntryError, match="not a reading"):
        ledger.verify_chains()


def test_a_unit_waits_for_the_reading_that_is_due_or_asked_for(tmp_path):
    make_bench(tmp_path)
    settings = StationSettings(check_standard=EVERY_THREE)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=6) as line:
        station = open_bench(tmp_path, settings)
        (result,) = run_slots(station, slot_configs(line))
        assert result.report.is_passed
        assert result.awaits_check
        assert len(read(station)) == 1  # at the start, and none at the close
        assert describe_unit(station.ledger, result.report.serial)["awaits_check"] is True
        writer = Writer(
            station="station-1", now=station.outside.now, new_job=station.outside.new_job
        )
        station.close()
        address = tmp_path / STATION / "ledger.sqlite3"
        is_offline, (closing,) = check_slots(
            tmp_path / STATION, address, settings, writer, slot_configs(line)
        )
        assert not is_offline
        assert closing.error is None
        assert closing.result.released == (result.report.serial,)
        station = open_bench(tmp_path, settings)
        assert describe_unit(station.ledger, result.report.serial)["awaits_check"] is False
        station.ledger.verify_chains()
        station.close()


def read(station):
    with station.ledger.database.reading() as connection:
        return read_checks(connection, station.writer.station)


def test_a_station_without_its_ledger_reads_the_standard_and_releases_later(tmp_path):
    make_bench(tmp_path)
    settings = StationSettings(check_standard=EACH_RUN)
    server = tmp_path / "server"
    server.mkdir()
    (tmp_path / STATION / "ledger.sqlite3").rename(server / "ledger.sqlite3")
    address = server / "ledger.sqlite3"
    station = open_bench(tmp_path, settings, ledger_address=address)
    station.close()
    ledger = Ledger.open(address)
    with writing_as_station(tmp_path / STATION, ledger, station=station.writer.station):
        take_lease(
            tmp_path / STATION, ledger, station.writer, station.keys.station_signer,
            prefix="AMP", model="FL1", count=5, days=1,
            random_bytes=station.outside.random_bytes,
        )  # fmt: skip
    ledger.close()
    with SimulatedLine(tmp_path / "line", board_count=1, seed=8) as line:
        server.rename(tmp_path / "away")
        station = open_bench(tmp_path, settings, ledger_address=address)
        assert station.opened.is_offline
        (made,) = run_slots(station, slot_configs(line))
        assert made.report.is_passed
        assert made.awaits_check
        writer = Writer(
            station="station-1", now=station.outside.now, new_job=station.outside.new_job
        )
        station.close()
        # At the end of the work, by itself: nothing is released without the ledger, either.
        is_offline, (closing,) = check_slots(
            tmp_path / STATION, address, settings, writer, slot_configs(line)
        )
        assert is_offline
        assert (closing.error, closing.result.released) == (None, ())
    (tmp_path / "away").rename(server)
    station = open_bench(tmp_path, settings, ledger_address=address)
    assert check_bench.standing(station.ledger)[int.from_bytes(made.report.mac[3:], "big")] == (
        "pass",
        "released",
    )
    assert len(read(station)) == 3
    station.ledger.verify_chains()
    station.close()
