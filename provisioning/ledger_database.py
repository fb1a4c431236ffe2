"""One open ledger database, whichever back end keeps it: read one state, or write durably.

A transaction that returned is on the disk; one that raised left nothing. When the connection dies
in the middle of a commit, nobody told us which of the two it was: then we look. Knows nothing of
serial numbers: that is `provisioning.ledger`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from provisioning.errors import LedgerError
from provisioning.ledger_connection import ConnectionQuestions
from provisioning.ledger_failures import describe_failure, is_connection_lost, translated
from provisioning.ledger_journal import PROOF
from provisioning.ledger_migrations import migrate
from provisioning.ledger_revisions import HEAD_REVISION, read_revision, require_head
from provisioning.ledger_schema import events
from provisioning.ledger_sqlite import SqliteBackend
from provisioning.ledger_writes import QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_postgres import PostgresBackend
    from provisioning.ledger_sqlite import Identity
    from provisioning.ledger_writes import Question, Statement

    Backend = SqliteBackend | PostgresBackend

_LOOK_AGAIN_S: Final = (0.0, 0.2, 1.0, 3.0)


class LedgerDatabase:
    """One open database with exactly the tables of this version of Ampforge.

    Safe to use from several threads. Made by `open_database`.

    Attributes:
        identity: UUID, epoch and opening that every writer must find; `None` before they are known.
    """

    def __init__(self, backend: Backend, engine: Engine) -> None:
        self._backend = backend
        self._engine = engine
        self.identity: Identity | None = None

    @property
    def address(self) -> LedgerAddress:
        """Where the ledger lies; its text has no password."""
        return self._backend.address

    @property
    def has_server(self) -> bool:
        """Whether a message to the database is a journey, and others wait meanwhile."""
        return not isinstance(self._backend, SqliteBackend)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one consistent state and changes nothing."""
        with (
            self._backend.seeing_one_state(),
            translated(self.address),
            self._backend.begin_reading(self._engine) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def asking(self) -> Iterator[ConnectionQuestions]:
        """The same, for questions in plain SQL."""
        with self.reading() as connection:
            yield ConnectionQuestions(connection)

    @contextmanager
    def writing(
        self, question: Question | None = None, *, is_last_word: bool = False
    ) -> Iterator[Connection]:
        """A transaction that holds the only write lock from its beginning, durable at its end.

        Args:
            question: Asked under the lock, in the same message to a server; the answer, one row,
                is `connection.info[ANSWER]`.
            is_last_word: Nothing that is changed is read again before the end, so that changes may
                travel with the COMMIT (`provisioning.ledger_writes`).

        Raises:
            LedgerError: It was not committed, or nobody can say at present whether it was.
        """
        with (
            translated(self.address),
            self._backend.begin_writing(self._engine, question) as connection,
        ):
            try:
                self._require_identity(connection)
                connection.info.pop(PROOF, None)
                connection.info.pop(QUEUE, None)
                if is_last_word:
                    connection.info[QUEUE] = []
                yield connection
                proof, changes = connection.info.get(PROOF), connection.info.pop(QUEUE, [])
            except BaseException:
                if not connection.invalidated:
                    connection.info.pop(QUEUE, None)
                    self._backend.roll_back(connection)
                raise
            try:
                self._backend.commit(connection, changes)
            except DBAPIError as error:
                if not is_connection_lost(error):
                    self._backend.roll_back(connection)
                if isinstance(self._backend, SqliteBackend):
                    raise  # it says truly that nothing was committed
                self._settle(proof, error)

    def run_at_once(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Sequence[Any] | None:
        """Let a server write under the write lock without waiting for an answer of ours.

        Args:
            statement: Looks by itself whether it may write, and returns one row if it did.
            values: Of its parameters.

        Returns:
            The row, once that is on the disk. `None` when nothing was written, or when the answer
            was lost: then look, and write the usual way.

        Raises:
            LedgerError: Nothing was written, because the server refused.
        """
        assert not isinstance(self._backend, SqliteBackend), "there is no server"
        with translated(self.address):
            return self._backend.run_at_once(self._engine, statement, values)

    @contextmanager
    def changing_tables(self) -> Iterator[Connection]:
        """A transaction that nobody else reads or writes beside; for migrations alone."""
        with translated(self.address), self._backend.begin_changing(self._engine) as connection:
            yield connection
            connection.commit()

    def flush(self) -> None:
        """Return when all that was read so far is on the disk.

        On a server, others see a transaction a moment before the disk has it. What leaves the
        ledger under a signature or as a backup must not be forgotten by a power cut in that moment.
        """
        with translated(self.address):
            self._backend.flush(self._engine)

    def close(self) -> None:
        """Close every connection; SQLite folds its write-ahead log into the file."""
        self._engine.dispose()

    def _require_identity(self, connection: Connection) -> None:
        found = self._backend.read_identity(connection)
        if self.identity is not None and found != self.identity:
            raise LedgerError(
                "the ledger was restored while this station was at work",
                expected=f"{self.identity[0]}, epoch {self.identity[1]}",
                got="none" if found is None else f"{found[0]}, epoch {found[1]}",
                where=self.address,
                hint="nothing was written; start again, with the ledger that is there now",
            )

    def _settle(self, proof: bytes | None, error: DBAPIError) -> None:
        """Find out whether a transaction was committed whose answer was lost; return if it was.

        Under the write lock, because the server may still be busy with that very commit.
        """
        for pause_s in _LOOK_AGAIN_S:
            time.sleep(pause_s)
            try:
                with self._backend.begin_writing(self._engine) as connection:
                    self._require_identity(connection)
                    is_there = (
                        proof is not None
                        and connection.execute(
                            select(events.c.number).where(events.c.hash == proof)
                        ).first()
                    )
                    self._backend.commit(connection, ())  # what was found is on the disk, too
            except DBAPIError:
                continue
            if is_there:
                return
            if not is_connection_lost(error):
                raise error
            raise LedgerError(
                "the connection to the ledger was lost, and nothing was committed",
                got=describe_failure(error, self.address).got,
                where=self.address,
                hint="the ledger is there again, and was looked at; start again",
            ) from error
        raise LedgerError(
            "the connection to the ledger was lost in the middle of a commit",
            expected="an answer",
            got="none: it is not known whether the last event was written",
            where=self.address,
            hint="start again when the server is there: a board keeps the number that it was "
            "given, and what was written is found",
        ) from error


def create_database(
    address: LedgerAddress, *, fill: Callable[[Connection], None], revision: str = HEAD_REVISION
) -> None:
    """Create a database, complete or not at all.

    Args:
        address: A file that must not exist, or an empty database.
        fill: Writes the first rows, in the same transaction as the tables.
        revision: Revision of the tables when `fill` is called.

    Raises:
        LedgerError: There is something already, or it cannot be written.
    """

    def make(connection: Connection) -> None:
        migrate(connection, revision=revision)
        fill(connection)

    _backend(address).create(make)


def open_database(address: LedgerAddress) -> LedgerDatabase:
    """Open a ledger that `station init` created.

    Raises:
        LedgerError: There is none, it is not a ledger, or it is of another version.
    """
    database, revision = open_any_revision(address)
    try:
        require_head(revision, where=address)
    except BaseException:
        database.close()
        raise
    return database


def open_any_revision(address: LedgerAddress) -> tuple[LedgerDatabase, str | None]:
    """Open a database whatever its tables are; for upgrading and for backups before that.

    Raises:
        LedgerError: There is none, or it cannot be read.
    """
    backend = _backend(address)
    engine = backend.open()
    database = LedgerDatabase(backend, engine)
    try:
        with database.asking() as questions:
            revision = read_revision(questions)
    except BaseException:
        database.close()
        raise
    return database, revision


def _backend(address: LedgerAddress) -> Backend:
    if isinstance(address, Path):
        return SqliteBackend(address)
    from provisioning.ledger_postgres import PostgresBackend

    return PostgresBackend(address)
