"""The ledger in a file: SQLite with write-ahead log and `synchronous=FULL`.

Writers begin with `BEGIN IMMEDIATE`: two processes that allocate at once wait for each other
instead of failing half-way.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError

from provisioning.errors import LedgerError
from provisioning.ledger_at_rest import find_at_rest
from provisioning.ledger_failures import translated
from provisioning.ledger_file import require_file
from provisioning.ledger_log import COMPANIONS
from provisioning.ledger_writes import ANSWER
from provisioning.sqlite_engine import (
    IMMEDIATE,
    create_engine_at_rest,
    create_sqlite_engine,
    driver_of,
)
from signing.durable_file import flush_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Dialect, Engine

    from provisioning.ledger_at_rest import LedgerAtRest
    from provisioning.ledger_writes import Question, QueuedChange, Statement

IDENTITY_QUESTION: Final = "SELECT uuid, epoch, opening FROM ledger_identity"

Identity = tuple[str, int, str | None]
"""UUID, epoch and opening."""


class SqliteBackend:
    """How a ledger in a file is created, locked and looked at."""

    def __init__(self, path: Path) -> None:
        self.address = path
        self._inode: tuple[int, int] | None = None
        self._at_rest: LedgerAtRest | None = None
        self._texts: dict[object, tuple[str, dict[str, object]]] = {}
        self._dialect: Dialect = SQLiteDialect_pysqlite(paramstyle="named")

    def open(self) -> Engine:
        """Return an engine on the file that is there.

        Where no log can be kept because the folder can only be read, so can the ledger.

        Raises:
            LedgerError: There is none, or its file system cannot keep a write-ahead log.
        """
        path = self.address
        require_file(path)
        self._inode = _inode_of(path)
        engine = create_sqlite_engine(path)
        try:
            with translated(path):
                _require_write_ahead_log(engine, path)
        except LedgerError as error:
            engine.dispose()
            self._at_rest = find_at_rest(path, error)
            if self._at_rest is None:
                raise
            return create_engine_at_rest(path)
        return engine

    def seeing_one_state(self) -> AbstractContextManager[None]:
        """Refuse at the end what is no state that the ledger was in."""
        return nullcontext() if self._at_rest is None else self._at_rest.unchanged()

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
        connection = engine.connect().execution_options(**{IMMEDIATE: True})
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
            row = driver_of(connection).execute(IDENTITY_QUESTION).fetchone()
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
            return driver_of(connection).execute(text, {**fixed, **values}).fetchall()
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
    engine = create_sqlite_engine(draft)
    try:
        with translated(path):
            _require_write_ahead_log(engine, path)
            with engine.execution_options(**{IMMEDIATE: True}).begin() as connection:
                fill(connection)
    finally:
        engine.dispose()


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
