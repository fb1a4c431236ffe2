"""A station that is cut off goes on within its block, and the ledger follows when it is back."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sqlite3
from contextlib import closing, nullcontext

import pytest

from provisioning.classification import BoardClass, BoardIdentity, Classification, RecordCondition
from provisioning.errors import (
    LeaseError,
    LedgerError,
    QuarantineError,
    SerialNumberError,
    SetAsideError,
)
from provisioning.lease import COUNT_MAX
from provisioning.lease_acts import declare_lost
from provisioning.lease_folder import CLOSED_FOLDER, find_lease_files
from provisioning.lease_giving_up import give_up
from provisioning.ledger import Ledger
from provisioning.ledger_address import parse_ledger_address
from provisioning.ledger_backup import write_backup
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_leases import list_leases
from provisioning.ledger_quarantine import find_quarantine, list_quarantines, open_quarantine
from provisioning.ledger_queries import list_jobs, list_serials, list_units
from provisioning.ledger_restore import restore_for_station
from provisioning.ledger_units import find_unit
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.ledger_witness import save_witness
from provisioning.outbox_memory import memory_path
from provisioning.serial_formats import parse_format
from provisioning.serial_numbers import parse_serial
from provisioning.station_keys import load_station_keys
from provisioning.station_ledger import open_station_ledger
from provisioning.unit_export_checking import verify_export
from provisioning.unit_exports import export_unit
from tests.conftest import IS_SOAK
from tests.provisioning.lease_bench import NOWHERE, Factory, mac_of, make_offline, reserve, work
from tests.provisioning.ledger_sites import BACK_ENDS, Site, empty_site

BLANK = BoardIdentity(condition=RecordCondition.BLANK)


@pytest.fixture(scope="session")
def begun(tmp_path_factory):
    """Folders of a factory that was just set up, to be copied."""
    root = tmp_path_factory.mktemp("begun")
    Factory(root / "stations", root / "server" / "ledger.sqlite3").begin()
    return root


@pytest.fixture
def small(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "factory")
    return Factory(tmp_path / "factory" / "stations", tmp_path / "factory/server/ledger.sqlite3")


@pytest.fixture(params=BACK_ENDS)
def both(request, tmp_path):
    if request.param == "sqlite":
        return request.getfixturevalue("small")
    site = empty_site(request.param, tmp_path, request)
    return Factory(tmp_path / "stations", site.address).begin()


@pytest.fixture(params=BACK_ENDS if IS_SOAK else BACK_ENDS[:1])
def factory(request, tmp_path):
    if request.param == "sqlite":
        return request.getfixturevalue("small")
    site = empty_site(request.param, tmp_path, request)
    return Factory(tmp_path / "stations", site.address).begin()


def sequences(*reservations):
    return [parse_serial(one.serial).sequence for one in reservations]


def quarantine_board(ledger, writer, mac):
    twin = Classification(board_class=BoardClass.CLONE, reason="a twin", is_quarantined=True)
    open_quarantine(ledger, writer, mac=mac, classification=twin, identity=BLANK)


def dump(path):
    return Site(path).dump()


def test_numbers_that_were_given_offline_are_in_the_ledger_afterwards(both):
    ledger = both.open()
    online = (ledger, both.writer())
    work(online, reserve(online, 1))
    lease = both.take()
    assert (lease.name, lease.first_sequence, lease.last_sequence) == ("station-1/1", 2, 6)
    work(online, reserve(online, 2))  # the others go on behind the block
    opened = both.offline()
    assert (opened.is_offline, opened.writer.station) == (True, "station-1/1")
    given = [reserve(opened, number) for number in (3, 4)]
    assert sequences(*given) == [2, 3]
    assert reserve(opened, 3).serial == given[0].serial
    work(opened, given[0])
    told = opened.ledger.events(serial=given[0].serial)
    opened.close()
    result = both.sync()
    assert (result.event_count > 10, result.refused, result.archive) == (True, (), None)
    ledger.verify_chains()
    units = {unit.mac: unit for unit in list_units(ledger.database)}
    assert units[mac_of(3)].state is UnitState.PASS
    assert units[mac_of(4)].state is UnitState.IN_WORK
    states = {one.mac: one.state for one in list_serials(ledger.database)}
    assert states[mac_of(3)] is SerialState.RELEASED
    assert ledger.events(serial=given[0].serial) == told, "the events are those that were written"
    (record,) = list_leases(ledger)
    assert (record.given, record.left, record.voided) == (2, 3, 0)
    assert both.sync().event_count == 0, "what the ledger has is not sent again"
    ledger.close()


def test_what_is_left_of_an_expired_lease_becomes_void_with_its_reason(factory):
    factory.take(count=5, days=2)
    (given,) = make_offline(factory, 1)
    factory.clock += dt.timedelta(days=2)
    with pytest.raises(LeaseError, match="the lease has expired"):
        factory.offline()
    result = factory.sync()
    assert (result.record.given, result.record.voided, result.record.left) == (1, 4, 0)
    assert result.record.reason.startswith("lease station-1/1 expired at 2026-02-12T12:00:00")
    assert result.archive == factory.folder() / CLOSED_FOLDER
    assert find_lease_files(factory.folder()) is None
    ledger = factory.open()
    ledger.verify_chains()
    assert [unit.serial for unit in list_units(ledger.database)] == [given.serial]
    online = (ledger, factory.writer())
    factory.clock -= dt.timedelta(days=2)  # back into the week of the lease
    assert sequences(reserve(online, 9)) == [6]
    ledger.verify_chains()
    ledger.close()
    assert factory.sync() is None


def test_no_number_is_given_beyond_the_block_after_its_end_or_by_a_suspect_clock(small):
    small.take(count=2, days=1)
    opened = small.offline()
    reserve(opened, 1)
    begun = reserve(opened, 2)
    before = dump(small.outbox())
    with pytest.raises(LeaseError, match="no number left"):
        reserve(opened, 3)
    with pytest.raises(LeaseError, match="for other serial numbers"):
        reserve(opened, 3, model="NEW")
    small.clock += dt.timedelta(days=1)
    with pytest.raises(LeaseError, match="has expired"):
        reserve(opened, 3)
    small.clock -= dt.timedelta(days=1, seconds=1)
    with pytest.raises(LeaseError, match="CLOCK_SUSPECT"):
        reserve(opened, 3)
    assert dump(small.outbox()) == before
    small.clock += dt.timedelta(days=3)
    work(opened, begun)  # what has its number is finished whatever the time
    opened.close()
    assert small.sync().refused == ()


def test_a_clock_that_stands_before_the_last_event_stops_the_station_at_its_start(small):
    small.take()
    make_offline(small, 1)
    small.clock -= dt.timedelta(seconds=30)
    with pytest.raises(LeaseError, match="CLOCK_SUSPECT"):
        small.offline()
    small.clock -= dt.timedelta(hours=12)  # before the lease was issued
    with pytest.raises(LeaseError, match="CLOCK_SUSPECT"):
        small.offline()


def test_without_a_lease_a_ledger_out_of_reach_stops_the_station(small):
    with pytest.raises(LedgerError, match="there is no ledger"):
        small.offline()
    small.take()
    with pytest.raises(LedgerError, match="there is no ledger"):  # its own ledger is lost
        open_station_ledger(small.folder(), small.folder() / "ledger.sqlite3", small.writer())


def test_a_board_that_the_ledger_may_know_waits_for_it(small):
    ledger = small.open()
    save_witness(small.folder(), ledger, station="station-1")
    reserve((ledger, small.writer()), 1)
    ledger.close()
    small.take()
    opened = open_station_ledger(small.folder(), small.address, small.writer())
    assert (opened.is_offline, opened.outbox is None) == (False, False)
    opened.outbox.remember(mac_of(2))  # it was about to be worked on when the network went
    opened.close()
    opened = small.offline()
    for number in (1, 2):
        with pytest.raises(SetAsideError, match="must wait for the ledger"):
            opened.outbox.require_own(mac_of(number), BLANK)
    stranger = BoardIdentity(
        condition=RecordCondition.PRESENT, serial="AMPFLR260700001R", mac=mac_of(3)
    )
    with pytest.raises(SetAsideError, match="identity AMPFLR260700001R"):
        opened.outbox.require_own(mac_of(3), stranger)
    opened.outbox.require_own(mac_of(3), BLANK)
    own = reserve(opened, 3)
    opened.outbox.require_own(mac_of(3), stranger)  # whose it is says the classification
    work(opened, own)
    opened.close()
    small.sync()
    opened = small.offline()
    with pytest.raises(SetAsideError, match="ledger knew"):  # the ledger has it, and decides
        opened.outbox.require_own(mac_of(3), BLANK)
    opened.close()


def test_a_board_that_the_ledger_knows_otherwise_is_kept_for_a_person(both):
    """Its events are kept, its number is void with the reason, the board is in quarantine."""
    both.join("station-2")
    both.take()
    given = make_offline(both, 1, 2, 3)
    ledger = both.open()
    other = (ledger, both.writer("station-2"))
    elsewhere = reserve(other, 1)
    quarantine_board(*other, mac_of(2))
    result = both.sync()
    assert [refused.split(":")[0] for refused in result.refused] == [
        given[0].serial, given[1].serial
    ]  # fmt: skip
    assert elsewhere.serial in result.refused[0]
    ledger.verify_chains()
    units = {unit.mac: unit.serial for unit in list_units(ledger.database)}
    assert units == {mac_of(1): elsewhere.serial, mac_of(3): given[2].serial}
    assert given[0].serial in find_quarantine(ledger, mac_of(1)).reason
    assert find_quarantine(ledger, mac_of(2)).reason == "a twin"
    events = ledger.events(serial=given[0].serial)
    assert [one.event.step for one in events if one.event.station == "station-1/1"][-1] == "final"
    (record,) = list_leases(ledger)
    assert (record.given, record.voided, record.left) == (1, 2, 2)
    assert both.sync().event_count == 0
    ledger.close()


def test_a_twin_that_was_found_offline_stays_in_quarantine(small):
    small.join("station-2")
    small.take()
    opened = small.offline()
    first, second = reserve(opened, 1), reserve(opened, 2)
    quarantine_board(opened.ledger, opened.writer, mac_of(1))
    quarantine_board(opened.ledger, opened.writer, mac_of(3))  # met before it had a number
    for reservation in (first, second):
        assert reservation.is_new
    with pytest.raises(QuarantineError):
        work(opened, first)
    opened.close()
    ledger = small.open()
    quarantine_board(ledger, small.writer("station-2"), mac_of(3))
    result = small.sync()
    assert result.refused == (f"{mac_of(3).hex(':')}: the chip is in quarantine already",)
    ledger.verify_chains()
    assert {one.mac for one in list_quarantines(ledger)} == {mac_of(1), mac_of(3)}
    ledger.close()


def test_a_unit_that_another_station_took_over_between_two_synchronisations_is_kept_apart(small):
    small.join("station-2")
    small.take()
    opened = small.offline()
    given = reserve(opened, 1)
    work(opened, given, "flash", verdict=None)
    with pytest.raises(LeaseError, match="another command works"):
        small.sync()
    opened.close()
    small.sync()
    ledger = small.open()
    other = (ledger, small.writer("station-2"))
    assert reserve(other, 1).is_resumed
    opened = small.offline()
    work(opened, given)  # as a run that was never stopped would
    opened.close()
    result = small.sync()
    assert "station-2 worked on" in result.refused[0]
    ledger.verify_chains()
    (unit,) = list_units(ledger.database)
    assert unit.state is UnitState.IN_WORK
    assert find_quarantine(ledger, mac_of(1)) is not None
    ledger.close()


def test_jobs_that_were_opened_resumed_and_judged_offline_follow(factory):
    factory.take()
    opened = factory.offline()
    first = reserve(opened, 1)
    work(opened, first, "flash", verdict=None)
    assert reserve(opened, 1).is_resumed
    work(opened, first, verdict=UnitState.FAIL)
    second = reserve(opened, 1)
    assert (second.job_number, second.serial) == (2, first.serial)
    work(opened, second, verdict=None)
    third = reserve(opened, 1, bundle_digest=bytes(32))
    work(opened, third, verdict=UnitState.PASS)
    reserve(opened, 1, bundle_digest=bytes(32), again=True)
    expected = list_jobs(opened.ledger.database, first.serial)
    opened.close()
    factory.sync()
    ledger = factory.open()
    ledger.verify_chains()
    assert list_jobs(ledger.database, first.serial) == expected
    assert [job.state for job in expected] == [
        JobState.CLOSED, JobState.ABANDONED, JobState.CLOSED, JobState.OPEN
    ]  # fmt: skip
    resumed = reserve((ledger, factory.writer()), 1, bundle_digest=bytes(32))
    assert (resumed.is_resumed, resumed.job_number) == (True, 4)
    ledger.verify_chains()
    ledger.close()


def test_a_copied_folder_gives_no_number(small, tmp_path):
    """Two folders with one lease would give the same numbers; a copy knows that it is one."""
    small.take()
    twin = tmp_path / "twin" / "station-1"
    shutil.copytree(small.folder(), twin)
    copy = Factory(twin.parent, small.address, clock=small.clock)
    with pytest.raises(LeaseError, match="of which this is a copy"):
        copy.offline()
    small.clock += dt.timedelta(days=30)
    copy.clock = small.clock
    result = copy.sync()
    assert (result.is_in_place, result.archive, result.record.closed_at) == (False, None, None)
    make_before = small.clock
    small.clock -= dt.timedelta(days=29)
    make_offline(small, 1)
    small.clock = make_before
    assert small.sync().record.given == 1


def test_an_older_copy_in_the_place_of_the_outbox_is_found_by_its_chain(small):
    small.take()
    make_offline(small, 1)
    small.sync()
    older = small.outbox().read_bytes()
    make_offline(small, 2)
    small.sync()
    small.outbox().write_bytes(older)  # the same file, with yesterday's content
    memory_path(small.outbox()).unlink()  # as with the whole disk of yesterday
    ledger = small.open()
    before = dump(small.address)
    with pytest.raises(LeaseError, match="other events of this lease"):
        small.sync()
    make_offline(small, 3)
    with pytest.raises(LeaseError, match="other events of this lease"):
        small.sync()
    assert dump(small.address) == before
    given_up = give_up(small.folder(), ledger, small.writer(), reason="copied back by hand")
    assert len(given_up.boards) == 1
    assert "copied back by hand" in find_quarantine(ledger, mac_of(3)).reason
    assert find_quarantine(ledger, mac_of(1)) is None
    assert find_lease_files(small.folder()) is None
    ledger.verify_chains()
    ledger.close()


def test_a_clock_that_is_far_ahead_ends_nobodys_lease(small):
    """It says that every lease has expired; then a second clock must say so, or a person."""
    for name in ("station-2", "station-3"):
        small.join(name)
    small.take(count=4, days=1)
    ledger, start = small.open(), small.clock
    small.clock += dt.timedelta(days=4000)
    chains = ledger.verify_chains()
    with pytest.raises(LeaseError, match="this station's clock alone") as caught:
        declare_lost(ledger, small.writer("station-2"), "station-1/1", reason="fire")
    assert "--today" in caught.value.hint
    with pytest.raises(LeaseError, match="CLOCK_SUSPECT"):
        declare_lost(
            ledger, small.writer("station-2"), "station-1/1", reason="fire", today=start.date()
        )
    assert ledger.verify_chains() == chains
    # Its own events, under whatever lease, are told by the same clock.
    reserve((ledger, small.writer("station-2")), 8)
    with pytest.raises(LeaseError, match="this station's clock alone"):
        declare_lost(ledger, small.writer("station-2"), "station-1/1", reason="fire")
    # Set right, it agrees with the third station's, once that has come so far.
    small.clock = start + dt.timedelta(days=1, hours=1)
    reserve((ledger, small.writer("station-3")), 9)
    record = declare_lost(ledger, small.writer("station-2"), "station-1/1", reason="fire")
    assert record.voided == 4
    steps = [(c.event.step, c.event.data.get("finding")) for c in ledger.events()]
    assert ("clock", "CLOCK_SUSPECT") in steps, "its chain tells of both clocks"
    ledger.verify_chains()
    ledger.close()


def test_a_lost_lease_is_ended_by_a_person_only_when_nobody_can_use_it_any_more(factory):
    factory.join("station-2")
    factory.take(count=4, days=1)
    given = make_offline(factory, 1)
    ledger, other = factory.open(), factory.writer("station-2")
    with pytest.raises(LeaseError, match="still in force"):
        declare_lost(ledger, other, "station-1/1", reason="fire")
    factory.clock += dt.timedelta(days=1)
    for name in ("station-1/2", "station-1", "/", "station-1/x", "station-1/" + "9" * 50):
        with pytest.raises(LeaseError, match="no such open lease"):
            declare_lost(ledger, other, name, reason="fire")
    with pytest.raises(LeaseError, match="needs a reason"):
        declare_lost(ledger, other, "station-1/1", reason="")
    chains = ledger.verify_chains()
    for day in (factory.clock - dt.timedelta(days=400), factory.clock + dt.timedelta(days=2)):
        with pytest.raises(LeaseError, match="CLOCK_SUSPECT"):
            declare_lost(ledger, other, "station-1/1", reason="fire", today=day.date())
    assert ledger.verify_chains() == chains
    today = factory.clock.date()
    record = declare_lost(ledger, other, "station-1/1", reason="fire", today=today)
    assert (record.given, record.voided, record.left) == (0, 4, 0)
    ledger.verify_chains()
    # The folder turns up after all: its numbers stay void, its boards are for a person.
    result = factory.sync()
    assert "void: lease station-1/1 lost: fire" in result.refused[0]
    assert result.archive is not None
    assert find_quarantine(ledger, mac_of(1)) is not None
    assert list_units(ledger.database) == ()
    assert len(ledger.events(serial=given[0].serial)) > 5
    ledger.verify_chains()
    ledger.close()


def test_after_a_restore_the_lease_counts_what_was_given_and_ends(factory, tmp_path):
    factory.take(count=5)
    make_offline(factory, 1)
    write_backup(factory.address, tmp_path / "backup", now=factory.now())
    factory.sync()  # the ledger that is lost had it
    make_offline(factory, 2)
    factory.clock += dt.timedelta(hours=1)
    address = tmp_path / "new" / "ledger.sqlite3"
    restored = restore_for_station(
        tmp_path / "backup", address, factory.writer(), folder=factory.folder(),
        opening="opening-2", reason="the server died",
    )  # fmt: skip
    assert [void.first_sequence for void in restored.voided] == [6], "leased numbers are explained"
    with pytest.raises(LeaseError, match="of another epoch"):
        factory.offline()
    factory.address = address
    result = factory.sync()
    assert result.record.reason.endswith("the ledger was restored since")
    assert (result.record.given, result.record.voided) == (2, 3)
    ledger = factory.open()
    ledger.verify_chains()
    assert {unit.mac for unit in list_units(ledger.database)} == {mac_of(1), mac_of(2)}
    assert sequences(reserve((ledger, factory.writer()), 3)) == [sequences_of_epoch(2)[0]]
    ledger.close()
    lease = factory.take(count=5)
    assert lease.epoch == 2
    # What it gives without the ledger is taken over as in the first epoch.
    (made,) = make_offline(factory, 4)
    result = factory.sync(is_given_back=True)
    assert (result.refused, result.record.given, result.record.voided) == ((), 1, 4)
    ledger = factory.open()
    ledger.verify_chains()
    assert find_unit(ledger.database, mac=mac_of(4)).serial == made.serial
    ledger.close()


def test_an_outbox_of_another_epoch_than_its_lease_is_refused(small):
    small.take()
    make_offline(small, 1)
    with closing(sqlite3.connect(small.outbox())) as connection, connection:
        connection.execute("UPDATE ledger_identity SET epoch = 2, opening = 'opening-2'")
    before = small.dump()
    with pytest.raises(LeaseError, match="opened by station init"):
        small.sync()
    assert small.dump() == before


def test_a_lease_that_the_restored_ledger_never_knew_is_given_up_by_a_person(small, tmp_path):
    write_backup(small.address, tmp_path / "backup", now=small.now())
    small.take()
    make_offline(small, 1)
    small.address = tmp_path / "new" / "ledger.sqlite3"
    restore_for_station(
        tmp_path / "backup", small.address, small.writer(), folder=small.folder(),
        opening="opening-2", reason="the disk died",
    )  # fmt: skip
    with pytest.raises(LeaseError, match="does not know this lease") as refusal:
        small.sync()
    assert "--give-up" in refusal.value.hint
    ledger = small.open()
    with pytest.raises(LeaseError, match="needs a reason"):
        give_up(small.folder(), ledger, small.writer(), reason="")
    assert len(give_up(small.folder(), ledger, small.writer(), reason="lost").boards) == 1
    assert give_up(small.folder(), ledger, small.writer(), reason="lost") is None
    assert find_quarantine(ledger, mac_of(1)) is not None
    ledger.verify_chains()
    ledger.close()


def test_a_lease_is_given_back_or_used_up(small):
    small.take(count=2)
    with pytest.raises(LeaseError, match="holds a lease already"):
        small.take()
    record = small.sync(is_given_back=True).record
    assert (record.reason, record.voided) == ("lease station-1/1 given back", 2)
    assert small.take(count=1).name == "station-1/2"
    (given,) = make_offline(small, 1)
    assert sequences(given) == [3]
    result = small.sync()
    assert (result.record.reason, result.record.voided) == ("lease station-1/2 used up", 0)
    assert result.archive is not None


@pytest.mark.parametrize(
    ("count", "days", "message"),
    [(0, 1, "numbers"), (COUNT_MAX + 1, 1, "numbers"), (1, 32, "days")],
)
def test_a_lease_that_nobody_could_get_is_refused_before_anything_is_written(
    small, count, days, message
):
    before = dump(small.address)
    with pytest.raises(LeaseError, match=message):
        small.take(count=count, days=days)
    assert dump(small.address) == before
    assert find_lease_files(small.folder()) is None


def test_a_lease_is_of_the_ledgers_format_and_no_larger_than_its_series(tmp_path):
    picture = "PPPMMMYYSSSC"  # 1023 numbers a year
    factory = Factory(tmp_path / "stations", tmp_path / "server" / "ledger.sqlite3")
    factory.begin(picture=picture)
    with pytest.raises(SerialNumberError, match="not so many"):
        factory.take(count=1024)
    assert factory.take(count=1023).count == 1023  # the request that was begun is asked again
    (given,) = make_offline(factory, 1)
    number = parse_serial(given.serial, parse_format(picture))
    assert (number.year, number.week, number.sequence) == (2026, 0, 1)
    factory.clock += dt.timedelta(days=7)
    result = factory.sync()
    assert (result.record.given, result.record.voided) == (1, 1022)
    assert result.record.serial(1) == given.serial
    ledger = factory.open()
    ledger.verify_chains()
    with pytest.raises(SerialNumberError, match="no serial number is left"):
        reserve((ledger, factory.writer()), 2)
    ledger.close()


EDITS = (
    "UPDATE leases SET last_sequence = last_sequence - 1",
    "UPDATE leases SET expires_at = '2027-01-01T00:00:00.000000Z'",
    "UPDATE leases SET station = 'station-9'",
    "UPDATE leases SET document_digest = NULL",
    "UPDATE leases SET closed_at = issued_at",
    "DELETE FROM leases",
    "UPDATE serial_numbers SET sequence = 99 WHERE sequence = 1",
)


def test_an_edited_row_of_a_lease_contradicts_the_events(small, tmp_path):
    small.take()
    make_offline(small, 1)
    small.sync()
    for number, edit in enumerate(("", *EDITS)):
        path = tmp_path / f"{number}.sqlite3"
        shutil.copy(small.address, path)
        if edit:
            Site(path).edit(edit)
        ledger = Ledger.open(path)
        with pytest.raises(LedgerError, match="contradict") if edit else nullcontext():
            ledger.verify_chains()
        ledger.close()


def test_an_edited_outbox_is_refused_and_nothing_of_it_is_taken_over(small):
    small.take()
    make_offline(small, 1)
    before = dump(small.address)
    with closing(sqlite3.connect(":memory:")) as kept:
        with closing(sqlite3.connect(small.outbox())) as outbox:
            outbox.backup(kept)
        for statement in (
            "UPDATE units SET state = 'fail'",
            "UPDATE events SET content = zeroblob(9) WHERE step = 'final'",
            "DELETE FROM events WHERE number = 3",
        ):
            with closing(sqlite3.connect(small.outbox())) as outbox:
                outbox.execute(statement)
                outbox.commit()
            with pytest.raises(LeaseError, match="outbox cannot be used"):
                small.sync()
            with pytest.raises(LeaseError, match="outbox cannot be used"):
                small.offline()
            assert dump(small.address) == before
            with closing(sqlite3.connect(small.outbox())) as outbox:
                kept.backup(outbox)  # into the same file: it stays in its place
    assert small.sync().record.given == 1


def test_a_unit_made_offline_is_exported_with_proof(small):
    small.take()
    (given,) = make_offline(small, 1)
    small.sync()
    ledger = small.open()
    keys = load_station_keys(
        small.folder(), station_name="station-1", now=small.clock, passphrase=None
    )
    export = export_unit(ledger, given.serial, keys=keys, station="station-1", now=small.now())
    ledger.close()
    content = json.dumps(export).encode()
    events = verify_export(content, keys.ca_der, now=small.now(), where="export")
    assert {event.station for event in events} == {"station-1/1"}


def test_two_leases_in_one_folder_are_refused(small):
    small.take()
    shutil.copy(small.outbox(), small.folder() / f"lease-{'0' * 31}f.sqlite3")
    with pytest.raises(LeaseError, match="two leases"):
        small.sync()
    with pytest.raises(LeaseError, match="two leases"):
        small.offline()


def test_the_stations_own_ledger_is_never_mistaken_for_an_outbox(small):
    small.take()
    outbox = Ledger.open(small.outbox())
    assert outbox.identity.uuid == small.open().identity.uuid
    outbox.close()
    assert (small.root / NOWHERE).exists() is False


def test_a_server_that_does_not_answer_is_out_of_reach_and_one_that_refuses_is_not(small, postgres):
    small.take()
    nobody = parse_ledger_address("postgresql://ampforge@127.0.0.1:1/flare", root=small.root)
    opened = open_station_ledger(small.folder(), nobody, small.writer())
    assert opened.is_offline
    opened.close()
    refusing = parse_ledger_address(postgres.url("no_such_database"), root=small.root)
    with pytest.raises(LedgerError, match="no such database"):
        open_station_ledger(small.folder(), refusing, small.writer())


def test_an_outbox_of_an_earlier_version_is_brought_up_to_date(small):
    small.take()
    make_offline(small, 1)
    outbox = Site(small.outbox())
    outbox.edit("DROP INDEX ix_events_metrology")
    outbox.edit("DROP TABLE leases")
    outbox.edit("UPDATE alembic_version SET version_num = '0004'")
    make_offline(small, 2)
    assert small.sync().record.given == 2
