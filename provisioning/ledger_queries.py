"""Questions to the ledger; nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from provisioning.ledger_events import parse_time
from provisioning.ledger_rows import check_row, check_state
from provisioning.ledger_schema import jobs, serial_numbers, units, voided_ranges
from provisioning.ledger_units import read_unit
from provisioning.ledger_values import JobRecord, JobState, SerialRecord, SerialState, UnitState
from provisioning.ledger_voids import VoidedRange, find_range, parse_range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection, Row

    from provisioning.ledger_database import LedgerDatabase
    from provisioning.ledger_values import UnitRecord
    from provisioning.serial_numbers import SerialNumber


def find_by(connection: Connection, condition: ColumnElement[bool]) -> UnitRecord | None:
    """Return the one unit that a condition names, or `None`."""
    row = connection.execute(select(units).where(condition)).one_or_none()
    return None if row is None else read_unit(row)


def list_units(
    database: LedgerDatabase, *, bundle_digest: bytes | None = None
) -> tuple[UnitRecord, ...]:
    """Return every unit, or those last worked on with one release, by serial number."""
    statement = select(units).order_by(units.c.serial)
    if bundle_digest is not None:
        statement = statement.where(units.c.bundle_digest == bundle_digest)
    with database.reading() as connection:
        rows = connection.execute(statement).all()
    return tuple(read_unit(row) for row in rows)


def list_jobs(database: LedgerDatabase, serial: str) -> tuple[JobRecord, ...]:
    """Return the jobs of one unit, oldest first."""
    statement = select(jobs).where(jobs.c.serial == serial).order_by(jobs.c.number)
    with database.reading() as connection:
        rows = connection.execute(statement).all()
    where = str(database.address)
    return tuple(
        JobRecord(
            job=check_row(row, jobs, where=where).job,
            serial=row.serial,
            number=row.number,
            station=row.station,
            bundle_digest=row.bundle_digest,
            state=check_state(JobState, row.state, where=row.job),
            outcome=(
                None if row.outcome is None else check_state(UnitState, row.outcome, where=row.job)
            ),
            opened_at=parse_time(row.opened_at),
            closed_at=None if row.closed_at is None else parse_time(row.closed_at),
        )
        for row in rows
    )


def list_serials(database: LedgerDatabase) -> tuple[SerialRecord, ...]:
    """Return every serial number that was given, in order."""
    statement = select(serial_numbers).order_by(serial_numbers.c.serial)
    with database.reading() as connection:
        rows = connection.execute(statement).all()
    return tuple(_serial(row, str(database.address)) for row in rows)


def find_given(database: LedgerDatabase, serials: Iterable[str]) -> dict[str, SerialRecord]:
    """Return those of some serial numbers that the ledger gave, by number."""
    where = str(database.address)
    chosen = select(serial_numbers).where(serial_numbers.c.serial.in_(list(serials)))
    with database.reading() as connection:
        rows = connection.execute(chosen).all()
    return {row.serial: _serial(row, where) for row in rows}


def find_void(database: LedgerDatabase, number: SerialNumber) -> VoidedRange | None:
    """Return the range in which a number was voided without ever having been given."""
    with database.reading() as connection:
        return find_range(connection, number)


def list_voids(database: LedgerDatabase) -> tuple[VoidedRange, ...]:
    """Return every range that was voided without ever having been given, in order."""
    columns = voided_ranges.c
    statement = select(voided_ranges).order_by(
        columns.prefix, columns.model, columns.year, columns.week, columns.first_sequence
    )
    with database.reading() as connection:
        rows = connection.execute(statement).all()
    return tuple(parse_range(row) for row in rows)


def count_serials(database: LedgerDatabase) -> dict[SerialState, int]:
    """Return how many serial numbers are in each state."""
    statement = select(serial_numbers.c.state, func.count()).group_by(serial_numbers.c.state)
    with database.reading() as connection:
        counted = {state: count for state, count in connection.execute(statement)}  # noqa: C416 - rows are not pairs to a type checker
    return {state: counted.get(state.value, 0) for state in SerialState}


def _serial(row: Row[Any], where: str) -> SerialRecord:
    return SerialRecord(
        serial=check_row(row, serial_numbers, where=where).serial,
        state=check_state(SerialState, row.state, where=row.serial),
        mac=row.mac,
        reserved_at=parse_time(row.reserved_at),
    )


def is_waiting(connection: Connection, unit: UnitRecord) -> bool:
    """Whether a unit passed and waits for a good reading before it is released."""
    state = connection.execute(
        select(serial_numbers.c.state).where(serial_numbers.c.serial == unit.serial)
    ).scalar_one()
    return unit.state is UnitState.PASS and bool(state == SerialState.ASSIGNED.value)


def awaits_check(database: LedgerDatabase, serial: str) -> bool:
    """Whether a unit passed and waits for a good reading before it is released.

    Raises:
        LedgerError: The database cannot be read.
    """
    with database.reading() as connection:
        unit = find_by(connection, units.c.serial == serial)
        return unit is not None and is_waiting(connection, unit)
