"""What happens to a lease in the ledger: a block is taken, confirmed, ended; the rest becomes void.

Each is one transaction that holds the write lock from its beginning (docs/spec/lease.md §3, §6).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, select, update

from provisioning.errors import LeaseError, SerialNumberError
from provisioning.lease import COUNT_MAX, DAYS_MAX, NUMBER_MAX, STATION_MAX_LENGTH
from provisioning.ledger_allocation import ask_about_board, numbers_of_period, read_answer
from provisioning.ledger_events import Phase, format_time, parse_time
from provisioning.ledger_journal import CLOCK_SUSPECT, append_event, list_stations, read_end
from provisioning.ledger_leases import (
    LEASE_END_STEP,
    LEASE_STEP,
    LeaseRecord,
    find_lease,
    find_named,
    unused_ranges,
)
from provisioning.ledger_schema import leases
from provisioning.ledger_voids import REASON_MAX_LENGTH, VoidedRange, void_range

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Writer

_NO_MAC: Final = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBlock:
    """A block that the ledger keeps for a station.

    Attributes:
        record: The lease.
        event_count: Events in the station's chain.
        head: Head of that chain, 32 bytes.
    """

    record: LeaseRecord
    event_count: int
    head: bytes


def take_block(
    ledger: Ledger,
    writer: Writer,
    *,
    request: bytes,
    prefix: str,
    model: str,
    count: int,
    days: int,
) -> TakenBlock:
    """Keep the next numbers of this week for a station; asked again, return the same block.

    Args:
        ledger: The open ledger.
        writer: The station.
        request: Name of the request, 16 bytes, never used for another.
        prefix: Maker's code of the serial numbers.
        model: Model code of the serial numbers.
        count: How many numbers.
        days: For how long.

    Raises:
        LeaseError: Count, days or the station's name are not possible.
        SerialNumberError: The week has not that many numbers left.
        LedgerError: The database cannot be written.
    """
    require_possible(writer.station, count=count, days=days)
    with ledger.database.writing() as connection:
        known = find_lease(connection, request=request)
        if known is None:
            now = writer.now()
            numbers = numbers_of_period(ledger.identity, now)
            statement, values = ask_about_board(
                mac=_NO_MAC, station=writer.station, prefix=prefix, model=model, numbers=numbers
            )
            answer = read_answer(connection.execute(statement, dict(values)).one())
            first = numbers.next_after(answer, now=now, where=f"{prefix}{model}")
            last = first + count - 1
            if last not in numbers.sequences:
                raise SerialNumberError(
                    "this week has not so many serial numbers left",
                    expected=f"at most {numbers.sequences[-1] - first + 1}",
                    got=count,
                    where=f"{prefix}{model}, {numbers.year}-W{numbers.week:02d}",
                    hint="lease fewer, or set another model code under [station.serials]",
                )
            row = {
                "prefix": prefix, "model": model, "year": numbers.year, "week": numbers.week,
                "first_sequence": first, "last_sequence": last, "epoch": ledger.identity.epoch,
                "station": writer.station, "number": _next_number(connection, writer.station),
                "issued_at": format_time(now),
                "expires_at": format_time(now + dt.timedelta(days=days)),
            }  # fmt: skip
            data = {name: value for name, value in row.items() if name != "issued_at"}
            append_event(
                connection, writer, epoch=ledger.identity.epoch, step=LEASE_STEP,
                phase=Phase.INTENT, data=data | {"request": request.hex()}, mac=None,
                reservation=None, at=now,
            )  # fmt: skip
            connection.execute(insert(leases).values(**row, request=request))
            known = find_lease(connection, request=request)
        assert known is not None, "it was taken just now"
        end = read_end(connection, writer.station)
    return TakenBlock(record=known, event_count=end.count, head=end.head)


def confirm_lease(
    ledger: Ledger, writer: Writer, *, request: bytes, document_digest: bytes
) -> LeaseRecord:
    """Write down that the station holds the signed document; done before, it is left as it is.

    Raises:
        LeaseError: The station confirmed another document for it.
        LedgerError: The database cannot be written.
    """
    with ledger.database.writing() as connection:
        known = find_lease(connection, request=request)
        if known is None or known.document_digest not in {None, document_digest}:
            raise LeaseError(
                "the ledger knows this lease otherwise",
                expected="a lease that was taken and not confirmed",
                got="none" if known is None else "a lease with another document",
                where=ledger.database.address,
                hint="the station's folder is an older copy: see the how-to on leases",
            )
        if known.document_digest is None:
            append_event(
                connection, writer, epoch=ledger.identity.epoch, step=LEASE_STEP,
                phase=Phase.CONFIRM,
                data={"lease": known.name, "document": document_digest.hex()},
                mac=None, reservation=None, at=writer.now(),
            )  # fmt: skip
            connection.execute(
                update(leases)
                .where(leases.c.request == request)
                .values(document_digest=document_digest)
            )
            known = find_lease(connection, request=request)
        assert known is not None, "it was there just now"
    return known


def declare_lost(
    ledger: Ledger, writer: Writer, name: str, *, reason: str, today: dt.date | None = None
) -> LeaseRecord:
    """End an expired lease whose station will never report; what was not reported becomes void.

    One clock alone does not say that it has expired: a second must, and that is another station's
    last event, the database server's clock, or the day that a person says it is.

    Args:
        ledger: The open ledger.
        writer: Who says so.
        name: The lease, STATION/n.
        reason: What happened to the station, for the record.
        today: The day by somebody's calendar, UTC; needed where no second clock says enough.

    Raises:
        LeaseError: There is no such lease, it has ended, it is still in force or may be, no
            reason, or the clock is not to be trusted.
        LedgerError: The database cannot be written.
    """
    told = f"lease {name} lost: {reason}"
    if not reason or len(told) > REASON_MAX_LENGTH or not reason.isprintable():
        raise LeaseError(
            "a lost lease needs a reason",
            expected=f"1 to {REASON_MAX_LENGTH - len(told) + len(reason)} printable characters",
            got=f"{len(reason)} characters",
            hint="say with --reason what happened to the station",
        )
    with ledger.database.writing() as connection:
        known = find_named(connection, name)
        now = writer.now()
        if known is None or known.closed_at is not None:
            raise LeaseError(
                "there is no such open lease",
                expected="a lease that has not ended",
                got="none" if known is None else f"one that ended: {known.reason}",
                where=name[:80],
                hint="`ampforge serials status` lists the leases",
            )
        if now < known.expires_at:
            raise LeaseError(
                "the lease is still in force, so its station may be giving numbers now",
                expected=f"a lease that expired before {format_time(now)}",
                got=f"one that expires at {format_time(known.expires_at)}",
                where=name,
                hint="wait until then; its numbers cost nothing meanwhile",
            )
        _require_second_clock(connection, ledger, writer, known, now=now, today=today)
        append_event(
            connection, writer, epoch=ledger.identity.epoch, step=LEASE_END_STEP,
            phase=Phase.CONFIRM, data={
                "lease": name,
                "reason": told,
                "lost": True,
                "today": None if today is None else today.isoformat(),
            },
            mac=None, reservation=None, at=now,
        )  # fmt: skip
        end_lease(connection, writer, known, ledger=ledger, reason=told, ended_at=now, now=now)
        ended = find_named(connection, name)
    assert ended is not None, "it was ended just now"
    return ended


def _require_second_clock(
    connection: Connection,
    ledger: Ledger,
    writer: Writer,
    record: LeaseRecord,
    *,
    now: dt.datetime,
    today: dt.date | None,
) -> None:
    """Refuse to end a lease by a clock that may be far ahead (CLOCK_SUSPECT)."""
    if today is not None and abs(today - now.date()) > dt.timedelta(days=1):
        raise LeaseError(
            f"this station's clock says another day ({CLOCK_SUSPECT})",
            expected=f"{today}",
            got=format_time(now),
            where=record.name,
            hint="set this machine's clock; nothing was changed",
        )
    if today is not None:
        return
    ends = [
        read_end(connection, chain).at
        for chain in list_stations(connection)
        if chain != record.name and chain.partition("/")[0] != writer.station
    ]
    told = [parse_time(at) for at in ends if at is not None]
    if ledger.database.has_server:
        told.append(connection.execute(select(func.now())).scalar_one())
    if max(told, default=None) is None or max(told) < record.expires_at:
        raise LeaseError(
            "this station's clock alone says that the lease has expired",
            expected=f"a second clock after {format_time(record.expires_at)}",
            got=f"this one {format_time(now)}, the others "
            + (format_time(max(told)) if told else "none"),
            where=record.name,
            hint="look at a calendar, and say which day it is: --today YYYY-MM-DD",
        )


def end_lease(
    connection: Connection,
    writer: Writer,
    record: LeaseRecord,
    *,
    ledger: Ledger,
    reason: str,
    ended_at: dt.datetime,
    now: dt.datetime,
) -> None:
    """Close the row of a lease and void what was not given; its event is written by the caller.

    Args:
        connection: Inside a writing transaction.
        writer: Whose chain tells what became void.
        record: The lease, open.
        ledger: The open ledger.
        reason: Why, for the record, at most 200 characters.
        ended_at: Time of the event that ended it.
        now: The present, aware.
    """
    for left in unused_ranges(connection, record):
        void = VoidedRange(
            prefix=record.prefix, model=record.model, year=record.year, week=record.week,
            first_sequence=left[0], last_sequence=left[-1], epoch=record.epoch, reason=reason,
            voided_at=format_time(now),
        )  # fmt: skip
        void_range(connection, writer, epoch=ledger.identity.epoch, void=void, at=now)
    connection.execute(
        update(leases)
        .where(leases.c.request == record.request)
        .values(closed_at=format_time(ended_at), reason=reason)
    )


def require_possible(station: str, *, count: int, days: int) -> None:
    """Refuse to ask for a lease that nobody could get.

    Raises:
        LeaseError: Count, days or the station's name are out of range.
    """
    for what, least, most, value, hint in (
        ("numbers", 1, COUNT_MAX, count, "give another --count"),
        ("days", 1, DAYS_MAX, days, "give another --days"),
        (
            "characters of the station's name", 1, STATION_MAX_LENGTH, len(station),
            "a lease's chain is called by it and a number: set up a station with a shorter name",
        ),
    ):  # fmt: skip
        if not least <= value <= most:
            raise LeaseError(
                "there is no such lease",
                expected=f"{least} to {most} {what}",
                got=value,
                hint=hint,
            )


def _next_number(connection: Connection, station: str) -> int:
    numbers = connection.execute(select(leases.c.number).where(leases.c.station == station))
    number: int = max(numbers.scalars(), default=0) + 1
    if number > NUMBER_MAX:
        raise LeaseError("the station has had too many leases", expected=NUMBER_MAX, got=number)
    return number
