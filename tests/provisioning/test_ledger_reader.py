"""A ledger that is only read tells and refuses what the open ledger of a station does."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.errors import LedgerError
from provisioning.ledger import Ledger
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_modules import list_replaced
from provisioning.ledger_reader import open_reader
from provisioning.ledger_revisions import REVISIONS
from provisioning.ledger_units import find_unit
from provisioning.serial_formats import parse_format
from tests.provisioning.ledger_sites import BACK_ENDS, MAC, START, a_writer, made_site, reserve

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger"
OTHER = bytes.fromhex("7cdfa1000002")


@pytest.fixture(params=BACK_ENDS)
def site(request, tmp_path):
    return made_site(request.param, tmp_path, request)


@pytest.fixture
def path(tmp_path, request):
    """A ledger in a file, with two units of two stations."""
    path = made_site("sqlite", tmp_path, request).address
    fill(path)
    return path


def fill(address):
    ledger = Ledger.open(address)
    for name, mac in (("station-1", MAC), ("station-2", OTHER), ("station-1", OTHER)):
        reserve(ledger, a_writer(name), mac=mac)
    ledger.close()


def edit(path, statement):
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()


def everything(open_ledger, address):
    """What a command asks a ledger for, or the refusal."""
    try:
        ledger = open_ledger(address)
    except LedgerError as error:
        return str(error), error.hint
    try:
        told = []
        for mac in (MAC, OTHER):
            unit = find_unit(ledger.database, mac=mac)
            told += [unit, list_replaced(ledger.database, mac=mac)]
            told += [ledger.events(serial=unit.serial), ledger.events(job=unit.last_job)]
    except LedgerError as error:
        return str(error), error.hint
    finally:
        ledger.close()
    return ledger.identity, told


def refusal(path):
    """The words with which a reader and an open ledger refuse a file, which neither changes."""
    before = path.read_bytes()
    words, hint = everything(open_reader, path)
    assert path.read_bytes() == before
    assert (words, hint) == everything(Ledger.open, path)
    return words


def test_a_reader_tells_what_the_open_ledger_does(site):
    fill(site.address)
    site.edit(
        "INSERT INTO replaced_modules (mac, serial, replaced_by, replaced_at) SELECT "
        "x'7cdfa1000001', serial, x'7cdfa1000009', changed_at FROM units "
        "WHERE mac = x'7cdfa1000001'"
    )
    before = site.dump()
    identity, told = everything(open_reader, site.address)
    assert (identity, told) == everything(Ledger.open, site.address)
    assert [len(events) for events in told[2::4]] == [1, 2]
    assert [len(modules) for modules in told[1::4]] == [1, 0]
    assert site.dump() == before


def test_a_reader_knows_the_format_of_the_numbers(tmp_path):
    path, picture = tmp_path / "ledger.sqlite3", parse_format("PPPMMMYYWWSSSSSSC")
    create_ledger(
        path, product="flare", ledger_uuid="u", created_at=START, serial_format=picture, station="a"
    )
    reader = open_reader(path)
    assert reader.identity.serial_format == picture
    with pytest.raises(LedgerError, match="knows no such unit"):
        find_unit(reader.database, mac=MAC)
    reader.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TABLE alembic_version", "no revision"),
        ("DELETE FROM alembic_version", "no revision"),
        ("UPDATE alembic_version SET version_num = '9999'", "another version"),
        ("DELETE FROM ledger_identity", "no identity"),
        ("UPDATE ledger_identity SET epoch = 'x'", "unusable value: ledger_identity.epoch"),
        ("UPDATE ledger_identity SET created_at = 'x'", "not a time of the ledger"),
        ("UPDATE events SET station = x'00' WHERE number = 1", "unusable value: events.station"),
        ("UPDATE events SET number = 9 WHERE station = 'station-2'", "columns of an event"),
        ("UPDATE events SET content = x'00' WHERE number = 1", "event of the ledger is damaged"),
        ("UPDATE events SET content = 'x' WHERE number = 1", "unusable value: events.content"),
        ("UPDATE events SET previous = zeroblob(32) WHERE number = 1", "changed after it was"),
        ("UPDATE events SET hash = zeroblob(31) WHERE number = 1", "unusable value: events.hash"),
        ("UPDATE events SET step = 'final' WHERE number = 1", "columns of an event"),
        ("UPDATE units SET state = 'sold'", "unusable value: state"),
        ("UPDATE units SET mac = '1' || serial", "knows no such unit"),
        ("ALTER TABLE events RENAME COLUMN job TO work", "cannot be read or written"),
        ("DROP TABLE replaced_modules", "cannot be read or written"),
    ],
)
def test_a_ledger_that_was_changed_by_hand_is_refused_in_the_same_words(path, statement, words):
    edit(path, statement)
    assert words in refusal(path)


def test_what_is_no_ledger_is_refused_in_the_same_words(path):
    whole = path.read_bytes()
    for content, words in (
        (b"", "another version"),
        (b"not a database, but long enough to be taken for one" * 20, "this is no ledger"),
        (whole[:5000] + b"\xff" * 20_000 + whole[25_000:], "file is damaged"),
        (whole[:-20_000], "file is damaged"),
    ):
        path.write_bytes(content)
        found, hint = everything(open_reader, path)
        assert (found, hint) == everything(Ledger.open, path)
        assert words in found + hint


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_an_older_ledger_is_refused_in_the_same_words(revision, tmp_path):
    path = tmp_path / "ledger.sqlite3"
    shutil.copy(GOLDEN / f"revision-{revision}.sqlite3", path)
    assert f"revision {revision}" in refusal(path)


def test_reading_never_creates_a_ledger(tmp_path):
    for missing in (tmp_path / "ledger.sqlite3", tmp_path):
        words, hint = everything(open_reader, missing)
        assert (words, hint) == everything(Ledger.open, missing)
        assert "there is no ledger" in words
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_stays_locked_is_told_in_the_same_words(path, monkeypatch):
    for module in ("ledger_file", "sqlite_engine"):
        monkeypatch.setattr(f"provisioning.{module}.BUSY_TIMEOUT_S", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    assert "another writer holds the ledger" in refusal(path)
    holder.close()


def test_a_reader_beside_a_station_sees_what_was_committed_and_one_state_of_it(path):
    ledger, reader = Ledger.open(path), open_reader(path)
    serial = find_unit(reader.database, mac=MAC).serial
    writer = a_writer()
    given = reserve(ledger, writer)
    with reader.database.asking() as questions:
        (before,) = questions.ask("SELECT count(*) AS count FROM events")
        ledger.append(writer, step="flash", phase=Phase.NOTE, data={}, reservation=given)
        assert questions.ask("SELECT count(*) AS count FROM events") == [before]
    with ledger.database.writing() as connection:  # a station in the middle of its work
        connection.exec_driver_sql("DELETE FROM events")
        assert reader.events(serial=serial)[-1].event.step == "flash"
        connection.rollback()
    assert reader.events(serial=serial) == ledger.events(serial=serial)
    reader.close()
    ledger.close()


def test_the_log_of_a_station_that_was_killed_is_read_and_nothing_is_left_beside(path):
    lines = (
        "import os, sys", "from pathlib import Path",
        "from provisioning.ledger import Ledger", "from provisioning.ledger_events import Phase",
        "from tests.provisioning.ledger_sites import a_writer",
        "ledger = Ledger.open(Path(sys.argv[1]))",
        "ledger.append(a_writer(), step='last', phase=Phase.NOTE, data={}, mac=bytes(6))",
        "os._exit(9)",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(path)], check=False, timeout=60
    )
    assert done.returncode == 9
    assert path.with_name(f"{path.name}-wal").stat().st_size
    reader = open_reader(path)
    with reader.database.asking() as questions:
        (last,) = questions.ask("SELECT max(number) AS number, step FROM events WHERE job IS NULL")
    assert last.step == "last"
    reader.close()
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_cannot_change_the_ledger(path):
    before = path.read_bytes()
    reader = open_reader(path)
    with (
        pytest.raises(LedgerError, match="can only be read"),
        reader.database.asking() as questions,
    ):
        questions.ask("DELETE FROM events")
    reader.close()
    assert path.read_bytes() == before


def test_a_file_is_read_without_loading_a_database_library(path):
    lines = (
        "import sys", "from pathlib import Path",
        "from provisioning.ledger_reader import open_reader",
        "from provisioning.ledger_units import find_unit",
        "reader = open_reader(Path(sys.argv[1]))",
        "unit = find_unit(reader.database, mac=bytes.fromhex(sys.argv[2]))",
        "assert reader.events(serial=unit.serial)",
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules)",
    )  # fmt: skip
    command = [sys.executable, "-c", "\n".join(lines), str(path), MAC.hex()]
    subprocess.run(command, check=True, timeout=60)
