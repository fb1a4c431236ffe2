"""Looks for damage in the report database, in a process of its own, beside a server that runs.

SQLite reads a page when it needs it, so that damage where nobody looks is found too late: in
reports that devices were told are on the disk. Once an hour a process with the lowest priority
reads the file: its structure whole (`PRAGMA quick_check`), and of its reports the next
`ROWS_PER_CHECK`, each compared with the digest that it is stored under. It writes nothing and holds
up nobody: in WAL mode readers and the writer do not wait for each other.

What is found stays told until the server starts again: a later check may look at other reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manifests.device_report import serialize_device_report
from manifests.errors import FleetStoreError
from manifests.fleet import BUSY_TIMEOUT_S, read_rows_after
from manifests.received_report import digest_of
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK_INTERVAL_S: Final = 3600.0
CHECK_TIMEOUT_S: Final = 1800
"""A check that takes longer ends itself, as one does whose server died."""
ROWS_PER_CHECK: Final = 100_000
_NO_DAMAGE: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}
"""What says nothing of the file's content: it is locked, or not there, which others tell."""


class ReportDatabaseChecks:
    """Has the report database checked while an event loop runs.

    Args:
        path: The database.
        on_damage: Told of damage, once.
        clock: The present, UTC.
        first_s: When the first check begins, after the start.
        interval_s: Between the end of one check and the next.

    Attributes:
        damage: What was found first; `None` while nothing was.
        checked_at: When the last check that came to an end did.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_damage: Callable[[FleetStoreError], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        first_s: float,
        interval_s: float = CHECK_INTERVAL_S,
    ) -> None:
        self._path = path
        self._on_damage = on_damage
        self._clock = clock
        self._first_s = first_s
        self._interval_s = interval_s
        self._after = b""
        self.damage: FleetStoreError | None = None
        self.checked_at: datetime | None = None

    async def run(self) -> None:
        """Check again and again, until cancelled."""
        await asyncio.sleep(self._first_s)
        while True:
            # A process that cannot be started, or is killed, has told nothing: the age of the last
            # check says so.
            with contextlib.suppress(OSError, ValueError, KeyError):
                await self._check()
            await asyncio.sleep(self._interval_s)

    async def _check(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "manifests.report_database_check",
            str(self._path),
            self._after.hex(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            answer, _ = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        told = json.loads(answer)
        if told["damage"] is not None and self.damage is None:
            self.damage = FleetStoreError(
                "the report database is damaged",
                got=told["damage"],
                where=self._path,
                hint="stop the server, keep the file, and put a backup or what `sqlite3 FILE "
                ".recover` saves in its place; check the disk",
            )
            self._on_damage(self.damage)
        self._after = bytes.fromhex(told["after"])
        if told["is_done"]:
            self.checked_at = self._clock()


def find_damage(path: Path, *, after: bytes, rows_max: int = ROWS_PER_CHECK) -> tuple[str, bytes]:
    """Return what is damaged in a report database, empty if nothing is, and where to go on.

    Args:
        path: The database.
        after: The digest of the last report that was looked at; empty begins anew.
        rows_max: How many reports are looked at.

    Raises:
        sqlite3.Error: It cannot be looked at now; that says nothing of its content.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(
        sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    ) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                return str(found), b""
            for digest, report, message in read_rows_after(connection, after, rows_max):
                if digest_of(report) != digest or serialize_device_report(report) not in message:
                    return f"report {digest.hex()[:16]}… is not what was stored", b""
                after = digest
                rows_max -= 1
        except (ArithmeticError, OSError, TypeError, ValueError, Refusal) as error:
            return f"a report is not what was stored: {error}"[:200], b""
        except sqlite3.DatabaseError as error:
            if (error.sqlite_errorcode & 0xFF) in _NO_DAMAGE:
                raise
            return str(error), b""
    return "", after if rows_max == 0 else b""


def _main(path: str, after: str) -> None:
    signal.alarm(CHECK_TIMEOUT_S)
    os.nice(19)
    try:
        damage, next_after = find_damage(Path(path), after=bytes.fromhex(after))
    except sqlite3.Error:
        told = {"damage": None, "after": after, "is_done": False}
    else:
        told = {"damage": damage or None, "after": next_after.hex(), "is_done": True}
    print(json.dumps(told))  # noqa: T201 - to the parent


if __name__ == "__main__":
    # A terminal's Ctrl-C is the server's to answer; it ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _main(*sys.argv[1:])
