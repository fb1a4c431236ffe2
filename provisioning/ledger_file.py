"""A ledger in a file, for reading alone: SQLite through the standard library.

The file is opened as any program opens it, so that a reader meets the same log and the same locks
as the stations at work; then the connection is told to refuse every change. SQLite's own read-only
mode would not do: a reader that closes last would leave an empty log and its index beside the
ledger, and a restore refuses to put another ledger there. Where nothing can be written beside the
file, it is read at rest (`provisioning.ledger_at_rest`).
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from provisioning.errors import LedgerError
from provisioning.ledger_at_rest import AT_REST, find_at_rest
from provisioning.ledger_revisions import read_revision, require_head
from provisioning.sqlite_failures import translated_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provisioning.ledger_at_rest import LedgerAtRest
    from provisioning.ledger_questions import Questions

BUSY_TIMEOUT_S: Final = 30
"""How long to wait for a lock that another program holds."""


class LedgerFile:
    """An open ledger that is only read. Made by `open_ledger_file`.

    Attributes:
        address: The file.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, at_rest: LedgerAtRest | None
    ) -> None:
        self.address = path
        self._connection = connection
        self._at_rest = at_rest
        self._questions = _FileQuestions(connection)

    @contextmanager
    def asking(self) -> Iterator[Questions]:
        """A transaction that sees one consistent state and changes nothing."""
        is_one_state = nullcontext() if self._at_rest is None else self._at_rest.unchanged()
        with is_one_state, translated_sqlite(self.address):
            self._connection.execute("BEGIN")
            try:
                yield self._questions
            finally:
                self._connection.rollback()

    def close(self) -> None:
        """Close it; who closes last folds the write-ahead log into the file."""
        self._connection.close()


class _FileQuestions:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def ask(self, sql: str, **values: object) -> Sequence[Any]:
        return self._connection.execute(sql, values).fetchall()

    def has_table(self, name: str) -> bool:
        return bool(self.ask("SELECT name FROM pragma_table_info(:name)", name=name))


def open_ledger_file(path: Path) -> LedgerFile:
    """Open a ledger that `station init` created, for reading.

    Raises:
        LedgerError: There is none, it is not a ledger, or it is of another version.
    """
    require_file(path)
    try:
        return _open(path, None)
    except LedgerError as error:
        at_rest = find_at_rest(path, error)
        if at_rest is None:
            raise
    return _open(path, at_rest)


def _open(path: Path, at_rest: LedgerAtRest | None) -> LedgerFile:
    # Never made, should it go away just now; and we begin transactions, not the driver.
    query = urlencode({"mode": "rw"} if at_rest is None else AT_REST)
    with translated_sqlite(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{query}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
        )
    connection.row_factory = _name_row
    file = LedgerFile(path, connection, at_rest)
    try:
        with translated_sqlite(path):
            connection.execute("PRAGMA query_only=ON")
        with file.asking() as questions:
            require_head(read_revision(questions), where=path)
    except BaseException:
        file.close()
        raise
    return file


def require_file(path: Path) -> None:
    """Refuse to open what is not there, which SQLite would make.

    Raises:
        LedgerError: There is no such file.
    """
    if not path.is_file():
        raise LedgerError(
            "there is no ledger",
            expected="a ledger made by `ampforge station init`",
            got="no such file",
            where=path,
            hint="check the folder; only a new factory runs `ampforge station init`",
        )


def _name_row(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> Any:
    return _row_class(tuple(column[0] for column in cursor.description))._make(row)


@lru_cache(maxsize=32)
def _row_class(names: tuple[str, ...]) -> Any:
    return namedtuple("LedgerRow", names)  # noqa: PYI024 - the names are those of the question
