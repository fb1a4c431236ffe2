"""Which reading of a check standard lies before which, at stations that share an instrument.

A meter that was carried on is the same meter: a bad reading here concerns what it measured there.
Clocks are not asked. A reading is written under the ledger's write lock, with how far every other
station's chain had come; of one without the ledger it is known what it is behind. Every function
takes a connection inside a transaction. Implements docs/spec/calibration.md §3.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from provisioning.check_coverage import measured_behind, measured_since, walk_confirmed
from provisioning.check_entry import ChainPlace, SeenChain
from provisioning.check_history import walk_checks
from provisioning.ledger_events import parse_event
from provisioning.ledger_heads import read_heads
from provisioning.ledger_journal import list_stations, read_head
from provisioning.ledger_leases import LEASE_STEP
from provisioning.ledger_schema import IS_HEADS, events
from signing.hash_chain import GENESIS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from provisioning.check_coverage import Stretch
    from provisioning.check_entry import ToldCheck

NOWHERE = ChainPlace(count=0, head=GENESIS.hex())
"""Behind nothing that the ledger has."""


def see_chains(connection: Connection, station: str) -> tuple[SeenChain, ...]:
    """Return how far the other stations' chains have come; the caller holds the write lock."""
    return tuple(
        SeenChain(station=other, count=read_head(connection, other)[0])
        for other in _others(connection, station)
    )


def find_place(
    connection: Connection, station: str, told: ChainPlace | None, *, lease: str
) -> ChainPlace:
    """Return what a reading without the ledger is behind, as far as the ledger can tell.

    What the station remembered; if the ledger has not that, being restored, or an older Ampforge
    told nothing: the moment at which the lease was taken.

    Args:
        connection: Inside a transaction.
        station: Whose own chain it is.
        told: What the reading says.
        lease: Under which it was taken, STATION/n.
    """
    if told is not None and told.count:
        there = _place_of(connection, station, told.count - 1)
        if there is not None and there.head == told.head:
            return told
    for number, event in walk_confirmed(connection, station, (LEASE_STEP,), is_forward=False):
        if event.data.get("lease") == lease:
            return _place_of(connection, station, number) or NOWHERE
    return NOWHERE


def _place_of(connection: Connection, station: str, number: int) -> ChainPlace | None:
    """Return the place right behind an event, if the ledger has it."""
    found = connection.execute(
        select(events.c.hash).where(events.c.station == station, events.c.number == number)
    ).scalar()
    return None if found is None else ChainPlace(count=number + 1, head=found.hex())


def known_before(connection: Connection, told: ToldCheck) -> dict[str, int]:
    """Return for other stations how many of their events happened before a reading, for certain.

    Args:
        connection: Inside a transaction.
        told: The reading, in a station's own chain.

    Raises:
        LedgerError: An event is damaged.
    """
    known: dict[str, int] = {}
    begin = 0
    after = told.entry.after
    if after is not None:
        row = connection.execute(
            select(events.c.number, events.c.content)
            .where(IS_HEADS, events.c.station == told.station, events.c.number < after.count)
            .order_by(events.c.number.desc())
            .limit(1)
        ).one_or_none()
        if row is not None:
            begin = row.number
            heads = read_heads(
                parse_event(row.content, where=f"station {told.station}, event {begin}")
            )
            known = {one.station: one.count for one in heads.seen if "/" not in one.station}
    # A station reads with the ledger only when that has all that it did without: so each of these
    # lies before what its leases tell behind it.
    for before in walk_checks(connection, told.station, first=begin, end=told.number + 1):
        if before.entry.seen is not None and before.entry.after is None:
            for one in before.entry.seen:
                known[one.station] = max(one.count, known.get(one.station, 0))
            break
    return known


def is_behind(connection: Connection, told: ToldCheck, earlier: ToldCheck) -> bool:
    """Whether a reading was certainly taken after one that another station tells.

    Args:
        connection: Inside a transaction.
        told: The reading, in a station's own chain.
        earlier: The other, which says what it saw.

    Raises:
        LedgerError: An event is damaged.
    """
    return _anchor(connection, told) >= earlier.entry.seen_count(told.station)


def _anchor(connection: Connection, told: ToldCheck) -> int:
    """Return the last event of the own chain that a reading is, or is behind, for certain."""
    after = told.entry.after
    if after is None:
        return told.number
    before = (
        one.number
        for one in walk_checks(connection, told.station, first=after.count, end=told.number)
        if one.entry.after is None and one.entry.taken_under is None
    )
    return max(after.count - 1, next(before, -1))


def find_bad_elsewhere(
    connection: Connection, station: str, instrument: str, last_good: ToldCheck | None
) -> list[ToldCheck]:
    """Return the bad readings at other stations that the last good one here may not be behind.

    Args:
        connection: Inside a transaction.
        station: The station.
        instrument: Serial number of the instrument.
        last_good: The last good reading by it at the station; `None` when there was none.

    Raises:
        LedgerError: An event is damaged.
    """
    others = _others(connection, station)
    if not others:
        return []
    known = {} if last_good is None else known_before(connection, last_good)
    anchor = -1 if last_good is None else _anchor(connection, last_good)
    return [
        told
        for other in others
        for told in walk_checks(connection, other, instrument, first=known.get(other, 0))
        # What was written before there was this field keeps its meaning: it held then, once.
        if not told.entry.is_good
        and told.entry.seen is not None
        and anchor < told.entry.seen_count(station)
    ]


def measured_behind_bad(
    connection: Connection,
    station: str,
    instrument: str,
    bad: Sequence[ToldCheck],
    last_good: ToldCheck | None,
    *,
    under_way: Stretch | None = None,
) -> tuple[str, ...]:
    """Return the units that an instrument may have measured behind bad readings elsewhere.

    Args:
        connection: Inside a transaction.
        station: The station; its leases' chains are looked at, too.
        instrument: Serial number of the instrument.
        bad: Bad readings at other stations; at least one.
        last_good: The last good reading at the station; what is before it is not looked at.
        under_way: What is being taken over now.

    Raises:
        LedgerError: An event is damaged.
    """
    since = measured_since(connection, station, instrument, last_good, under_way=under_way)
    first = min(told.entry.seen_count(station) for told in bad)
    if last_good is not None and last_good.number >= first:
        return since
    behind = measured_behind(connection, station, instrument, first, under_way=under_way)
    return tuple(serial for serial in since if serial in set(behind))


def measured_elsewhere(connection: Connection, told: ToldCheck) -> tuple[str, ...]:
    """Return the units that an instrument measured at other stations since its last good there.

    Of a bad reading without the ledger: since the last good one that lies before it for certain. A
    station where the instrument never read a standard is not asked: nobody waits for a reading
    there.

    Args:
        connection: Inside a transaction.
        told: The bad reading.

    Returns:
        Serial numbers, station by station.

    Raises:
        LedgerError: An event is damaged.
    """
    instrument = told.entry.instrument
    known = None if told.entry.after is None else known_before(connection, told)
    serials: dict[str, None] = {}
    for other in _others(connection, told.station):
        if next(walk_checks(connection, other, instrument), None) is None:
            continue
        end = None if known is None else known.get(other, 0)
        before = walk_checks(connection, other, instrument, end=end)
        last_good = next((one for one in before if one.entry.is_good), None)
        serials |= dict.fromkeys(measured_since(connection, other, instrument, last_good))
    return tuple(serials)


def _others(connection: Connection, station: str) -> tuple[str, ...]:
    return tuple(
        other
        for other in list_stations(connection)
        if other != station and "/" not in other  # a lease: its station tells how far it is
    )
