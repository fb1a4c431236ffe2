"""Earlier readings of check standards in the ledger, and what was measured since.

A station's work is told in its own chain and, for the time without the ledger, in those of its
leases. Where those lie in the order of things, the `sync` events of its own chain say: what one of
them took over happened before it and after everything in front of it (docs/spec/lease.md §5). Every
function takes a connection inside a transaction. Implements docs/spec/calibration.md §3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from provisioning.check_entry import ToldCheck, parse_check
from provisioning.ledger_events import Phase, parse_event
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import CHECK_STANDARD_STEP, IS_METROLOGY, events
from provisioning.outbox_events import SYNC_STEP

if TYPE_CHECKING:
    from sqlalchemy import Connection

CHECKS_MAX: Final = 2000
"""Readings that are looked back at: what is older weighs nothing in the moving average."""
MEASURING_STEPS: Final = ("calibrate", "verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Events of a lease's chain that no `sync` covers yet: of the transaction that is at work.

    Attributes:
        chain: The lease, STATION/n.
        end: Number of the first event that is not in it.
    """

    chain: str
    end: int


def read_checks(
    connection: Connection, station: str, *, instrument: str | None = None
) -> list[ToldCheck]:
    """Return the readings that a station tells, in order; of very many the last.

    Args:
        connection: Inside a transaction.
        station: Whose own chain is looked at.
        instrument: Only those by this serial number.

    Raises:
        LedgerError: An event is damaged, or no reading.
    """
    statement = (
        select(events)
        .where(IS_METROLOGY, events.c.station == station)
        .order_by(events.c.number.desc())
        .limit(CHECKS_MAX)
    )
    found = []
    for row in connection.execute(statement):
        where = f"station {row.station}, event {row.number}"
        event = parse_event(check_row(row, events, where=where).content, where=where)
        if event.step == CHECK_STANDARD_STEP and event.phase is Phase.CONFIRM:
            told = parse_check(event)
            if instrument is None or told.entry.instrument == instrument:
                found.append(told)
    return found[::-1]


def measured_since(
    connection: Connection,
    station: str,
    instrument: str,
    last_good: ToldCheck | None,
    *,
    under_way: Stretch | None = None,
) -> tuple[str, ...]:
    """Return the units that an instrument of a station measured after a reading.

    Args:
        connection: Inside a transaction.
        station: The station; its leases' chains are looked at, too.
        instrument: Serial number of the instrument.
        last_good: The reading; `None`: since ever.
        under_way: What is being taken over now.

    Returns:
        Serial numbers, in the order of their first measurement.

    Raises:
        LedgerError: An event is damaged.
    """
    begin = -1 if last_good is None else last_good.number
    ends: dict[str, int] = {}
    for event_data in _synchronised(connection, station, after=begin):
        chain, count = event_data
        ends[chain] = max(count, ends.get(chain, 0))
    if under_way is not None:
        ends[under_way.chain] = under_way.end
    serials: dict[str, None] = {}
    for chain, end in ends.items():
        first = _taken_over_before(connection, station, chain, begin)
        under = None if last_good is None else last_good.entry.taken_under
        if under is not None and under.chain == chain:
            first = max(first, under.number + 1)
        serials |= _measured(connection, chain, instrument, first=first, end=end)
    serials |= _measured(connection, station, instrument, first=begin + 1, end=None)
    return tuple(serials)


def _measured(
    connection: Connection, chain: str, instrument: str, *, first: int, end: int | None
) -> dict[str, None]:
    statement = (
        select(events.c.serial, events.c.number, events.c.content)
        .where(
            events.c.station == chain,
            events.c.number >= first,
            events.c.step.in_(MEASURING_STEPS),
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.number)
    )
    if end is not None:
        statement = statement.where(events.c.number < end)
    serials: dict[str, None] = {}
    for row in connection.execute(statement):
        event = parse_event(row.content, where=f"station {chain}, event {row.number}")
        result = event.data.get("result")
        measured_by = result.get("instrument") if isinstance(result, dict) else None
        if isinstance(measured_by, dict) and measured_by.get("serial_number") == instrument:
            serials[str(event.serial)] = None
    return serials


def _synchronised(connection: Connection, station: str, *, after: int) -> list[tuple[str, int]]:
    """Return which lease's chain was taken over after an event, and how far."""
    rows = connection.execute(
        select(events.c.number, events.c.content).where(
            events.c.station == station,
            events.c.number > after,
            events.c.step == SYNC_STEP,
            events.c.phase == Phase.CONFIRM.value,
        )
    )
    return [_read_sync(station, row.number, row.content) for row in rows]


def _taken_over_before(connection: Connection, station: str, chain: str, number: int) -> int:
    """Return how much of a lease's chain was taken over before an event of the station's own."""
    rows = connection.execute(
        select(events.c.number, events.c.content)
        .where(
            events.c.station == station,
            events.c.number < number,
            events.c.step == SYNC_STEP,
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.number.desc())
        .execution_options(yield_per=1)
    )
    count = 0
    for row in rows:
        told, count_then = _read_sync(station, row.number, row.content)
        if told == chain:
            count = count_then
            break
    rows.close()
    return count


def _read_sync(station: str, number: int, content: bytes) -> tuple[str, int]:
    event = parse_event(content, where=f"station {station}, event {number}")
    count = event.data.get("count")
    return str(event.data.get("lease")), count if isinstance(count, int) else 0
