"""How SQLite is opened for a ledger, and how a writer waits for its lock."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import DBAPIError

from provisioning.ledger_at_rest import AT_REST
from provisioning.ledger_file import BUSY_TIMEOUT_S
from provisioning.sqlite_failures import primary_code

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine

IMMEDIATE: Final = "ampforge_begin_immediate"
"""Option of a connection: its transactions hold the write lock from their beginning."""

_BEGIN_IMMEDIATE: Final = "BEGIN IMMEDIATE"
_LOOK_EVERY_S: Final = 0.005
_LOG_PAGES: Final = 8000
"""Of the write-ahead log, 32 MiB, before it is folded in; a number writes about fifteen of them."""
_LOGGED: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    f"wal_autocheckpoint={_LOG_PAGES}",
)


def create_sqlite_engine(path: Path) -> Engine:
    """Return an engine on a file, with a write-ahead log and every commit on the disk."""
    # A path may have ? and % in it.
    return _engine_of(URL.create("sqlite", database=str(path)), _LOGGED)


def create_engine_at_rest(path: Path) -> Engine:
    """Return an engine on a file that is read without its log (`provisioning.ledger_at_rest`)."""
    query = {**AT_REST, "uri": "true"}
    return _engine_of(URL.create("sqlite", database=path.absolute().as_uri(), query=query), ())


def _engine_of(url: URL, settings: Sequence[str]) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None  # we begin transactions, not the driver
        cursor = dbapi_connection.cursor()
        for setting in settings:
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(IMMEDIATE, False):
            _wait_for_lock(driver_of(connection))
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
                is_busy = primary_code(error) == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > deadline_s:
                    raise DBAPIError(_BEGIN_IMMEDIATE, None, error) from error
                time.sleep(_LOOK_EVERY_S)
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_TIMEOUT_S)}")


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)
