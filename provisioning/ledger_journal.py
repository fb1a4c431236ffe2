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
from provisioning.ledger_schema import events
from signing.hash_chain import GENESIS

if TYPE_CHECKING:
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
        at=writer.now(),
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
    statement = (
        select(events).where(condition).order_by(events.c.at, events.c.station, events.c.number)
    )
    return tuple(_chained(row) for row in connection.execute(statement))


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
    return tuple(
        StoredLink(number=row.number, previous=row.previous, content=row.content, hash=row.hash)
        for row in connection.execute(statement)
    )


def verify_station_chain(connection: Connection, station: str) -> tuple[int, bytes]:
    """Return count and head of a station's chain after every link was verified.

    Raises:
        LedgerError: A link is broken, missing, or says another number than its place.
    """
    rows = read_links(connection, station)
    for place, row in enumerate(rows):
        if (
            row.number != place
            or parse_event(row.content, where=f"{station} {place}").number != place
        ):
            raise LedgerError(
                "an event is missing from the chain",
                expected=f"number {place}",
                got=f"number {row.number}",
                where=f"station {station}",
                hint="the ledger was changed outside Ampforge; compare it with a backup",
            )
    head = verify_links(_as_links(rows), where=f"station {station}")
    return len(rows), head


def _as_links(rows: Iterable[StoredLink]) -> Iterable[tuple[bytes, bytes, bytes]]:
    return ((row.previous, event_digest(row.content), row.hash) for row in rows)


def _chained(row: Row[Any]) -> ChainedEvent:
    where = f"station {row.station}, event {row.number}"
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
    return ChainedEvent(event=event, content=row.content, previous=row.previous, hash=row.hash)
