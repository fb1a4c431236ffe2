"""The ledger: one number for each chip, whatever crashes or races."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import sqlite3

import psycopg
import pytest

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger import Ledger
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import count_serials, list_jobs, list_serials, list_units
from provisioning.ledger_units import find_unit
from provisioning.ledger_values import JobState, SerialState, UnitState, Writer
from provisioning.serial_numbers import parse_serial
from tests.conftest import IS_SOAK
from tests.provisioning.ledger_sites import (
    BACK_ENDS,
    MAC,
    START,
    Site,
    a_writer,
    create,
    made_site,
    reserve,
)

SERIAL = "AMPFLR260700001R"


@pytest.fixture(params=BACK_ENDS)
def site(request, tmp_path):
    return made_site(request.param, tmp_path, request)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "station" / "ledger.sqlite3"
    create(path)
    return path


@pytest.fixture
def ledger(site):
    ledger = Ledger.open(site.address)
    yield ledger
    ledger.close()


POSTGRES_REFUSES = ("DELETE FROM units", "hash = 7", "previous = 7", "number = 'x'", "randomblob")


def edited(site, statement):
    """Change a ledger by hand, unless it is of the kind that PostgreSQL itself refuses."""
    if site.server is not None and any(part in statement for part in POSTGRES_REFUSES):
        with pytest.raises(psycopg.Error):
            site.edit(statement)
        return False
    site.edit(statement)
    return True


def test_a_ledger_is_created_once_and_keeps_its_identity(site, ledger):
    assert (ledger.identity.uuid, ledger.identity.epoch) == ("uuid-1", 1)
    before = site.dump()
    with pytest.raises(LedgerError, match="there is a ledger already"):
        create_ledger(site.address, product="flare", ledger_uuid="uuid-2", created_at=START)
    assert site.dump() == before
    assert Ledger.open(site.address).identity.created_at == START


def test_opening_never_creates_a_ledger(tmp_path):
    with pytest.raises(LedgerError, match="there is no ledger") as refusal:
        Ledger.open(tmp_path / "ledger.sqlite3")
    assert "station init" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    other = tmp_path / "ledger.sqlite3"
    other.write_bytes(b"not a database, but long enough to be taken for one" * 20)
    with pytest.raises(LedgerError, match="cannot be read or written"):
        Ledger.open(other)
    sqlite3.connect(tmp_path / "other.sqlite3").close()
    (tmp_path / "other.sqlite3").touch()
    with pytest.raises(LedgerError, match="another version"):
        Ledger.open(tmp_path / "other.sqlite3")


def test_a_ledger_of_another_version_is_refused(site):
    site.edit("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="another version") as refusal:
        Ledger.open(site.address)
    assert "9999" in refusal.value.got


def test_a_ledger_without_identity_is_refused(site):
    site.edit("DELETE FROM ledger_identity")
    with pytest.raises(LedgerError, match="no identity"):
        Ledger.open(site.address)


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be created"):
        create_ledger(
            tmp_path / "file" / "ledger", product="flare", ledger_uuid="u", created_at=START
        )


def test_the_migrations_make_exactly_the_tables_of_the_schema(site, ledger):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from provisioning import ledger_migrations
    from provisioning.ledger_revisions import HEAD_REVISION
    from provisioning.ledger_schema import metadata

    with ledger.database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert ScriptDirectory(str(ledger_migrations.MIGRATIONS_FOLDER)).get_heads() == [HEAD_REVISION]


def test_the_same_chip_keeps_its_number_and_resumes_its_job(ledger):
    writer = a_writer()
    first = reserve(ledger, writer)
    second = reserve(ledger, writer)
    assert (first.is_new, first.is_resumed) == (True, False)
    assert (second.is_new, second.is_resumed) == (False, True)
    assert (second.serial, second.job, second.job_number) == (first.serial, first.job, 1)
    assert parse_serial(first.serial).sequence == 1


def test_numbers_count_up_within_one_model_and_week(ledger):
    writer = a_writer()
    serials = [reserve(ledger, writer, mac=bytes([0, 0, 0, 0, 0, n])).serial for n in range(3)]
    other = reserve(ledger, writer, mac=bytes(6), model="FL2").serial
    assert [parse_serial(serial).sequence for serial in serials] == [1, 2, 3]
    assert serials[0] != other or parse_serial(other).model == "FLR"
    assert count_serials(ledger.database)[SerialState.RESERVED] == 3


def test_a_week_without_numbers_left_is_refused_and_nothing_changes(site, ledger):
    writer = a_writer()
    reserve(ledger, writer)
    site.edit("UPDATE serial_numbers SET sequence = 1048575")
    assert sequences_of_epoch(1)[-1] == 1048575
    with pytest.raises(SerialNumberError, match="no serial number is left"):
        reserve(ledger, writer, mac=bytes(6))
    assert len(list_units(ledger.database)) == 1


def test_another_bundle_abandons_the_open_job(ledger):
    writer = a_writer()
    first = reserve(ledger, writer)
    second = reserve(ledger, writer, bundle_digest=bytes(32))
    assert (second.is_resumed, second.job_number) == (False, 2)
    states = [job.state for job in list_jobs(ledger.database, first.serial)]
    assert states == [JobState.ABANDONED, JobState.OPEN]


def test_a_unit_that_passed_is_reported_and_not_redone_unless_again(ledger):
    writer = a_writer()
    reservation = reserve(ledger, writer)
    ledger.finish(writer, reservation=reservation, unit_state=UnitState.PASS, data={"ok": True})
    count, _ = ledger.verify_chains()["station-1"]
    reported = reserve(ledger, writer)
    assert (reported.job, reported.unit_state) == (None, UnitState.PASS)
    assert ledger.verify_chains()["station-1"][0] == count
    assert list_serials(ledger.database)[0].state is SerialState.RELEASED
    again = reserve(ledger, writer, again=True)
    assert (again.serial, again.job_number) == (reservation.serial, 2)
    assert find_unit(ledger.database, mac=MAC).state is UnitState.IN_WORK


def test_a_unit_that_failed_gets_a_new_job_and_keeps_its_number(ledger):
    writer = a_writer()
    reservation = reserve(ledger, writer)
    ledger.finish(writer, reservation=reservation, unit_state=UnitState.FAIL, data={})
    assert list_serials(ledger.database)[0].state is SerialState.RESERVED
    next_try = reserve(ledger, writer)
    assert (next_try.serial, next_try.job_number) == (reservation.serial, 2)


def test_events_are_chained_for_each_station_and_read_back(ledger):
    first, second = a_writer("station-1"), a_writer("station-2")
    reservation = reserve(ledger, first)
    ledger.append(second, step="detect", phase=Phase.INTENT, data={"port": "x"}, mac=MAC)
    ledger.append(
        first, step="identity", phase=Phase.CONFIRM, data={"ü": 1.5},
        reservation=reservation, serial_state=SerialState.ASSIGNED,
    )  # fmt: skip
    events = ledger.events(serial=reservation.serial)
    assert [chained.event.step for chained in events] == ["reserve", "identity"]
    assert events[1].event.data == {"ü": 1.5}
    assert {name: count for name, (count, _) in ledger.verify_chains().items()} == {
        "station-1": 2,
        "station-2": 1,
    }
    assert list_serials(ledger.database)[0].state is SerialState.ASSIGNED


@pytest.mark.parametrize(
    ("statement", "telling"),
    [
        (
            "UPDATE events SET content = zeroblob(60) WHERE number = 1",
            "damaged|broken",
        ),
        ("UPDATE events SET hash = zeroblob(32) WHERE number = 1", "changed after"),
        ("DELETE FROM events WHERE number = 1", "missing"),
    ],
)
def test_a_changed_ledger_is_found(site, ledger, statement, telling):
    writer = a_writer()
    for step in ("x1", "x2", "x3"):
        ledger.append(writer, step=step, phase=Phase.NOTE, data={})
    site.edit(statement)
    with pytest.raises(LedgerError, match=telling):
        ledger.verify_chains()


def test_columns_that_contradict_the_content_are_found(site, ledger):
    reservation = reserve(ledger, a_writer())
    site.edit("UPDATE events SET step = 'final'")
    with pytest.raises(LedgerError, match="something else than its content"):
        ledger.events(serial=reservation.serial)


def test_an_unknown_unit_is_our_error(ledger):
    with pytest.raises(LedgerError, match="no such unit"):
        find_unit(ledger.database, serial="AMPFLR260700001X")


def test_a_station_name_is_judged_before_it_is_written():
    with pytest.raises(LedgerError, match="station's name"):
        a_writer("Station 1!")


@pytest.fixture
def worked(ledger):
    """A unit that passed with one job, after another one was abandoned."""
    writer = a_writer()
    reserve(ledger, writer, bundle_digest=bytes(32))
    reservation = reserve(ledger, writer)
    ledger.append(
        writer, step="identity", phase=Phase.CONFIRM, data={}, reservation=reservation,
        serial_state=SerialState.ASSIGNED,
    )  # fmt: skip
    ledger.finish(writer, reservation=reservation, unit_state=UnitState.PASS, data={})
    ledger.verify_chains()
    return reservation


@pytest.mark.parametrize("site", BACK_ENDS if IS_SOAK else ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("statement", "telling"),
    [
        (
            "DELETE FROM events WHERE number = (SELECT max(number) FROM events)",
            "expected assigned, got released",
        ),
        ("DELETE FROM events", "expected voided, got released"),
        ("UPDATE units SET state = 'fail'", "expected pass, got fail"),
        ("UPDATE units SET mac = x'0102030405ff'", "mac"),
        ("UPDATE units SET changed_at = first_seen_at", "changed_at"),
        ("UPDATE units SET bundle_digest = zeroblob(32)", "bundle_digest"),
        ("UPDATE jobs SET outcome = 'fail' WHERE number = 2", "outcome"),
        ("UPDATE jobs SET state = 'open', closed_at = NULL WHERE number = 1", "abandoned"),
        ("DELETE FROM jobs WHERE number = 1", "expected a row, got none"),
        ("UPDATE serial_numbers SET state = 'reserved'", "expected released"),
        ("UPDATE serial_numbers SET sequence = 9", "sequence"),
        ("DELETE FROM units", "units"),
        ("UPDATE events SET step = 'verify' WHERE step = 'identity'", "columns of an event"),
        ("UPDATE events SET serial = NULL WHERE step = 'identity'", "columns of an event"),
        ("UPDATE events SET content = 'text' WHERE number = 1", "events.content|damaged"),
        ("UPDATE events SET hash = 7 WHERE number = 1", "events.hash"),
        ("UPDATE units SET mac = 'abc'", "units.mac"),
        ("UPDATE units SET mac = x'00'", "units.mac"),
    ],
)
def test_a_row_that_was_edited_by_hand_is_found(site, ledger, worked, statement, telling):
    if not edited(site, statement):
        return
    with pytest.raises(LedgerError, match=telling) as refusal:
        ledger.verify_chains()
    assert re.search("outside Ampforge|restore the ledger", refusal.value.hint)


@pytest.mark.parametrize("site", BACK_ENDS if IS_SOAK else ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("statement", "question"),
    [
        ("UPDATE units SET state = 'great'", lambda ledger: list_units(ledger.database)),
        ("UPDATE units SET mac = 'abc'", lambda ledger: list_units(ledger.database)),
        ("UPDATE units SET state = 'fine'", lambda ledger: reserve(ledger, a_writer())),
        ("UPDATE jobs SET state = 'hm'", lambda ledger: list_jobs(ledger.database, SERIAL)),
        (
            "UPDATE jobs SET number = 'x' WHERE number = 1",
            lambda ledger: list_jobs(ledger.database, SERIAL),
        ),
        ("UPDATE serial_numbers SET state = 'x'", lambda ledger: list_serials(ledger.database)),
        ("UPDATE serial_numbers SET mac = 'x'", lambda ledger: list_serials(ledger.database)),
        ("UPDATE events SET previous = 7", lambda ledger: ledger.events(serial=SERIAL)),
        (
            "UPDATE events SET hash = randomblob(32) WHERE number = 1",
            lambda ledger: ledger.events(serial=SERIAL),
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_whoever_reads_it(
    site, ledger, worked, statement, question
):
    assert worked.serial == SERIAL
    if not edited(site, statement):
        return
    with pytest.raises(LedgerError, match=r"unusable value|was changed"):
        question(ledger)


def test_an_epoch_that_is_no_number_is_refused(path):
    site = Site(path)
    site.edit("UPDATE ledger_identity SET epoch = 'two'")
    with pytest.raises(LedgerError, match="epoch"):
        Ledger.open(path)


def test_a_clock_that_was_set_back_does_not_change_the_order(ledger):
    back = itertools.count(0, -1)
    names = itertools.count(1)
    writer = Writer(
        station="station-1",
        now=lambda: START + dt.timedelta(hours=next(back)),
        new_job=lambda: f"job-{next(names)}",
    )
    reservation = reserve(ledger, writer)
    for phase in (Phase.INTENT, Phase.CONFIRM):
        ledger.append(writer, step="flash", phase=phase, data={}, reservation=reservation)
    ledger.finish(writer, reservation=reservation, unit_state=UnitState.FAIL, data={})
    reserve(ledger, writer)
    told = [chained.event for chained in ledger.events(serial=reservation.serial)]
    assert [event.number for event in told] == [0, 2, 4, 6, 8]
    assert told[0].at > told[-1].at
    assert ledger.verify_chains()["station-1"][0] == 9  # a note before each that stands back


def test_a_path_may_hold_what_means_something_in_a_url(tmp_path):
    path = tmp_path / "50%25 done? a=b#c" / "ledger.sqlite3"
    create_ledger(path, product="flare", ledger_uuid="uuid-1", created_at=START)
    ledger = Ledger.open(path)
    ledger.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["ledger.sqlite3"]
