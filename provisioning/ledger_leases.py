"""Leases in the ledger: a block is taken, confirmed, ended, and what is left of it becomes void.

Each is one transaction that holds the write lock (docs/spec/lease.md §3, §6). A number of an open
lease that was not given is LEASED: it has no row of its own, and no other station can get it,
because allocation goes on behind the block.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, insert, select, update

from provisioning.errors import LeaseError, SerialNumberError
from provisioning.lease import COUNT_MAX, DAYS_MAX, NUMBER_MAX, STATION_MAX_LENGTH, Lease
from provisioning.ledger_allocation import ask_about_board, numbers_of_week, read_answer
from provisioning.ledger_events import Phase, format_time, parse_time
from provisioning.ledger_journal import append_event, read_end
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import leases, serial_numbers, voided_ranges
from provisioning.ledger_voids import REASON_MAX_LENGTH, VoidedRange, void_range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Writer
    from provisioning.serial_numbers import SerialNumber

LEASE_STEP: Final = "lease"
LEASE_END_STEP: Final = "lease-end"
_NO_MAC: Final = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """One lease as the ledger knows it.

    Attributes:
        station: Who holds it.
        number: Its number among the station's, from 1.
        request: Name of the request, 16 bytes.
        prefix: Maker's code of the serial numbers.
        model: Model code of the serial numbers.
        year: ISO year of the serial numbers.
        week: ISO week of the serial numbers.
        first_sequence: First of the block.
        last_sequence: Last of the block.
        epoch: Epoch that gave it.
        issued_at: When, aware.
        expires_at: From when on no number of it may be given, aware.
        document_digest: SHA-256 of the signed document; `None` until the station confirmed it.
        closed_at: When it ended, aware; `None` while it is open.
        reason: Why it ended.
        given: How many of its numbers were given, as far as the ledger knows.
        voided: How many of its numbers are void.
    """

    station: str
    number: int
    request: bytes
    prefix: str
    model: str
    year: int
    week: int
    first_sequence: int
    last_sequence: int
    epoch: int
    issued_at: dt.datetime
    expires_at: dt.datetime
    document_digest: bytes | None
    closed_at: dt.datetime | None
    reason: str | None
    given: int
    voided: int

    @property
    def name(self) -> str:
        """Name of the lease, and of its chain."""
        return f"{self.station}/{self.number}"

    @property
    def count(self) -> int:
        """How many numbers the block has."""
        return self.last_sequence - self.first_sequence + 1

    @property
    def left(self) -> int:
        """How many of them are LEASED."""
        return 0 if self.closed_at is not None else self.count - self.given - self.voided

    def is_of(self, lease: Lease) -> bool:
        """Whether a signed lease says of itself what the ledger says of it."""
        return (
            lease.station, lease.number, lease.request, lease.epoch, lease.prefix, lease.model,
            lease.year, lease.week, lease.first_sequence, lease.last_sequence, lease.issued_at,
            lease.expires_at,
        ) == (
            self.station, self.number, self.request, self.epoch, self.prefix, self.model,
            self.year, self.week, self.first_sequence, self.last_sequence, self.issued_at,
            self.expires_at,
        )  # fmt: skip


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
            numbers = numbers_of_week(ledger.identity.epoch, now)
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


def list_leases(ledger: Ledger) -> tuple[LeaseRecord, ...]:
    """Return every lease, oldest first."""
    with ledger.database.reading() as connection:
        return list_lease_records(connection)


def list_lease_records(connection: Connection) -> tuple[LeaseRecord, ...]:
    """Return every lease, oldest first, inside the caller's transaction."""
    order = leases.c.issued_at, leases.c.station, leases.c.number
    rows = connection.execute(select(leases).order_by(*order)).all()
    return tuple(_record(connection, row) for row in rows)


def declare_lost(ledger: Ledger, writer: Writer, name: str, *, reason: str) -> LeaseRecord:
    """End an expired lease whose station will never report; what was not reported becomes void.

    Args:
        ledger: The open ledger.
        writer: Who says so.
        name: The lease, STATION/n.
        reason: What happened to the station, for the record.

    Raises:
        LeaseError: There is no such lease, it has ended, it is still in force, or no reason.
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
        append_event(
            connection, writer, epoch=ledger.identity.epoch, step=LEASE_END_STEP,
            phase=Phase.CONFIRM, data={"lease": name, "reason": told, "lost": True},
            mac=None, reservation=None, at=now,
        )  # fmt: skip
        end_lease(connection, writer, known, ledger=ledger, reason=told, ended_at=now, now=now)
        ended = find_named(connection, name)
    assert ended is not None, "it was ended just now"
    return ended


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


def find_lease(connection: Connection, *, request: bytes) -> LeaseRecord | None:
    """Return the lease that a request got, or `None`."""
    row = connection.execute(select(leases).where(leases.c.request == request)).one_or_none()
    return None if row is None else _record(connection, row)


def find_named(connection: Connection, name: str) -> LeaseRecord | None:
    """Return the lease of a name, STATION/n, or `None`."""
    station, _, number = name.rpartition("/")
    if not (number.isascii() and number.isdigit() and len(number) <= len(str(NUMBER_MAX))):
        return None
    row = connection.execute(
        select(leases).where(leases.c.station == station, leases.c.number == int(number))
    ).one_or_none()
    return None if row is None else _record(connection, row)


def unused_ranges(connection: Connection, record: LeaseRecord) -> list[range]:
    """Return the sequences of a block that were neither given nor voided, in ranges."""
    taken = set(_given_of(connection, record))
    for void in _voids_of(connection, record):
        taken.update(void)
    ranges: list[range] = []
    for sequence in range(record.first_sequence, record.last_sequence + 1):
        if sequence in taken:
            continue
        if ranges and ranges[-1].stop == sequence:
            ranges[-1] = range(ranges[-1].start, sequence + 1)
        else:
            ranges.append(range(sequence, sequence + 1))
    return ranges


def is_void(connection: Connection, number: SerialNumber) -> str | None:
    """Return why a number is void, or `None` when it is not."""
    reason: str | None = connection.execute(
        select(voided_ranges.c.reason).where(
            voided_ranges.c.prefix == number.prefix,
            voided_ranges.c.model == number.model,
            voided_ranges.c.year == number.year,
            voided_ranges.c.week == number.week,
            voided_ranges.c.first_sequence <= number.sequence,
            voided_ranges.c.last_sequence >= number.sequence,
        )
    ).scalar()
    return reason


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


def _given_of(connection: Connection, record: LeaseRecord) -> Iterable[int]:
    return connection.execute(
        select(serial_numbers.c.sequence).where(
            *_same_series(serial_numbers, record),
            serial_numbers.c.sequence.between(record.first_sequence, record.last_sequence),
        )
    ).scalars()


def _voids_of(connection: Connection, record: LeaseRecord) -> list[range]:
    rows = connection.execute(
        select(voided_ranges.c.first_sequence, voided_ranges.c.last_sequence).where(
            *_same_series(voided_ranges, record),
            and_(
                voided_ranges.c.first_sequence <= record.last_sequence,
                voided_ranges.c.last_sequence >= record.first_sequence,
            ),
        )
    )
    return [
        range(max(first, record.first_sequence), min(last, record.last_sequence) + 1)
        for first, last in rows
    ]


def _same_series(table: Any, record: LeaseRecord) -> list[Any]:
    return [table.c[name] == getattr(record, name) for name in ("prefix", "model", "year", "week")]


def _record(connection: Connection, row: Row[Any]) -> LeaseRecord:
    check_row(row, leases, where="table leases")
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    for name in ("issued_at", "expires_at", "closed_at"):
        values[name] = None if values[name] is None else parse_time(values[name])
    bare = LeaseRecord(**values, given=0, voided=0)
    given = len(list(_given_of(connection, bare)))
    voided = sum(len(void) for void in _voids_of(connection, bare))
    return LeaseRecord(**values, given=given, voided=voided)
