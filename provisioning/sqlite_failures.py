"""From what SQLite says to what a person does next."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_READABLE: Final = "the ledger cannot be read or written"
DISK_FULL: Final = (
    "the disk of the ledger is full",
    "nothing half-done was kept; make room, then start again: every board goes on where it was",
)
READ_ONLY: Final = (
    "the ledger can only be read",
    "give the database back its right to write, then start again: every board goes on where it was",
)
BUSY: Final = (
    "another writer holds the ledger for too long",
    "find the station that hangs and stop it; nothing half-done was kept",
)
OTHER: Final = (
    NOT_READABLE,
    "check disk space and rights; if the file is damaged, restore a backup",
)
_BY_NAME: Final = {
    "SQLITE_FULL": DISK_FULL,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_BUSY": BUSY,
    "SQLITE_CORRUPT": (NOT_READABLE, "the file is damaged: restore a backup"),
    "SQLITE_NOTADB": (NOT_READABLE, "this is no ledger: name the right file, or restore a backup"),
    "SQLITE_IOERR": (
        "the disk of the ledger failed",
        "nothing half-done was kept; check the disk and its space before anything else",
    ),
}
_PRIMARY_CODE: Final = 0xFF


def classify_sqlite(error: sqlite3.Error) -> tuple[str, str]:
    """Return what happened, and what to do next."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return next((found for key, found in _BY_NAME.items() if name.startswith(key)), OTHER)


def find_sqlite_error(error: BaseException) -> sqlite3.Error | None:
    """Return what SQLite raised, of an error of ours that was made of it, whoever was between."""
    cause = error.__cause__
    cause = getattr(cause, "orig", cause)  # SQLAlchemy's
    return cause if isinstance(cause, sqlite3.Error) else None


def primary_code(error: sqlite3.Error) -> int:
    """Return the code of an error without the bits that say more."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE


def first_line(cause: BaseException) -> str:
    """Return what a driver says, in one line."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(cause).__name__


@contextmanager
def translated_sqlite(place: object) -> Iterator[None]:
    """Have every error of SQLite come out as ours.

    Args:
        place: The ledger's address, for the message.

    Raises:
        LedgerError: SQLite raised.
    """
    try:
        yield
    except sqlite3.Error as error:
        what, hint = classify_sqlite(error)
        raise LedgerError(what, got=first_line(error), where=place, hint=hint) from error
