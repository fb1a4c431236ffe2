"""Finds leases that ended, and that a ledger does not know as ended: it was restored since.

Their outboxes lie in `closed-leases/`, whole, with their last word. Brought back, they are taken
over like any other (docs/spec/lease.md §6): else boards that were sold long ago would be unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import LeaseError, LedgerError
from provisioning.lease_folder import CLOSED_FOLDER, find_all_lease_files
from provisioning.ledger_journal import read_end, read_part
from provisioning.ledger_leases import open_names
from provisioning.offline_ledger import read_use
from provisioning.outbox_database import opened_outbox

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.lease_folder import LeaseFiles
    from provisioning.ledger import Ledger
    from provisioning.ledger_journal import ChainEnd


def find_to_recall(folder: Path, ledger: Ledger, *, station: str) -> LeaseFiles | None:
    """Return the files of an ended lease that the ledger does not know as ended, or `None`.

    One that was given up is left where it is: it has no last word, or its events are not those of
    the ledger.

    Args:
        folder: The station's folder.
        ledger: The factory's ledger.
        station: The station's name.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    found = find_all_lease_files(folder / CLOSED_FOLDER)
    with ledger.database.reading() as connection:
        names = open_names(connection, station, requests=[files.request for files in found])
        ends = {request: read_end(connection, name) for request, name in names.items()}
    for files in found:
        end = ends.get(files.request)
        if end is not None and _goes_on_from(files.outbox, names[files.request], end):
            return files
    return None


def recall(files: LeaseFiles, folder: Path) -> None:
    """Bring an outbox back from `closed-leases/`; what lies beside it is found there.

    Raises:
        OSError: It cannot be moved.
    """
    files.outbox.rename(folder / files.outbox.name)


def _goes_on_from(outbox: Path, chain: str, end: ChainEnd) -> bool:
    try:
        with opened_outbox(outbox) as ledger:
            if read_use(ledger).end_reason is None:
                return False
            if end.count == 0:
                return True
            with ledger.database.reading() as connection:
                part = read_part(connection, chain, first_number=end.count - 1, count=1)
            return bool(part) and part[0].hash == end.head
    except (LeaseError, LedgerError):  # damaged: it was given up
        return False
