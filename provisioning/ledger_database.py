"""Opens the ledger's database so that a commit survives a power cut, and translates its errors.

SQLite with write-ahead log and `synchronous=FULL`. Writers begin with `BEGIN IMMEDIATE`: two
processes that allocate at once wait for each other instead of failing half-way. Knows nothing of
serial numbers or events: that is `provisioning.ledger`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, create_engine, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from provisioning.errors import LedgerError
from provisioning.ledger_schema import HEAD_REVISION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT_S: Final = 30
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_VERSION_TABLE: Final = "alembic_version"
_IMMEDIATE: Final = "ampforge_begin_immediate"


class LedgerDatabase:
    """One open database with exactly the tables of this version of Ampforge.

    Safe to use from several threads. Made by `create_database` or `open_database`.
    """

    def __init__(self, engine: Engine, *, path: Path) -> None:
        self._engine = engine
        self.path = path

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one consistent state and changes nothing."""
        with _translated(self.path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the only write lock from its beginning, durable at its end."""
        options = {_IMMEDIATE: True}
        with (
            _translated(self.path),
            self._engine.execution_options(**options).begin() as connection,
        ):
            yield connection

    def close(self) -> None:
        """Close every connection; SQLite folds its write-ahead log into the file."""
        self._engine.dispose()


def create_database(path: Path, *, first_rows: Callable[[Connection], None]) -> None:
    """Create a database, complete or not at all.

    Args:
        path: File that must not exist.
        first_rows: Writes the first rows, in the same transaction as the tables.

    Raises:
        LedgerError: The file exists, or the folder cannot be written.
    """
    if path.exists():
        raise _exists(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        engine = _create_engine(draft)
        with _translated(path):
            _require_write_ahead_log(engine, path)
            with engine.execution_options(**{_IMMEDIATE: True}).begin() as connection:
                _upgrade(connection)
                first_rows(connection)
        engine.dispose()
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename, never replaces a ledger that came up meanwhile
        except FileExistsError as error:
            raise _exists(path) from error
        _sync_folder(path.parent)
    except OSError as error:
        raise LedgerError("the ledger cannot be created", got=error.strerror, where=path) from error
    finally:
        for leftover in path.parent.glob(f"{draft.name}*"):
            leftover.unlink(missing_ok=True)


def open_database(path: Path) -> LedgerDatabase:
    """Open a ledger that `station init` created.

    Raises:
        LedgerError: There is none, it is not a ledger, or it is of another version.
    """
    if not path.is_file():
        raise LedgerError(
            "there is no ledger",
            expected="a ledger made by `ampforge station init`",
            got="no such file",
            where=path,
            hint="check the folder; only a new factory runs `ampforge station init`",
        )
    engine = _create_engine(path)
    with _translated(path):
        with engine.begin() as connection:
            has_version = inspect(connection).has_table(_VERSION_TABLE)
            revision = (
                connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
                if has_version
                else None
            )
        if revision != HEAD_REVISION:
            engine.dispose()
            raise LedgerError(
                "the ledger is of another version",
                expected=f"revision {HEAD_REVISION}",
                got="no revision" if revision is None else f"revision {revision}",
                where=path,
                hint="use the Ampforge version that wrote it, or upgrade the ledger",
            )
        _require_write_ahead_log(engine, path)
    return LedgerDatabase(engine, path=path)


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
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


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


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise LedgerError(
            "the ledger cannot be read or written",
            got=str(cause),
            where=path,
            hint="check disk space and rights; if the file is damaged, restore a backup",
        ) from error


def _exists(path: Path) -> LedgerError:
    return LedgerError(
        "there is a ledger already",
        expected="no file",
        got="a file",
        where=path,
        hint="a second ledger would start a second series of serial numbers; use the one there is",
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
