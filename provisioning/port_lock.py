"""One process, and one slot, for each serial port: a lock file that is held while the port is open.

pyserial's own lock is on the device file: it knows nothing of RFC 2217, and it is gone for a moment
whenever a board on its own USB plug resets and comes back. This one is keyed by what the port is
called, belongs to the open file (so that the system releases it when the process dies, however it
dies), and says who holds it. It binds programs on this machine only; on a network, the serial
port's server lets one client in at a time.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from provisioning.errors import PortError

_FHS_LOCK_FOLDER: Final = Path("/run/lock")
_HOLDER_MAX_BYTES: Final = 64
_ATTEMPTS: Final = 100
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE: Final = 0o666
"""Another user's station has to see the lock, too."""


def default_lock_folder() -> Path:
    """Return where programs of all users keep their locks on this machine."""
    if os.access(_FHS_LOCK_FOLDER, os.W_OK | os.X_OK):
        return _FHS_LOCK_FOLDER
    return Path(tempfile.gettempdir())


class PortLock:
    """The lock of one port; not shared between threads.

    Args:
        key: What the port is called; the same for every way to write it.
        where: What to name in an error.
        folder: Where the lock files are.
    """

    def __init__(self, key: str, *, where: str, folder: Path | None = None) -> None:
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        self._path = (folder or default_lock_folder()) / f"ampforge-port-{name}.lock"
        self._where = where
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            PortError: Somebody else has it, or the lock file cannot be made.
        """
        if self._descriptor is not None:
            return
        try:
            self._descriptor = self._open_locked()
        except OSError as error:
            raise PortError(
                "the lock of the serial port cannot be taken",
                got=error.strerror,
                where=self._path,
                hint="let this user write to that folder",
            ) from error

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # While it is still locked: whoever opens this file meanwhile sees that it is gone.
            with suppress(OSError):  # another user's file, in a folder with the sticky bit
                self._path.unlink()
            os.close(descriptor)

    def _open_locked(self) -> int:
        for _ in range(_ATTEMPTS):
            descriptor = self._open_file()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(descriptor, _HOLDER_MAX_BYTES, 0)
                os.close(descriptor)
                if error.errno in {errno.EAGAIN, errno.EACCES}:
                    raise self._in_use(holder) from error
                raise
            if self._is_current(descriptor):
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
                return descriptor
            os.close(descriptor)  # the holder removed it between our open and our lock
        raise OSError(errno.EAGAIN, "the lock file comes and goes")

    def _open_file(self) -> int:
        # Without O_CREAT first: in a sticky folder the kernel refuses O_CREAT on others' files.
        with suppress(FileNotFoundError):
            return os.open(self._path, _FLAGS)
        with suppress(FileExistsError):
            descriptor = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
            os.fchmod(descriptor, _MODE)
            return descriptor
        return os.open(self._path, _FLAGS)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except FileNotFoundError:
            return False

    def _in_use(self, holder: bytes) -> PortError:
        text = holder.decode("ascii", "replace").strip()
        is_ours = text == f"process {os.getpid()}"
        return PortError(
            "the serial port is in use",
            expected="a port that no other slot or station works on",
            got="another slot of this station" if is_ours else text or "another process",
            where=self._where,
            hint="end the other program, or give each slot a port of its own",
        )
