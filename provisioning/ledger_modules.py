"""Modules that were taken out of units, and what took their place; nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.ledger_columns import REPLACED_MODULES
from provisioning.ledger_events import parse_time
from provisioning.ledger_questions import select_all
from provisioning.ledger_rows import check_row
from signing.value_class import dataclass

if TYPE_CHECKING:
    import datetime as dt

    from provisioning.ledger_questions import Askable

_ORDER: Final = "ORDER BY replaced_at"
_BY_SERIAL: Final = select_all(REPLACED_MODULES, f"WHERE serial = :serial {_ORDER}")
_BY_MAC: Final = select_all(REPLACED_MODULES, f"WHERE mac = :mac {_ORDER}")


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
    database: Askable, *, serial: str | None = None, mac: bytes | None = None
) -> tuple[ReplacedModule, ...]:
    """Return the modules that were taken out of a unit, or the one of a MAC, in order.

    Raises:
        LedgerError: The database cannot be read.
    """
    with database.asking() as questions:
        rows = (
            questions.ask(_BY_SERIAL, serial=serial)
            if mac is None
            else questions.ask(_BY_MAC, mac=mac)
        )
    for row in rows:
        check_row(row, REPLACED_MODULES, where=str(database.address))
    return tuple(
        ReplacedModule(
            mac=row.mac,
            serial=row.serial,
            replaced_by=row.replaced_by,
            replaced_at=parse_time(row.replaced_at),
        )
        for row in rows
    )
