"""Gives serial numbers and opens jobs, inside the caller's transaction.

The caller holds the write lock from the beginning of the transaction, so that what is read here
cannot change before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, literal, select, true, union_all, update

from provisioning.errors import SerialNumberError
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import format_time, parse_time
from provisioning.ledger_guards import why_excluded
from provisioning.ledger_journal import chain_end_of, last_event_of
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import jobs, leases, serial_numbers, units, voided_ranges
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.ledger_writes import add_row
from provisioning.serial_numbers import SerialNumber

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from sqlalchemy import Connection, ScalarSelect, Select

    from provisioning.ledger_journal import ChainEnd
    from provisioning.ledger_values import LedgerIdentity, Writer
    from provisioning.ledger_writes import Question


def last_sequence() -> ScalarSelect[Any]:
    """Return the question for the last sequence of a series that was given, leased or voided."""
    last = []
    for table, sequence in (
        (serial_numbers, serial_numbers.c.sequence),
        (voided_ranges, voided_ranges.c.last_sequence),
        (leases, leases.c.last_sequence),
    ):
        last.append(
            select(func.max(sequence).label("last")).where(
                table.c.prefix == bindparam("of_prefix"),
                table.c.model == bindparam("of_model"),
                table.c.year == bindparam("of_year"),
                table.c.week == bindparam("of_week"),
                sequence.between(bindparam("low"), bindparam("high")),
            )
        )
    return select(func.max(union_all(*last).subquery().c.last)).scalar_subquery()


def _lookup() -> Any:
    """Return one question for all that a reservation must know: others wait while it is asked."""
    one = select(literal(1).label("one")).subquery()
    last = last_event_of("of_station").subquery()
    joined = one.outerjoin(units, units.c.mac == bindparam("of_mac")).outerjoin(last, true())
    columns: list[Any] = [
        units.c.serial, why_excluded().label("excluded"), last.c.number, last.c.hash, last.c.at,
        last_sequence().label("last_sequence"),
    ]  # fmt: skip
    return select(*columns).select_from(joined)


_LOOKUP: Final[Select[Any]] = _lookup()


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberBlock:
    """Numbers of one week that new boards may get.

    Attributes:
        year: ISO year.
        week: ISO week.
        sequences: The sequences, in the order in which they are given.
    """

    year: int
    week: int
    sequences: range

    def next_after(self, known: Known, *, now: dt.datetime, where: str) -> int:
        """Return the sequence that is given next.

        Args:
            known: What the ledger said under the write lock.
            now: The present, aware.
            where: The series, for the message.

        Raises:
            ProvisioningError: There is none, or none may be given now.
        """
        del now
        last = known.last_sequence
        sequence = self.sequences[0] if last is None else last + 1
        if sequence not in self.sequences:
            raise SerialNumberError(
                "no serial number is left in this week",
                expected=f"at most {self.sequences[-1]}",
                got=sequence,
                where=f"{where}, {self.year}-W{self.week:02d}",
                hint="set another model code under [station.serials]",
            )
        return sequence


def numbers_of_period(identity: LedgerIdentity, now: dt.datetime) -> NumberBlock:
    """Return the numbers that a ledger may give in the week, or other period, of a moment."""
    year, week = identity.serial_format.period_of(now)
    allowed = sequences_of_epoch(identity.epoch, identity.serial_format)
    return NumberBlock(year=year, week=week, sequences=allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the ledger knows when a board is met.

    Attributes:
        serial: The board's serial number; `None` for a board that was never seen.
        excluded: Why the board must not be worked on; `None` when it may.
        end: Where the station's chain ends; `None` when it must be looked at again.
        last_sequence: The last sequence of the block's series that was given, leased or voided;
            `None` when there was none.
    """

    serial: str | None
    excluded: str | None
    end: ChainEnd | None
    last_sequence: int | None


def ask_about_board(
    *, mac: bytes, station: str, prefix: str, model: str, numbers: NumberBlock
) -> Question:
    """Return the question about a board, and about the series it would get a number of."""
    allowed = numbers.sequences
    values = {
        "of_mac": mac, "of_station": station, "of_prefix": prefix, "of_model": model,
        "of_year": numbers.year, "of_week": numbers.week, "low": allowed[0], "high": allowed[-1],
    }  # fmt: skip
    return _LOOKUP, values


def read_answer(row: Sequence[Any]) -> Known:
    """Return what the answer to `ask_about_board` says."""
    serial, excluded, *last, last_sequence = row
    return Known(
        serial=serial, excluded=excluded, end=chain_end_of(*last), last_sequence=last_sequence
    )


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


def begin_unit(
    connection: Connection,
    writer: Writer,
    known: Known,
    *,
    mac: bytes,
    prefix: str,
    model: str,
    bundle_digest: bytes,
    identity: LedgerIdentity,
    numbers: NumberBlock,
    now: dt.datetime,
) -> tuple[str, OpenJob]:
    """Give the next number of a block to a MAC that has none, and open the unit's first job.

    Raises:
        ProvisioningError: The block has no number left or must not be used now, or the codes do
            not fit the format.
    """
    sequence = numbers.next_after(known, now=now, where=f"{prefix}{model}")
    year, week, epoch = numbers.year, numbers.week, identity.epoch
    number = SerialNumber(
        prefix=prefix, model=model, year=year, week=week, sequence=sequence,
        format=identity.serial_format,
    )  # fmt: skip
    serial, at, job = str(number), format_time(now), writer.new_job()
    add_row(
        connection,
        serial_numbers,
        {
            "serial": serial, "prefix": prefix, "model": model, "year": year, "week": week,
            "sequence": sequence, "epoch": epoch, "state": SerialState.RESERVED.value, "mac": mac,
            "reserved_at": at,
        },
    )  # fmt: skip
    add_row(
        connection,
        units,
        {
            "serial": serial, "mac": mac, "state": UnitState.IN_WORK.value,
            "bundle_digest": bundle_digest, "last_job": job, "first_seen_at": at, "changed_at": at,
        },
    )  # fmt: skip
    _add_job(connection, writer, job=job, serial=serial, number=1, bundle=bundle_digest, now=now)
    return serial, OpenJob(job=job, number=1, opened_at=now, is_resumed=False)


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
            # From here on it is this run's: whoever had it before is refused.
            connection.execute(
                update(jobs)
                .where(jobs.c.job == row.job)
                .values(station=writer.station, run=writer.run)
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
    _add_job(
        connection, writer, job=job, serial=serial, number=number, bundle=bundle_digest, now=now
    )
    return OpenJob(job=job, number=number, opened_at=now, is_resumed=False)


def _add_job(
    connection: Connection,
    writer: Writer,
    *,
    job: str,
    serial: str,
    number: int,
    bundle: bytes,
    now: dt.datetime,
) -> None:
    add_row(
        connection,
        jobs,
        {
            "job": job, "serial": serial, "number": number, "station": writer.station,
            "bundle_digest": bundle, "state": JobState.OPEN.value, "outcome": None,
            "opened_at": format_time(now), "closed_at": None, "run": writer.run,
        },
    )  # fmt: skip


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
