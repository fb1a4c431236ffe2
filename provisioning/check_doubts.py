"""For the audit of the whole ledger: what a bad reading puts in doubt was not released.

Told again from the events alone: for each bad reading, what its instrument measured at each station
between the last good reading there before it and the first that follows it. Readings from before
they said what they saw are taken as they are. Implements docs/spec/calibration.md §3.8 and
docs/spec/ledger-and-record-export.md §2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from provisioning.check_coverage import measured_jobs
from provisioning.check_history import walk_checks
from provisioning.check_order import is_behind, known_before
from provisioning.ledger_events import Phase
from provisioning.ledger_journal import list_stations
from provisioning.ledger_retelling import RELEASE_STEP, contradiction
from provisioning.ledger_schema import events, units
from provisioning.ledger_values import UnitState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from provisioning.check_entry import ToldCheck


class _Around(NamedTuple):
    """The last good reading before a bad one, and the first that follows it, of one station."""

    before: ToldCheck | None
    behind: ToldCheck | None


def require_held(
    connection: Connection, bad: Iterable[ToldCheck], counts: Mapping[str, int]
) -> None:
    """Refuse a ledger in which a unit stands released although a bad reading put it in doubt.

    Args:
        connection: Inside a transaction that sees one state.
        bad: Bad readings, in the stations' own chains, that say what they saw.
        counts: How many events each chain has.

    Raises:
        LedgerError: A reading saw what is not there, or contradicts one that it saw; or a unit in
            doubt was released, or passes still.
    """
    stations = [station for station in list_stations(connection) if "/" not in station]
    for told in bad:
        for one in told.entry.seen or ():
            if one.count > counts.get(one.station, 0):
                expected = f"at most {counts.get(one.station, 0)} events of {one.station}"
                raise contradiction(_place(told), expected, f"{one.count} seen")
        for station in stations:
            _require_order(connection, told, station)
            _require_held_at(connection, told, station)


def _require_held_at(connection: Connection, told: ToldCheck, station: str) -> None:
    instrument = told.entry.instrument
    if next(walk_checks(connection, station, instrument), None) is None:
        return  # nobody waits for a reading there
    around = _find_around(connection, told, station)
    first = _first_behind(told, station)
    jobs = measured_jobs(connection, station, instrument, since=around.before, until=around.behind)
    for serial, job in jobs:
        released = connection.execute(
            select(events.c.number).where(
                events.c.serial == serial,
                events.c.job == job,
                events.c.station == station,
                events.c.step == RELEASE_STEP,
                events.c.phase == Phase.CONFIRM.value,
                events.c.number >= first,
            )
        ).first()
        if released is not None:
            where = f"station {station}, event {released.number}"
            raise contradiction(where, f"{serial} on hold since {_place(told)}", RELEASE_STEP)
        if around.behind is None or around.before is None:
            # It waits for the next good reading; or it may never have been meant to wait for one.
            continue
        state = connection.execute(
            select(units.c.state).where(units.c.serial == serial, units.c.last_job == job)
        ).scalar()
        if state == UnitState.PASS.value:
            raise contradiction(f"units {serial}, state", f"hold since {_place(told)}", state)


def _find_around(connection: Connection, told: ToldCheck, station: str) -> _Around:
    instrument = told.entry.instrument
    if station == told.station:
        end = told.number
    else:
        known = None if told.entry.after is None else known_before(connection, told)
        end = _first_behind(told, station) if known is None else known.get(station, 0)
    earlier = walk_checks(connection, station, instrument, end=end)
    later = walk_checks(
        connection, station, instrument, first=_first_behind(told, station), is_forward=True
    )
    good_later = (
        one
        for one in later
        if one.entry.is_good and (station == told.station or is_behind(connection, one, told))
    )
    return _Around(
        before=next((one for one in earlier if one.entry.is_good), None),
        behind=next(good_later, None),
    )


def _first_behind(told: ToldCheck, station: str) -> int:
    """Return the number of the first event of a station that is behind a reading."""
    return told.number + 1 if station == told.station else told.entry.seen_count(station)


def _require_order(connection: Connection, told: ToldCheck, station: str) -> None:
    """Refuse two readings of which each says that it saw the other, or that neither did."""
    if station == told.station:
        return
    first = _first_behind(told, station)
    before = walk_checks(connection, station, end=first)
    behind = walk_checks(connection, station, first=first, is_forward=True)
    for one, must_see in ((next(before, None), False), (next(behind, None), True)):
        if one is None or one.entry.seen is None:
            continue
        if (one.entry.seen_count(told.station) > told.number) is not must_see:
            expected = f"{'behind' if must_see else 'before'} {_place(told)}, which says so"
            raise contradiction(_place(one), expected, "the contrary")


def _place(told: ToldCheck) -> str:
    return f"station {told.station}, event {told.number}"
