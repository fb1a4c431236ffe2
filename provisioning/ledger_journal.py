"""The chains of the stations: events are appended, chains are walked and verified.

Every function takes a connection inside a transaction of `provisioning.ledger_database`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, select

from provisioning.errors import LedgerError
from provisioning.ledger_diagnosis import diagnose
from provisioning.ledger_event_rows import read_chained
from provisioning.ledger_events import (
    ChainedEvent,
    Event,
    Phase,
    chain_event,
    format_time,
    verify_next,
)
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import events
from provisioning.ledger_writes import add_row, send_changes
from signing.hash_chain import GENESIS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Row, Select

    from provisioning.ledger_values import Reservation, Writer


CLOCK_STEP: Final = "clock"
CLOCK_SUSPECT: Final = "CLOCK_SUSPECT"
PROOF: Final = "ampforge_last_event_hash"
"""Under this name a connection keeps the hash of the last event that was written through it."""
_ROWS_AT_ONCE: Final = 1000


def last_event_of(station: str) -> Select[Any]:
    """Return the question for number, hash and time of a station's last event.

    Args:
        station: Name of the parameter that will name the station.
    """
    question: Any = select(events.c.number, events.c.hash, events.c.at)
    last: Select[Any] = (
        question.where(events.c.station == bindparam(station))
        .order_by(events.c.number.desc())
        .limit(1)
    )
    return last


_LAST_EVENT: Final = last_event_of("of_station")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """Where a station's chain ends.

    Attributes:
        count: How many events it has.
        head: Hash of the last, `GENESIS` when there is none.
        at: Time of the last, as `format_time` writes it.
    """

    count: int
    head: bytes
    at: str | None


def chain_end_of(number: object, link: object, at: object) -> ChainEnd | None:
    """Return where a chain ends whose last event was asked for by an outer join.

    Returns:
        The end; `None` when the values are not of an event: `read_end` says what is wrong.
    """
    if number is None:
        return ChainEnd(count=0, head=GENESIS, at=None)
    if type(number) is int and type(link) is bytes and type(at) is str:
        return ChainEnd(count=number + 1, head=link, at=at)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLink:
    """One link of a chain as the database has it.

    Attributes:
        number: Place in the station's chain.
        previous: Hash of the link before.
        content: Content of the event.
        hash: Hash of this link.
    """

    number: int
    previous: bytes
    content: bytes
    hash: bytes


def append_event(
    connection: Connection,
    writer: Writer,
    *,
    epoch: int,
    step: str,
    phase: Phase,
    data: Mapping[str, object],
    mac: bytes | None,
    reservation: Reservation | None,
    at: dt.datetime,
    end: ChainEnd | None = None,
) -> ChainedEvent:
    """Link one event to the end of the station's chain; the caller holds the write lock.

    Args:
        connection: Inside a writing transaction.
        writer: Whose chain it is.
        epoch: Epoch of the ledger.
        step: Step of the workflow.
        phase: INTENT, CONFIRM or NOTE.
        data: What there is to say.
        mac: Chip MAC, when there is no reservation yet.
        reservation: Serial number and job, once there are.
        at: Now, aware.
        end: Where the chain ends, if it was read in this transaction already.
    """
    if end is None:
        end = read_end(connection, writer.station)
    number, head = end.count, end.head
    if end.at is not None and format_time(at) < end.at:
        suspect = _clock_note(writer, number=number, epoch=epoch, at=at, last_at=end.at)
        number, head = number + 1, _insert(connection, suspect, previous=head).hash
    event = Event(
        station=writer.station,
        number=number,
        at=at,
        epoch=epoch,
        job=None if reservation is None else reservation.job,
        serial=None if reservation is None else reservation.serial,
        mac=mac if reservation is None else reservation.mac,
        step=step,
        phase=phase,
        data=data,
    )
    return _insert(connection, event, previous=head)


def _clock_note(writer: Writer, *, number: int, epoch: int, at: dt.datetime, last_at: str) -> Event:
    """Return the note that the station's clock stands before the time of its own last event.

    Events keep the times that the clock said: which of them is wrong is not known. Their order is
    that of the chain.
    """
    return Event(
        station=writer.station,
        number=number,
        at=at,
        epoch=epoch,
        job=None,
        serial=None,
        mac=None,
        step=CLOCK_STEP,
        phase=Phase.NOTE,
        data={"finding": CLOCK_SUSPECT, "last_event_at": last_at, "clock": format_time(at)},
    )


def _insert(connection: Connection, event: Event, *, previous: bytes) -> ChainedEvent:
    chained = chain_event(event, previous=previous)
    add_row(connection, events, event_row(chained))
    connection.info[PROOF] = chained.hash
    return chained


def event_row(chained: ChainedEvent) -> dict[str, object]:
    """Return an event as a row of the table."""
    event = chained.event
    return {
        "station": event.station,
        "number": event.number,
        "at": format_time(event.at),
        "job": event.job,
        "serial": event.serial,
        "step": event.step,
        "phase": event.phase.value,
        "content": chained.content,
        "previous": chained.previous,
        "hash": chained.hash,
    }


def list_stations(connection: Connection) -> tuple[str, ...]:
    """Return the stations that ever wrote an event, in the order of their names."""
    # One step of the index for each station: a DISTINCT would read every event.
    found: list[str] = []
    following = select(func.min(events.c.station))
    name = connection.execute(following).scalar()
    while name is not None:
        found.append(name)
        name = connection.execute(following.where(events.c.station > name)).scalar()
    return tuple(found)


def read_links(
    connection: Connection, station: str, *, first_number: int = 0
) -> tuple[StoredLink, ...]:
    """Return the links of a station's chain from one number on, unverified."""
    statement = (
        select(events.c.number, events.c.previous, events.c.content, events.c.hash)
        .where(events.c.station == station, events.c.number >= first_number)
        .order_by(events.c.number)
    )
    where = f"station {station}"
    rows = (check_row(row, events, where=where) for row in connection.execute(statement))
    return tuple(
        StoredLink(number=row.number, previous=row.previous, content=row.content, hash=row.hash)
        for row in rows
    )


def walk_chain(
    connection: Connection, station: str, *, first_number: int = 0, head: bytes = GENESIS
) -> Iterator[ChainedEvent]:
    """Yield a station's events, each after it was verified; nothing piles up.

    Args:
        connection: Inside a transaction that sees one state.
        station: Whose chain it is.
        first_number: Where to begin.
        head: Hash of the event before that one, verified.

    Raises:
        LedgerDamageError: An event is damaged, contradicts its columns, is missing, or does not
            follow from the one before; it says which, and what was done to it.
    """
    statement = select(events).where(events.c.station == station).order_by(events.c.number)
    if first_number:
        statement = statement.where(events.c.number >= first_number)
    # An option of the statement, and not of the connection, which would keep it.
    rows = connection.execute(statement.execution_options(yield_per=_ROWS_AT_ONCE))
    for place, row in enumerate(rows, start=first_number):
        try:
            chained = _verified_next(row, place, head)
        except LedgerError as error:
            found = row.number
            rows.close()
            raise diagnose(
                connection, station, place=place, found=found, head=head, cause=error
            ) from error
        head = chained.hash
        yield chained


def _verified_next(row: Row[Any], place: int, head: bytes) -> ChainedEvent:
    if row.number != place:
        raise LedgerError(
            "an event is missing from the chain",
            expected=f"number {place}",
            got=f"number {row.number!r:.40}",
            where=f"station {row.station}",
        )
    chained = read_chained(row)
    verify_next(head, chained, where=f"station {row.station}, event {place}")
    return chained


def read_part(
    connection: Connection, station: str, *, first_number: int, count: int
) -> tuple[ChainedEvent, ...]:
    """Return some events of a chain from one number on, each after it was verified by itself.

    Raises:
        LedgerError: An event is damaged, or contradicts its columns.
    """
    statement = (
        select(events)
        .where(events.c.station == station, events.c.number >= first_number)
        .order_by(events.c.number)
        .limit(count)
    )
    return tuple(read_chained(row) for row in connection.execute(statement))


def verify_station_chain(connection: Connection, station: str) -> tuple[int, bytes]:
    """Return count and head of a station's chain after every link was verified.

    Raises:
        LedgerError: A link is broken, missing, or says another number than its place.
    """
    count, head = 0, GENESIS
    for chained in walk_chain(connection, station):
        count, head = count + 1, chained.hash
    return count, head


def read_end(connection: Connection, station: str) -> ChainEnd:
    """Return where a station's chain ends, inside a transaction that goes on from there."""
    send_changes(connection)
    last = connection.execute(_LAST_EVENT, {"of_station": station}).one_or_none()
    if last is None:
        return ChainEnd(count=0, head=GENESIS, at=None)
    check_row(last, events, where=f"station {station}")
    return ChainEnd(count=last.number + 1, head=last.hash, at=last.at)


def read_head(connection: Connection, station: str) -> tuple[int, bytes]:
    """Return count and head of a station's chain as the database has them, unverified."""
    end = read_end(connection, station)
    return end.count, end.head
