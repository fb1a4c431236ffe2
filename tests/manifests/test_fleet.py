"""The report database and the repository's folder: durable, bounded, and honest when they fail."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from manifests.errors import FleetStoreError, RepositoryError
from manifests.fleet import BATCH_MAX, CHECKPOINT_PAGES, FleetStore
from manifests.received_report import receive_report
from manifests.store import LOCK_NAME, FolderStore
from tests.manifests.test_device_messages import REPORT
from tests.manifests.world import NOW


def received(message):
    return receive_report(REPORT, message, now=NOW)


def test_reports_survive_being_reopened_and_come_back_as_they_were(tmp_path):
    path = tmp_path / "reports.sqlite"
    with closing(FleetStore(path)) as fleet:
        assert fleet.add_reports([received(b"signed")]) == [True]
        assert fleet.add_reports([received(b"signed once more")]) == [False]
    with closing(FleetStore(path)) as fleet:
        (stored,) = fleet.list_reports()
        assert (stored.report, stored.received_at) == (REPORT, NOW)
        assert fleet.list_reports("unknown") == ()


def test_the_journal_is_emptied_when_it_is_as_long_as_it_may_be(tmp_path):
    path, journal = tmp_path / "reports.sqlite", tmp_path / "reports.sqlite-wal"
    page_bytes, frame_head_bytes, commits_max = 4096, 24, 24
    longest_bytes = CHECKPOINT_PAGES * (page_bytes + frame_head_bytes)
    report = receive_report(REPORT, bytes(page_bytes), now=NOW)
    digests = random.Random(1)  # they fall anywhere, as those of reports do
    commits = 0
    with closing(FleetStore(path)) as fleet:
        empty_bytes = path.stat().st_size
        while path.stat().st_size == empty_bytes and commits < commits_max:
            rows = [report._replace(digest=digests.randbytes(32)) for _ in range(BATCH_MAX)]
            fleet.add_reports(rows)
            commits += 1
        # Nothing went to the database before, and one commit's pages are all that came after.
        assert longest_bytes <= journal.stat().st_size < longest_bytes * 1.25
    assert commits < commits_max


def test_a_database_of_another_version_is_left_alone(tmp_path):
    path = tmp_path / "reports.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(FleetStoreError, match="another version"):
        FleetStore(path)
    (tmp_path / "x").write_text("this is no database, and long enough to be seen as none" * 9)
    with pytest.raises(FleetStoreError, match="cannot be opened"):
        FleetStore(tmp_path / "x")


def test_who_reads_all_reports_does_not_keep_the_journal_from_being_emptied(tmp_path):
    path = tmp_path / "reports.sqlite"
    one_by_one = [
        receive_report(replace(REPORT, freshness_sequence=n), b"%d" % n, now=NOW + timedelta(0, -n))
        for n in range(BATCH_MAX + 10)
    ]
    with closing(FleetStore(path)) as fleet, closing(sqlite3.connect(path)) as server:
        fleet.add_reports(one_by_one[:BATCH_MAX])
        fleet.add_reports(one_by_one[BATCH_MAX:])
        server.execute("PRAGMA busy_timeout = 0")
        reading = fleet.read_messages(since_s=int(NOW.timestamp()) - BATCH_MAX - 8)
        read = [next(reading).message]
        server.execute("PRAGMA user_version = 1")
        is_busy, *_ = server.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert is_busy == 0
        read += [one.message for one in reading]
    assert read == [b"%d" % n for n in reversed(range(BATCH_MAX + 9))]


def test_a_database_of_something_else_is_left_as_it_was(tmp_path):
    """The ledger's, say, named by mistake."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE unit (serial_number TEXT)")
    before = path.read_bytes()
    with pytest.raises(FleetStoreError, match="not of device reports"):
        FleetStore(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])


def test_a_closed_database_says_so(tmp_path):
    fleet = FleetStore(tmp_path / "reports.sqlite")
    fleet.close()
    with pytest.raises(FleetStoreError, match="cannot be read"):
        fleet.list_reports()


def test_nobody_else_can_hold_the_publishers_lock(tmp_path):
    """Who can read a file can lock it, and would keep a release from being withdrawn."""
    lock = tmp_path / LOCK_NAME
    lock.touch(0o644)
    with FolderStore(tmp_path).exclusively():
        assert lock.stat().st_mode & 0o777 == 0o600
    lock.unlink()
    with FolderStore(tmp_path).exclusively():
        assert lock.stat().st_mode & 0o777 == 0o600


def test_a_folder_store_writes_whole_files_and_gives_them_second_names(tmp_path):
    store = FolderStore(tmp_path)
    store.write("a/b", b"content")
    store.copy("a/b", "c/d")
    store.copy("a/b", "c/d")
    assert store.read("c/d", max_bytes=7) == b"content"
    assert (tmp_path / "a/b").stat().st_ino == (tmp_path / "c/d").stat().st_ino
    assert store.read("nothing", max_bytes=1) is None
    with pytest.raises(RepositoryError, match="too large"):
        store.read("a/b", max_bytes=6)
    with pytest.raises(RepositoryError, match="cannot be read"):
        store.read("a", max_bytes=6)
    with pytest.raises(RepositoryError, match="cannot be written"):
        store.write("a/b/c", b"")
    with pytest.raises(RepositoryError, match="cannot be written"):
        store.copy("nothing", "e")
    with (
        pytest.raises(RepositoryError, match="cannot be written"),
        FolderStore(tmp_path / "a" / "b").exclusively(),
    ):
        pass


def test_where_links_cannot_be_made_the_file_is_copied(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    store = FolderStore(tmp_path)
    store.write("a", b"content")
    monkeypatch.setattr("manifests.store.os.link", no_links)
    store.copy("a", "b")
    assert (tmp_path / "b").read_bytes() == b"content"
    assert str(store) == str(tmp_path)
