"""A ledger that is read: which one it is, and what was done to a unit.

What a command needs that writes nothing; `provisioning.ledger.Ledger` is one that writes, too. From
a file, no database library is loaded for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from provisioning.ledger_event_rows import read_events
from provisioning.ledger_file import open_ledger_file
from provisioning.ledger_identity import read_identity

if TYPE_CHECKING:
    from typing import Any

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_events import ChainedEvent
    from provisioning.ledger_questions import Askable

Database = TypeVar("Database", bound="Askable")


class LedgerReader(Generic[Database]):
    """An open ledger that questions are asked of.

    Attributes:
        database: Where it lies.
        identity: Which ledger it is.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.asking() as questions:
            self.identity = read_identity(questions, where=database.address)

    def events(
        self, *, serial: str | None = None, job: str | None = None
    ) -> tuple[ChainedEvent, ...]:
        """Return the events of one unit or of one job, in the order in which they were written.

        Args:
            serial: The unit; `None` for what belongs to no unit.
            job: The job instead.

        Raises:
            LedgerError: An event is damaged.
        """
        with self.database.asking() as questions:
            return read_events(questions, serial=serial, job=job)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def open_reader(address: LedgerAddress) -> LedgerReader[Any]:
    """Open the ledger that `station init` created, for reading.

    Raises:
        LedgerError: There is none, or it cannot be used.
    """
    if isinstance(address, Path):
        database: Askable = open_ledger_file(address)
    else:
        from provisioning.ledger_database import open_database  # and with it SQLAlchemy

        database = open_database(address)
    try:
        return LedgerReader(database)
    except BaseException:
        database.close()
        raise
