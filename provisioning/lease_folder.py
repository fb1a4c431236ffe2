"""The files of a lease in the station's folder, and the lock on them.

| file | content |
|---|---|
| `lease-<request>.sqlite3` | the outbox: what is done under the lease, a ledger of its own |
| `lease-<request>.cose` | the signed lease |
| `lease-<request>.memory.json` | how far the outbox had come (`provisioning.outbox_memory`) |
| `lease.lock` | shared by those who work, held alone by who synchronises |
| `closed-leases/` | the same files of leases that have ended |

The outbox is made before the ledger is asked, so that its name is the memory of the request. Its
first event says that the lease is complete. It has one table more than a ledger: the chips that the
ledger may know more of than this station (docs/spec/lease.md §4).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, LargeBinary, MetaData, Table, insert, select, union
from sqlalchemy.dialects.sqlite import insert as insert_into_file

from provisioning.errors import LeaseError, LedgerError, StationError
from provisioning.file_birth import read_birth_ns
from provisioning.ledger_database import create_database, open_any_revision
from provisioning.ledger_events import format_time
from provisioning.ledger_migrations import migrate
from provisioning.ledger_revisions import HEAD_REVISION, require_known
from provisioning.ledger_schema import ledger_identity, quarantines, replaced_modules, units
from provisioning.ledger_sqlite import COMPANIONS, fold_log
from provisioning.outbox_memory import memory_path
from signing.durable_file import save_durably
from signing.input_file import read_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_database import LedgerDatabase
    from provisioning.ledger_values import LedgerIdentity

CLOSED_FOLDER: Final = "closed-leases"
LOCK_NAME: Final = "lease.lock"
_REQUEST_DIGITS: Final = 32
_OUTBOX_GLOB: Final = f"lease-{'[0-9a-f]' * _REQUEST_DIGITS}.sqlite3"
_DOCUMENT_MAX_BYTES: Final = 4096
_MACHINE_ID: Final = Path("/etc/machine-id")
_MACHINE_ID_MAX_BYTES: Final = 256
_MACS_AT_ONCE: Final = 10_000
_PLACE_DOMAIN: Final = b"ampforge place of a lease v1\0"

known_chips = Table(
    "known_chips", MetaData(), Column("mac", LargeBinary(6), primary_key=True, nullable=False)
)
"""Chips that the ledger may know more of: nothing is done to them without it."""

_REMEMBER: Final = insert_into_file(known_chips).on_conflict_do_nothing()


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
            _flush_folder(closed)
            _flush_folder(self.folder)
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
        _flush_folder(self.folder)


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


def create_outbox(folder: Path, request: bytes, ledger: Ledger) -> LeaseFiles:
    """Make an empty outbox, complete or not at all, that knows the ledger's chips.

    Args:
        folder: The station's folder.
        request: Name of the request, 16 bytes.
        ledger: The ledger that is about to be asked.

    Raises:
        LedgerError: The ledger cannot be read, or the outbox not be written.
    """
    files = LeaseFiles(folder=folder, request=request)

    def fill(connection: Connection) -> None:
        connection.execute(insert(ledger_identity).values(**_identity_row(ledger.identity)))
        known_chips.create(connection)
        _remember_all(connection, ledger)

    create_database(files.outbox, fill=fill)
    return files


def open_outbox_database(path: Path) -> LedgerDatabase:
    """Open an outbox, and bring it to the present revision: it may be older than this program.

    Raises:
        LeaseError: It is of a later revision, or cannot be used.
    """
    with refusing_damage(path):
        database, found = open_any_revision(path)
        try:
            if require_known(found, where=path) != HEAD_REVISION:
                with database.changing_tables() as connection:
                    migrate(connection)
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Say of an outbox what would be said of a ledger, and what is to be done with an outbox.

    To put a backup in its place, as with a ledger, is the one thing that must not be done.

    Args:
        path: The outbox.

    Raises:
        LeaseError: The block raised a `LedgerError` about it.
    """
    try:
        yield
    except LedgerError as error:
        raise LeaseError(
            "the lease's outbox cannot be used",
            expected="the outbox as the station left it",
            got=str(error),
            where=path,
            hint="let nobody put an older copy in its place; if it is damaged, and the ledger is "
            "there: `ampforge station sync --give-up --reason TEXT`",
        ) from error


def remember_chip(outbox: Ledger, mac: bytes) -> None:
    """Write down, durably, that the ledger is about to know more of a chip than the outbox.

    Raises:
        LedgerError: The outbox cannot be written.
    """
    with outbox.database.writing() as connection:
        if not is_known_chip(connection, mac):
            connection.execute(insert(known_chips).values(mac=mac))


def remember_own_units(outbox: Ledger) -> None:
    """Write down that the ledger has all units of the outbox: it decides about them from now on.

    Raises:
        LedgerError: The outbox cannot be written.
    """
    with outbox.database.writing() as connection:
        known = select(known_chips.c.mac)
        own = select(units.c.mac).where(units.c.mac.not_in(known))
        connection.execute(insert(known_chips).from_select(["mac"], own))


def is_known_chip(connection: Connection, mac: bytes) -> bool:
    """Whether the ledger may know more of a chip than the outbox."""
    found = connection.execute(select(known_chips.c.mac).where(known_chips.c.mac == mac))
    return found.first() is not None


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


def remember_all_chips(outbox: Ledger, ledger: Ledger) -> None:
    """Write down each chip that the ledger knows now and did not when the outbox was made.

    Raises:
        LedgerError: The ledger cannot be read, or the outbox not be written.
    """
    with outbox.database.writing() as connection:
        _remember_all(connection, ledger)


def _identity_row(identity: LedgerIdentity) -> dict[str, object]:
    return {
        "row": 1,
        "uuid": identity.uuid,
        "epoch": identity.epoch,
        "product": identity.product,
        "created_at": format_time(identity.created_at),
        "opening": identity.opening,
    }


def _remember_all(connection: Connection, ledger: Ledger) -> None:
    told = union(
        select(units.c.mac),
        select(replaced_modules.c.mac),
        select(quarantines.c.mac).where(quarantines.c.closed_at.is_(None)),
    )
    with ledger.database.reading() as source:
        rows = source.execution_options(yield_per=_MACS_AT_ONCE).execute(told)
        for part in rows.partitions(_MACS_AT_ONCE):
            connection.execute(_REMEMBER, [{"mac": mac} for (mac,) in part])


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
