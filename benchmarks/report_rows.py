"""The bare side of the reports' benchmark: the rows that a server wrote, inserted by the driver."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.report_load import NOW
from manifests.device_report import verify_device_report
from manifests.fleet import BATCH_MAX, FleetStore
from manifests.received_report import receive_report
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.report_load import Fleet

SQLITE_CHECKPOINT_PAGES: Final = 1000
STORED_IN_COMMIT: Final = 1000


def read_like(fleet: Fleet, folder: Path) -> list[tuple[Any, ...]]:
    """Return rows as the server would write them."""
    trust = verify_trust_record(fleet.trust_record, current=None)
    with closing(FleetStore(folder / "like.sqlite")) as store:
        store.add_reports(
            [
                receive_report(verify_device_report(body, trust, now=NOW), body, now=NOW)
                for body in fleet.first[:BATCH_MAX]
            ]
        )
    with closing(sqlite3.connect(folder / "like.sqlite")) as database:
        return database.execute("SELECT * FROM report").fetchall()


def make_stored(path: Path, rows: Sequence[tuple[Any, ...]], count: int) -> None:
    """Make a report database with so many rows like these, with digests and messages of their own.

    The message is a row's last column, as in `read_rows`.
    """
    FleetStore(path).close()  # the tables
    draw = random.Random(1)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")
        for begin in range(0, count, STORED_IN_COMMIT):
            _insert(
                database,
                [
                    (draw.randbytes(32), *like[1:-1], draw.randbytes(len(like[-1])))
                    for like in draw.choices(rows, k=min(STORED_IN_COMMIT, count - begin))
                ],
            )
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def read_rows(path: Path, fleet: Fleet) -> tuple[list[tuple[object, ...]], ...]:
    """Return the rows that the server wrote, in the order in which they were sent.

    Every report that was acknowledged must be there, as it was sent.
    """
    kinds = (fleet.first, fleet.again, fleet.carried)
    unmeasured = (*fleet.warm_up, *fleet.carried_before)
    sent = {body for bodies in (unmeasured, *kinds) for body in bodies}
    with closing(sqlite3.connect(path)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(report)")]
        place = columns.index("message")
        all_rows = database.execute("SELECT * FROM report")
        by_message = {row[place]: row for row in all_rows if row[place] in sent}
    assert len(by_message) == len(sent)
    return tuple([by_message[body] for body in bodies] for bodies in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long something took, in seconds."""

    wall_s: float
    processor_s: float


def insert_bare(
    path: Path,
    kinds: tuple[list[tuple[object, ...]], ...],
    batches: Sequence[int],
    *,
    checkpoint_pages: int = SQLITE_CHECKPOINT_PAGES,
) -> list[Durations]:
    """Insert rows in transactions of so many, by the driver alone; return the durations."""
    durations = []
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=FULL")
        database.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        for rows, batch in zip(kinds, batches, strict=True):
            start_s, used_s = time.perf_counter(), time.process_time()
            for begin in range(0, len(rows), batch):
                _insert(database, rows[begin : begin + batch])
            durations.append(
                Durations(
                    wall_s=time.perf_counter() - start_s,
                    processor_s=time.process_time() - used_s,
                )
            )
    return durations


def _insert(database: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    statement = f"INSERT INTO report VALUES ({', '.join('?' * len(rows[0]))})"  # noqa: S608 - marks only
    database.execute("BEGIN IMMEDIATE")
    database.executemany(statement, rows)
    database.execute("COMMIT")
