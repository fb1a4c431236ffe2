"""Events in the database: appended to the station's chain, read back, and verified.

Every function takes a connection inside a transaction of `provisioning.ledger_database`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from provisioning.errors import LedgerError
from provisioning.ledger_events import (
    ChainedEvent,
    Event,
    Phase,
    chain_event,
    event_digest,
    format_time,
    parse_event,
    verify_links,
)
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import events
from signing.hash_chain import GENESIS, link_hash

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection, Row

    from provisioning.ledger_values import Reservation, Writer


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
) -> ChainedEvent:
    """Link one event to the end of the station's chain; the caller holds the write lock."""
    last = connection.execute(
        select(events.c.number, events.c.hash)
        .where(events.c.station == writer.station)
        .order_by(events.c.number.desc())
        .limit(1)
    ).one_or_none()
    event = Event(
        station=writer.station,
        number=0 if last is None else last.number + 1,
        at=at,
        epoch=epoch,
        job=None if reservation is None else reservation.job,
        serial=None if reservation is None else reservation.serial,
        mac=mac if reservation is None else reservation.mac,
        step=step,
        phase=phase,
        data=data,
    )
    chained = chain_event(event, previous=GENESIS if last is None else last.hash)
    connection.execute(
        insert(events).values(
            station=event.station,
            number=event.number,
            at=format_time(event.at),
            job=event.job,
            serial=event.serial,
            step=event.step,
            phase=event.phase.value,
            content=chained.content,
            previous=chained.previous,
            hash=chained.hash,
        )
    )
    return chained


def read_events(
    connection: Connection, *, serial: str | None = None, job: str | None = None
) -> tuple[ChainedEvent, ...]:
    """Return the events of one unit or one job, in the order in which they were written.

    Raises:
        LedgerError: An event is damaged, or its columns say something else than its content.
    """
    condition = events.c.serial == serial if job is None else events.c.job == job
    return in_order(_chained(row) for row in connection.execute(select(events).where(condition)))


def in_order(chained_events: Iterable[ChainedEvent]) -> tuple[ChainedEvent, ...]:
    """Return one unit's events as they were written: by job, then by time.

    A clock that was set back does not change the order within a chain: an event counts as written
    no earlier than the one before it.
    """
    latest: dict[str, dt.datetime] = {}
    job_numbers: dict[str | None, int] = {}
    stations = sorted(chained_events, key=lambda one: (one.event.station, one.event.number))
    for chained in stations:
        told = chained.event.data.get("job_number")
        if isinstance(told, int):
            job_numbers[chained.event.job] = told
    newest = max(job_numbers.values(), default=0)
    placed: list[tuple[tuple[int, dt.datetime, str, int], ChainedEvent]] = []
    for chained in stations:
        event = chained.event
        at = max(event.at, latest.get(event.station, event.at))
        latest[event.station] = at
        job_number = job_numbers.get(event.job, newest)
        place = (job_number, at, event.station, event.number)
        placed.append((place, chained))
    return tuple(chained for _, chained in sorted(placed, key=lambda entry: entry[0]))


def list_stations(connection: Connection) -> tuple[str, ...]:
    """Return the stations that ever wrote an event."""
    statement = select(events.c.station).distinct().order_by(events.c.station)
    return tuple(connection.execute(statement).scalars())


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


def read_chain(connection: Connection, station: str) -> tuple[ChainedEvent, ...]:
    """Return every event of a station, unverified but for its columns and its own link.

    Raises:
        LedgerError: An event is damaged, or its columns say something else than its content.
    """
    statement = select(events).where(events.c.station == station).order_by(events.c.number)
    return tuple(_chained(row) for row in connection.execute(statement))


def verify_station_chain(connection: Connection, station: str) -> tuple[int, bytes]:
    """Return count and head of a station's chain after every link was verified.

    Raises:
        LedgerError: A link is broken, missing, or says another number than its place.
    """
    rows = read_links(connection, station)
    for place, row in enumerate(rows):
        stated = parse_event(row.content, where=f"{station} {place}").number
        if (row.number, stated) != (place, place):
            raise LedgerError(
                "an event is missing from the chain",
                expected=f"number {place}",
                got=f"number {stated if row.number == place else row.number}",
                where=f"station {station}",
                hint="the ledger was changed outside Ampforge; compare it with a backup",
            )
    head = verify_links(_as_links(rows), where=f"station {station}")
    return len(rows), head


def _as_links(rows: Iterable[StoredLink]) -> Iterable[tuple[bytes, bytes, bytes]]:
    return ((row.previous, event_digest(row.content), row.hash) for row in rows)


def _chained(row: Row[Any]) -> ChainedEvent:
    where = f"station {row.station}, event {row.number}"
    check_row(row, events, where=where)
    event = parse_event(row.content, where=where)
    columns = (row.station, row.number, row.at, row.job, row.serial, row.step, row.phase)
    stated = (
        event.station,
        event.number,
        format_time(event.at),
        event.job,
        event.serial,
        event.step,
        event.phase.value,
    )
    if columns != stated:
        raise LedgerError(
            "the columns of an event say something else than its content",
            expected=stated,
            got=columns,
            where=where,
            hint="the ledger was changed outside Ampforge; compare it with a backup",
        )
    if row.hash != link_hash(row.previous, event_digest(row.content)):
        raise LedgerError(
            "an event was changed after it was written",
            expected=f"hash {row.hash.hex()}",
            got="another content",
            where=where,
            hint="the ledger was changed outside Ampforge; compare it with a backup",
        )
    return ChainedEvent(event=event, content=row.content, previous=row.previous, hash=row.hash)
