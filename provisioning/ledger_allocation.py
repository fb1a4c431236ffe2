"""Gives serial numbers and opens jobs, inside the caller's transaction.

The caller holds the write lock from the beginning of the transaction (`BEGIN IMMEDIATE`), so that
what is read here cannot change before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select, update

from provisioning.errors import SerialNumberError
from provisioning.ledger_events import format_time, parse_time
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import jobs, serial_numbers, units
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.serial_numbers import SEQUENCE_MAX, SerialNumber, iso_week_of

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from provisioning.ledger_values import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """The job that works on a unit.

    Attributes:
        job: Its name.
        number: 1 for the unit's first job.
        opened_at: When it was opened, aware.
        is_resumed: It was open already.
    """

    job: str
    number: int
    opened_at: dt.datetime
    is_resumed: bool


def allocate_serial(
    connection: Connection,
    *,
    mac: bytes,
    prefix: str,
    model: str,
    bundle_digest: bytes,
    epoch: int,
    now: dt.datetime,
) -> str:
    """Give the next number of this week to a MAC that has none, and begin the unit's record.

    Raises:
        SerialNumberError: No number is left in this week.
    """
    year, week = iso_week_of(now)
    last: int | None = connection.execute(
        select(func.max(serial_numbers.c.sequence)).where(
            serial_numbers.c.prefix == prefix,
            serial_numbers.c.model == model,
            serial_numbers.c.year == year,
            serial_numbers.c.week == week,
        )
    ).scalar()
    sequence = (last or 0) + 1
    if sequence > SEQUENCE_MAX:
        raise SerialNumberError(
            "no serial number is left in this week",
            expected=f"at most {SEQUENCE_MAX}",
            got=sequence,
            where=f"{prefix}{model}, {year}-W{week:02d}",
            hint="set another model code under [station.serials]",
        )
    number = SerialNumber(prefix=prefix, model=model, year=year, week=week, sequence=sequence)
    serial, at = str(number), format_time(now)
    connection.execute(
        insert(serial_numbers).values(
            serial=serial,
            prefix=prefix,
            model=model,
            year=year,
            week=week,
            sequence=sequence,
            epoch=epoch,
            state=SerialState.RESERVED.value,
            mac=mac,
            reserved_at=at,
        )
    )
    connection.execute(
        insert(units).values(
            serial=serial,
            mac=mac,
            state=UnitState.IN_WORK.value,
            bundle_digest=bundle_digest,
            first_seen_at=at,
            changed_at=at,
        )
    )
    return serial


def open_job(
    connection: Connection,
    writer: Writer,
    *,
    serial: str,
    bundle_digest: bytes,
    now: dt.datetime,
) -> OpenJob:
    """Return the unit's open job for this bundle, or open one.

    Returns:
        The job, opened now or before.
    """
    rows = connection.execute(
        select(jobs).where(jobs.c.serial == serial).order_by(jobs.c.number)
    ).all()
    for row in rows:
        check_row(row, jobs, where=f"unit {serial}")
        if row.state != JobState.OPEN.value:
            continue
        if row.bundle_digest == bundle_digest:
            # From here on it is this station's: whoever had it before is refused.
            connection.execute(
                update(jobs).where(jobs.c.job == row.job).values(station=writer.station)
            )
            return OpenJob(
                job=row.job, number=row.number, opened_at=parse_time(row.opened_at), is_resumed=True
            )
        connection.execute(
            update(jobs)
            .where(jobs.c.job == row.job)
            .values(state=JobState.ABANDONED.value, closed_at=format_time(now))
        )
    job, number = writer.new_job(), (rows[-1].number if rows else 0) + 1
    connection.execute(
        insert(jobs).values(
            job=job,
            serial=serial,
            number=number,
            station=writer.station,
            bundle_digest=bundle_digest,
            state=JobState.OPEN.value,
            opened_at=format_time(now),
        )
    )
    return OpenJob(job=job, number=number, opened_at=now, is_resumed=False)


def withdraw_release(connection: Connection, serial: str) -> None:
    """Take back that a unit was released: it is worked on again."""
    connection.execute(
        update(serial_numbers)
        .where(
            serial_numbers.c.serial == serial,
            serial_numbers.c.state == SerialState.RELEASED.value,
        )
        .values(state=SerialState.ASSIGNED.value)
    )
