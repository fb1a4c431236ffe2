"""The files of a lease in the station's folder, and the lock on them.

| file | content |
|---|---|
| `lease-<request>.sqlite3` | the outbox: what is done under the lease, a ledger of its own |
| `lease-<request>.cose` | the signed lease |
| `lease-<request>.memory.json` | how far the outbox had come (`provisioning.outbox_memory`) |
| `lease.lock` | shared by those who work, held alone by who synchronises |
| `closed-leases/` | the same files of leases that have ended |

The outbox is made before the ledger is asked, so that its name is the memory of the request. Its
first event says that the lease is complete. This module knows where the files are and moves them;
what is in them is `lease` and `outbox_database`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioning.errors import LeaseError, StationError
from provisioning.file_birth import read_birth_ns
from provisioning.ledger_log import COMPANIONS, fold_log
from provisioning.outbox_memory import memory_path
from signing.durable_file import flush_folder, save_durably
from signing.input_file import read_input

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSED_FOLDER: Final = "closed-leases"
LOCK_NAME: Final = "lease.lock"
_REQUEST_DIGITS: Final = 32
_OUTBOX_GLOB: Final = f"lease-{'[0-9a-f]' * _REQUEST_DIGITS}.sqlite3"
_DOCUMENT_MAX_BYTES: Final = 4096
_MACHINE_ID: Final = Path("/etc/machine-id")
_MACHINE_ID_MAX_BYTES: Final = 256
_PLACE_DOMAIN: Final = b"ampforge place of a lease v1\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFiles:
    """Where one lease lies.

    Attributes:
        folder: The station's folder.
        request: Name of the request, 16 bytes.
    """

    folder: Path
    request: bytes

    @property
    def outbox(self) -> Path:
        """The outbox."""
        return self.folder / f"lease-{self.request.hex()}.sqlite3"

    @property
    def document(self) -> Path:
        """The signed lease."""
        return self.folder / f"lease-{self.request.hex()}.cose"

    def read_document(self) -> bytes | None:
        """Return the signed lease, unverified; `None` when there is none yet.

        Raises:
            LeaseError: It cannot be read.
        """
        # A kill while both were put away leaves the outbox here and the document there.
        for path in (self.document, self.folder / CLOSED_FOLDER / self.document.name):
            try:
                return read_input(path, _DOCUMENT_MAX_BYTES)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise LeaseError(
                    "the lease cannot be read",
                    got=error.strerror,
                    where=path,
                    hint="check the rights of the station's folder",
                ) from error
        return None

    def save_document(self, content: bytes) -> None:
        """Write the signed lease."""
        save_durably(self.document, content)

    def place(self) -> bytes:
        """Return what names this very outbox on this very machine.

        A copy of the file is another file; which of the two knows what was given, nobody can say.
        It is told by its inode and, because a file system gives the number of a removed file to
        the next one, by when it was made.
        """
        try:
            inode, birth_ns = self.outbox.stat().st_ino, read_birth_ns(self.outbox)
        except OSError as error:
            raise LeaseError(
                "the lease's outbox is gone", got=error.strerror, where=self.outbox,
                hint="nothing can be given without it; see the how-to on leases",
            ) from error  # fmt: skip
        machine = b""
        with suppress(OSError):  # not every system has one
            machine = read_input(_MACHINE_ID, _MACHINE_ID_MAX_BYTES).strip()
        told = b"" if birth_ns is None else b"\0" + str(birth_ns).encode()
        inode_text = str(inode).encode()
        return hashlib.sha256(_PLACE_DOMAIN + machine + b"\0" + inode_text + told).digest()

    def archive(self) -> Path:
        """Put the files away after the lease has ended; the outbox is closed.

        Returns:
            Where they lie now.

        Raises:
            StationError: They cannot be moved, or another program still reads the outbox.
        """
        closed = self.folder / CLOSED_FOLDER
        if not fold_log(self.outbox):
            raise StationError(
                "another program reads the outbox of the ended lease",
                expected="an outbox that nobody has open: what was last written is beside it until "
                "then",
                got="one that is open elsewhere",
                where=self.outbox,
                hint="end that program, then `ampforge station sync`; nothing is lost",
            )
        try:
            closed.mkdir(exist_ok=True)
            # The outbox last: while it is there, this lease is the station's.
            log = (self.outbox.with_name(self.outbox.name + end) for end in COMPANIONS)
            for path in (self.document, memory_path(self.outbox), *log, self.outbox):
                with suppress(FileNotFoundError):
                    path.rename(closed / path.name)
            flush_folder(closed)
            flush_folder(self.folder)
        except OSError as error:
            raise StationError(
                "the ended lease cannot be put away", got=error.strerror, where=closed,
                hint="check the rights of the station's folder, then `ampforge station sync`",
            ) from error  # fmt: skip
        return closed

    def discard(self) -> None:
        """Remove an outbox of a request that never became a lease: nothing was done under it."""
        for path in (self.document, memory_path(self.outbox), self.outbox):
            path.unlink(missing_ok=True)
        flush_folder(self.folder)


def find_lease_files(folder: Path) -> LeaseFiles | None:
    """Return the files of the lease that a station holds, or has asked for.

    Raises:
        LeaseError: There are two.
    """
    found = find_all_lease_files(folder)
    if len(found) > 1:
        raise LeaseError(
            "there are two leases in the station's folder",
            expected="one outbox",
            got=", ".join(files.outbox.name for files in found),
            where=folder,
            hint="a copy was put beside its original: move the copy away, do not delete it",
        )
    return next(iter(found), None)


def find_all_lease_files(folder: Path) -> tuple[LeaseFiles, ...]:
    """Return the files of each lease that lies in a folder."""
    return tuple(
        LeaseFiles(folder=folder, request=bytes.fromhex(path.stem.removeprefix("lease-")))
        for path in sorted(folder.glob(_OUTBOX_GLOB))
    )


@contextmanager
def holding_lease(folder: Path, *, is_alone: bool) -> Iterator[None]:
    """Hold the lock on a station's lease while the block runs; a kill gives it back.

    Args:
        folder: The station's folder.
        is_alone: To synchronise or end it; else to work under it, which several may at once.

    Raises:
        LeaseError: Another process holds it.
        StationError: The lock cannot be made.
    """
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StationError(
            "the lock of the lease cannot be made", got=error.strerror, where=path,
            hint="check the rights of the station's folder",
        ) from error  # fmt: skip
    try:
        kind = fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LeaseError(
                "another command works with the station's lease",
                expected="a station at rest" if is_alone else "no `station sync` at this moment",
                got="a lock on it",
                where=path,
                hint="let it come to its end, then start again",
            ) from error
        yield
    finally:
        os.close(descriptor)
