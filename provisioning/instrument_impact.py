"""Which units an instrument touched: what has to be looked at again when it was found wrong.

Reads every confirmed calibration, verification and recheck once, one at a time. Implements
docs/spec/calibration.md §3.6.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from provisioning.check_coverage import measured_since
from provisioning.check_history import read_history
from provisioning.errors import InstrumentRegisterError
from provisioning.instrument_register import read_register
from provisioning.job_instruments import MEASURING_STEPS, instrument_of
from provisioning.ledger_event_rows import read_row
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_journal import list_stations
from provisioning.ledger_schema import events, units
from provisioning.station_values import Step

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import Event

_READINGS: Final = {
    Step.CALIBRATE.value: "readings",
    Step.VERIFY.value: "points",
    Step.RECHECK.value: "points",
}
"""Of each step that measures: under which name its result has them."""
_ROWS_AT_ONCE: Final = 200
_NAMED_MAX: Final = 8
"""How many instruments a refusal names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchedUnit:
    """One unit and one instrument that measured it.

    Attributes:
        serial: The unit.
        state: Where it stands now.
        instrument: Serial number of the instrument.
        certificates: What its results name, in order; `None` where none was on file.
        first_at: When it measured the unit first.
        last_at: When last.
        calibration_readings: Readings in calibrations.
        verification_readings: Points in verifications.
        recheck_readings: Points after the locks.
        jobs: Jobs that these were in.
    """

    serial: str
    state: str
    instrument: str
    certificates: tuple[str | None, ...]
    first_at: dt.datetime
    last_at: dt.datetime
    calibration_readings: int
    verification_readings: int
    recheck_readings: int
    jobs: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "serial": self.serial,
            "state": self.state,
            "instrument": self.instrument,
            "certificates": list(self.certificates),
            "first_at": format_time(self.first_at),
            "last_at": format_time(self.last_at),
            "calibration_readings": self.calibration_readings,
            "verification_readings": self.verification_readings,
            "recheck_readings": self.recheck_readings,
            "jobs": list(self.jobs),
        }


@dataclass(slots=True, kw_only=True)
class _Touch:
    # What was found so far of one unit and one instrument; results are large, and not kept.
    first_at: dt.datetime
    last_at: dt.datetime
    readings: Counter[str] = field(default_factory=Counter)
    certificates: list[str | None] = field(default_factory=list)
    jobs: dict[str, None] = field(default_factory=dict)


def find_touched_units(
    ledger: Ledger,
    *,
    instrument: str | None = None,
    since: dt.datetime | None = None,
    units_of_interest: frozenset[str] | None = None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> tuple[TouchedUnit, ...]:
    """Return the units that were measured, one entry for each unit and instrument.

    Args:
        ledger: The open ledger.
        instrument: Serial number as `*IDN?` told it; `None`: any.
        since: Only measurements from then on, aware; `None`: all.
        units_of_interest: Only these units; `None`: all.
        on_progress: Told how many results were looked at.

    Returns:
        By instrument, then by unit.

    Raises:
        InstrumentRegisterError: The ledger knows no such instrument: "no unit" would be an
            all-clear for a slip of the pen.
        LedgerError: An event is damaged.
    """
    touches: dict[tuple[str, str], _Touch] = {}
    with ledger.database.reading() as connection:
        for count, event in enumerate(_results(connection, since), start=1):
            if units_of_interest is None or event.serial in units_of_interest:
                _take(touches, event, instrument)
            if count % _ROWS_AT_ONCE == 0:
                on_progress(count)
        states = {
            serial: connection.execute(
                select(units.c.state).where(units.c.serial == serial)
            ).scalar_one_or_none()
            for _, serial in touches
        }
    if instrument is not None and not touches:
        _refuse_unknown(ledger, instrument)
    return tuple(
        TouchedUnit(
            serial=serial,
            state=str(states[serial]),
            instrument=found,
            certificates=tuple(touch.certificates),
            first_at=touch.first_at,
            last_at=touch.last_at,
            calibration_readings=touch.readings[Step.CALIBRATE.value],
            verification_readings=touch.readings[Step.VERIFY.value],
            recheck_readings=touch.readings[Step.RECHECK.value],
            jobs=tuple(touch.jobs),
        )
        for (found, serial), touch in sorted(touches.items())
    )


def measured_since_check(ledger: Ledger, instrument: str) -> frozenset[str]:
    """Return the units that an instrument measured since its last good check standard.

    By the order of the chains, so that a clock that was set changes nothing. Of a station where it
    never read one good: all that it measured there.

    Args:
        ledger: The open ledger.
        instrument: Serial number as `*IDN?` told it.

    Raises:
        LedgerError: An event is damaged.
    """
    found: set[str] = set()
    with ledger.database.reading() as connection:
        for station in list_stations(connection):
            if "/" in station:  # a lease: its station's chain says how far it was taken over
                continue
            before = read_history(connection, station, instrument=instrument)
            found |= set(measured_since(connection, station, instrument, before.last_good))
    return frozenset(found)


def _results(connection: Connection, since: dt.datetime | None) -> Iterator[Event]:
    statement = (
        select(events)
        .where(
            events.c.step.in_(MEASURING_STEPS),
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.station, events.c.number)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    if since is not None:
        statement = statement.where(events.c.at >= format_time(since))
    for row in connection.execute(statement):
        yield read_row(row)


def _refuse_unknown(ledger: Ledger, instrument: str) -> None:
    known = {one.entry.serial_number for one in read_register(ledger)}
    with ledger.database.reading() as connection:
        known |= {found for event in _results(connection, None) if (found := instrument_of(event))}
    if instrument not in known:
        raise InstrumentRegisterError(
            "the ledger knows no such instrument",
            expected=", ".join(sorted(known)[:_NAMED_MAX]) or "one that is registered or measured",
            got=instrument,
            hint="compare with the serial number that the instrument tells: "
            "`ampforge instrument list` shows the register, `ampforge unit show` who measured a "
            "unit",
        )


def _take(touches: dict[tuple[str, str], _Touch], event: Event, instrument: str | None) -> None:
    result = event.data.get("result")
    found = instrument_of(event)
    if not isinstance(result, dict) or found is None or event.serial is None:
        return
    if instrument is not None and found != instrument:
        return
    touch = touches.setdefault((found, event.serial), _Touch(first_at=event.at, last_at=event.at))
    touch.first_at = min(touch.first_at, event.at)
    touch.last_at = max(touch.last_at, event.at)
    touch.jobs[str(event.job)] = None
    touch.readings[event.step] += len(result.get(_READINGS[event.step]) or ())
    certificate = result.get("certificate")
    if certificate not in touch.certificates:
        touch.certificates.append(certificate)
