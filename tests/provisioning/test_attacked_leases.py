"""A lease whose files were copied back, damaged, rewritten or held open gives no number twice."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import delete

import provisioning.lease_taking
import provisioning.ledger_log
from provisioning.classification import BoardIdentity, RecordCondition
from provisioning.errors import LeaseError, LedgerDamageError, SetAsideError, StationError
from provisioning.file_birth import read_birth_ns
from provisioning.lease_folder import CLOSED_FOLDER, find_lease_files
from provisioning.lease_giving_up import give_up
from provisioning.ledger import Ledger
from provisioning.ledger_audit import audit_ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_events import Phase
from provisioning.ledger_leases import list_leases
from provisioning.ledger_queries import list_units
from provisioning.ledger_restore import restore_for_station
from provisioning.ledger_schema import jobs, serial_numbers, units
from provisioning.ledger_values import UnitState, Writer
from provisioning.ledger_witness import load_witness
from provisioning.outbox_database import open_outbox_database
from provisioning.outbox_memory import memory_path
from provisioning.station_ledger import open_station_ledger
from tests.conftest import IS_SOAK
from tests.provisioning.lease_bench import FactoryTemplate, mac_of, make_offline, reserve, work
from tests.provisioning.ledger_sites import BACK_ENDS
from tests.provisioning.tampered_ledger import tampering

TRIES = 20
BLANK = BoardIdentity(condition=RecordCondition.BLANK)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return FactoryTemplate(tmp_path_factory.mktemp("template"))


@pytest.fixture(params=BACK_ENDS if IS_SOAK else BACK_ENDS[:1])
def small(template, tmp_path, request):
    """A factory whose outbox is attacked; the ledger's back end hardly matters."""
    return template.copy(request.param, tmp_path / "factory", request)


@pytest.fixture(params=BACK_ENDS)
def shared(template, tmp_path, request):
    """A factory whose ledger is attacked, on both back ends."""
    return template.copy(request.param, tmp_path / "factory", request)


def put_back(path, kept):
    """Remove a file and copy an older one to its name, in the old inode if that can be had."""
    inode = path.stat().st_ino
    for _ in range(TRIES):
        path.unlink()
        shutil.copy2(kept, path)
        if path.stat().st_ino == inode:
            return


def test_an_outbox_that_was_removed_and_copied_back_is_a_copy_even_in_the_same_inode(small):
    """A file system gives the number of a removed file to the next one."""
    small.take()
    outbox = small.outbox()
    kept = outbox.with_name("kept")
    shutil.copy2(outbox, kept)
    make_offline(small, 1)
    memory_path(outbox).unlink()
    put_back(outbox, kept)
    for _ in range(2):
        with pytest.raises(LeaseError, match="of which this is a copy"):
            small.offline()
    result = small.sync(is_given_back=True)
    assert (result.is_in_place, result.record.closed_at, result.record.voided) == (False, None, 0)


def test_a_copy_of_a_file_was_made_at_another_time(tmp_path):
    path, twin = tmp_path / "one", tmp_path / "two"
    path.write_bytes(b"x")
    born = read_birth_ns(path)
    shutil.copy2(path, twin)
    path.write_bytes(b"another content")
    path.rename(tmp_path / "moved")
    assert read_birth_ns(tmp_path / "moved") == born
    assert born is None or read_birth_ns(twin) > born
    with pytest.raises(FileNotFoundError):
        read_birth_ns(tmp_path / "none")


def test_an_outbox_that_was_overwritten_in_place_gives_nothing_twice_and_ends_nothing(small):
    small.take()
    make_offline(small, 1)
    older = small.outbox().read_bytes()
    make_offline(small, 2)
    small.outbox().write_bytes(older)
    with pytest.raises(LeaseError, match="has forgotten what was given"):
        small.offline()
    result = small.sync(is_given_back=True)
    # What it still knows is taken over; the number of board 2 stays leased, not void.
    assert (result.is_in_place, result.record.given, result.record.voided) == (False, 1, 0)
    assert result.record.closed_at is None
    online = open_station_ledger(small.folder(), small.address, small.writer())
    assert online.outbox is None
    online.close()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema":"ampforge.outbox-memory/1"}', b"\xff"])
def test_a_damaged_memory_of_the_outbox_gives_nothing(small, content):
    small.take()
    make_offline(small, 1)
    memory_path(small.outbox()).write_bytes(content)
    with pytest.raises(LeaseError, match="what the station remembers of its lease's outbox"):
        small.offline()
    before = small.dump()
    with pytest.raises(LeaseError, match="what the station remembers of its lease's outbox"):
        small.sync()
    assert small.dump() == before


def test_a_station_that_dies_right_behind_a_number_goes_on(small):
    """The memory is older than the outbox then, never younger."""
    small.take()
    make_offline(small, 1)
    memory = memory_path(small.outbox())
    older = memory.read_bytes()
    (given,) = make_offline(small, 2)
    memory.write_bytes(older)
    opened = small.offline()
    assert reserve(opened, 2).serial == given.serial
    assert reserve(opened, 3).serial != given.serial
    opened.close()


def test_boards_met_between_a_request_and_its_lease_wait_for_the_ledger(small, monkeypatch):
    """Else a chip whose board lost its job at that moment had two numbers."""

    class KilledError(Exception):
        pass

    def die(*_arguments, **_options):
        raise KilledError

    monkeypatch.setattr(provisioning.lease_taking, "confirm_lease", die)
    with pytest.raises(KilledError):
        small.take()
    monkeypatch.undo()
    online = open_station_ledger(small.folder(), small.address, small.writer())
    reserve(online, 7)
    online.close()
    small.take()
    opened = small.offline()
    with pytest.raises(SetAsideError, match="must wait for the ledger"):
        opened.ledger.require_own(mac_of(7), BLANK)
    opened.ledger.require_own(mac_of(8), BLANK)
    opened.close()


def test_an_ended_outbox_is_put_away_whole_or_not_at_all(small, monkeypatch):
    """What was written last is in a log beside the file for as long as somebody reads it."""
    monkeypatch.setattr(provisioning.ledger_log, "_FOLD_TIMEOUT_S", 0.01)
    small.take()
    with closing(sqlite3.connect(small.outbox(), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        make_offline(small, 1)
        outbox = small.outbox()
        with pytest.raises(StationError, match="another program reads the outbox"):
            small.sync(is_given_back=True)
        assert small.outbox() == outbox
    archive = small.sync().archive
    assert find_lease_files(small.folder()) is None
    assert not list(small.folder().glob("lease-*"))
    with closing(sqlite3.connect(archive / outbox.name)) as kept:
        (last,) = kept.execute("SELECT step FROM events ORDER BY number DESC LIMIT 1").fetchone()
    assert last == "lease-end"


DAMAGES = {
    "garbage": lambda content: bytes(reversed(content)),
    "empty": lambda content: content[:0],
    "cut": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_outbox_can_be_given_up_and_nobody_is_told_to_restore_it(small, damage):
    small.take()
    make_offline(small, 1)
    outbox = small.outbox()
    outbox.write_bytes(DAMAGES[damage](outbox.read_bytes()))
    before = small.dump()
    for act in (small.sync, small.offline):
        with pytest.raises(LeaseError, match="outbox cannot be used") as caught:
            act()
        assert "--give-up" in caught.value.hint
        assert "restore a backup" not in str(caught.value.hint)
    assert small.dump() == before
    ledger = small.open()
    given_up = give_up(small.folder(), ledger, small.writer(), reason="the disk is failing")
    assert (given_up.boards, given_up.damage is None) == ((), False)
    (told,) = [one.event for one in ledger.events() if one.event.step == "give-up"]
    assert told.data["reason"] == "the disk is failing"
    assert (small.folder() / CLOSED_FOLDER / outbox.name).exists()
    ledger.verify_chains()
    small.take()
    assert [one.closed_at for one in list_leases(ledger)] == [None, None]
    ledger.close()


REWRITTEN = {
    "restore": ("restore", Phase.CONFIRM, {"epoch": 7}),
    "refuse": ("refuse", Phase.CONFIRM, {"chain": "station-1/1", "number": 1}),
    "sync": ("sync", Phase.CONFIRM, {}),
    "second-lease": ("lease", Phase.CONFIRM, {"lease": "station-1/1", "document": "00"}),
    "end-without-reason": ("lease-end", Phase.CONFIRM, {"lease": "station-1/1"}),
    "end-of-another": ("lease-end", Phase.CONFIRM, {"lease": "station-2/1", "reason": "x"}),
    "end-at-length": ("lease-end", Phase.CONFIRM, {"lease": "station-1/1", "reason": "x" * 201}),
    "number-of-nobody": ("reserve", Phase.CONFIRM, {"new": True}),
    "verdict-of-nobody": ("final", Phase.CONFIRM, {"outcome": "pass"}),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_rewritten_outbox_cannot_make_the_ledger_contradict_itself(small, name):
    """Whoever can write the file can write a whole chain: it is unsigned."""
    step, phase, data = REWRITTEN[name]
    small.take()
    outbox = Ledger(open_outbox_database(small.outbox()))
    writer = Writer(station="station-1/1", now=small.now, new_job=lambda: "job", run="run")
    outbox.append(writer, step=step, phase=phase, data=data)
    outbox.close()
    before = small.dump()
    with pytest.raises(LeaseError) as caught:
        small.sync()
    assert "--give-up" in caught.value.hint
    assert small.dump() == before
    ledger = small.open()
    ledger.verify_chains()
    assert give_up(small.folder(), ledger, small.writer(), reason="rewritten").boards == ()
    ledger.close()


def test_a_station_without_a_lease_opens_its_memory_before_it_writes_anything(small):
    """A lease may be taken between its look and its word: no word of its own is a stranger's."""
    opened = open_station_ledger(small.folder(), small.address, small.writer())
    assert load_witness(small.folder()).is_closed is False
    opened.close()


def taken_over(factory):
    """Return a ledger that took over a unit that failed, and was not met since."""
    factory.take()
    opened = factory.offline()
    work(opened, reserve(opened, 1), verdict=UnitState.FAIL)
    opened.close()
    factory.sync()
    return factory.open()


FORGERIES = ("edited", "cut", "reordered", "continued", "gone")


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_chain_of_a_lease_is_vouched_for_by_who_took_it_over(shared, forgery):
    """Nobody signs it; before the next meeting the `sync` of its station alone tells of it."""
    ledger = taken_over(shared)
    ledger.verify_chains()
    chain = "station-1/1"
    with tampering(ledger, shared.root) as tampered:
        contents = tampered.contents(chain)
        match forgery:
            case "edited":  # a failed unit becomes one that passed, with all that follows
                last = contents[-1]
                contents[-1] = replace(last, data=dict(last.data) | {"outcome": "pass"})
                for table in ("jobs SET outcome", "units SET state"):
                    tampered.connection.exec_driver_sql(f"UPDATE {table} = 'pass'")
                tampered.connection.exec_driver_sql("UPDATE serial_numbers SET state = 'released'")
            case "cut":
                contents.pop()
                tampered.connection.exec_driver_sql(
                    "UPDATE jobs SET state = 'open', outcome = NULL, closed_at = NULL"
                )
                tampered.connection.exec_driver_sql(
                    "UPDATE units SET state = 'in-work', changed_at = first_seen_at"
                )
            case "reordered":
                contents[3], contents[4] = contents[4], contents[3]
            case "continued":
                contents.append(replace(contents[-2], step="recheck"))
            case "gone":
                contents.clear()
                for table in (jobs, units, serial_numbers):
                    tampered.connection.execute(delete(table))
        tampered.replace_chain(chain, contents)
        with pytest.raises(LedgerDamageError) as caught:
            audit_ledger(tampered.connection, ledger.identity)
    assert caught.value.station == chain
    ledger.verify_chains()
    ledger.close()


def restore_older(small, tmp_path, meanwhile):
    """Back the ledger up, do something, lose the ledger, and restore it."""
    ledger = small.open()
    write_backup(small.address, tmp_path / "backup", now=small.now())
    ledger.close()
    meanwhile()
    small.lose_ledger()
    restore_for_station(
        tmp_path / "backup", small.address, small.writer(), folder=small.folder(),
        opening="opening-2", reason="the server died",
    )  # fmt: skip


def test_a_lease_that_a_restored_ledger_has_open_is_taken_over_again(shared, tmp_path):
    """Its outbox was put away when it ended; else its boards, long sold, would be unknown."""
    shared.take()

    def work_and_end():
        make_offline(shared, 1, 2)
        assert shared.sync(is_given_back=True).archive is not None
        shared.take()  # unknown to the backup
        shared.sync(is_given_back=True)

    restore_older(shared, tmp_path, work_and_end)
    ledger = shared.open()
    assert list_units(ledger.database) == ()
    opened = open_station_ledger(shared.folder(), shared.address, shared.writer())
    assert opened.synced.archive is not None
    opened.close()
    assert len(list_units(ledger.database)) == 2
    (lease,) = list_leases(ledger)
    assert (lease.given, lease.voided, lease.left) == (2, 3, 0)
    ledger.verify_chains()
    ledger.close()
    assert find_lease_files(shared.folder()) is None
    assert shared.sync() is None


def test_a_lease_that_was_given_up_is_not_taken_over_again(shared):
    shared.take()
    make_offline(shared, 1)
    outbox = shared.outbox()
    ledger = shared.open()
    give_up(shared.folder(), ledger, shared.writer(), reason="rewritten")
    before = shared.dump()
    assert shared.sync() is None
    assert shared.dump() == before
    assert (shared.folder() / CLOSED_FOLDER / outbox.name).exists()
    ledger.close()
