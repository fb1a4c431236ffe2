"""A ledger's file where nothing can be written beside it: a read-only mount, a folder of others.

Even to read, SQLite wants an index of the write-ahead log beside the file. Where there is no log,
the file alone is the whole ledger, and SQLite reads it as one that never changes: without log,
index and locks. Nobody is kept from writing then, so what was read counts only if the file is still
the same afterwards. A log that cannot be read with the file is refused: the last units are in it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError, ProvisioningError
from provisioning.ledger_log import JOURNAL, LOG
from provisioning.sqlite_failures import find_sqlite_error, primary_code
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

FileState = tuple[int, int, int, int]
"""Device, inode, size and time of the last change."""

AT_REST: Final = {"mode": "ro", "immutable": "1"}
"""Parameters of SQLite's address of such a file."""
_NO_INDEX_CODES: Final = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAtRest:
    """A file that is the whole ledger. Made by `find_at_rest`.

    Attributes:
        path: The file.
        state: How it was found.
    """

    path: Path
    state: FileState

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Refuse at the end what was read meanwhile, if the file has changed since it was found.

        Raises:
            LedgerError: It has.
        """
        try:
            yield
        except ProvisioningError as error:
            self._require_unchanged(error)  # half of a change reads like damage
            raise
        self._require_unchanged(None)

    def _require_unchanged(self, cause: ProvisioningError | None) -> None:
        if _state_of(self.path) != self.state:
            raise LedgerError(
                "the ledger was written to while it was read",
                expected="a file at rest, in a folder where no log can be kept for a reader",
                got="a change",
                where=self.path,
                hint="read it again; beside a station at work, with the right to write its folder",
            ) from cause


def find_at_rest(path: Path, failure: LedgerError) -> LedgerAtRest | None:
    """Return a ledger that could not be opened as one to be read at rest, if that is safe.

    Args:
        path: Its file, which is there.
        failure: Why it could not be opened.

    Returns:
        `None` where it failed for another reason than that nothing can be written beside it.

    Raises:
        LedgerError: There is a log beside it.
    """
    error = find_sqlite_error(failure)
    file = Path(os.path.realpath(path))  # SQLite keeps the log beside the file itself
    if error is None or primary_code(error) not in _NO_INDEX_CODES or _is_writable(file.parent):
        return None
    state = _state_of(file)
    for end in (LOG, JOURNAL):
        log = file.with_name(file.name + end)
        if (found := _state_of(log)) is not None and found[2]:
            raise LedgerError(
                "the ledger cannot be read here: the last changes are in a log beside it",
                expected="a folder that can be written, or a ledger without a log",
                got=f"{found[2]} bytes in {log.name}, and a folder that can only be read",
                where=path,
                hint=f"copy {file.name} and {log.name} together into a folder of your own, and "
                "name that folder with --station; what the log holds is read there",
            ) from failure
    return None if state is None else LedgerAtRest(path=file, state=state)


def _is_writable(folder: Path) -> bool:
    # The rights of the effective user are those that SQLite has.
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _state_of(path: Path) -> FileState | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
