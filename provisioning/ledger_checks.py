"""Readings of check standards in the ledger, and what each does to the units between two of them.

The reading and its consequence are one transaction: a good one releases the units that passed since
the last good one, a bad one puts every unit that was measured since then on hold. Implements
docs/spec/calibration.md §3.8 and docs/spec/provisioning.md §2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select, update

from provisioning.check_standard import BASELINE_COUNT, CheckJudgement, judge_check
from provisioning.ledger_allocation import withdraw_release
from provisioning.ledger_events import Phase, format_time, parse_event
from provisioning.ledger_journal import append_event
from provisioning.ledger_queries import find_by
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import (
    CHECK_STANDARD_STEP,
    IS_METROLOGY,
    events,
    jobs,
    serial_numbers,
    units,
)
from provisioning.ledger_supervision import last_job
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.unit_states import Cause, next_state

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.check_standard import CheckReading
    from provisioning.check_standard_settings import CheckStandardSettings
    from provisioning.ledger import Ledger
    from provisioning.ledger_events import Event
    from provisioning.ledger_values import UnitRecord, Writer

HOLD_STEP: Final = "hold"
RELEASE_STEP: Final = "release"
_CHECKS_MAX: Final = 2000
"""Readings that are looked back at: what is older weighs nothing in the moving average."""
_MEASURING: Final = ("calibrate", "verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What came of a reading.

    Attributes:
        judgement: What it says.
        released: Serial numbers of the units that it released.
        held: Serial numbers of the units that it put on hold.
    """

    judgement: CheckJudgement
    released: tuple[str, ...]
    held: tuple[str, ...]


def record_check(
    ledger: Ledger, writer: Writer, check: CheckReading, standard: CheckStandardSettings
) -> CheckResult:
    """Judge a reading, write it down, and release or hold the units since the last good one.

    Args:
        ledger: The factory's ledger.
        writer: The station; units of other stations are not touched.
        check: The reading.
        standard: The section.

    Raises:
        LedgerError: The database cannot be written, or an event is damaged.
    """
    key = {
        "standard": standard.name,
        "slot": check.slot,
        "instrument": check.instrument.serial_number,
        "certificate": check.certificate,
    }
    released: list[str] = []
    held: list[str] = []
    with ledger.database.writing() as connection:
        before = _good_checks(connection, writer.station, check.instrument.serial_number)
        charted = [
            event.data for event in before if {name: event.data.get(name) for name in key} == key
        ]
        is_settled = len(charted) >= BASELINE_COUNT
        judgement = judge_check(
            check.reading.mean_na,
            [float(str(data["mean_na"])) for data in charted],
            standard,
            center_na=float(str(charted[-1]["center_na"])) if is_settled else None,
        )
        now = writer.now()
        append_event(
            connection, writer, epoch=ledger.identity.epoch, step=CHECK_STANDARD_STEP,
            phase=Phase.CONFIRM,
            data={
                **key,
                "moment": check.moment.value,
                "mean_na": check.reading.mean_na,
                "samples_na": list(check.reading.samples_na),
                "range_ua": check.reading.range_ua,
                "reference_na": standard.reference_na,
                "expanded_uncertainty_na": standard.expanded_uncertainty_na,
                "limit_na": standard.limit_na,
                "sd_na": standard.sd_na,
                "center_na": judgement.center_na,
                "ewma_na": judgement.ewma_na,
                "lower_na": judgement.lower_na,
                "upper_na": judgement.upper_na,
                "is_good": judgement.is_good,
                "reasons": list(judgement.reasons),
            },
            mac=None, reservation=None, at=now,
        )  # fmt: skip
        last_good = before[-1].number if before else -1
        for unit in _measured_since(connection, writer.station, key["instrument"], last_good):
            if not judgement.is_good:
                _hold(connection, ledger, writer, unit, reasons=judgement.reasons)
                held.append(unit.serial)
            elif unit.state is UnitState.PASS and _awaits_check(connection, unit):
                _release(connection, ledger, writer, unit)
                released.append(unit.serial)
    return CheckResult(judgement=judgement, released=tuple(released), held=tuple(held))


def _good_checks(connection: Connection, station: str, instrument: str) -> list[Event]:
    statement = (
        select(events)
        .where(IS_METROLOGY, events.c.station == station)
        .order_by(events.c.number.desc())
        .limit(_CHECKS_MAX)
    )
    found = []
    for row in connection.execute(statement):
        where = f"station {row.station}, event {row.number}"
        event = parse_event(check_row(row, events, where=where).content, where=where)
        is_check = event.step == CHECK_STANDARD_STEP and event.data.get("is_good") is True
        if is_check and event.data.get("instrument") == instrument:
            found.append(event)
    return found[::-1]


def _measured_since(
    connection: Connection, station: str, instrument: object, number: int
) -> list[UnitRecord]:
    """Return the units that the instrument measured in this chain after an event."""
    statement = (
        select(events.c.serial, events.c.number, events.c.content)
        .where(
            events.c.station == station,
            events.c.number > number,
            events.c.step.in_(_MEASURING),
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.number)
    )
    serials: dict[str, None] = {}
    for row in connection.execute(statement):
        event = parse_event(row.content, where=f"station {station}, event {row.number}")
        result = event.data.get("result")
        measured_by = result.get("instrument") if isinstance(result, dict) else None
        if isinstance(measured_by, dict) and measured_by.get("serial_number") == instrument:
            serials[str(event.serial)] = None
    found = [find_by(connection, units.c.serial == serial) for serial in serials]
    return [
        unit
        for unit in found
        if unit is not None and unit.state not in {UnitState.HOLD, UnitState.REWORK}
    ]


def _awaits_check(connection: Connection, unit: UnitRecord) -> bool:
    row = connection.execute(
        select(serial_numbers.c.state).where(serial_numbers.c.serial == unit.serial)
    ).scalar_one()
    return bool(row == SerialState.ASSIGNED.value)


def _hold(
    connection: Connection, ledger: Ledger, writer: Writer, unit: UnitRecord, *,
    reasons: tuple[str, ...],
) -> None:  # fmt: skip
    state = next_state(unit.state, Cause.HOLD, where=unit.serial)
    now = writer.now()
    append_event(
        connection, writer, epoch=ledger.identity.epoch, step=HOLD_STEP, phase=Phase.CONFIRM,
        data={"reasons": list(reasons)}, mac=unit.mac, reservation=last_job(unit, unit.mac), at=now,
    )  # fmt: skip
    at = format_time(now)
    connection.execute(
        update(units).where(units.c.serial == unit.serial).values(state=state.value, changed_at=at)
    )
    connection.execute(
        update(jobs)
        .where(jobs.c.serial == unit.serial, jobs.c.state == JobState.OPEN.value)
        .values(state=JobState.ABANDONED.value, closed_at=at)
    )
    withdraw_release(connection, unit.serial)


def _release(connection: Connection, ledger: Ledger, writer: Writer, unit: UnitRecord) -> None:
    append_event(
        connection, writer, epoch=ledger.identity.epoch, step=RELEASE_STEP, phase=Phase.CONFIRM,
        data={}, mac=unit.mac, reservation=last_job(unit, unit.mac), at=writer.now(),
    )  # fmt: skip
    connection.execute(
        update(serial_numbers)
        .where(serial_numbers.c.serial == unit.serial)
        .values(state=SerialState.RELEASED.value)
    )
