"""Backups, restores and upgrades: one state, whole or nothing, and no number given twice."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from pathlib import Path

import pytest

from provisioning.errors import LedgerError, ProvisioningError
from provisioning.ledger import Ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_epochs import EPOCH_MAX, sequences_of_epoch
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import list_jobs, list_serials, list_units
from provisioning.ledger_restore import restore_ledger
from provisioning.ledger_revisions import HEAD_REVISION, REVISIONS
from provisioning.ledger_upgrade import upgrade_ledger
from provisioning.ledger_values import SerialState, UnitState
from provisioning.serial_numbers import parse_serial
from signing.errors import DurableFileError
from tests.provisioning.ledger_sites import (
    BACK_ENDS,
    START,
    Site,
    a_writer,
    create,
    empty_site,
    made_site,
    reserve,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger"
LATER = START + dt.timedelta(days=9)
OPENING = "opening-2"


def mac_of(number):
    return number.to_bytes(6, "big")


def fill(address, *, units=3):
    """Make units, of which the first passed; return their serial numbers."""
    ledger, writer = Ledger.open(address), a_writer()
    serials = []
    for number in range(1, units + 1):
        reservation = reserve(ledger, writer, mac=mac_of(number))
        serials.append(reservation.serial)
        if number == 1:
            ledger.append(
                writer, step="identity", phase=Phase.CONFIRM, data={"who": "ü"},
                reservation=reservation, serial_state=SerialState.ASSIGNED,
            )  # fmt: skip
            ledger.finish(writer, reservation=reservation, unit_state=UnitState.PASS, data={})
    ledger.close()
    return serials


def rows_of(ledger):
    serials = list_serials(ledger.database)
    jobs = [list_jobs(ledger.database, one.serial) for one in serials]
    return serials, list_units(ledger.database), jobs


def restore(backup, address, *, start=LATER, **changes):
    arguments = {"opening": OPENING, "reason": "the disk died", **changes}
    return restore_ledger(backup, address, a_writer(start=start), **arguments)


def contents(path):
    with sqlite3.connect(path) as database:
        events, jobs = (
            database.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            for name in ("events", "jobs")
        )
    return events, [job[:9] for job in jobs]  # revision 0004 added a column


@pytest.fixture
def backup(tmp_path):
    create(tmp_path / "lost.sqlite3")
    fill(tmp_path / "lost.sqlite3")
    path = tmp_path / "backup.jsonl"
    write_backup(tmp_path / "lost.sqlite3", path, now=START)
    return path


@pytest.mark.parametrize("source", BACK_ENDS)
@pytest.mark.parametrize("target", BACK_ENDS)
def test_a_backup_restores_into_either_back_end(source, target, tmp_path, request):
    site, other = made_site(source, tmp_path, request), empty_site(target, tmp_path / "b", request)
    serials = fill(site.address)
    before = Ledger.open(site.address)
    summary = write_backup(site.address, tmp_path / "backup", now=START)
    restored = restore(tmp_path / "backup", other.address)
    after = Ledger.open(other.address)
    assert rows_of(after) == rows_of(before)
    assert [one.hash for one in after.events(serial=serials[0])] == [
        one.hash for one in before.events(serial=serials[0])
    ]
    assert (after.identity.uuid, after.identity.epoch, after.identity.opening) == (
        before.identity.uuid,
        2,
        OPENING,
    )
    assert summary.rows["events"] == 5
    assert summary.chains == {"station-1": (5, before.verify_chains()["station-1"][1].hex())}
    # One event tells the restore, one each voided range: two weeks of the only model.
    assert [(void.week, void.first_sequence) for void in restored.voided] == [(7, 4), (8, 1)]
    assert after.verify_chains()["station-1"][0] == 8
    before.close()
    after.close()


def test_no_number_of_the_lost_time_is_given_again(tmp_path, request):
    """Whatever the lost ledger gave after its backup, and in whatever week its clock believed."""
    site = made_site("sqlite", tmp_path, request)
    fill(site.address)
    write_backup(site.address, tmp_path / "backup", now=START)
    lost, given = Ledger.open(site.address), set()
    for days in (0, 1, 8, 300):
        writer = a_writer(start=START + dt.timedelta(days=days))
        for number in range(5):
            for model in ("FLR", "NEW"):
                mac = mac_of(1000 + days * 100 + number * 2 + (model == "NEW"))
                given.add(reserve(lost, writer, mac=mac, model=model).serial)
    lost.close()
    restore(tmp_path / "backup", tmp_path / "new.sqlite3")
    ledger = Ledger.open(tmp_path / "new.sqlite3")
    for days in (9, 8, 1, 0, 300):
        writer = a_writer(start=START + dt.timedelta(days=days))
        for number in range(5):
            for model in ("FLR", "NEW"):
                mac = mac_of(9000 + days * 100 + number * 2 + (model == "NEW"))
                serial = reserve(ledger, writer, mac=mac, model=model).serial
                assert serial not in given
                assert parse_serial(serial).sequence in sequences_of_epoch(2)
                given.add(serial)
    ledger.verify_chains()
    ledger.close()


def test_the_same_backup_restored_twice_never_meets_itself(backup, tmp_path):
    """The station remembers the epoch that it saw; restoring again begins a later one."""
    restore(backup, tmp_path / "first.sqlite3")
    restored = restore(backup, tmp_path / "second.sqlite3", first_free_epoch=3, opening="opening-3")
    assert restored.identity.epoch == 3
    assert {void.epoch for void in restored.voided} == {1, 2}
    first, second = (
        Ledger.open(tmp_path / "first.sqlite3"),
        Ledger.open(tmp_path / "second.sqlite3"),
    )
    serials = {
        reserve(one, a_writer(start=LATER), mac=mac_of(99)).serial for one in (first, second)
    }
    assert len(serials) == 2
    first.close()
    second.close()


def test_a_restored_ledger_can_be_backed_up_and_restored_again(backup, tmp_path):
    restore(backup, tmp_path / "second.sqlite3")
    fill_later = Ledger.open(tmp_path / "second.sqlite3")
    reserve(fill_later, a_writer(start=LATER), mac=mac_of(50))
    fill_later.close()
    write_backup(tmp_path / "second.sqlite3", tmp_path / "b2", now=LATER)
    later = LATER + dt.timedelta(hours=1)
    restored = restore(tmp_path / "b2", tmp_path / "third.sqlite3", start=later, opening="o-3")
    assert restored.identity.epoch == 3
    third = Ledger.open(tmp_path / "third.sqlite3")
    assert {row.serial[:11] for row in list_serials(third.database)} == {
        "AMPFLR26070", "AMPFLR26081",
    }  # fmt: skip
    third.verify_chains()
    third.close()


def test_the_last_epoch_is_the_last(backup, tmp_path):
    with pytest.raises(LedgerError, match="no numbers for this epoch") as refusal:
        restore(backup, tmp_path / "new.sqlite3", first_free_epoch=EPOCH_MAX + 1)
    assert "another prefix" in refusal.value.hint
    assert not (tmp_path / "new.sqlite3").exists()


@pytest.mark.parametrize("target", BACK_ENDS)
def test_a_restore_never_replaces_a_ledger(target, backup, tmp_path, request):
    site = made_site(target, tmp_path / "there", request)
    fill(site.address, units=1)
    before = site.dump()
    with pytest.raises(LedgerError, match="there is a ledger already"):
        restore(backup, site.address)
    assert site.dump() == before


def test_the_log_of_a_lost_ledger_is_not_taken_for_the_new_ones(backup, tmp_path):
    (tmp_path / "new.sqlite3-wal").write_bytes(b"of the lost ledger")
    with pytest.raises(LedgerError, match="part of an earlier ledger"):
        restore(backup, tmp_path / "new.sqlite3")
    assert not (tmp_path / "new.sqlite3").exists()


def test_a_backup_never_replaces_a_file(backup, tmp_path):
    before = backup.read_bytes()
    with pytest.raises(DurableFileError, match="exists already"):
        write_backup(tmp_path / "lost.sqlite3", backup, now=START)
    assert backup.read_bytes() == before


def test_a_backup_of_another_ledger_or_from_the_future_is_refused(backup, tmp_path):
    with pytest.raises(LedgerError, match="of another ledger"):
        restore(backup, tmp_path / "new.sqlite3", ledger_uuid="uuid-9")
    with pytest.raises(LedgerError, match="from the future"):
        restore(backup, tmp_path / "new.sqlite3", start=START - dt.timedelta(days=1))
    with pytest.raises(LedgerError, match="reason cannot be written"):
        restore(backup, tmp_path / "new.sqlite3", reason="")
    assert not (tmp_path / "new.sqlite3").exists()


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_each_older_ledger_is_upgraded_and_keeps_everything(revision, tmp_path):
    path = tmp_path / "ledger.sqlite3"
    shutil.copy(GOLDEN / f"revision-{revision}.sqlite3", path)
    with pytest.raises(LedgerError, match="another version") as refusal:
        Ledger.open(path)
    assert "ledger upgrade" in refusal.value.hint
    before = contents(path)
    assert upgrade_ledger(path, tmp_path / "backup", now=LATER) == revision
    ledger = Ledger.open(path)
    heads = ledger.verify_chains()
    assert {name: (count, head.hex()[:8]) for name, (count, head) in heads.items()} == {
        "station-1": (5, "596cb51b"),
        "station-2": (3, "b044fa72"),
    }
    assert contents(path) == before
    fourth = reserve(ledger, a_writer("station-2", start=LATER), mac=mac_of(99)).serial
    assert parse_serial(fourth).sequence == 1  # another week
    ledger.verify_chains()
    ledger.close()
    assert upgrade_ledger(path, tmp_path / "unused", now=LATER) == HEAD_REVISION
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("target", BACK_ENDS)
def test_a_backup_of_an_older_ledger_restores_into_the_present_form(target, tmp_path, request):
    for revision in REVISIONS[:-1]:
        path = tmp_path / f"{revision}.sqlite3"
        shutil.copy(GOLDEN / f"revision-{revision}.sqlite3", path)
        summary = write_backup(path, tmp_path / f"backup-{revision}", now=START)
        assert (summary.revision, summary.rows["units"]) == (revision, 3)
        site = empty_site(target, tmp_path / revision, request)
        restore(tmp_path / f"backup-{revision}", site.address)
        ledger = Ledger.open(site.address)
        assert len(list_units(ledger.database)) == 3
        ledger.close()


def test_an_upgrade_that_finds_a_changed_ledger_leaves_it_as_it_was(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    shutil.copy(GOLDEN / "revision-0001.sqlite3", path)
    site = Site(path)
    site.edit("UPDATE units SET state = 'pass'")
    before = site.dump()
    with pytest.raises(LedgerError, match="contradict"):
        upgrade_ledger(path, tmp_path / "backup", now=LATER)
    assert site.dump() == before
    site.edit("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="another version") as refusal:
        upgrade_ledger(path, tmp_path / "backup-2", now=LATER)
    assert "newer Ampforge" in refusal.value.hint


def test_the_golden_backup_is_read_and_written_as_it_is(tmp_path):
    """The format as it stands in docs/spec/ledger-backup.md, byte for byte."""
    golden = GOLDEN / f"backup-{HEAD_REVISION}.jsonl"
    for number, each in enumerate(sorted(GOLDEN.glob("backup-*.jsonl"))):
        restore(each, tmp_path / f"{number}.sqlite3")
    path = tmp_path / "ledger.sqlite3"
    shutil.copy(GOLDEN / "revision-0001.sqlite3", path)
    upgrade_ledger(path, tmp_path / "before", now=START)
    write_backup(path, tmp_path / "backup", now=START)
    assert (tmp_path / "backup").read_bytes() == golden.read_bytes()


@pytest.mark.parametrize("place", range(0, 4000, 397))
def test_any_changed_byte_of_a_backup_is_refused(tmp_path, place):
    content = bytearray((GOLDEN / "backup-0006.jsonl").read_bytes())
    content[place % len(content)] ^= 1
    (tmp_path / "backup").write_bytes(content)
    with pytest.raises(ProvisioningError):
        restore(tmp_path / "backup", tmp_path / "new.sqlite3")
    assert [one.name for one in tmp_path.iterdir()] == ["backup"]
