"""From what a database driver says to what a person does next: one table for each back end."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from provisioning.errors import LedgerError, LedgerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_READABLE: Final = "the ledger cannot be read or written"
_DISK_FULL: Final = (
    "the disk of the ledger is full",
    "nothing half-done was kept; make room, then start again: every board goes on where it was",
)
_READ_ONLY: Final = (
    "the ledger can only be read",
    "give the database back its right to write, then start again: every board goes on where it was",
)
_BUSY: Final = (
    "another writer holds the ledger for too long",
    "find the station that hangs and stop it; nothing half-done was kept",
)
_OTHER: Final = (
    _NOT_READABLE,
    "check disk space and rights; if the file is damaged, restore a backup",
)
_SQLITE: Final = {
    "SQLITE_FULL": _DISK_FULL,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_BUSY": _BUSY,
    "SQLITE_CORRUPT": (_NOT_READABLE, "the file is damaged: restore a backup"),
    "SQLITE_NOTADB": (_NOT_READABLE, "this is no ledger: name the right file, or restore a backup"),
    "SQLITE_IOERR": (
        "the disk of the ledger failed",
        "nothing half-done was kept; check the disk and its space before anything else",
    ),
}
_GONE: Final = (
    "the ledger's server cannot be reached",
    "nothing half-done was kept; check PostgreSQL and the network, then start again",
)
# By SQLSTATE, the longest prefix first: PostgreSQL, appendix "Error Codes".
_POSTGRES: Final = {
    "53100": _DISK_FULL,
    "25006": _READ_ONLY,
    "55P03": _BUSY,
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
    return kind(what, got=_first_line(cause), where=place, hint=hint)


def is_connection_lost(error: SQLAlchemyError) -> bool:
    """Whether the connection is gone, and with it the answer to what was asked last."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _classify(error: SQLAlchemyError, cause: BaseException) -> tuple[str, str]:
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "") or ""
        return next((found for key, found in _SQLITE.items() if name.startswith(key)), _OTHER)
    state = getattr(cause, "sqlstate", None) or _state_in(str(cause))
    for length in (5, 2):
        if state is not None and state[:length] in _POSTGRES:
            return _POSTGRES[state[:length]]
    if is_connection_lost(error) or (state is None and type(cause).__name__ == "OperationalError"):
        return _GONE
    return _OTHER


def _state_in(message: str) -> str | None:
    # A refused connection has no SQLSTATE in libpq, only the server's words.
    if "password" in message or "pg_hba.conf" in message or "role" in message:
        return "28000"
    if "database" in message and "does not exist" in message:
        return "3D000"
    if "too many" in message:
        return "53300"
    return None


def _first_line(cause: BaseException) -> str:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(cause).__name__
