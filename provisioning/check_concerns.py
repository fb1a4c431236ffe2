"""Which units a reading of a check standard puts in doubt: what is not released, and held.

Every function takes a connection inside the transaction of the reading. What the reading then does
is decided in `ledger_checks`. Implements docs/spec/calibration.md §3.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.check_coverage import measured_since
from provisioning.check_history import read_history
from provisioning.check_order import find_bad_elsewhere, measured_behind_bad, measured_elsewhere
from provisioning.job_instruments import places_of_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from provisioning.check_coverage import Stretch
    from provisioning.check_entry import ToldCheck
    from provisioning.check_history import CheckHistory
    from provisioning.ledger_values import UnitRecord


def doubts_of_bad(
    connection: Connection, told: ToldCheck, before: CheckHistory, under_way: Stretch | None
) -> tuple[str, ...]:
    """Return the units that a reading concerns that is not good, or that was lost."""
    here = measured_since(
        connection, told.station, told.entry.instrument, before.last_good, under_way=under_way
    )
    return tuple(dict.fromkeys((*here, *measured_elsewhere(connection, told))))


def doubts_of_good(
    connection: Connection,
    station: str,
    instrument: str,
    before: CheckHistory,
    under_way: Stretch | None,
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield units that were measured behind a bad reading, and not yet behind a good one, and why.

    Nothing says whether the cause was removed before them or behind them.
    """
    at = (connection, station, instrument)
    if before.last is not None and not before.last.entry.is_good:
        why = ("measured behind a reading that was not good", *before.last.entry.reasons)
        yield measured_since(*at, before.last, under_way=under_way), why
    bad = find_bad_elsewhere(*at, before.last_good)
    if bad:
        where = f"measured behind a reading at {bad[0].station} that was not good"
        doubtful = measured_behind_bad(*at, bad, before.last_good, under_way=under_way)
        yield doubtful, (where, *bad[0].entry.reasons)


class DoubtsOfOthers:
    """What other instruments put in doubt, while a good reading by one of them releases.

    A unit may be calibrated by one instrument and verified by another, or measured at two stations.
    Only the one that verified it releases it, and says nothing of the others.

    Args:
        connection: Inside the transaction of the reading.
        station: Whose reading it is.
        instrument: By which.
        under_way: What is being taken over now.
    """

    def __init__(
        self, connection: Connection, station: str, instrument: str, under_way: Stretch | None
    ) -> None:
        self._connection = connection
        self._of_reading = (station, instrument)
        self._under_way = under_way
        self._known: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}

    def about(self, unit: UnitRecord) -> tuple[str, ...]:
        """Return why a unit must not be released; empty if nothing says so."""
        for station, instrument in places_of_job(self._connection, unit.last_job):
            if instrument is None or (station, instrument) == self._of_reading:
                continue
            doubts = self._doubts_at(station, instrument)
            if unit.serial in doubts:
                return doubts[unit.serial]
        return ()

    def _doubts_at(self, station: str, instrument: str) -> dict[str, tuple[str, ...]]:
        place = (station, instrument)
        if place not in self._known:
            before = read_history(self._connection, station, instrument=instrument)
            found: dict[str, tuple[str, ...]] = {}
            if before.last is not None:  # else nobody waits for a reading by it there
                under_way = self._under_way if station == self._of_reading[0] else None
                for serials, why in doubts_of_good(self._connection, *place, before, under_way):
                    found = dict.fromkeys(serials, (f"by {instrument} {why[0]}", *why[1:])) | found
            self._known[place] = found
        return self._known[place]
