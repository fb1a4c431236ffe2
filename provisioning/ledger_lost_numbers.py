"""Numbers that a lost ledger gave: whether one may go back to its board, and how it gets there.

A number may only go back when this ledger can never give it: it is void, or of an epoch before the
ledger's own. It is in exactly one state before and after: void, or a board's. Implements
docs/spec/provisioning.md §5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, insert, select

from provisioning.errors import SupervisionError
from provisioning.ledger_epochs import epoch_of_sequence, sequences_of_epoch
from provisioning.ledger_events import format_time
from provisioning.ledger_leases import list_lease_records
from provisioning.ledger_queries import find_by
from provisioning.ledger_schema import (
    leases,
    replaced_modules,
    serial_numbers,
    units,
    voided_ranges,
)
from provisioning.ledger_voids import VoidedRange, find_range, void_range
from provisioning.serial_numbers import parse_serial

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from provisioning.board_evidence import VerifiedEvidence
    from provisioning.ledger import Ledger
    from provisioning.ledger_values import LedgerIdentity, Writer
    from provisioning.serial_numbers import SerialNumber

_VOID_REASON: Final = "of a past epoch, and not known to this ledger"
_VOID_KEY: Final = ("prefix", "model", "year", "week", "first_sequence")


def require_free(
    connection: Connection, identity: LedgerIdentity, proved: VerifiedEvidence
) -> SerialNumber:
    """Return the number, if neither it nor the chip is anybody's, and nobody can ever get it.

    Args:
        connection: Inside a transaction.
        identity: What the ledger says it is.
        proved: What the board proved.

    Raises:
        SupervisionError: Somebody has the number or the chip, or could be given the number.
        SerialNumberError: It is no number of this ledger's format.
    """
    number = parse_serial(proved.serial, identity.serial_format)
    got = _find_owner(connection, proved) or _find_giver(connection, identity, number)
    if got is not None:
        raise SupervisionError(
            "the board cannot get this number back",
            expected="a number that nobody has and nobody can be given, and a chip that is no unit",
            got=got,
            where=f"{proved.serial}, {proved.mac.hex(':')}",
            hint="it stays in quarantine; `ampforge serials check` and `ampforge unit show` say "
            "more",
        )
    return number


def _find_owner(connection: Connection, proved: VerifiedEvidence) -> str | None:
    unit = find_by(connection, units.c.mac == proved.mac)
    if unit is not None:
        return f"the chip of unit {unit.serial}"
    replaced = connection.execute(
        select(replaced_modules.c.serial).where(replaced_modules.c.mac == proved.mac)
    ).scalar()
    if replaced is not None:
        return f"a module that was taken out of unit {replaced}"
    given = connection.execute(
        select(serial_numbers).where(serial_numbers.c.serial == proved.serial)
    ).one_or_none()
    if given is None:
        return None
    if given.mac is None:
        return "a number that an older version of the ledger voided"
    return f"a number that belongs to {bytes(given.mac).hex(':')} now"


def _find_giver(
    connection: Connection, identity: LedgerIdentity, number: SerialNumber
) -> str | None:
    """Return who could still give the number, or `None`."""
    for lease in list_lease_records(connection):
        if lease.closed_at is None and lease.has(number):
            return f"a number of lease {lease.name}: its station brings it with `station sync`"
    if find_range(connection, number) is not None:
        return None
    epoch = epoch_of_sequence(number.sequence, identity.serial_format)
    if epoch < identity.epoch:
        return None
    return f"a number of epoch {epoch}, which this ledger (epoch {identity.epoch}) never gave"


def take_out_of_void(
    connection: Connection,
    ledger: Ledger,
    writer: Writer,
    number: SerialNumber,
    *,
    at: dt.datetime,
) -> None:
    """Make a number void no more; what is left of its range stays void.

    Args:
        connection: Inside a writing transaction.
        ledger: The open ledger.
        writer: Whose chain tells of a range that the restore did not know.
        number: The number; `require_free` found nobody who has it.
        at: Now, aware.
    """
    void = find_range(connection, number)
    if void is None:
        void = _rest_of_series(connection, ledger.identity, number, at=at)
        void_range(connection, writer, epoch=ledger.identity.epoch, void=void, at=at)
    columns = voided_ranges.c
    connection.execute(
        delete(voided_ranges).where(
            *(columns[name] == value for name, value in zip(_VOID_KEY, void.key(), strict=True))
        )
    )
    for part in void.without(number):
        connection.execute(insert(voided_ranges).values(**part.row()))


def _rest_of_series(
    connection: Connection, identity: LedgerIdentity, number: SerialNumber, *, at: dt.datetime
) -> VoidedRange:
    """Return what a past epoch may have given of a series that the restore did not know."""
    epoch = epoch_of_sequence(number.sequence, identity.serial_format)
    allowed = sequences_of_epoch(epoch, identity.serial_format)
    first, last = allowed[0], allowed[-1]
    for table, low, high in (
        (serial_numbers, serial_numbers.c.sequence, serial_numbers.c.sequence),
        (voided_ranges, voided_ranges.c.first_sequence, voided_ranges.c.last_sequence),
        (leases, leases.c.first_sequence, leases.c.last_sequence),
    ):
        before: Any = func.max(high).filter(high.between(first, number.sequence - 1))
        behind: Any = func.min(low).filter(low.between(number.sequence + 1, last))
        of_series = [
            table.c[name] == getattr(number, name) for name in ("prefix", "model", "year", "week")
        ]
        chosen: Any = select(before, behind).where(*of_series)
        found: Any = connection.execute(chosen).one()
        ends_at, begins_at = found
        first = first if ends_at is None else ends_at + 1
        last = last if begins_at is None else begins_at - 1
    return VoidedRange(
        prefix=number.prefix, model=number.model, year=number.year, week=number.week,
        first_sequence=first, last_sequence=last,
        epoch=epoch, reason=_VOID_REASON, voided_at=format_time(at),
    )  # fmt: skip
