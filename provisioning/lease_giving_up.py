"""Puts an outbox away that the ledger cannot take over: its boards go into quarantine first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.classification import (
    BoardClass,
    BoardIdentity,
    Classification,
    RecordCondition,
)
from provisioning.errors import LeaseError
from provisioning.lease_folder import find_lease_files, holding_lease, open_outbox_database
from provisioning.ledger import Ledger
from provisioning.ledger_queries import find_by, list_units
from provisioning.ledger_schema import units
from provisioning.ledger_supervision import open_quarantine

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.ledger_values import Writer

SYNC_STEP: Final = "sync"
EVENTS_PER_PART: Final = 200
REASON_MAX_LENGTH: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What came of giving an outbox up.

    Attributes:
        boards: Serial numbers of the boards that are in quarantine now.
        archive: Where the outbox lies.
    """

    boards: tuple[str, ...]
    archive: Path


def give_up(folder: Path, ledger: Ledger, writer: Writer, *, reason: str) -> GivenUp | None:
    """Put away an outbox that the ledger cannot take over, and its boards into quarantine.

    Args:
        folder: The station's folder.
        ledger: The factory's ledger.
        writer: The station.
        reason: What happened, for the record.

    Returns:
        What was done; `None` when the station holds no lease.

    Raises:
        LeaseError: There is no reason, or another command works with the lease.
        LedgerError: A database cannot be read or written; done again, it goes on.
        StationError: The files cannot be put away.
    """
    if not 1 <= len(reason) <= REASON_MAX_LENGTH or not reason.isprintable():
        raise LeaseError(
            "giving an outbox up needs a reason",
            expected=f"1 to {REASON_MAX_LENGTH} printable characters",
            got=f"{len(reason)} characters",
            hint="say with --reason what happened to the folder or the ledger",
        )
    with holding_lease(folder, is_alone=True):
        files = find_lease_files(folder)
        if files is None:
            return None
        outbox = Ledger(open_outbox_database(files.outbox))
        try:
            made = list_units(outbox.database)
        finally:
            outbox.close()
        boards = []
        for unit in made:
            with ledger.database.reading() as connection:
                known = find_by(connection, units.c.mac == unit.mac)
            if known is not None and known.serial == unit.serial:
                continue
            boards.append(unit.serial)
            classification = Classification(
                board_class=BoardClass.FOREIGN,
                reason=f"made as {unit.serial} under a lease that was given up: {reason}",
                is_quarantined=True,
            )
            identity = BoardIdentity(condition=RecordCondition.UNREADABLE)
            open_quarantine(
                ledger, writer, mac=unit.mac, classification=classification, identity=identity
            )
        return GivenUp(boards=tuple(boards), archive=files.archive())
