"""The ledger: one number for each chip, whatever crashes or races."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sqlite3
import subprocess
import sys

import pytest

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger import Ledger, create_ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import (
    count_serials,
    find_unit,
    list_jobs,
    list_serials,
    list_units,
)
from provisioning.ledger_values import JobState, SerialState, UnitState, Writer
from provisioning.serial_numbers import SEQUENCE_MAX, parse_serial

START = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
MAC = bytes.fromhex("7cdfa1000001")
BUNDLE = bytes(range(32))
SERIAL = "AMPFLR260700001R"


def a_writer(station="station-1"):
    ticks = itertools.count()
    names = itertools.count(1)
    return Writer(
        station=station,
        now=lambda: START + dt.timedelta(milliseconds=next(ticks)),
        new_job=lambda: f"{station}-job-{next(names)}",
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "station" / "ledger.sqlite3"
    create_ledger(path, product="flare", ledger_uuid="uuid-1", created_at=START)
    return path


@pytest.fixture
def ledger(path):
    ledger = Ledger.open(path)
    yield ledger
    ledger.close()


def reserve(ledger, writer, **changes):
    arguments = {
        "mac": MAC, "prefix": "AMP", "model": "FLR", "bundle_digest": BUNDLE, "again": False,
    }  # fmt: skip
    return ledger.reserve(writer, **{**arguments, **changes})


def test_a_ledger_is_created_once_and_keeps_its_identity(path, ledger):
    assert (ledger.identity.uuid, ledger.identity.epoch) == ("uuid-1", 1)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="there is a ledger already"):
        create_ledger(path, product="flare", ledger_uuid="uuid-2", created_at=START)
    assert path.read_bytes() == before
    assert Ledger.open(path).identity.created_at == START


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


def test_a_ledger_of_another_version_is_refused(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="another version") as refusal:
        Ledger.open(path)
    assert "9999" in refusal.value.got


def test_a_ledger_without_identity_is_refused(path):
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM ledger_identity")
    with pytest.raises(LedgerError, match="no identity"):
        Ledger.open(path)


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be created"):
        create_ledger(
            tmp_path / "file" / "ledger", product="flare", ledger_uuid="u", created_at=START
        )


def test_the_migrations_make_exactly_the_tables_of_the_schema(path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine

    from provisioning import ledger_database
    from provisioning.ledger_schema import HEAD_REVISION, metadata

    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert ScriptDirectory(str(ledger_database._MIGRATIONS)).get_heads() == [HEAD_REVISION]


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


def test_a_week_without_numbers_left_is_refused_and_nothing_changes(ledger):
    writer = a_writer()
    reserve(ledger, writer)
    with sqlite3.connect(ledger.database.path) as database:
        database.execute("UPDATE serial_numbers SET sequence = ?", (SEQUENCE_MAX,))
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
        ("UPDATE events SET hash = zeroblob(32) WHERE number = 1", "broken"),
        ("DELETE FROM events WHERE number = 1", "missing"),
    ],
)
def test_a_changed_ledger_is_found(ledger, statement, telling):
    writer = a_writer()
    for step in ("x1", "x2", "x3"):
        ledger.append(writer, step=step, phase=Phase.NOTE, data={})
    with sqlite3.connect(ledger.database.path) as database:
        database.execute(statement)
    with pytest.raises(LedgerError, match=telling):
        ledger.verify_chains()


def test_columns_that_contradict_the_content_are_found(ledger):
    reservation = reserve(ledger, a_writer())
    with sqlite3.connect(ledger.database.path) as database:
        database.execute("UPDATE events SET step = 'final'")
    with pytest.raises(LedgerError, match="something else than its content"):
        ledger.events(serial=reservation.serial)


def test_an_unknown_unit_is_our_error(ledger):
    with pytest.raises(LedgerError, match="no such unit"):
        find_unit(ledger.database, serial="AMPFLR260700001X")


def test_a_station_name_is_judged_before_it_is_written():
    with pytest.raises(LedgerError, match="station's name"):
        a_writer("Station 1!")


ALLOCATOR = """
import datetime as dt, json, sys, uuid
from pathlib import Path
from provisioning.ledger import Ledger
from provisioning.ledger_values import Writer
path, station, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ledger = Ledger.open(path)
writer = Writer(station=station, now=lambda: dt.datetime(2026, 2, 10, tzinfo=dt.UTC),
                new_job=lambda: str(uuid.uuid4()))
print("ready", flush=True)
sys.stdin.readline()
given = {n: ledger.reserve(writer, mac=n.to_bytes(6, "big"), prefix="AMP", model="FLR",
         bundle_digest=bytes(32), again=False).serial for n in range(first, last)}
print(json.dumps(given))
"""


def test_processes_that_allocate_at_once_give_no_number_twice(path, ledger):
    """Three real processes, overlapping ranges of MACs, started together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ALLOCATOR, str(path), f"s-{n}", str(n * 20), str(n * 20 + 40)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    given: dict[str, str] = {}
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        for mac, serial in json.loads(output).items():
            assert given.setdefault(mac, serial) == serial
    assert len(given) == len(set(given.values())) == 80
    sequences = sorted(parse_serial(serial).sequence for serial in given.values())
    assert sequences == list(range(1, 81))
    assert sum(count for count, _ in ledger.verify_chains().values()) == 120


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
        ("UPDATE events SET content = 'text' WHERE number = 1", "events.content"),
        ("UPDATE events SET hash = 7 WHERE number = 1", "events.hash"),
        ("UPDATE units SET mac = 'abc'", "units.mac"),
        ("UPDATE units SET mac = x'00'", "units.mac"),
    ],
)
def test_a_row_that_was_edited_by_hand_is_found(ledger, path, worked, statement, telling):
    with sqlite3.connect(path) as database:
        database.execute(statement)
    with pytest.raises(LedgerError, match=telling) as refusal:
        ledger.verify_chains()
    assert "outside Ampforge" in refusal.value.hint


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
    ledger, path, worked, statement, question
):
    assert worked.serial == SERIAL
    with sqlite3.connect(path) as database:
        database.execute(statement)
    with pytest.raises(LedgerError, match=r"unusable value|was changed"):
        question(ledger)


def test_an_epoch_that_is_no_number_is_refused(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE ledger_identity SET epoch = 'two'")
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
    assert [event.number for event in told] == [0, 1, 2, 3, 4]
    assert told[0].at > told[-1].at
    ledger.verify_chains()


def test_a_path_may_hold_what_means_something_in_a_url(tmp_path):
    path = tmp_path / "50%25 done? a=b#c" / "ledger.sqlite3"
    create_ledger(path, product="flare", ledger_uuid="uuid-1", created_at=START)
    ledger = Ledger.open(path)
    ledger.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["ledger.sqlite3"]
