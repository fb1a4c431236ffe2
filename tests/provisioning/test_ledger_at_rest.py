"""A ledger is read where nothing can be written beside it, or refused with what to do."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager

import pytest

from provisioning.errors import LedgerError
from provisioning.ledger import Ledger
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_reader import open_reader
from provisioning.ledger_units import find_unit
from tests.ordinary_rights import ordinary_rights
from tests.provisioning.ledger_sites import MAC, START, a_writer, reserve

OPENED = pytest.mark.parametrize("open_ledger", [open_reader, Ledger.open])
LOG, INDEX = "ledger.sqlite3-wal", "ledger.sqlite3-shm"


@pytest.fixture
def path(tmp_path):
    """A ledger with one unit, closed, in a folder of its own whose name an address must quote."""
    path = tmp_path / "50 % of it? #1" / "ledger.sqlite3"
    create_ledger(path, product="flare", ledger_uuid="u", created_at=START)
    with closing(Ledger.open(path)) as ledger:
        reserve(ledger, a_writer())
    return path


@contextmanager
def only_readable(folder, *, file_mode=0o444):
    """A folder that this thread may not write; nothing in it changes meanwhile."""
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    for one in folder.iterdir():
        one.chmod(file_mode)
    folder.chmod(0o555)
    try:
        with ordinary_rights():
            yield
    finally:
        folder.chmod(0o755)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before


def leave_log(path, *, with_index):
    """What is there when a station was killed: its last unit is in the log alone."""
    saved = path.parent.parent / "saved"
    saved.mkdir()
    with closing(Ledger.open(path)) as ledger:
        reserve(ledger, a_writer("station-2"), mac=bytes(6))
        for name in (path.name, LOG, INDEX) if with_index else (path.name, LOG):
            shutil.copy(path.with_name(name), saved)
    shutil.rmtree(path.parent)
    saved.rename(path.parent)


def event_count(ledger):
    with ledger.database.asking() as questions:
        return questions.ask("SELECT count(*) AS count FROM events")[0].count


@OPENED
@pytest.mark.parametrize("file_mode", [0o444, 0o644])
def test_a_ledger_without_a_log_is_read_from_its_file_alone(path, open_ledger, file_mode):
    with closing(open_ledger(path)) as ledger:
        before = ledger.identity, find_unit(ledger.database, mac=MAC)
    with only_readable(path.parent, file_mode=file_mode), closing(open_ledger(path)) as ledger:
        assert (ledger.identity, find_unit(ledger.database, mac=MAC)) == before


@OPENED
def test_an_empty_log_holds_nothing_that_would_be_missed(path, open_ledger):
    path.with_name(LOG).touch()
    with only_readable(path.parent), closing(open_ledger(path)) as ledger:
        assert event_count(ledger) == 1


@OPENED
def test_a_log_with_its_index_is_read_as_ever(path, open_ledger):
    leave_log(path, with_index=True)
    with only_readable(path.parent), closing(open_ledger(path)) as ledger:
        assert event_count(ledger) == 2


@OPENED
def test_a_log_that_cannot_be_read_is_refused_and_the_way_that_is_told_shows_all(path, open_ledger):
    leave_log(path, with_index=False)
    with (
        only_readable(path.parent),
        pytest.raises(LedgerError, match="the last changes are in a log beside it") as refused,
    ):
        open_ledger(path)
    assert f"copy ledger.sqlite3 and {LOG} together" in refused.value.hint
    own = path.parent.with_name("own")
    own.mkdir()
    for name in (path.name, LOG):
        shutil.copyfile(path.with_name(name), own / name)
    with closing(open_ledger(own / path.name)) as ledger:
        assert event_count(ledger) == 2


@OPENED
def test_the_folder_that_counts_is_the_one_that_the_file_itself_is_in(path, open_ledger, tmp_path):
    link = tmp_path / "link.sqlite3"
    link.symlink_to(path)
    with only_readable(path.parent), closing(open_ledger(link)) as ledger:
        assert event_count(ledger) == 1


def test_nothing_is_written_to_it(path):
    with only_readable(path.parent), closing(Ledger.open(path)) as ledger:
        ledger.verify_chains()
        with pytest.raises(LedgerError, match="the ledger can only be read") as refused:
            reserve(ledger, a_writer(), mac=bytes(6))
        assert "right to write" in refused.value.hint
        assert event_count(ledger) == 1


@OPENED
def test_what_was_read_while_another_wrote_does_not_count(path, open_ledger):
    with only_readable(path.parent):
        ledger = open_ledger(path)
    with closing(ledger):
        assert event_count(ledger) == 1
        path.chmod(0o644)
        with closing(Ledger.open(path)) as station:
            reserve(station, a_writer(), mac=bytes(6))
        with pytest.raises(LedgerError, match="written to while it was read"):
            event_count(ledger)


@OPENED
def test_half_of_a_change_is_not_told_as_damage(path, open_ledger):
    with closing(Ledger.open(path)) as ledger:
        for _ in range(3):  # on pages that nobody looks at while a ledger is opened
            data = {"filler": "x" * 5000}
            ledger.append(a_writer(), step="flash", phase=Phase.NOTE, data=data, mac=MAC)
    with only_readable(path.parent):
        ledger = open_ledger(path)
    path.chmod(0o644)
    with closing(ledger), closing(sqlite3.connect(path)) as station:
        station.execute("UPDATE events SET hash = randomblob(32)")
        station.commit()
        station.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with pytest.raises(LedgerError, match="written to while it was read") as refused:
            ledger.events()
        assert "changed after it was written" in str(refused.value.__cause__)


@OPENED
def test_a_file_that_cannot_be_read_at_all_is_refused_as_ever(path, open_ledger):
    with (
        only_readable(path.parent, file_mode=0),
        pytest.raises(LedgerError, match="cannot be read or written"),
    ):
        open_ledger(path)


@OPENED
def test_where_a_log_could_be_kept_nothing_is_read_without_it(path, open_ledger):
    path.with_name(LOG).mkdir()  # SQLite cannot open it, and the folder can be written
    with ordinary_rights(), pytest.raises(LedgerError, match="cannot be read or written"):
        open_ledger(path)
