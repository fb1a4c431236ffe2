"""Readings of check standards in the ledger, and what each does to the units between two of them.

The reading and its consequence are one transaction: a good one releases the units that passed since
the last good one, a bad one puts every unit that was measured since then on hold, and a unit that
was measured between a bad one and a good one is on hold, too. Implements
docs/spec/calibration.md §3.8 and docs/spec/provisioning.md §2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import update

from provisioning.check_entry import CheckEntry, CheckFacts, TakenUnder, ToldCheck
from provisioning.check_history import (
    Stretch,
    finished_since,
    measured_elsewhere,
    measured_since,
    read_history,
    verified_by,
)
from provisioning.check_standard import BASELINE_COUNT, judge_check
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_journal import append_event
from provisioning.ledger_queries import find_by, is_waiting
from provisioning.ledger_retelling import HOLD_STEP, RELEASE_STEP
from provisioning.ledger_schema import CHECK_STANDARD_STEP, serial_numbers, units
from provisioning.ledger_supervision import last_job, take_out_of_work
from provisioning.ledger_values import SerialState, UnitState
from provisioning.unit_states import Cause

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.check_standard import CheckJudgement
    from provisioning.ledger import Ledger
    from provisioning.ledger_values import UnitRecord, Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What came of a reading.

    Attributes:
        facts: What was read.
        judgement: What it says.
        released: Serial numbers of the units that it released.
        held: Serial numbers of the units that it put on hold.
    """

    facts: CheckFacts
    judgement: CheckJudgement
    released: tuple[str, ...]
    held: tuple[str, ...]


def record_check(
    ledger: Ledger, writer: Writer, facts: CheckFacts, *, may_release: bool = True
) -> CheckResult:
    """Judge a reading, write it down, and release or hold the units since the last good one.

    Args:
        ledger: The factory's ledger, or the outbox of a lease.
        writer: The station, or its lease. What others measured is held, and never released.
        facts: What was read.
        may_release: Whether a good reading releases. Not in an outbox: the ledger may know of a
            bad one.

    Raises:
        LedgerError: The database cannot be written, or an event is damaged.
    """
    with ledger.database.writing() as connection:
        return settle_check(connection, ledger, writer, facts, may_release=may_release)


def take_over_check(
    connection: Connection, ledger: Ledger, writer: Writer, told: ToldCheck
) -> CheckResult:
    """Let the ledger judge a reading that was taken under a lease, and follow it.

    With all that the ledger knows: the whole chart, and units from before the lease. What was not
    good without the ledger is not good with it.

    Args:
        connection: Inside the transaction that takes over the lease's events up to the reading.
        ledger: The factory's ledger.
        writer: The station.
        told: The reading as the lease's chain tells it.

    Raises:
        LedgerError: An event is damaged.
    """
    return settle_check(
        connection,
        ledger,
        writer,
        told.entry.facts(),
        taken_under=TakenUnder(chain=told.station, number=told.number, at=told.at),
        reasons_before=told.entry.reasons,
    )


def settle_check(
    connection: Connection,
    ledger: Ledger,
    writer: Writer,
    facts: CheckFacts,
    *,
    may_release: bool = True,
    taken_under: TakenUnder | None = None,
    reasons_before: tuple[str, ...] = (),
) -> CheckResult:
    """Judge a reading and write down all that follows, inside the caller's transaction.

    Args:
        connection: Inside a writing transaction.
        ledger: The open ledger.
        writer: Who writes.
        facts: What was read.
        may_release: Whether a good reading releases.
        taken_under: Where it was told first, if under a lease.
        reasons_before: Why it was not good there.

    Raises:
        LedgerError: An event is damaged.
    """
    before = read_history(
        connection, writer.station, instrument=facts.instrument, chart=facts.chart
    )
    charted = [told.entry for told in before.charted]
    judgement = judge_check(
        facts.mean_na,
        [entry.mean_na for entry in charted],
        facts,
        center_na=charted[-1].center_na if len(charted) >= BASELINE_COUNT else None,
    )
    reasons = tuple(dict.fromkeys((*reasons_before, *judgement.reasons)))
    judgement = replace(judgement, reasons=reasons)
    entry = CheckEntry(
        **{name: getattr(facts, name) for name in CheckFacts.model_fields},
        center_na=judgement.center_na,
        ewma_na=judgement.ewma_na,
        lower_na=judgement.lower_na,
        upper_na=judgement.upper_na,
        is_good=judgement.is_good,
        reasons=reasons,
        taken_under=taken_under,
    )
    append_event(
        connection, writer, epoch=ledger.identity.epoch, step=CHECK_STANDARD_STEP,
        phase=Phase.CONFIRM,
        data=entry.model_dump(mode="json", exclude=set() if taken_under else {"taken_under"}),
        mac=None, reservation=None, at=writer.now(),
    )  # fmt: skip
    under_way = None
    if taken_under is not None:
        under_way = Stretch(chain=taken_under.chain, end=taken_under.number)
    at = (connection, writer.station, facts.instrument)
    since = measured_since(*at, before.last_good, under_way=under_way)
    doubtful: tuple[str, ...] = ()
    why = reasons
    if not judgement.is_good:
        doubtful = tuple(dict.fromkeys((*since, *measured_elsewhere(*at))))
    elif before.last is not None and not before.last.entry.is_good:
        # Nothing says whether the cause was removed before them or behind them.
        doubtful = measured_since(*at, before.last, under_way=under_way)
        why = ("measured behind a reading that was not good", *before.last.entry.reasons)
    released: list[str] = []
    held: list[str] = []
    for unit in _find_movable(connection, doubtful):
        _hold(connection, ledger, writer, unit, reasons=why)
        held.append(unit.serial)
    if judgement.is_good and may_release:
        finished = finished_since(*at, before.last_good, under_way=under_way)
        for unit in _find_movable(connection, tuple(dict.fromkeys((*since, *finished)))):
            is_its_own = verified_by(connection, unit.last_job) == facts.instrument
            if is_its_own and is_waiting(connection, unit):
                _release(connection, ledger, writer, unit)
                released.append(unit.serial)
    return CheckResult(facts=facts, judgement=judgement, released=tuple(released), held=tuple(held))


def _find_movable(connection: Connection, serials: tuple[str, ...]) -> list[UnitRecord]:
    """Return those units that nobody has stopped yet."""
    found = [find_by(connection, units.c.serial == serial) for serial in serials]
    return [
        unit
        for unit in found
        if unit is not None and unit.state not in {UnitState.HOLD, UnitState.REWORK}
    ]


def _hold(
    connection: Connection, ledger: Ledger, writer: Writer, unit: UnitRecord, *,
    reasons: tuple[str, ...],
) -> None:  # fmt: skip
    now = writer.now()
    append_event(
        connection, writer, epoch=ledger.identity.epoch, step=HOLD_STEP, phase=Phase.CONFIRM,
        data={"reasons": list(reasons)}, mac=unit.mac, reservation=last_job(unit, unit.mac), at=now,
    )  # fmt: skip
    take_out_of_work(connection, unit, Cause.HOLD, at=format_time(now))


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
