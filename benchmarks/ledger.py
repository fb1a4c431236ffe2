"""The ledger's promises: durable allocations against the bare commit, and a unit among a million.

    python benchmarks/ledger.py [--boards 200] [--rounds 5] [--units 1000000]

* Eight processes allocate serial numbers durably, and eight processes commit one small row each
  time, with the same database, settings and disk; paired in the same run (benchmarks/pairing.py).
  An allocation writes a number, a unit, a job and a chained event, so it may cost up to 2.5 bare
  commits: rate of allocations / rate of commits >= 0.4, for SQLite and for PostgreSQL.
  The bare commit that counts goes through the same library and pool of connections as the ledger's
  (`Peer.POOL`). Two more are shown: by the driver alone, which is stricter (`Peer.DRIVER`); and on
  PostgreSQL by the driver one after the other, as numbers without gaps are given (`Peer.IN_TURN`).
* `unit show` in a ledger of a million units, in process: at most 50 ms. Its rows are written in
  bulk, into the tables that `station init` made, as the ledger itself would have written them;
  `--audit` has the ledger verify every one of them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
from psycopg import sql
from sqlalchemy import text

from benchmarks.pairing import Comparison, format_table, measure_pairs
from provisioning.ledger import Ledger
from provisioning.ledger_address import PostgresAddress, parse_ledger_address
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import Event, Phase, chain_event, format_time
from provisioning.ledger_postgres import PostgresBackend
from provisioning.ledger_schema import events, jobs, serial_numbers, units
from provisioning.ledger_sqlite import SqliteBackend
from provisioning.ledger_values import JobState, SerialState, UnitState, Writer
from provisioning.serial_numbers import SerialNumber
from provisioning.unit_records import describe_unit
from signing.hash_chain import GENESIS
from tests.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Table

    from provisioning.ledger_address import LedgerAddress

PROCESSES: Final = 8
RATE_TARGET: Final = 0.4
SHOW_TARGET_S: Final = 0.050
ADD_BARE_ROW: Final = text("INSERT INTO bare VALUES (:process, :turn, :number)")
NOW: Final = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
UNITS_AT_ONCE: Final = 20_000
BACK_ENDS: Final = ("SQLite", "PostgreSQL")


class Fleet:
    """Forked processes that stand ready, and do one piece of work each time they are told to."""

    def __init__(self, work: Callable[[int], Callable[[int], None]]) -> None:
        """Fork; `work(process)` prepares and returns what is then called with each round."""
        self._pipes: list[tuple[int, int, int]] = []
        self._round = 0
        for number in range(PROCESSES):
            go_read, go_write = os.pipe()
            done_read, done_write = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(go_write)
                try:
                    act = work(number)
                    os.write(done_write, b"r")
                    turn = 0
                    while os.read(go_read, 1) == b"g":
                        act(turn)
                        turn += 1
                        os.write(done_write, b"d")
                except BaseException:  # noqa: BLE001 - a forked child must not return
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
                os._exit(0)
            os.close(go_read)
            os.close(done_write)
            self._pipes.append((child, go_write, done_read))
        self._wait()

    def run(self) -> None:
        """Have every process do its work once, at the same time."""
        for _, go, _ in self._pipes:
            os.write(go, b"g")
        self._wait()

    def close(self) -> None:
        """Send the processes home."""
        for child, go, done in self._pipes:
            os.write(go, b"q")  # closing would not do: later children hold the pipe, too
            os.close(go)
            os.waitpid(child, 0)
            os.close(done)

    def _wait(self) -> None:
        for _, _, done in self._pipes:
            if not os.read(done, 1):
                raise SystemExit("a process of the benchmark failed")


def allocator(address: LedgerAddress, boards: int) -> Callable[[int], Callable[[int], None]]:
    """Return the work of one station: give numbers to boards that nobody saw before."""

    def prepare(process: int) -> Callable[[int], None]:
        ledger = Ledger.open(address)
        writer = Writer(station=f"s-{process}", now=lambda: NOW, new_job=lambda: str(uuid.uuid4()))

        def act(turn: int) -> None:
            for board in range(boards):
                mac = bytes([process, turn]) + board.to_bytes(4, "big")
                given = ledger.reserve(
                    writer, mac=mac, prefix="AMP", model="FLR", bundle_digest=bytes(32), again=False
                )
                assert given.is_new

        return act

    return prepare


class Peer(StrEnum):
    """Whose bare commits the allocations are compared with."""

    POOL = "bare commits"
    DRIVER = "bare commits by the driver alone"
    IN_TURN = "bare commits by the driver alone, in turn"


def committer(
    address: LedgerAddress, commits: int, peer: Peer
) -> Callable[[int], Callable[[int], None]]:
    """Return the bare work: one small row and a durable commit.

    Args:
        address: The database.
        commits: How many, each round.
        peer: By which means; SQLite has one writer at a time in any case.
    """

    def prepare(process: int) -> Callable[[int], None]:
        if peer is Peer.POOL:
            commit = _commit_through_pool(address)
        elif isinstance(address, Path):
            commit = _commit_in_file(address)
        else:
            commit = _commit_on_server(address, in_turn=peer is Peer.IN_TURN)

        def act(turn: int) -> None:
            for number in range(commits):
                commit((process, turn, number))

        return act

    return prepare


def _commit_in_file(path: Path) -> Callable[[tuple[int, int, int]], None]:
    database = sqlite3.connect(path, timeout=60, isolation_level=None)
    database.execute("PRAGMA synchronous=FULL")

    def commit(row: tuple[int, int, int]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO bare VALUES (?, ?, ?)", row)
        database.execute("COMMIT")

    return commit


def _commit_on_server(
    address: PostgresAddress, *, in_turn: bool
) -> Callable[[tuple[int, int, int]], None]:
    connection = psycopg.connect(str(address), options="-c synchronous_commit=on")

    def commit(row: tuple[int, int, int]) -> None:
        if in_turn:
            connection.execute("SELECT process FROM turns FOR UPDATE")
        connection.execute("INSERT INTO bare VALUES (%s, %s, %s)", row)
        connection.commit()

    return commit


def _commit_through_pool(address: LedgerAddress) -> Callable[[tuple[int, int, int]], None]:
    if isinstance(address, Path):
        backend = SqliteBackend(address)
        engine = backend.open()

        def begin() -> Connection:
            return backend.begin_writing(engine)
    else:
        engine = PostgresBackend(address).open()
        begin = engine.connect

    def commit(row: tuple[int, int, int]) -> None:
        with begin() as connection:
            connection.execute(
                ADD_BARE_ROW, dict(zip(("process", "turn", "number"), row, strict=True))
            )
            connection.commit()

    return commit


def compare_allocation(
    name: str,
    address: LedgerAddress,
    bare: LedgerAddress,
    *,
    boards: int,
    rounds: int,
    peer: Peer,
) -> Comparison:
    """Time eight allocating processes against eight committing ones."""
    create_ledger(address, product="flare", ledger_uuid=str(uuid.uuid4()), created_at=NOW)
    statement = "CREATE TABLE bare (process INTEGER, turn INTEGER, number INTEGER)"
    if isinstance(bare, Path):
        with sqlite3.connect(bare) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(statement)
    else:
        with psycopg.connect(str(bare)) as connection:
            connection.execute(statement)
            connection.execute("CREATE TABLE turns AS SELECT 1 AS process")
    allocating = Fleet(allocator(address, boards))
    committing = Fleet(committer(bare, boards, peer))
    pairs = measure_pairs(allocating.run, committing.run, rounds=rounds)
    allocating.close()
    committing.close()
    ledger = Ledger.open(address)
    chains = ledger.verify_chains()
    ledger.close()
    assert sum(count for count, _ in chains.values()) == PROCESSES * boards * (rounds + 1)
    comparison = Comparison(
        ours=f"{name}: {PROCESSES} x {boards} durable allocations",
        theirs=f"{PROCESSES} x {boards} {peer}",
        pairs=pairs,
        target_ratio=1 / RATE_TARGET,
    )
    count = PROCESSES * boards
    ours_s = statistics.median(pair.ours_s for pair in pairs)
    theirs_s = statistics.median(pair.theirs_s for pair in pairs)
    print(
        f"{name}: {count / ours_s:.0f} allocations/s against {count / theirs_s:.0f} {peer} "
        f"a second; rate ratio {1 / comparison.median_ratio:.2f} (target >= {RATE_TARGET})"
    )
    return comparison


def fill_ledger(address: LedgerAddress, unit_count: int) -> str:
    """Write many finished units in bulk, with true chains; return a serial from the middle."""
    create_ledger(address, product="flare", ledger_uuid=str(uuid.uuid4()), created_at=NOW)
    write, close = _bulk_writer(address)
    allowed = sequences_of_epoch(1)
    middle = ""
    heads = {f"s-{n}": (0, GENESIS) for n in range(PROCESSES)}
    for start in range(0, unit_count, UNITS_AT_ONCE):
        rows: dict[str, list[dict[str, object]]] = {"n": [], "u": [], "j": [], "e": []}
        for index in range(start, min(start + UNITS_AT_ONCE, unit_count)):
            week, sequence = 1 + index // len(allowed), allowed[index % len(allowed)]
            serial = _add_unit(rows, heads, index, week=week, sequence=sequence)
            if index == unit_count // 2:
                middle = serial
        for table, key in ((serial_numbers, "n"), (units, "u"), (jobs, "j"), (events, "e")):
            write(table, rows[key])
    close()
    return middle


def _bulk_writer(
    address: LedgerAddress,
) -> tuple[Callable[[Table, list[dict[str, object]]], None], Callable[[], None]]:
    """Return what writes rows of one table without waiting for the disk, and what ends it."""
    if isinstance(address, Path):
        file = sqlite3.connect(address)
        file.execute("PRAGMA synchronous=OFF")
        file.execute("PRAGMA cache_size=-1000000")

        def write(table: Table, rows: list[dict[str, object]]) -> None:
            names = list(rows[0])
            marks = ", ".join(f":{name}" for name in names)
            file.executemany(
                f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608 - names of ours
                rows,
            )
            file.commit()

        def close() -> None:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            file.close()

        return write, close
    server = psycopg.connect(str(address))
    server.execute("SET synchronous_commit = off")
    server.execute("SET session_replication_role = replica")  # foreign keys are not looked up

    def copy_rows(table: Table, rows: list[dict[str, object]]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
        command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
        with server.cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
        server.commit()

    def analyse() -> None:
        server.autocommit = True
        server.execute("VACUUM ANALYZE")
        server.close()

    return copy_rows, analyse


def _add_unit(
    rows: dict[str, list[dict[str, object]]],
    heads: dict[str, tuple[int, bytes]],
    index: int,
    *,
    week: int,
    sequence: int,
) -> str:
    serial = str(SerialNumber(prefix="AMP", model="FLR", year=2026, week=week, sequence=sequence))
    mac, at, job = index.to_bytes(6, "big"), format_time(NOW), f"job-{index}"
    station, bundle = f"s-{index % PROCESSES}", hashlib.sha256(b"bundle").digest()
    rows["n"].append(
        {
            "serial": serial, "prefix": "AMP", "model": "FLR", "year": 2026, "week": week,
            "sequence": sequence, "epoch": 1, "state": SerialState.RELEASED.value, "mac": mac,
            "reserved_at": at,
        }
    )  # fmt: skip
    rows["u"].append(
        {
            "serial": serial, "mac": mac, "state": UnitState.PASS.value, "bundle_digest": bundle,
            "last_job": job, "first_seen_at": at, "changed_at": at,
        }
    )  # fmt: skip
    rows["j"].append(
        {
            "job": job, "serial": serial, "number": 1, "station": station, "bundle_digest": bundle,
            "state": JobState.CLOSED.value, "outcome": UnitState.PASS.value, "opened_at": at,
            "closed_at": at,
        }
    )  # fmt: skip
    for step, data in _STEPS:
        count, head = heads[station]
        event = Event(
            station=station, number=count, at=NOW, epoch=1, job=job, serial=serial, mac=mac,
            step=step, phase=Phase.CONFIRM, data=data,
        )  # fmt: skip
        chained = chain_event(event, previous=head)
        heads[station] = (count + 1, chained.hash)
        rows["e"].append(
            {
                "station": station, "number": count, "at": at, "job": job, "serial": serial,
                "step": step, "phase": Phase.CONFIRM.value, "content": chained.content,
                "previous": head, "hash": chained.hash,
            }
        )  # fmt: skip
    return serial


_STEPS: Final = (
    (
        "reserve",
        {"new": True, "resumed": False, "job_number": 1,
         "bundle": hashlib.sha256(b"bundle").hexdigest()},
    ),
    ("flash", {"regions": [{"name": "app", "size": 1_048_576, "md5": "0" * 32}]}),
    ("identity", {"certificate": "30" * 200, "key_id": "00" * 32}),
    ("final", {"outcome": "pass", "reasons": [], "firmware_version": "1.4.0"}),
)  # fmt: skip


def time_show(
    address: LedgerAddress, serial: str, *, rounds: int = 30
) -> tuple[list[float], float]:
    """Return how long `unit show` takes in process: open the ledger, look up, describe, close.

    Returns:
        Wall times and the mean time of our own processor, in seconds.
    """
    seconds = []
    processor_s = time.process_time()
    for _ in range(rounds + 1):
        start = time.perf_counter()
        ledger = Ledger.open(address)
        document = describe_unit(ledger, serial)
        ledger.close()
        seconds.append(time.perf_counter() - start)
        assert document["event_count"] == len(_STEPS)
    return seconds[1:], (time.process_time() - processor_s) / (rounds + 1)


def places(
    folder: Path, server: PostgresServer
) -> Iterator[tuple[str, Callable[[], LedgerAddress]]]:
    names = iter(range(100))
    yield "SQLite", lambda: folder / f"{next(names)}.sqlite3"

    def database() -> PostgresAddress:
        address = parse_ledger_address(server.url(server.create_database()), root=folder)
        assert isinstance(address, PostgresAddress)
        return address

    yield "PostgreSQL", database


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--boards", type=int, default=100, help="boards for each process and round")
    parser.add_argument("--rounds", type=int, default=9, help="0 leaves allocations out")
    parser.add_argument("--units", type=int, default=1_000_000, help="0 leaves `unit show` out")
    parser.add_argument("--audit", action="store_true", help="verify the filled ledger; minutes")
    parser.add_argument("--only", choices=BACK_ENDS, help="look at one back end alone")
    arguments = parser.parse_args()
    comparisons, is_kept = [], True
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory(prefix="ampforge-ledger-") as name:
            for back_end, place in places(Path(name), server):
                if arguments.only not in (None, back_end):
                    continue
                for peer in Peer:
                    if not arguments.rounds or (peer is Peer.IN_TURN and back_end == "SQLite"):
                        continue
                    compared = compare_allocation(
                        back_end, place(), place(), boards=arguments.boards,
                        rounds=arguments.rounds, peer=peer,
                    )  # fmt: skip
                    comparisons.append(compared)
                    is_kept &= compared.is_kept or peer is not Peer.POOL
                if not arguments.units:
                    continue
                address, start = place(), time.perf_counter()
                serial = fill_ledger(address, arguments.units)
                filled_s = time.perf_counter() - start
                if arguments.audit:
                    audited = Ledger.open(address)
                    audited.verify_chains()
                    audited.close()
                seconds, processor_s = time_show(address, serial)
                median_s = statistics.median(seconds)
                is_kept &= median_s <= SHOW_TARGET_S
                print(
                    f"{back_end}: `unit show` among {arguments.units} units "
                    f"{1000 * median_s:.1f} ms (slowest {1000 * max(seconds):.1f} ms, processor "
                    f"{1000 * processor_s:.1f} ms; target <= {1000 * SHOW_TARGET_S:.0f} ms); "
                    f"filled in {filled_s:.0f} s"
                )
    finally:
        server.close()
    if comparisons:
        print(format_table(comparisons))
    raise SystemExit(0 if is_kept else 1)


if __name__ == "__main__":
    main()
