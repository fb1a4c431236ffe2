"""The ledger in a file: SQLite with write-ahead log and `synchronous=FULL`.

Writers begin with `BEGIN IMMEDIATE`: two processes that allocate at once wait for each other
instead of failing half-way.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import URL, create_engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError

from provisioning.errors import LedgerError
from provisioning.ledger_failures import translated
from provisioning.ledger_file import BUSY_TIMEOUT_S, require_file
from provisioning.ledger_writes import ANSWER
from signing.durable_file import flush_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Dialect, Engine

    from provisioning.ledger_writes import Question, QueuedChange, Statement

IDENTITY_QUESTION: Final = "SELECT uuid, epoch, opening FROM ledger_identity"
COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""Ends of the names of the files beside a database."""

_IMMEDIATE: Final = "ampforge_begin_immediate"
_BEGIN_IMMEDIATE: Final = "BEGIN IMMEDIATE"
_LOOK_EVERY_S: Final = 0.005
_FOLD_TIMEOUT_S: Final = 2.0
_BUSY_CODES: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LOG_PAGES: Final = 8000
"""Of the write-ahead log, 32 MiB, before it is folded in; a number writes about fifteen of them."""
_PRIMARY_CODE: Final = 0xFF
"""Of an error code of SQLite; the bits above say more."""


Identity = tuple[str, int, str | None]
"""UUID, epoch and opening."""


def fold_log(path: Path) -> bool:
    """Fold the write-ahead log into a file that nobody works with, so that it can be moved alone.

    The last who closes a database does so by himself; a reader elsewhere prevents that. A file that
    is no database has no log to fold.

    Returns:
        Whether the log is empty now.
    """
    with closing(sqlite3.connect(path, timeout=_FOLD_TIMEOUT_S)) as connection:
        try:
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode & _PRIMARY_CODE not in _BUSY_CODES
        except sqlite3.DatabaseError:
            return True
    return not is_busy


class SqliteBackend:
    """How a ledger in a file is created, locked and looked at."""

    def __init__(self, path: Path) -> None:
        self.address = path
        self._inode: tuple[int, int] | None = None
        self._texts: dict[object, tuple[str, dict[str, object]]] = {}
        self._dialect: Dialect = SQLiteDialect_pysqlite(paramstyle="named")

    def open(self) -> Engine:
        """Return an engine on the file that is there.

        Raises:
            LedgerError: There is none, or its file system cannot keep a write-ahead log.
        """
        path = self.address
        require_file(path)
        self._inode = _inode_of(path)
        engine = _create_engine(path)
        with translated(path):
            _require_write_ahead_log(engine, path)
        return engine

    def begin_reading(self, engine: Engine) -> Connection:
        """Return a connection whose transactions see one state."""
        return engine.connect()

    def begin_writing(self, engine: Engine, question: Question | None = None) -> Connection:
        """Return a connection in a transaction that holds the only write lock.

        Raises:
            LedgerError: Another file has taken the place of the one that was opened.
        """
        if _inode_of(self.address) != self._inode:
            # Without this, a station that ran during a restore would go on in the removed file.
            raise LedgerError(
                "the ledger's file was replaced while it was in use",
                expected="the file that was opened",
                got="another one, or none",
                where=self.address,
                hint="nothing was written; start again, with the ledger that is there now",
            )
        connection = engine.connect().execution_options(**{_IMMEDIATE: True})
        try:
            connection.begin()
            if question is not None:
                (connection.info[ANSWER],) = self._run(connection, *question)
        except BaseException:
            connection.close()
            raise
        return connection

    def begin_changing(self, engine: Engine) -> Connection:
        """Return a connection in a transaction that nobody writes beside; for migrations."""
        return self.begin_writing(engine)

    def read_identity(self, connection: Connection) -> Identity | None:
        """Return UUID, epoch and opening of the ledger, inside a writing transaction."""
        try:
            row = _driver(connection).execute(IDENTITY_QUESTION).fetchone()
        except sqlite3.Error as error:
            raise DBAPIError(IDENTITY_QUESTION, None, error) from error
        return None if row is None else (row[0], row[1], row[2])

    def commit(self, connection: Connection, changes: Sequence[QueuedChange]) -> None:
        """Write what was queued, and commit."""
        for statement, values in changes:
            self._run(connection, statement, values)
        connection.commit()

    def _run(
        self,
        connection: Connection,
        statement: Statement,
        values: Mapping[str, object],
    ) -> list[Any]:
        """Run a statement of this package by the driver alone: others wait meanwhile."""
        if statement not in self._texts:
            compiled = statement.compile(dialect=self._dialect)
            fixed = {name: value for name, value in compiled.params.items() if value is not None}
            self._texts[statement] = str(compiled), fixed
        text, fixed = self._texts[statement]
        try:
            return _driver(connection).execute(text, {**fixed, **values}).fetchall()
        except sqlite3.Error as error:
            raise DBAPIError(text, None, error) from error

    def flush(self, _engine: Engine) -> None:
        """Do nothing: what can be read is on the disk."""

    def roll_back(self, connection: Connection) -> None:
        """Undo the transaction."""
        connection.rollback()

    def create(self, fill: Callable[[Connection], None]) -> None:
        """Create the file, complete or not at all.

        Args:
            fill: Makes tables and first rows, in one transaction.

        Raises:
            LedgerError: The file exists, or the folder cannot be written.
        """
        path = self.address
        if path.exists():
            raise _exists(path)
        for leftover in (path.with_name(path.name + suffix) for suffix in COMPANIONS):
            if leftover.exists():
                # SQLite would apply the log of the old ledger to the new one.
                raise LedgerError(
                    "a part of an earlier ledger is still there",
                    expected="no file",
                    got="a file",
                    where=leftover,
                    hint="move it away together with the earlier ledger; do not delete it",
                )
        draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            _write_draft(draft, path, fill)
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            try:
                os.link(draft, path)  # unlike a rename, never replaces one that came up meanwhile
            except FileExistsError as error:
                raise _exists(path) from error
            flush_folder(path.parent)
        except OSError as error:
            raise LedgerError(
                "the ledger cannot be created", got=error.strerror, where=path
            ) from error
        finally:
            for leftover in path.parent.glob(f"{draft.name}*"):
                leftover.unlink(missing_ok=True)


def _write_draft(draft: Path, path: Path, fill: Callable[[Connection], None]) -> None:
    engine = _create_engine(draft)
    try:
        with translated(path):
            _require_write_ahead_log(engine, path)
            with engine.execution_options(**{_IMMEDIATE: True}).begin() as connection:
                fill(connection)
    finally:
        engine.dispose()


def _create_engine(path: Path) -> Engine:
    url = URL.create("sqlite", database=str(path))  # a path may have ? and % in it
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None  # we begin transactions, not the driver
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_IMMEDIATE, False):
            _wait_for_lock(_driver(connection))
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _wait_for_lock(driver: sqlite3.Connection) -> None:
    """Begin a transaction that holds the write lock, as soon as it is free.

    SQLite's own waiting sleeps up to 100 ms between two looks; several writers then spend most of
    their time asleep before a lock that nobody holds.

    Raises:
        DBAPIError: Others held it for `BUSY_TIMEOUT_S`, or the file cannot be used.
    """
    deadline_s = time.monotonic() + BUSY_TIMEOUT_S
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute(_BEGIN_IMMEDIATE)
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
                if code & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                    raise DBAPIError(_BEGIN_IMMEDIATE, None, error) from error
                time.sleep(_LOOK_EVERY_S)
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_TIMEOUT_S)}")


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _require_write_ahead_log(engine: Engine, path: Path) -> None:
    with engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    if mode != "wal":
        raise LedgerError(
            "the ledger's file system cannot keep a write-ahead log",
            expected="journal mode wal",
            got=mode,
            where=path,
            hint="put the station's folder on a local disk, not on a network share",
        )


def _inode_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _exists(path: Path) -> LedgerError:
    return LedgerError(
        "there is a ledger already",
        expected="no file",
        got="a file",
        where=path,
        hint="use the one there is: a second would start a second series of serial numbers; to "
        "restore a backup, move this one away first, with its -wal and -shm files",
    )
