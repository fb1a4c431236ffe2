"""How well a line does: yield, first-pass yield, retests, and why units did not pass.

| figure | what it is |
|---|---|
| judged | units with at least one verdict |
| passed | of these, units whose last verdict is PASS |
| first pass | of these, units whose first verdict was PASS |
| retests | verdicts beyond the first of each unit |
| reasons | verdicts other than PASS, by step and reason, numbers left out |
| stops | how often a step was stopped by an error, by step and error: the station's fault |

Counted from closed jobs of one release. The last verdict of a unit on hold is that it is: the check
standard failed after it was measured. Units that are still in work have no verdict and count for
nothing but `in_work`. A station that measures until it likes the result shows as first-pass yield
below yield.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from provisioning.ledger_events import Phase, parse_event
from provisioning.ledger_rows import check_row, check_state
from provisioning.ledger_schema import events, jobs, units
from provisioning.ledger_values import JobState, UnitState
from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import Event

NO_STEP: Final = "verdict"
_NUMBER: Final = re.compile(r"(?<![A-Za-z])[+-]?\d+(?:[.,]\d+)*")
_PLACE_HOLDER: Final = "#"
_KINDS_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedReason:
    """One kind of trouble and how often it was met.

    Attributes:
        step: Step of the workflow.
        reason: What it was, with # in the place of numbers, or the name of the error.
        count: How often.
        units: How many units had it.
    """

    step: str
    reason: str
    count: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineYield:
    """The figures of the table above.

    Attributes:
        judged: Units with at least one verdict.
        passed: Units whose last verdict is PASS.
        first_pass: Units whose first verdict was PASS.
        retests: Verdicts beyond the first of each unit.
        retested: Units with more than one verdict.
        in_work: Units with an open job and no verdict yet.
        reasons: Why units did not pass, the most frequent first.
        stops: What stopped the station, the most frequent first.
    """

    judged: int
    passed: int
    first_pass: int
    retests: int
    retested: int
    in_work: int
    reasons: tuple[CountedReason, ...]
    stops: tuple[CountedReason, ...]

    @property
    def yield_percent(self) -> float | None:
        """Passed of judged, or `None` when nothing was judged."""
        return _percent(self.passed, self.judged)

    @property
    def first_pass_percent(self) -> float | None:
        """First pass of judged, or `None` when nothing was judged."""
        return _percent(self.first_pass, self.judged)


def count_yield(
    ledger: Ledger, *, bundle_digest: bytes, serials: Container[str] | None = None
) -> LineYield:
    """Return the figures of every unit that was worked on with a release.

    Args:
        ledger: The open ledger.
        bundle_digest: SHA-256 of the release.
        serials: Only these units; `None` for all.

    Raises:
        LedgerError: A row or an event is damaged.
    """
    with ledger.database.reading() as connection:
        verdicts, open_serials = _read_verdicts(connection, bundle_digest)
        finals = _read_events(connection, bundle_digest, step=Step.FINAL.value, phase=Phase.CONFIRM)
        notes = _read_events(connection, bundle_digest, step=None, phase=Phase.NOTE)
        held = _read_held(connection)
    if serials is not None:
        verdicts = {serial: states for serial, states in verdicts.items() if serial in serials}
        open_serials = {serial for serial in open_serials if serial in serials}
        finals = [event for event in finals if (event.serial or "") in serials]
        notes = [event for event in notes if (event.serial or "") in serials]
    for serial in held & set(verdicts):
        verdicts[serial][-1] = UnitState.HOLD
    counts = [len(states) for states in verdicts.values()]
    return LineYield(
        judged=len(verdicts),
        passed=sum(states[-1] is UnitState.PASS for states in verdicts.values()),
        first_pass=sum(states[0] is UnitState.PASS for states in verdicts.values()),
        retests=sum(counts) - len(counts),
        retested=sum(count > 1 for count in counts),
        in_work=len(open_serials - set(verdicts)),
        reasons=_rank(_reasons(finals)),
        stops=_rank(_stops(notes)),
    )


def _read_held(connection: Connection) -> set[str]:
    """Return the units whose check standard failed after they were measured."""
    statement = select(units.c.serial).where(units.c.state == UnitState.HOLD.value)
    return set(connection.execute(statement).scalars())


def _read_verdicts(
    connection: Connection, bundle_digest: bytes
) -> tuple[dict[str, list[UnitState]], set[str]]:
    """Return each unit's verdicts, oldest first, and the units with an open job."""
    statement = (
        select(jobs)
        .where(jobs.c.bundle_digest == bundle_digest)
        .order_by(jobs.c.serial, jobs.c.number)
    )
    verdicts: dict[str, list[UnitState]] = {}
    open_serials = set()
    for row in connection.execute(statement):
        check_row(row, jobs, where="table jobs")
        state = check_state(JobState, row.state, where=row.job)
        if state is JobState.OPEN:
            open_serials.add(row.serial)
        elif state is JobState.CLOSED:
            outcome = check_state(UnitState, row.outcome, where=row.job)
            verdicts.setdefault(row.serial, []).append(outcome)
    return verdicts, open_serials


def _read_events(
    connection: Connection, bundle_digest: bytes, *, step: str | None, phase: Phase
) -> list[Event]:
    statement = (
        select(events.c.station, events.c.number, events.c.content)
        .join(jobs, jobs.c.job == events.c.job)
        .where(jobs.c.bundle_digest == bundle_digest, events.c.phase == phase.value)
    )
    if step is not None:
        statement = statement.where(events.c.step == step)
    return [
        parse_event(
            check_row(row, events, where="table events").content,
            where=f"event {row.number} of {row.station}",
        )
        for row in connection.execute(statement)
    ]


def _reasons(finals: Iterable[Event]) -> Iterable[tuple[str, str, str]]:
    for event in finals:
        reasons = event.data.get("reasons")
        for reason in reasons if isinstance(reasons, list) else ():
            step = event.data.get("failed_step")
            kind = _NUMBER.sub(_PLACE_HOLDER, str(reason))
            yield str(step or NO_STEP), kind, event.serial or ""


def _stops(notes: Iterable[Event]) -> Iterable[tuple[str, str, str]]:
    for event in notes:
        if "error" in event.data:
            # Its kind alone is what an older station wrote.
            what = event.data.get("what", event.data["error"])
            yield event.step, _NUMBER.sub(_PLACE_HOLDER, str(what)), event.serial or ""


def _rank(found: Iterable[tuple[str, str, str]]) -> tuple[CountedReason, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    units: dict[tuple[str, str], set[str]] = {}
    for step, reason, serial in found:
        counts[step, reason] += 1
        units.setdefault((step, reason), set()).add(serial)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        CountedReason(step=key[0], reason=key[1], count=count, units=len(units[key]))
        for key, count in ranked[:_KINDS_MAX]
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
