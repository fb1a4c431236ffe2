"""How far the chains of a station's leases were taken over, as its own chain tells.

Every function takes a connection inside a transaction. Implements docs/spec/lease.md §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from provisioning.ledger_events import Phase, parse_event
from provisioning.ledger_schema import events
from provisioning.outbox_events import SYNC_STEP

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select


def list_taken_over(
    connection: Connection, station: str, *, first: int, end: int | None
) -> list[tuple[str, int]]:
    """Return which lease's chain was taken over from an event on, and how far."""
    statement = _syncs_of(station).where(events.c.number >= first)
    if end is not None:
        statement = statement.where(events.c.number < end)
    rows = connection.execute(statement)
    return [_read_sync(station, row.number, row.content) for row in rows]


def taken_over_before(connection: Connection, station: str, chain: str, number: int) -> int:
    """Return how much of a lease's chain was taken over before an event of the station's own."""
    rows = connection.execute(
        _syncs_of(station)
        .where(events.c.number < number)
        .order_by(events.c.number.desc())
        .execution_options(yield_per=1)
    )
    try:
        for row in rows:
            told, count = _read_sync(station, row.number, row.content)
            if told == chain:
                return count
    finally:
        rows.close()
    return 0


def _syncs_of(station: str) -> Select[Any]:
    question: Any = select(events.c.number, events.c.content)
    syncs: Select[Any] = question.where(
        events.c.station == station,
        events.c.step == SYNC_STEP,
        events.c.phase == Phase.CONFIRM.value,
    )
    return syncs


def _read_sync(station: str, number: int, content: bytes) -> tuple[str, int]:
    event = parse_event(content, where=f"station {station}, event {number}")
    count = event.data.get("count")
    return str(event.data.get("lease")), count if isinstance(count, int) else 0
