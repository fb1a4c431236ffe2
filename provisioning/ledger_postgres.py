"""The ledger on a PostgreSQL server, for several stations (psycopg 3, the extra `postgres`).

Every connection asks for `synchronous_commit=on` and refuses a server that would not keep what it
confirmed, or would change the text. A writer takes the ledger's write lock first: the next one
waits, and then sees all that was written before.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, create_engine, event, inspect
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from provisioning.errors import LedgerError
from provisioning.ledger_failures import is_connection_lost, translated
from provisioning.ledger_sqlite import IDENTITY_QUESTION, Identity
from provisioning.ledger_writes import ANSWER, INSERTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Dialect, Engine

    from provisioning.ledger_address import PostgresAddress
    from provisioning.ledger_writes import Question, QueuedChange, Statement

CONNECT_TIMEOUT_S: Final = 10
LOCK_TIMEOUT_S: Final = 30
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 60
"""A writer that hangs longer between two statements is cut off, so that the others can go on."""
_OLDEST_SERVER: Final = 130_000
_PREPARED: Final = "ampforge_prepared_statements"
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
_MAX_CONNECTIONS: Final = 64  # one for each slot of the largest fixture
_SETTINGS: Final = (
    "SELECT current_setting('synchronous_commit'), current_setting('fsync'),"
    " current_setting('server_encoding'), current_setting('server_version_num')::int"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A statement as the server prepares it.

    Attributes:
        name: Its name within a connection.
        text: The statement, with $1, $2, ...
        parameters: Names of the parameters, in this order.
        constants: Values of those that are the same each time.
    """

    name: str
    text: str
    parameters: tuple[str, ...]
    constants: dict[str, object]


class PostgresBackend:
    """How a ledger on a server is created, locked and looked at."""

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self._plans: dict[object, _Plan] = {}
        self._numbers = count()
        # As PREPARE wants parameters: $1, $2, ...
        self._dialect: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

    def open(self) -> Engine:
        """Return an engine on the database.

        Raises:
            LedgerError: The extra is not installed. (Connections are made and judged when used.)
        """
        return _create_engine(self.address)

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
            self._prepare(driver, pooled.info, (statement,))
            run = self._run_of(driver, statement, values)
            _, rows, *_ = _exchange(driver, f"{_BEGIN}; {_LOCK_TO_RELEASE}; {run}; {_FINISH}")
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
        self._prepare(driver, connection.info, (*INSERTS.values(), *asked))
        statements = [f"{_BEGIN}; {_LOCK}; {IDENTITY_QUESTION}"]
        if question is not None:
            statements.append(self._run_of(driver, *question))
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
        self._prepare(driver, connection.info, (statement for statement, _ in changes))
        statements = [self._run_of(driver, *change) for change in changes]
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
        engine = _create_engine(self.address)
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

    def _plan_of(self, statement: Statement) -> _Plan:
        """Return how a statement of this package is prepared and run; made once."""
        if statement not in self._plans:
            compiled = statement.compile(dialect=self._dialect)
            assert isinstance(compiled, SQLCompiler)
            assert compiled.positiontup is not None
            plan = _Plan(
                # Of one statement alone, even when two threads come here at once.
                name=f"ampforge_{next(self._numbers)}",
                text=str(compiled),
                parameters=tuple(compiled.positiontup),
                constants={k: v for k, v in compiled.params.items() if v is not None},
            )
            return self._plans.setdefault(statement, plan)
        return self._plans[statement]

    def _prepare(self, driver: Any, info: dict[Any, Any], statements: Iterable[Statement]) -> None:
        """Have the server plan statements, once for each connection, before anybody waits."""
        known: set[str] = info.setdefault(_PREPARED, set())
        plans = [self._plan_of(statement) for statement in statements]
        missing = [plan for plan in plans if plan.name not in known]
        if missing:
            _exchange(driver, "; ".join(f"PREPARE {plan.name} AS {plan.text}" for plan in missing))
            known.update(plan.name for plan in missing)

    def _run_of(
        self,
        driver: Any,
        statement: Statement,
        values: Mapping[str, object],
    ) -> str:
        """Return the text that runs a prepared statement, its values quoted by libpq."""
        from psycopg.pq import Escaping

        plan = self._plan_of(statement)
        given, escaping = {**plan.constants, **values}, Escaping(driver.pgconn)
        quoted = ", ".join(_quoted(given[name], escaping) for name in plan.parameters)
        return f"EXECUTE {plan.name} ({quoted})"


def _quoted(value: object, escaping: Any) -> str:
    """Return a value as a literal: a cursor that does this looks at each type again each time."""
    match value:
        case str() if "\0" not in value:  # libpq would end the text there
            return str(escaping.escape_literal(value.encode()), "utf-8")
        case bytes():
            return f"E'\\\\x{value.hex()}'"
        case int():
            return str(value)
        case None:
            return "NULL"
        case _:
            raise TypeError(value)


def _driver_connection(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _send(connection: Connection, statements: str) -> list[list[Any]]:
    """Have the server run several statements in one journey; return the rows of each that has any.

    Raises:
        DBAPIError: As SQLAlchemy raises it for a statement of its own.
    """
    try:
        return _exchange(_driver_connection(connection), statements)
    except DBAPIError as error:
        if is_connection_lost(error):
            connection.invalidate(error)
        raise


def _exchange(driver: Any, statements: str) -> list[list[Any]]:
    from psycopg import Error as PsycopgError

    try:
        cursor = driver.execute(statements, prepare=False)
        answers = []
        while True:
            if cursor.rownumber is not None:  # it returned rows, or none of them
                answers.append(cursor.fetchall())
            if not cursor.nextset():
                return answers
    except PsycopgError as error:
        lost = bool(driver.closed or driver.broken)
        statement = statements.partition(";")[0]
        raise DBAPIError(statement, None, error, connection_invalidated=lost) from error


def _create_engine(address: PostgresAddress) -> Engine:
    if find_spec("psycopg") is None:
        raise LedgerError(
            "a ledger on PostgreSQL needs the driver psycopg",
            where=address,
            hint="install it: `pip install 'ampforge[postgres]'`",
        )
    url = URL.create(
        "postgresql+psycopg",
        username=address.user,
        host=address.host,
        port=address.port,
        database=address.database,
        query=dict(address.options),
    )
    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=_MAX_CONNECTIONS - 8,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "ampforge",
            "client_encoding": "utf8",
            "tcp_user_timeout": 1000 * LOCK_TIMEOUT_S,
            "options": "-c synchronous_commit=on"
            f" -c lock_timeout={LOCK_TIMEOUT_S}s"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_S}s",
        },
    )

    @event.listens_for(engine, "connect")
    def _judge(dbapi_connection: Any, _record: object) -> None:
        cursor = dbapi_connection.cursor()
        try:
            found = cursor.execute(_SETTINGS).fetchone()
            dbapi_connection.rollback()
            _require_durable(address, *found)
        except BaseException:
            dbapi_connection.close()
            raise
        cursor.close()

    return engine


def _require_durable(
    address: PostgresAddress, commit: str, fsync: str, encoding: str, version: int
) -> None:
    if version < _OLDEST_SERVER:
        raise LedgerError(
            "the ledger's server is too old",
            expected="PostgreSQL 13 or newer",
            got=f"version number {version}",
            where=address,
            hint="upgrade the server; PostgreSQL no longer maintains this version",
        )
    for name, value in (("synchronous_commit", commit), ("fsync", fsync)):
        if value != "on":
            raise LedgerError(
                "the ledger's server would lose what it confirmed in a power cut",
                expected=f"{name} = on",
                got=value,
                where=address,
                hint=f"set {name} = on in postgresql.conf; a serial number must not be forgotten",
            )
    if encoding != "UTF8":
        raise LedgerError(
            "the ledger's database has another encoding",
            expected="UTF8",
            got=encoding,
            where=address,
            hint="create it again: `createdb --encoding=UTF8 --template=template0 NAME`",
        )
