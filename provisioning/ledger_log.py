"""The write-ahead log beside a ledger's file, and what else SQLite keeps there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from provisioning.sqlite_failures import primary_code

if TYPE_CHECKING:
    from pathlib import Path

LOG: Final = "-wal"
JOURNAL: Final = "-journal"
COMPANIONS: Final = (LOG, "-shm", JOURNAL)
"""Ends of the names of the files beside a database."""

_FOLD_TIMEOUT_S: Final = 2.0
_BUSY_CODES: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


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
            return primary_code(error) not in _BUSY_CODES
        except sqlite3.DatabaseError:
            return True
    return not is_busy
