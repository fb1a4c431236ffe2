"""From what a database driver says through SQLAlchemy to what a person does next.

What SQLite says is told by `provisioning.sqlite_failures`.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from provisioning.errors import LedgerError, LedgerUnreachableError
from provisioning.sqlite_failures import (
    BUSY,
    DISK_FULL,
    OTHER,
    READ_ONLY,
    classify_sqlite,
    first_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_GONE: Final = (
    "the ledger's server cannot be reached",
    "nothing half-done was kept; check PostgreSQL and the network, then start again",
)
# By SQLSTATE, the longest prefix first: PostgreSQL, appendix "Error Codes".
_POSTGRES: Final = {
    "53100": DISK_FULL,
    "25006": READ_ONLY,
    "55P03": BUSY,
    "25P03": (
        "this station held the ledger for too long and was cut off",
        "start again: nothing half-done was kept",
    ),
    "28": (
        "the ledger's server refuses this user",
        "check user and password (PGPASSFILE, PGPASSWORD) and pg_hba.conf",
    ),
    "3D000": (
        "there is no such database on the ledger's server",
        "check the name; for a new factory create an empty database first: `createdb NAME`",
    ),
    "42501": (
        "this user may not use the ledger's tables",
        "make the user the owner of the database, or grant it the rights",
    ),
    "53300": (
        "the ledger's server has no connection left",
        "raise max_connections, or stop programs that hold connections",
    ),
    "08": _GONE,
    "57": _GONE,
}


@contextmanager
def translated(place: object) -> Iterator[None]:
    """Have every error of a database driver come out as ours.

    Args:
        place: The ledger's address, for the message.

    Raises:
        LedgerError: SQLAlchemy or the driver below it raised.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise describe_failure(error, place) from error


def describe_failure(error: SQLAlchemyError, place: object) -> LedgerError:
    """Return our error for one of a database driver."""
    cause = getattr(error, "orig", None) or error
    what, hint = found = _classify(error, cause)
    kind = LedgerUnreachableError if found == _GONE else LedgerError
    return kind(what, got=first_line(cause), where=place, hint=hint)


def is_connection_lost(error: SQLAlchemyError) -> bool:
    """Whether the connection is gone, and with it the answer to what was asked last."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _classify(error: SQLAlchemyError, cause: BaseException) -> tuple[str, str]:
    if isinstance(cause, sqlite3.Error):
        return classify_sqlite(cause)
    state = getattr(cause, "sqlstate", None) or _state_in(str(cause))
    for length in (5, 2):
        if state is not None and state[:length] in _POSTGRES:
            return _POSTGRES[state[:length]]
    if is_connection_lost(error) or (state is None and type(cause).__name__ == "OperationalError"):
        return _GONE
    return OTHER


def _state_in(message: str) -> str | None:
    # A refused connection has no SQLSTATE in libpq, only the server's words.
    if "password" in message or "pg_hba.conf" in message or "role" in message:
        return "28000"
    if "database" in message and "does not exist" in message:
        return "3D000"
    if "too many" in message:
        return "53300"
    return None
