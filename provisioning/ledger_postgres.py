"""The ledger on a PostgreSQL server, for several stations (psycopg 3, the extra `postgres`).

A writer takes the ledger's write lock first: the next one waits, and then sees all that was written
before. What server is good enough is `provisioning.postgres_engine`'s to say.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from provisioning.errors import LedgerError
from provisioning.ledger_failures import is_connection_lost, translated
from provisioning.ledger_sqlite import IDENTITY_QUESTION, Identity
from provisioning.ledger_writes import ANSWER, INSERTS
from provisioning.postgres_engine import create_postgres_engine
from provisioning.postgres_statements import PreparedStatements, exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from provisioning.ledger_address import PostgresAddress
    from provisioning.ledger_writes import Question, QueuedChange, Statement

_FOUND_IDENTITY: Final = "ampforge_found_identity"
_WRITE_LOCK: Final = 0x414D5046_4C454447
"""Of this database alone; PostgreSQL gives it to those who wait in the order in which they came."""
_LOCK: Final = f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})"
_RELEASE: Final = "SET LOCAL synchronous_commit = off; COMMIT"
_FLUSH: Final = "BEGIN; SELECT pg_logical_emit_message(true, 'ampforge', ''); COMMIT"
"""An empty transaction is not flushed; one that left a message in the log is."""
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""Whatever the server's default is: what is asked behind the lock must see what was before it."""
_LOCK_TO_RELEASE: Final = (
    f"SELECT pg_advisory_xact_lock({_WRITE_LOCK}), set_config('synchronous_commit', 'off', true)"
)
_FINISH: Final = "COMMIT; SELECT pg_logical_emit_message(true, 'ampforge', '')"
"""As `_RELEASE` and `_FLUSH`, in fewer statements: the last is a transaction of its own."""
_CREATE_LOCK: Final = 0x414D5046  # "AMPF"; only while a ledger is created


class PostgresBackend:
    """How a ledger on a server is created, locked and looked at."""

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self._statements = PreparedStatements()

    def open(self) -> Engine:
        """Return an engine on the database.

        Raises:
            LedgerError: The extra is not installed. (Connections are made and judged when used.)
        """
        return create_postgres_engine(self.address)

    def seeing_one_state(self) -> AbstractContextManager[None]:
        """Do nothing: the server sees to it."""
        return nullcontext()

    def begin_reading(self, engine: Engine) -> Connection:
        """Return a connection whose transactions see one state."""
        return engine.connect().execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def begin_writing(self, engine: Engine, question: Question | None = None) -> Connection:
        """Return a connection in a transaction that holds the only write lock.

        A connection that died while nobody used it is replaced: nothing was asked of it yet.
        """
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            return self._lock(connection, question)
        except DBAPIError as error:
            if not is_connection_lost(error):
                connection.close()
                raise
            connection.invalidate(error)
            connection.close()
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            return self._lock(connection, question)
        except DBAPIError:
            connection.close()
            raise

    def run_at_once(
        self, engine: Engine, statement: Statement, values: Mapping[str, object]
    ) -> Sequence[Any] | None:
        """Run one statement as a transaction of its own under the write lock, in one message.

        Returns:
            Its first row, once that is on the disk; `None` when there was none, or when the
            connection was lost: then whoever takes the lock next sees what became of it.
        """
        pooled = engine.raw_connection()  # here the rest of a Connection costs more than the work
        driver: Any = pooled.driver_connection
        try:
            driver.autocommit = True
            self._statements.prepare(driver, pooled.info, (statement,))
            run = self._statements.run_of(driver, statement, values)
            _, rows, *_ = exchange(driver, f"{_BEGIN}; {_LOCK_TO_RELEASE}; {run}; {_FINISH}")
        except DBAPIError as error:
            if is_connection_lost(error):
                pooled.invalidate(error)
                return None
            driver.rollback()
            raise
        finally:
            if pooled.is_valid:
                driver.autocommit = False
            pooled.close()
        return rows[0] if rows else None

    def begin_changing(self, engine: Engine) -> Connection:
        """Return a connection in a transaction that nobody reads or writes beside."""
        connection = engine.connect()
        connection.exec_driver_sql("LOCK TABLE ledger_identity IN ACCESS EXCLUSIVE MODE")
        return connection

    def _lock(self, connection: Connection, question: Question | None) -> Connection:
        """Take the lock, and ask under it; all in one message, because others wait meanwhile."""
        asked = () if question is None else (question[0],)
        driver = _driver_connection(connection)
        self._statements.prepare(driver, connection.info, (*INSERTS.values(), *asked))
        statements = [f"{_BEGIN}; {_LOCK}; {IDENTITY_QUESTION}"]
        if question is not None:
            statements.append(self._statements.run_of(driver, *question))
        _, identity, *answers = _send(connection, "; ".join(statements))
        connection.info[_FOUND_IDENTITY] = identity[0] if identity else None
        connection.info[ANSWER] = answers[0][0] if answers else None
        return connection

    def read_identity(self, connection: Connection) -> Identity | None:
        """Return UUID, epoch and opening of the ledger, as the lock found them."""
        found: Identity | None = connection.info.pop(_FOUND_IDENTITY, None)
        return found

    def commit(self, connection: Connection, changes: Sequence[QueuedChange]) -> None:
        """Send what was queued and the COMMIT in one message, and return when it is on the disk.

        The write lock is given up before the disk has answered, so that one flush serves all who
        wait (decision 0056): the transaction commits without waiting, and a second, empty one
        behind it in the same message waits for the log up to its own end, which is later.
        """
        driver = _driver_connection(connection)
        self._statements.prepare(driver, connection.info, (statement for statement, _ in changes))
        statements = [self._statements.run_of(driver, *change) for change in changes]
        _send(connection, "; ".join([*statements, _RELEASE, _FLUSH]))

    def flush(self, engine: Engine) -> None:
        """Return when all that was committed so far is on the disk."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            _send(connection, _FLUSH)

    def roll_back(self, connection: Connection) -> None:
        """Undo the transaction, if the server is still there; if not, the server undoes it."""
        with suppress(DBAPIError):
            _send(connection, "ROLLBACK")

    def create(self, fill: Callable[[Connection], None]) -> None:
        """Make a ledger in an empty database, complete or not at all.

        Args:
            fill: Makes tables and first rows, in one transaction.

        Raises:
            LedgerError: The database is not empty, or cannot be written.
        """
        engine = create_postgres_engine(self.address)
        try:
            with translated(self.address), engine.begin() as connection:
                # The second of two at once waits here, and then finds the tables of the first.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATE_LOCK})")
                self._require_empty(connection)
                fill(connection)
        finally:
            engine.dispose()

    def _require_empty(self, connection: Connection) -> None:
        tables = inspect(connection).get_table_names()
        if "ledger_identity" in tables:
            raise LedgerError(
                "there is a ledger already",
                expected="an empty database",
                got="a ledger",
                where=self.address,
                hint="use the one there is: a second would start a second series of serial "
                "numbers; to restore a backup, name an empty database",
            )
        if tables:
            raise LedgerError(
                "the database is in use for something else",
                expected="an empty database",
                got=f"table {min(tables)}",
                where=self.address,
                hint="create a database for the ledger alone: `createdb NAME`",
            )


def _driver_connection(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _send(connection: Connection, statements: str) -> list[list[Any]]:
    """Have the server run several statements, and note when the connection is lost."""
    try:
        return exchange(_driver_connection(connection), statements)
    except DBAPIError as error:
        if is_connection_lost(error):
            connection.invalidate(error)
        raise
