"""One process for each station: a lock on its folder, held for as long as the station is open.

The lock belongs to the open file, so that the system gives it back when the process dies, however
it dies: what was begun can then be taken over at once. It binds processes that see the same folder;
a copy of it on another machine is held off by the ledger, where each job belongs to one run.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from provisioning.errors import StationError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME: Final = "station.lock"
_HOLDER_MAX_BYTES: Final = 64
_MODE: Final = 0o600


class StationLock:
    """The lock on a station's folder.

    Args:
        folder: The station's folder.

    Raises:
        StationError: Another process has the station open, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK_NAME
        try:
            # The file stays: were it removed, two processes could hold two files of its name.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        except OSError as error:
            raise StationError(
                "the lock on the station's folder cannot be taken",
                got=error.strerror,
                where=path,
                hint="run `ampforge station init` or `station join` first; let this user write "
                "to the folder",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, _HOLDER_MAX_BYTES, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StationError(
                "the station is at work already",
                expected="one process for each station",
                got=holder or error.strerror,
                where=path,
                hint="end the other one first: what it began is then taken over; a second station "
                "is set up with `ampforge station join`",
            ) from error
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
