"""The outbox of a lease as a database: made, opened, and what is said of a broken one.

An outbox is a ledger of its own (`provisioning.offline_ledger`), with one table more
(`provisioning.outbox_chips`). It lies among the files of its lease (`provisioning.lease_folder`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import insert

from provisioning.errors import LeaseError, LedgerError
from provisioning.lease_folder import LeaseFiles
from provisioning.ledger import Ledger
from provisioning.ledger_database import create_database, open_any_revision
from provisioning.ledger_events import format_time
from provisioning.ledger_migrations import migrate
from provisioning.ledger_revisions import HEAD_REVISION, require_known
from provisioning.ledger_schema import ledger_identity
from provisioning.outbox_chips import create_known_chips

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from provisioning.ledger_database import LedgerDatabase
    from provisioning.ledger_values import LedgerIdentity


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
        create_known_chips(connection, ledger)

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
def opened_outbox(path: Path) -> Iterator[Ledger]:
    """Have an outbox open as a ledger while the block runs.

    Raises:
        LeaseError: It is of a later revision, or cannot be used.
    """
    outbox = Ledger(open_outbox_database(path))
    try:
        yield outbox
    finally:
        outbox.close()


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


def _identity_row(identity: LedgerIdentity) -> dict[str, object]:
    return {
        "row": 1,
        "uuid": identity.uuid,
        "epoch": identity.epoch,
        "product": identity.product,
        "created_at": format_time(identity.created_at),
        "opening": identity.opening,
    }
