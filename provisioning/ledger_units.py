"""One unit as the ledger knows it, by its serial number or MAC; nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioning.errors import LedgerError
from provisioning.ledger_columns import UNITS
from provisioning.ledger_events import parse_time
from provisioning.ledger_questions import select_all
from provisioning.ledger_rows import check_row, check_state, only_row
from provisioning.ledger_values import UnitRecord, UnitState

if TYPE_CHECKING:
    from provisioning.ledger_questions import Askable

_BY_SERIAL: Final = select_all(UNITS, "WHERE serial = :serial")
_BY_MAC: Final = select_all(UNITS, "WHERE mac = :mac")
_TABLE: Final = "table units"


def find_unit(
    database: Askable, *, serial: str | None = None, mac: bytes | None = None
) -> UnitRecord:
    """Return one unit by serial number or MAC.

    Raises:
        LedgerError: There is no such unit.
    """
    with database.asking() as questions:
        rows = (
            questions.ask(_BY_SERIAL, serial=serial)
            if mac is None
            else questions.ask(_BY_MAC, mac=mac)
        )
    row = only_row(rows, UNITS, where=_TABLE)
    if row is None:
        raise LedgerError(
            "the ledger knows no such unit",
            got=serial if mac is None else mac.hex(":"),
            where=database.address,
            hint="`ampforge serials status` lists the numbers that were given",
        )
    return read_unit(row)


def read_unit(row: Any) -> UnitRecord:
    """Return the unit of a whole row.

    Raises:
        LedgerError: A value is not as declared, or names no state.
    """
    check_row(row, UNITS, where=_TABLE)
    return UnitRecord(
        serial=row.serial,
        mac=row.mac,
        state=check_state(UnitState, row.state, where=row.serial),
        bundle_digest=row.bundle_digest,
        last_job=row.last_job,
        first_seen_at=parse_time(row.first_seen_at),
        changed_at=parse_time(row.changed_at),
    )
