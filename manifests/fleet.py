"""The fleet's memory: device reports, kept as they were signed, in SQLite.

A report that comes twice is one report: the digest of what was signed is its key (a signature is no
name: ECDSA has two for the same content). Every write is on the disk before
it is acknowledged (`synchronous=FULL`). The bytes are kept whole, so that anybody can verify a
report again later; the columns beside them are for looking things up.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import sqlite3
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from manifests.device_report import DeviceReport, ReportedResult
from manifests.errors import FleetStoreError
from manifests.received_report import ROW_LENGTH, StoredMessage, StoredReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from manifests.received_report import ReceivedReport

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
BATCH_MAX = 256
"""Reports in one commit: 3328 parameters, of the 32766 that SQLite takes."""
CHECKPOINT_PAGES = 8192
"""Pages of the journal, 32 MiB, before they go to the database. A report changes five, anywhere in
it: with SQLite's 1000 a page would go there for nearly each report (docs/decisions/0118)."""
_CREATE = """
CREATE TABLE report (
    digest BLOB PRIMARY KEY,
    received_at_s INTEGER NOT NULL,
    serial_number TEXT NOT NULL,
    hardware_class TEXT NOT NULL,
    result INTEGER NOT NULL,
    release_counter INTEGER NOT NULL,
    app_sha256 BLOB NOT NULL,
    table_sha256 BLOB NOT NULL,
    manifest_sha256 BLOB NOT NULL,
    assignment_sequence INTEGER NOT NULL,
    freshness_sequence INTEGER NOT NULL,
    reason TEXT NOT NULL,
    message BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX report_by_serial_number ON report (serial_number, freshness_sequence);
CREATE INDEX report_by_manifest ON report (manifest_sha256, result);
"""
_COLUMNS = (
    "received_at_s, serial_number, hardware_class, result, release_counter, app_sha256, "
    "table_sha256, manifest_sha256, assignment_sequence, freshness_sequence, reason"
)


class FleetStore:
    """Device reports in one SQLite file.

    Args:
        path: The file; created when it is not there, its folder must exist.

    Raises:
        FleetStoreError: It cannot be opened, another version of this software made it, or other
            software; nothing was written to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._refuse_foreign()
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            self._prepare()
            self._identity = _identity_of(path)
        except (sqlite3.Error, OSError) as error:
            raise self._translated("the report database cannot be opened", error) from error

    def add_reports(self, received: Sequence[ReceivedReport]) -> list[bool]:
        """Store verified reports durably, all or none; whether each is new.

        A report that is twice among them is new once.

        Args:
            received: At most `BATCH_MAX`.

        Raises:
            FleetStoreError: They could not be stored; none of them was.
        """
        assert len(received) <= BATCH_MAX
        digests = [one.digest for one in received]
        rows = {one.digest: one[:ROW_LENGTH] for one in received}
        with self._lock:
            try:
                known = self._insert(rows)
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise self._translated("a device report cannot be stored", error) from error
            self._refuse_other_file()
        are_new = []
        for digest in digests:
            are_new.append(digest not in known)
            known.add(digest)
        return are_new

    def try_to_write(self) -> None:
        """Write what is there already, durably: reports could be stored now.

        Raises:
            FleetStoreError: They could not: locked, read-only, full, or taken away.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise self._translated("device reports cannot be stored", error) from error
            self._refuse_other_file()

    def _refuse_other_file(self) -> None:
        # SQLite goes on in a file that has no name any more, and all of it is lost at the end.
        try:
            is_there = _identity_of(self._path) == self._identity
        except OSError:
            is_there = False
        if not is_there:
            raise FleetStoreError(
                "the report database was taken away while it was in use",
                expected="the file that was opened",
                where=self._path,
                hint="put it back and start the server again: what comes until then is refused",
            )

    def _insert(self, rows: Mapping[bytes, tuple[object, ...]]) -> set[bytes]:
        """Insert rows whose digest is not there; return the digests that were there."""
        # Where all are new, as they nearly always are, none is looked up, which would read a page
        # for each; and one statement is one transaction: after each, a busy server lets this
        # thread wait.
        try:
            self._insert_all(tuple(rows.values()))
        except sqlite3.IntegrityError:
            return self._insert_unknown(rows)
        return set()

    def _insert_unknown(self, rows: Mapping[bytes, tuple[object, ...]]) -> set[bytes]:
        self._connection.execute("BEGIN IMMEDIATE")
        marks = ", ".join("?" * len(rows))
        statement = f"SELECT digest FROM report WHERE digest IN ({marks})"  # noqa: S608 - constants
        known = {digest for (digest,) in self._connection.execute(statement, tuple(rows))}
        self._insert_all(tuple(row for digest, row in rows.items() if digest not in known))
        self._connection.execute("COMMIT")
        return known

    def _insert_all(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert all or none; outside of a transaction they are on the disk then."""
        if rows:
            row_marks = f"({', '.join('?' * len(rows[0]))})"
            self._connection.execute(
                f"INSERT INTO report (digest, {_COLUMNS}, message) "  # noqa: S608 - constants
                f"VALUES {', '.join([row_marks] * len(rows))}",
                tuple(itertools.chain.from_iterable(rows)),
            )

    def list_reports(self, serial_number: str | None = None) -> tuple[StoredReport, ...]:
        """Return the reports of one device, or of all, the oldest first.

        Raises:
            FleetStoreError: They cannot be read.
        """
        where, values = ("WHERE serial_number = ?", (serial_number,)) if serial_number else ("", ())
        statement = f"SELECT {_COLUMNS} FROM report {where} ORDER BY received_at_s, digest"  # noqa: S608 - constants
        return tuple(_stored(row) for row in self._read(statement, *values))

    def read_messages(self, *, since_s: int) -> Iterator[StoredMessage]:
        """Yield each report that is here now as it came, the oldest first.

        Nothing is held open in between, however long that takes: a server that writes beside it
        could not empty its journal, which would grow.

        Args:
            since_s: Reports that came before are left out; seconds since 1970.

        Raises:
            FleetStoreError: They cannot be read.
        """
        order = "ORDER BY received_at_s, digest"
        statement = f"SELECT digest FROM report WHERE received_at_s >= ? {order}"  # noqa: S608 - constants
        digests = [digest for (digest,) in self._read(statement, since_s)]
        for start in range(0, len(digests), BATCH_MAX):
            page = digests[start : start + BATCH_MAX]
            statement = (
                "SELECT received_at_s, serial_number, message FROM report "  # noqa: S608 - constants
                f"WHERE digest IN ({', '.join('?' * len(page))}) {order}"
            )
            yield from map(StoredMessage._make, self._read(statement, *page))

    def count_messages(self, *, since_s: int) -> int:
        """Return how many `read_messages` will yield.

        Raises:
            FleetStoreError: They cannot be read.
        """
        statement = "SELECT count(*) FROM report WHERE received_at_s >= ?"
        ((count,),) = self._read(statement, since_s)
        return int(count)

    def list_held_back(self, manifest_sha256: bytes) -> dict[str, tuple[str, ...]]:
        """Return which devices cannot come to a release, by what they say is missing.

        A device that reported a higher release counter since is not held back by that any more.

        Args:
            manifest_sha256: The signed manifest that is assigned to them.

        Returns:
            Serial numbers, ascending, by reason.

        Raises:
            FleetStoreError: They cannot be read.
        """
        statement = (
            "SELECT DISTINCT reason, serial_number FROM report AS told "
            "WHERE manifest_sha256 = ? AND result = ? AND NOT EXISTS (SELECT 1 FROM report AS later"
            " WHERE later.serial_number = told.serial_number"
            " AND later.release_counter > told.release_counter) ORDER BY reason, serial_number"
        )
        rows = self._read(statement, manifest_sha256, int(ReportedResult.HELD_BACK))
        by_reason = itertools.groupby(rows, key=operator.itemgetter(0))
        return {reason: tuple(serial for _, serial in group) for reason, group in by_reason}

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._translated("device reports cannot be read", error) from error

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def _refuse_foreign(self) -> None:
        # One statement, so that both are of one moment: another process may be making the file.
        version, is_empty = self._connection.execute(
            "SELECT user_version, NOT EXISTS (SELECT * FROM sqlite_master) FROM pragma_user_version"
        ).fetchone()
        if version == 0 and not is_empty:
            raise FleetStoreError(
                "the file is a database, and not of device reports",
                expected="the report database of `ampforge serve`, or a file that is not there",
                where=self._path,
                hint="correct [serve] reports, or --reports",
            )
        if version not in {0, SCHEMA_VERSION}:
            raise FleetStoreError(
                "the report database is of another version",
                expected=SCHEMA_VERSION,
                got=version,
                where=self._path,
                hint="use the version of ampforge that made it, or another file",
            )

    def _prepare(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _CREATE.strip().split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        finally:
            self._connection.execute("COMMIT")

    def _translated(self, what: str, error: sqlite3.Error | OSError) -> FleetStoreError:
        return FleetStoreError(
            what,
            got=str(error),
            where=self._path,
            hint="check the folder, its permissions and the space left",
        )


def _identity_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def read_rows_after(
    connection: sqlite3.Connection, digest: bytes, rows_max: int
) -> Iterator[tuple[bytes, DeviceReport, bytes]]:
    """Yield digest, report and message of stored reports, by ascending digest.

    Args:
        connection: To a report database.
        digest: The one to begin after; empty for the first.
        rows_max: How many at most.

    Raises:
        sqlite3.Error: They cannot be read.
        ValueError, TypeError, ArithmeticError, OSError: A column is none that was stored.
    """
    statement = (
        f"SELECT digest, {_COLUMNS}, message FROM report WHERE digest > ? ORDER BY digest LIMIT ?"  # noqa: S608 - constants
    )
    for key, *columns, message in connection.execute(statement, (digest, rows_max)):
        yield key, _stored(tuple(columns)).report, message


def _stored(row: tuple[object, ...]) -> StoredReport:
    names = [name.strip() for name in _COLUMNS.split(",")]
    fields: dict[str, object] = dict(zip(names, row, strict=True))
    received_at_s, result = fields.pop("received_at_s"), fields.pop("result")
    assert isinstance(received_at_s, int)
    report = DeviceReport(result=ReportedResult(result), **fields)  # type: ignore[arg-type]  # the columns' declared types
    return StoredReport(received_at=datetime.fromtimestamp(received_at_s, UTC), report=report)
