"""Earlier readings of check standards in the ledger, and what was measured since.

A station's work is told in its own chain and, for the time without the ledger, in those of its
leases. Where those lie in the order of things, the `sync` events of its own chain say: what one of
them took over happened before it and after everything in front of it (docs/spec/lease.md §5). Every
function takes a connection inside a transaction. Implements docs/spec/calibration.md §3.8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from provisioning.check_entry import ToldCheck, parse_check
from provisioning.ledger_events import Phase, parse_event
from provisioning.ledger_journal import list_stations, read_row
from provisioning.ledger_schema import CHECK_STANDARD_STEP, IS_METROLOGY, events, jobs
from provisioning.ledger_values import JobState
from provisioning.outbox_events import SYNC_STEP
from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Select

    from provisioning.check_entry import ChartKey
    from provisioning.ledger_events import Event

CHART_LENGTH: Final = 200
"""Good readings of a chart that are looked back at: what is older weighs 0.8^200 in its average."""
_MEASURING_STEPS: Final = (Step.CALIBRATE.value, Step.VERIFY.value)
_ROWS_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Events of a lease's chain that no `sync` covers yet: of the transaction that is at work.

    Attributes:
        chain: The lease, STATION/n.
        end: Number of the first event that is not in it.
    """

    chain: str
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckHistory:
    """The readings by one instrument of a station that count for the next one.

    Attributes:
        charted: Good readings of its chart, in order; of very many the last.
        last_of_chart: The last reading of its chart, good or not; `None` when there was none.
        last_good: The last good reading by the instrument; `None` when there was none.
        last: The last reading by it.
    """

    charted: tuple[ToldCheck, ...]
    last_of_chart: ToldCheck | None
    last_good: ToldCheck | None
    last: ToldCheck | None


def read_history(
    connection: Connection, station: str, *, instrument: str, chart: ChartKey | None = None
) -> CheckHistory:
    """Return what an instrument of a station read before.

    However much other instruments, other charts or bad readings lie in between: what is forgotten
    here would begin anew, and nobody would say so.

    Args:
        connection: Inside a transaction.
        station: Whose own chain is looked at.
        instrument: Serial number of the instrument.
        chart: The chart that is looked at; `None`: none.

    Raises:
        LedgerError: An event is damaged, or no reading.
    """
    charted: list[ToldCheck] = []
    last_of_chart = last_good = last = None
    for told in _walk_back(connection, station, instrument):
        last = last or told
        if told.entry.is_good:
            last_good = last_good or told
        if chart is not None and told.entry.chart == chart:
            last_of_chart = last_of_chart or told
            if told.entry.is_good:
                charted.append(told)
        if last_good is not None and (chart is None or len(charted) == CHART_LENGTH):
            break
    return CheckHistory(
        charted=tuple(charted[::-1]), last_of_chart=last_of_chart, last_good=last_good, last=last
    )


def read_checks(
    connection: Connection, station: str, *, instrument: str | None = None
) -> list[ToldCheck]:
    """Return all readings that a station tells, in order.

    Args:
        connection: Inside a transaction.
        station: Whose own chain is looked at.
        instrument: Only those by this serial number.

    Raises:
        LedgerError: An event is damaged, or no reading.
    """
    return list(_walk_back(connection, station, instrument))[::-1]


def _walk_back(connection: Connection, station: str, instrument: str | None) -> Iterator[ToldCheck]:
    """Yield the readings that a station tells, back from the last."""
    statement = (
        select(events)
        .where(IS_METROLOGY, events.c.station == station)
        .order_by(events.c.number.desc())
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    # As it stands in the content: most rows of a busy station are another instrument's.
    named = b"" if instrument is None else json.dumps(instrument, ensure_ascii=False).encode()
    rows = connection.execute(statement)
    try:
        for row in rows:
            if named not in row.content:
                continue
            event = read_row(row)
            if event.step == CHECK_STANDARD_STEP and event.phase is Phase.CONFIRM:
                told = parse_check(event)
                if instrument is None or told.entry.instrument == instrument:
                    yield told
    finally:
        rows.close()


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
    stretches = _stretches(connection, station, last_good, under_way)
    if last_good is None:
        return _measured_under_standard(connection, instrument, stretches)
    serials: dict[str, None] = {}
    for chain, first, end in stretches:
        for event in _confirmed(connection, chain, _MEASURING_STEPS, first=first, end=end):
            if _instrument_of(event) == instrument:
                serials[str(event.serial)] = None
    return tuple(serials)


def measured_elsewhere(connection: Connection, station: str, instrument: str) -> tuple[str, ...]:
    """Return the units that an instrument measured at other stations since its last good there.

    A meter that was carried on is the same meter. A station where it never read a standard is not
    asked: nobody waits for a reading there.

    Args:
        connection: Inside a transaction.
        station: The station that read the standard, or its lease.
        instrument: Serial number of the instrument.

    Returns:
        Serial numbers, station by station.

    Raises:
        LedgerError: An event is damaged.
    """
    serials: dict[str, None] = {}
    for other in list_stations(connection):
        if other == station or "/" in other:  # a lease: its station's chain says how far it is
            continue
        before = read_history(connection, other, instrument=instrument)
        if before.last is not None:
            found = measured_since(connection, other, instrument, before.last_good)
            serials |= dict.fromkeys(found)
    return tuple(serials)


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
    serials: dict[str, None] = {}
    for chain, first, end in _stretches(connection, station, last_good, under_way):
        for event in _confirmed(connection, chain, (Step.FINAL.value,), first=first, end=end):
            if _has_standard(event) and verified_by(connection, event.job) == instrument:
                serials[str(event.serial)] = None
    return tuple(serials)


def _measured_under_standard(
    connection: Connection, instrument: str, stretches: list[tuple[str, int, int | None]]
) -> tuple[str, ...]:
    """Return the units of jobs that had a check standard to wait for, and of those still open."""
    serials: dict[str, None] = {}
    for chain, first, end in stretches:
        for event in _confirmed(connection, chain, (Step.FINAL.value,), first=first, end=end):
            if _has_standard(event) and instrument in _instruments_of_job(connection, event.job):
                serials[str(event.serial)] = None
    open_jobs = connection.execute(
        select(jobs.c.job, jobs.c.serial).where(
            jobs.c.state == JobState.OPEN.value,
            jobs.c.station.in_([chain for chain, _, _ in stretches]),
        )
    )
    for job, serial in open_jobs.all():
        if instrument in _instruments_of_job(connection, job):
            serials[serial] = None
    return tuple(serials)


def _has_standard(final: Event) -> bool:
    """Whether a verdict was given where there is a check standard to wait for."""
    return final.data.get("awaits_check") is True


def _instruments_of_job(connection: Connection, job: str | None) -> set[str | None]:
    contents = connection.execute(
        select(events.c.content).where(
            events.c.job == job,
            events.c.step.in_(_MEASURING_STEPS),
            events.c.phase == Phase.CONFIRM.value,
        )
    ).scalars()
    return {_instrument_of(parse_event(content, where=f"job {job}")) for content in contents}


def verified_by(connection: Connection, job: str | None) -> str | None:
    """Return the serial number of the instrument on whose readings the verdict of a job stands.

    The last verification of each chain counts, whatever the clock said. A job that two chains
    verified, each with another instrument, stands on neither: their order is that of two clocks.

    Raises:
        LedgerError: An event is damaged.
    """
    rows = connection.execute(
        select(events.c.station, events.c.content)
        .where(
            events.c.job == job,
            events.c.step == Step.VERIFY.value,
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.number)
    )
    last = {row.station: row.content for row in rows}
    found = {_instrument_of(parse_event(content, where=f"job {job}")) for content in last.values()}
    return found.pop() if len(found) == 1 else None


def _stretches(
    connection: Connection,
    station: str,
    last_good: ToldCheck | None,
    under_way: Stretch | None,
) -> list[tuple[str, int, int | None]]:
    """Return what of which chain lies behind a reading: from a number, to before another."""
    begin = -1 if last_good is None else last_good.number
    ends: dict[str, int] = {}
    for chain, count in _synchronised(connection, station, after=begin):
        ends[chain] = max(count, ends.get(chain, 0))
    if under_way is not None:
        ends[under_way.chain] = under_way.end
    found: list[tuple[str, int, int | None]] = []
    under = None if last_good is None else last_good.entry.taken_under
    for chain, end in ends.items():
        first = _taken_over_before(connection, station, chain, begin)
        if under is not None and under.chain == chain:
            first = max(first, under.number + 1)
        found.append((chain, first, end))
    return [*found, (station, begin + 1, None)]


def _confirmed(
    connection: Connection, chain: str, steps: tuple[str, ...], *, first: int, end: int | None
) -> list[Event]:
    statement = (
        select(events.c.number, events.c.content)
        .where(
            events.c.station == chain,
            events.c.number >= first,
            events.c.step.in_(steps),
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.number)
    )
    if end is not None:
        statement = statement.where(events.c.number < end)
    return [
        parse_event(row.content, where=f"station {chain}, event {row.number}")
        for row in connection.execute(statement)
    ]


def _instrument_of(event: Event) -> str | None:
    result = event.data.get("result")
    measured_by = result.get("instrument") if isinstance(result, dict) else None
    return str(measured_by.get("serial_number")) if isinstance(measured_by, dict) else None


def _synchronised(connection: Connection, station: str, *, after: int) -> list[tuple[str, int]]:
    """Return which lease's chain was taken over after an event, and how far."""
    rows = connection.execute(_syncs_of(station).where(events.c.number > after))
    return [_read_sync(station, row.number, row.content) for row in rows]


def _taken_over_before(connection: Connection, station: str, chain: str, number: int) -> int:
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
