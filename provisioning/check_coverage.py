"""What was measured behind a reading of a check standard: what the reading speaks for.

A station's work is told in its own chain and, for the time without the ledger, in those of its
leases. Where those lie in the order of things, the `sync` events of its own chain say: what one of
them took over happened before it and after everything in front of it (docs/spec/lease.md §5). Every
function takes a connection inside a transaction. Implements docs/spec/calibration.md §3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from provisioning.job_instruments import (
    MEASURING_STEPS,
    instrument_of,
    instruments_of_job,
    verified_by,
)
from provisioning.ledger_events import Phase, parse_event
from provisioning.ledger_schema import events, jobs
from provisioning.ledger_values import JobState
from provisioning.station_values import Step
from provisioning.taken_over import list_taken_over, taken_over_before

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from provisioning.check_entry import TakenUnder, ToldCheck
    from provisioning.ledger_events import Event

_Part = tuple[str, int, int | None]
"""A chain, the first event, and before which one it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Events of a lease's chain that no `sync` covers yet: of the transaction that is at work.

    Attributes:
        chain: The lease, STATION/n.
        end: Number of the first event that is not in it.
    """

    chain: str
    end: int


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
        last_good: The reading; `None`: since there is a check standard. Units from before were
            never meant to wait for one, and the first reading says nothing about them.
        under_way: What is being taken over now.

    Returns:
        Serial numbers, in the order of their first measurement.

    Raises:
        LedgerError: An event is damaged.
    """
    stretches = _stretches_behind(connection, station, last_good, under_way)
    if last_good is None:
        return _measured_under_standard(connection, instrument, stretches)
    return _measured_in(connection, instrument, stretches)


def measured_behind(
    connection: Connection,
    station: str,
    instrument: str,
    first: int,
    *,
    under_way: Stretch | None = None,
) -> tuple[str, ...]:
    """Return the units that an instrument of a station may have measured from an event on.

    What was taken over since may have been measured before it: nobody knows.

    Args:
        connection: Inside a transaction.
        station: The station; its leases' chains are looked at, too.
        instrument: Serial number of the instrument.
        first: Number of the event in the station's own chain.
        under_way: What is being taken over now.

    Raises:
        LedgerError: An event is damaged.
    """
    return _measured_in(
        connection, instrument, _stretches(connection, station, first, None, under_way)
    )


def measured_jobs(
    connection: Connection,
    station: str,
    instrument: str,
    *,
    since: ToldCheck | None,
    until: ToldCheck | None,
) -> tuple[tuple[str, str], ...]:
    """Return what an instrument of a station measured between two of the station's readings.

    Args:
        connection: Inside a transaction.
        station: The station; its leases' chains are looked at, too.
        instrument: Serial number of the instrument.
        since: Behind this reading; `None`: from the beginning.
        until: Before this one; `None`: to the end.

    Returns:
        Serial number and job of each.

    Raises:
        LedgerError: An event is damaged.
    """
    stretches = _stretches_behind(connection, station, since, None, until=until)
    found = _measuring(connection, instrument, stretches)
    return tuple(dict.fromkeys((str(event.serial), str(event.job)) for event in found))


def _measured_in(
    connection: Connection, instrument: str, stretches: list[_Part]
) -> tuple[str, ...]:
    found = _measuring(connection, instrument, stretches)
    return tuple(dict.fromkeys(str(event.serial) for event in found))


def _measuring(connection: Connection, instrument: str, stretches: list[_Part]) -> Iterator[Event]:
    told = _told_in(connection, stretches, MEASURING_STEPS)
    return (event for event in told if instrument_of(event) == instrument)


def finished_since(
    connection: Connection,
    station: str,
    instrument: str,
    last_good: ToldCheck | None,
    *,
    under_way: Stretch | None = None,
) -> tuple[str, ...]:
    """Return the units whose job ended after a reading, and was measured before it.

    A job that was stopped after its last measurement goes on with its verdict: measured between two
    good readings, and finished behind both.

    Args:
        connection: Inside a transaction.
        station: The station; its leases' chains are looked at, too.
        instrument: Serial number of the instrument that measured.
        last_good: The reading; `None`: since ever.
        under_way: What is being taken over now.

    Returns:
        Serial numbers, in the order in which they were finished.

    Raises:
        LedgerError: An event is damaged.
    """
    stretches = _stretches_behind(connection, station, last_good, under_way)
    return tuple(
        dict.fromkeys(
            str(final.serial)
            for final in _verdicts_to_wait_for(connection, stretches)
            if verified_by(connection, final.job, station=station) == instrument
        )
    )


def _measured_under_standard(
    connection: Connection, instrument: str, stretches: list[_Part]
) -> tuple[str, ...]:
    """Return the units of jobs that had a check standard to wait for, and of those still open."""
    serials = dict.fromkeys(
        str(final.serial)
        for final in _verdicts_to_wait_for(connection, stretches)
        if instrument in instruments_of_job(connection, final.job)
    )
    open_jobs = connection.execute(
        select(jobs.c.job, jobs.c.serial).where(
            jobs.c.state == JobState.OPEN.value,
            jobs.c.station.in_([chain for chain, _, _ in stretches]),
        )
    )
    for job, serial in open_jobs.all():
        if instrument in instruments_of_job(connection, job):
            serials[serial] = None
    return tuple(serials)


def _verdicts_to_wait_for(connection: Connection, stretches: list[_Part]) -> Iterator[Event]:
    """Yield the verdicts that were given where there is a check standard to wait for."""
    finals = _told_in(connection, stretches, (Step.FINAL.value,))
    return (final for final in finals if final.data.get("awaits_check") is True)


def _told_in(
    connection: Connection, stretches: list[_Part], steps: tuple[str, ...]
) -> Iterator[Event]:
    for chain, first, end in stretches:
        for _, event in walk_confirmed(connection, chain, steps, first=first, end=end):
            yield event


def _stretches_behind(
    connection: Connection,
    station: str,
    last_good: ToldCheck | None,
    under_way: Stretch | None,
    *,
    until: ToldCheck | None = None,
) -> list[_Part]:
    """Return what of which chain lies behind a reading: from a number, to before another."""
    end = None if until is None else until.number
    if until is not None and until.entry.taken_under is not None:
        under_way = Stretch(chain=until.entry.taken_under.chain, end=until.entry.taken_under.number)
    if last_good is None:
        return _stretches(connection, station, 0, None, under_way, end_own=end)
    first, under = last_good.number + 1, last_good.entry.taken_under
    return _stretches(connection, station, first, under, under_way, end_own=end)


def _stretches(
    connection: Connection,
    station: str,
    first_own: int,
    under: TakenUnder | None,
    under_way: Stretch | None,
    *,
    end_own: int | None = None,
) -> list[_Part]:
    """Return what of which chain lies behind an event of the own chain, or of a lease's."""
    ends: dict[str, int] = {}
    for chain, count in list_taken_over(connection, station, first=first_own, end=end_own):
        ends[chain] = max(count, ends.get(chain, 0))
    if under_way is not None:
        ends[under_way.chain] = under_way.end
    found: list[_Part] = []
    for chain, end in ends.items():
        first = taken_over_before(connection, station, chain, first_own)
        if under is not None and under.chain == chain:
            first = max(first, under.number + 1)
        found.append((chain, first, end))
    return [*found, (station, first_own, end_own)]


def walk_confirmed(
    connection: Connection,
    chain: str,
    steps: tuple[str, ...],
    *,
    first: int = 0,
    end: int | None = None,
    is_forward: bool = True,
) -> Iterator[tuple[int, Event]]:
    """Yield the events of a chain that confirm one of some steps, each with its number.

    Args:
        connection: Inside a transaction.
        chain: A station, or a lease, STATION/n.
        steps: The steps.
        first: Only those from this number on.
        end: Only those before this number; `None`: all.
        is_forward: On from the first; else back from the last.

    Raises:
        LedgerError: An event is damaged.
    """
    statement = (
        select(events.c.number, events.c.content)
        .where(
            events.c.station == chain,
            events.c.number >= first,
            events.c.step.in_(steps),
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.number if is_forward else events.c.number.desc())
    )
    if end is not None:
        statement = statement.where(events.c.number < end)
    for row in connection.execute(statement).all():
        yield row.number, parse_event(row.content, where=f"station {chain}, event {row.number}")
