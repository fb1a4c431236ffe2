"""Lets the ledger follow what a station did under a lease, event by event.

The events are taken over as they were written, all of them. What follows from an event in the
outbox follows from it in the ledger, too, unless the ledger knows better: then the event stays
without effect, and `lease_refusals` says so. Implements docs/spec/lease.md §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, update

from provisioning.check_entry import parse_check
from provisioning.errors import LeaseError, SerialNumberError
from provisioning.lease_acts import end_lease
from provisioning.lease_conflicts import (
    find_number_conflict,
    find_other_hand,
    read_quarantine,
    read_unit_state,
)
from provisioning.lease_refusals import Following, Refusals
from provisioning.ledger_allocation import withdraw_release
from provisioning.ledger_checks import take_over_check
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_leases import LEASE_END_STEP
from provisioning.ledger_quarantine import QUARANTINE_STEP
from provisioning.ledger_retelling import HOLD_STEP, hex_field
from provisioning.ledger_schema import CHECK_STANDARD_STEP, jobs, quarantines, serial_numbers, units
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.outbox_events import CHANGED_HINT, require_own_word
from provisioning.serial_numbers import parse_serial
from provisioning.station_values import Step

if TYPE_CHECKING:
    from provisioning.ledger_events import ChainedEvent, Event
    from provisioning.serial_numbers import SerialNumber

_RUN_MAX_CHARACTERS: Final = 36
_UNIT_STEPS: Final = (Step.RESERVE, Step.IDENTITY, Step.FINAL)


class Replay:
    """The ledger's rows, as they follow a lease's events.

    Args:
        following: The transaction in which they do.
    """

    def __init__(self, following: Following) -> None:
        self._following = following
        self._connection = following.connection
        self._record = following.record
        self._format = following.ledger.identity.serial_format
        self._refusals = Refusals(following)

    @property
    def refused(self) -> tuple[str, ...]:
        """Sentences about what could not follow, for the operator."""
        return tuple(self._refusals.sentences)

    def follow(self, chained: ChainedEvent) -> None:
        """Change the rows as an event says, or say why not.

        Raises:
            LeaseError: No outbox of this lease has such an event.
        """
        event = chained.event
        require_own_word(event, name=self._record.name)
        if event.phase is not Phase.CONFIRM:
            return
        if event.step == QUARANTINE_STEP:
            self._follow_quarantine(event)
        elif event.step == LEASE_END_STEP:
            self._follow_end(event)
        elif event.step == CHECK_STANDARD_STEP:
            self._follow_check(event)
        elif event.step == HOLD_STEP and not self._refusals.has_refused(event):
            self._follow_hold(event)
        elif event.step in _UNIT_STEPS and not self._refusals.has_refused(event):
            if event.step == Step.RESERVE and event.data.get("new"):
                self._follow_new(event)
            else:
                self._follow_work(event)

    def _follow_new(self, event: Event) -> None:
        record = self._record
        try:
            number = parse_serial(str(event.serial), self._format)
        except SerialNumberError as error:
            raise LeaseError(
                "the outbox gave what is no serial number",
                got=str(error),
                where=f"{record.name}, event {event.number}",
                hint=CHANGED_HINT,
            ) from error
        if not record.has(number):
            raise LeaseError(
                "the outbox gave a number that is not of its lease",
                expected=f"{record.prefix}{record.model}, sequence {record.first_sequence} to "
                f"{record.last_sequence}",
                got=event.serial,
                where=f"{record.name}, event {event.number}",
                hint=CHANGED_HINT,
            )
        problem = find_number_conflict(self._connection, self._record, event, number)
        if problem is None:
            self._begin_unit(event, number)
        else:
            self._refusals.refuse_number(event, number, problem)

    def _begin_unit(self, event: Event, number: SerialNumber) -> None:
        connection, at = self._connection, format_time(event.at)
        connection.execute(
            insert(serial_numbers).values(
                serial=event.serial, prefix=number.prefix, model=number.model, year=number.year,
                week=number.week, sequence=number.sequence,
                epoch=self._record.epoch, state=SerialState.RESERVED.value,
                mac=event.mac, reserved_at=at,
            )
        )  # fmt: skip
        connection.execute(
            insert(units).values(
                serial=event.serial, mac=event.mac, state=UnitState.IN_WORK.value,
                bundle_digest=hex_field(event, "bundle"), last_job=event.job, first_seen_at=at,
                changed_at=at,
            )
        )  # fmt: skip
        self._open_job(event)

    def _follow_work(self, event: Event) -> None:
        """Follow an event of a unit that was taken over before, while nobody else has it."""
        problem = find_other_hand(self._connection, self._record, event)
        if problem is not None:
            self._refusals.refuse(event, problem)
        elif event.step == Step.RESERVE:
            self._go_on(event)
        elif event.step == Step.IDENTITY:
            self._move_serial(event, SerialState.ASSIGNED)
        else:
            self._finish(event)

    def _go_on(self, event: Event) -> None:
        connection, at = self._connection, format_time(event.at)
        if not event.data.get("resumed"):
            connection.execute(
                update(jobs)
                .where(jobs.c.serial == event.serial, jobs.c.state == JobState.OPEN.value)
                .values(state=JobState.ABANDONED.value, closed_at=at)
            )
            self._open_job(event)
            withdraw_release(connection, str(event.serial))
        else:
            connection.execute(
                update(jobs).where(jobs.c.job == event.job).values(run=_run_of(event))
            )
        connection.execute(
            update(units)
            .where(units.c.serial == event.serial)
            .values(
                state=UnitState.IN_WORK.value, last_job=event.job, changed_at=at,
                bundle_digest=hex_field(event, "bundle"),
            )
        )  # fmt: skip

    def _open_job(self, event: Event) -> None:
        self._connection.execute(
            insert(jobs).values(
                job=event.job, serial=event.serial, number=event.data.get("job_number"),
                station=event.station, bundle_digest=hex_field(event, "bundle"),
                state=JobState.OPEN.value, outcome=None, opened_at=format_time(event.at),
                closed_at=None, run=_run_of(event),
            )
        )  # fmt: skip

    def _finish(self, event: Event) -> None:
        connection, at, outcome = self._connection, format_time(event.at), event.data["outcome"]
        connection.execute(
            update(jobs)
            .where(jobs.c.job == event.job)
            .values(state=JobState.CLOSED.value, outcome=outcome, closed_at=at)
        )
        connection.execute(
            update(units).where(units.c.serial == event.serial).values(state=outcome, changed_at=at)
        )
        if outcome == UnitState.PASS.value and event.data.get("awaits_check") is not True:
            self._move_serial(event, SerialState.RELEASED)

    def _move_serial(self, event: Event, state: SerialState) -> None:
        self._connection.execute(
            update(serial_numbers)
            .where(serial_numbers.c.serial == event.serial)
            .values(state=state.value)
        )

    def _follow_quarantine(self, event: Event) -> None:
        if read_quarantine(self._connection, event.mac) is not None:
            self._refusals.say(event, "the chip is in quarantine already")
            return
        self._connection.execute(
            insert(quarantines).values(
                station=event.station, number=event.number, mac=event.mac,
                serial=event.data.get("serial"), board_class=event.data.get("board_class"),
                reason=event.data.get("reason"),
                record_digest=hex_field(event, "record_digest") or None,
                opened_at=format_time(event.at),
            )
        )  # fmt: skip

    def _follow_check(self, event: Event) -> None:
        """Let the ledger judge a reading, with all that it knows of units and of the chart."""
        told = parse_check(event)  # the audit of the outbox did so before
        take_over_check(self._connection, self._following.ledger, self._following.writer, told)

    def _follow_hold(self, event: Event) -> None:
        """Say when a unit went on that was put on hold: the ledger did so with the reading."""
        if read_unit_state(self._connection, event.serial) not in {
            UnitState.HOLD,
            UnitState.REWORK,
        }:
            self._refusals.refuse(
                event, "it was put on hold without the ledger, and went on meanwhile"
            )

    def _follow_end(self, event: Event) -> None:
        if self._record.closed_at is None:
            end_lease(
                self._connection, self._following.writer, self._record,
                ledger=self._following.ledger, reason=str(event.data.get("reason")),
                ended_at=event.at, now=self._following.now,
            )  # fmt: skip


def _run_of(event: Event) -> str | None:
    run = event.data.get("run")
    if run is not None and not (isinstance(run, str) and len(run) <= _RUN_MAX_CHARACTERS):
        raise LeaseError(
            "an event of the outbox names no run",
            expected=f"at most {_RUN_MAX_CHARACTERS} characters",
            got=repr(run)[:80],
            where=f"{event.station}, event {event.number}",
            hint=CHANGED_HINT,
        )
    return run
