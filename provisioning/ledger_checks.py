"""Readings of check standards in the ledger, and what each does to the units between two of them.

The reading and its consequence are one transaction: a good one releases the units that passed since
the last good one, a bad one puts every unit that was measured since then on hold, and a unit that
was measured between a bad one and a good one is on hold, too. Implements
docs/spec/calibration.md §3.8 and docs/spec/provisioning.md §2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioning.check_concerns import DoubtsOfOthers, doubts_of_bad, doubts_of_good
from provisioning.check_coverage import Stretch, finished_since, measured_since
from provisioning.check_entry import (
    ChainPlace,
    CheckEntry,
    CheckFacts,
    LostCheck,
    TakenUnder,
    ToldCheck,
)
from provisioning.check_history import read_history
from provisioning.check_order import find_place, see_chains
from provisioning.check_standard import BASELINE_COUNT, judge_check
from provisioning.job_instruments import verified_by
from provisioning.ledger_events import Phase
from provisioning.ledger_holds import find_movable, hold_all, release_unit
from provisioning.ledger_journal import append_event
from provisioning.ledger_queries import is_waiting
from provisioning.ledger_schema import CHECK_STANDARD_STEP

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.check_standard import CheckJudgement
    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Writer


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
    ledger: Ledger,
    writer: Writer,
    facts: CheckFacts,
    *,
    may_release: bool = True,
    after: ChainPlace | None = None,
) -> CheckResult:
    """Judge a reading, write it down, and release or hold the units since the last good one.

    Args:
        ledger: The factory's ledger, or the outbox of a lease.
        writer: The station, or its lease. What others measured is held, and never released.
        facts: What was read.
        may_release: Whether a good reading releases. Not in an outbox: the ledger may know of a
            bad one.
        after: In an outbox: what the station remembers of its own chain in the ledger.

    Raises:
        LedgerError: The database cannot be written, or an event is damaged.
    """
    with ledger.database.writing() as connection:
        return settle_check(connection, ledger, writer, facts, may_release=may_release, after=after)


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
        told.reading.facts(),
        taken_under=TakenUnder(chain=told.station, number=told.number, at=told.at),
        after=find_place(connection, writer.station, told.entry.after, lease=told.station),
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
    after: ChainPlace | None = None,
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
        after: What it is behind in the station's own chain, if it was read without the ledger.
        reasons_before: Why it was not good there.

    Raises:
        LedgerError: An event is damaged.
    """
    before = read_history(
        connection, writer.station, instrument=facts.instrument, chart=facts.chart
    )
    charted = [told.reading for told in before.charted]
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
        seen=None if "/" in writer.station else see_chains(connection, writer.station),
        after=after,
    )
    told = _tell(connection, ledger, writer, entry)
    under_way = None
    if taken_under is not None:
        under_way = Stretch(chain=taken_under.chain, end=taken_under.number)
    if not judgement.is_good:
        doubtful = doubts_of_bad(connection, told, before, under_way)
        held = hold_all(connection, ledger, writer, doubtful, reasons)
        return CheckResult(facts=facts, judgement=judgement, released=(), held=held)
    kept: list[str] = []
    at = (connection, writer.station, facts.instrument)
    for doubtful, why in doubts_of_good(*at, before, under_way):
        kept += hold_all(connection, ledger, writer, doubtful, why)
    released: list[str] = []
    if may_release:
        others = DoubtsOfOthers(connection, writer.station, facts.instrument, under_way)
        since = measured_since(*at, before.last_good, under_way=under_way)
        finished = finished_since(*at, before.last_good, under_way=under_way)
        for unit in find_movable(connection, tuple(dict.fromkeys((*since, *finished)))):
            its_meter = verified_by(connection, unit.last_job, station=writer.station)
            if its_meter != facts.instrument or not is_waiting(connection, unit):
                continue
            if reasons := others.about(unit):
                kept += hold_all(connection, ledger, writer, (unit.serial,), reasons)
            else:
                release_unit(connection, ledger, writer, unit)
                released.append(unit.serial)
    return CheckResult(facts=facts, judgement=judgement, released=tuple(released), held=tuple(kept))


def settle_lost(
    connection: Connection,
    ledger: Ledger,
    writer: Writer,
    *,
    instrument: str,
    under: str,
    reasons: tuple[str, ...],
) -> tuple[str, ...]:
    """Tell that a reading was lost that may not have been good, and hold as if it were read now.

    Args:
        connection: Inside a writing transaction.
        ledger: The factory's ledger.
        writer: The station.
        instrument: Serial number of the instrument.
        under: The lease under which it may have been taken.
        reasons: What happened.

    Returns:
        Serial numbers of the units that are on hold now.

    Raises:
        LedgerError: An event is damaged.
    """
    before = read_history(connection, writer.station, instrument=instrument)
    entry = LostCheck(
        instrument=instrument, under=under, reasons=reasons,
        seen=see_chains(connection, writer.station),
    )  # fmt: skip
    told = _tell(connection, ledger, writer, entry)
    doubtful = doubts_of_bad(connection, told, before, None)
    return hold_all(connection, ledger, writer, doubtful, reasons)


def _tell(
    connection: Connection, ledger: Ledger, writer: Writer, entry: CheckEntry | LostCheck
) -> ToldCheck:
    absent = {name for name in ("taken_under", "seen", "after") if getattr(entry, name) is None}
    at = writer.now()
    chained = append_event(
        connection, writer, epoch=ledger.identity.epoch, step=CHECK_STANDARD_STEP,
        phase=Phase.CONFIRM, data=entry.model_dump(mode="json", exclude=absent),
        mac=None, reservation=None, at=at,
    )  # fmt: skip
    return ToldCheck(station=writer.station, number=chained.event.number, at=at, entry=entry)
