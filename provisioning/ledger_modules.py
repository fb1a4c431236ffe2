"""Modules that were taken out of units, and what took their place; nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from provisioning.ledger_events import parse_time
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import replaced_modules

if TYPE_CHECKING:
    import datetime as dt

    from provisioning.ledger_database import LedgerDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedModule:
    """A module that is never accepted again.

    Attributes:
        mac: Its MAC, 6 bytes.
        serial: The unit that it was taken out of, which keeps its number.
        replaced_by: MAC of the module that took its place, 6 bytes.
        replaced_at: When that was ordered, aware.
    """

    mac: bytes
    serial: str
    replaced_by: bytes
    replaced_at: dt.datetime

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "mac": self.mac.hex(":"),
            "replaced_by": self.replaced_by.hex(":"),
            "replaced_at": self.replaced_at.isoformat(),
        }


def list_replaced(
    database: LedgerDatabase, *, serial: str | None = None, mac: bytes | None = None
) -> tuple[ReplacedModule, ...]:
    """Return the modules that were taken out of a unit, or the one of a MAC, in order.

    Raises:
        LedgerError: The database cannot be read.
    """
    table = replaced_modules
    condition = table.c.serial == serial if mac is None else table.c.mac == mac
    with database.reading() as connection:
        rows = connection.execute(
            select(table).where(condition).order_by(table.c.replaced_at)
        ).all()
    for row in rows:
        check_row(row, table, where=str(database.address))
    return tuple(
        ReplacedModule(
            mac=row.mac,
            serial=row.serial,
            replaced_by=row.replaced_by,
            replaced_at=parse_time(row.replaced_at),
        )
        for row in rows
    )
