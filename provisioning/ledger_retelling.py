"""Says what the rows of one unit must be, from its events alone.

Implements docs/spec/ledger-and-record-export.md §2.1; `provisioning.ledger_audit` compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger_epochs import epoch_of_sequence
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_supervision import SUPERVISE_STEP
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.serial_formats import STANDARD_FORMAT, SerialFormat
from provisioning.serial_numbers import parse_serial
from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioning.ledger_events import Event

Fields = dict[str, object]
HOLD_STEP: Final = "hold"
"""Step of the events in which a bad reading of a check standard stops a unit."""
RELEASE_STEP: Final = "release"
"""Step of the events in which a good one releases it."""
TELLING_STEPS = (
    Step.RESERVE.value,
    Step.IDENTITY.value,
    Step.FINAL.value,
    HOLD_STEP,
    RELEASE_STEP,
    SUPERVISE_STEP,
)


@dataclass(slots=True, kw_only=True)
class _Job:
    """What the events of one job say."""

    opened: Event | None = None
    resumed: list[Event] = field(default_factory=list)
    final: Event | None = None
    has_identity: bool = False
    orders: list[Event] = field(default_factory=list)
    """Supervisors' orders and holds, after which the unit waited for somebody."""
    is_released: bool = False
    """The check standard was good after it."""

    @property
    def is_released_by_pass(self) -> bool:
        """Whether its PASS was enough, or was followed by what it had to wait for."""
        waits = self.final is not None and self.final.data.get("awaits_check") is True
        return self.is_released or not waits

    @property
    def waiting_state(self) -> object:
        """In which state the unit waits after the orders."""
        if self.in_order is None:
            return frozenset({UnitState.HOLD.value, UnitState.REWORK.value})
        is_held = self.in_order[-1].step == HOLD_STEP
        return (UnitState.HOLD if is_held else UnitState.REWORK).value

    @property
    def owners(self) -> list[Event]:
        """Every time that a run took the job; in order where they are of one station."""
        assert self.opened is not None, "asked only of a job that was opened"
        return [self.opened, *sorted(self.resumed, key=lambda event: event.number)]

    @property
    def in_order(self) -> list[Event] | None:
        """The orders as they were written; `None` when stations cannot be put in order."""
        if len({order.station for order in self.orders}) > 1:
            return None  # their clocks need not agree
        return sorted(self.orders, key=lambda order: order.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the events of one unit say about its rows."""

    number: Fields
    unit: Fields
    jobs: dict[str, Fields]


def retell_unit(
    serial: str,
    events: Iterable[Event],
    *,
    jobs: Iterable[str | None],
    serial_format: SerialFormat = STANDARD_FORMAT,
) -> Told:
    """Say what the rows of one unit must be.

    Jobs follow each other by their number; the clocks of two stations need not agree.

    Args:
        serial: The unit.
        events: Its events of `TELLING_STEPS`, verified, in the order of their chains.
        jobs: The jobs that its events name, all of them.
        serial_format: The ledger's.

    Raises:
        LedgerError: No rows could follow from such events.
    """
    collected = _collect(events)
    for job in jobs:
        collected.setdefault(job or "", _Job())
    order = sorted(collected, key=lambda job: _number(collected[job].opened))
    if not order or any(collected[job].opened is None for job in order):
        raise contradiction(f"unit {serial}", "a `reserve` event for each job", "none")
    first, last = collected[order[0]], collected[order[-1]]
    assert first.opened is not None
    assert last.opened is not None
    mac = _module_of(first.opened, [order for job in order for order in collected[job].orders])
    number: Fields = {"mac": mac, "reserved_at": format_time(first.opened.at)}
    number["state"] = SerialState.RESERVED.value
    told_jobs: dict[str, Fields] = {}
    for place, job in enumerate(order):
        told, following = collected[job], [collected[later] for later in order[place + 1 :]]
        told_jobs[job] = _job_fields(told, following[0] if following else None)
        if told.has_identity or number["state"] == SerialState.RELEASED.value:
            number["state"] = SerialState.ASSIGNED.value
        if told_jobs[job]["outcome"] == UnitState.PASS.value:
            is_released = told.is_released_by_pass and not told.orders
            number["state"] = (SerialState.RELEASED if is_released else SerialState.ASSIGNED).value
    unit = {
        "mac": mac,
        "first_seen_at": format_time(first.opened.at),
        "last_job": order[-1],
        "bundle_digest": _bundle(last.opened),
        "state": told_jobs[order[-1]]["outcome"] or UnitState.IN_WORK.value,
    }
    if last.orders:
        unit["state"] = last.waiting_state
        if last.in_order is not None:
            unit["changed_at"] = format_time(last.in_order[-1].at)
    elif last.final is not None:
        unit["changed_at"] = format_time(last.final.at)
    elif len({event.station for event in last.owners}) == 1:
        unit["changed_at"] = format_time(last.owners[-1].at)
    return Told(number={**_parts(serial, serial_format), **number}, unit=unit, jobs=told_jobs)


def _collect(events: Iterable[Event]) -> dict[str, _Job]:
    collected: dict[str, _Job] = {}
    for event in events:
        told = collected.setdefault(event.job or "", _Job())
        if event.phase is not Phase.CONFIRM:
            continue
        if event.step == Step.RESERVE and event.data.get("resumed"):
            told.resumed.append(event)
        elif event.step == Step.RESERVE:
            told.opened = event
        elif event.step == Step.IDENTITY:
            told.has_identity = True
        elif event.step == Step.FINAL:
            told.final = event
        elif event.step == HOLD_STEP:
            told.orders.append(event)
        elif event.step == RELEASE_STEP:
            told.is_released = True
        elif event.step == SUPERVISE_STEP and event.data.get("sends_back"):
            told.orders.append(event)
    return collected


def _module_of(first: Event, orders: list[Event]) -> object:
    """Return the MAC that a unit has: the one it was reserved for, or what took its place."""
    replaced = {order.mac: new for order in orders if (new := hex_field(order, "new_mac"))}
    mac = first.mac
    # Module by module, whatever the clocks said; each is replaced once, so this ends.
    while mac in replaced:
        mac = replaced.pop(mac)
    return mac


def _job_fields(told: _Job, following: _Job | None) -> Fields:
    assert told.opened is not None
    fields: Fields = {
        "number": _number(told.opened),
        "bundle_digest": _bundle(told.opened),
        "opened_at": format_time(told.opened.at),
        "state": JobState.OPEN.value,
        "outcome": None,
        "closed_at": None,
    }
    owners = told.owners
    if len({event.station for event in owners}) == 1:
        fields["station"], fields["run"] = owners[-1].station, owners[-1].data.get("run")
    else:
        # Which of several had it last is the order of two clocks, and not to be told from here.
        fields["station"] = frozenset(event.station for event in owners)
        fields["run"] = frozenset(event.data.get("run") for event in owners)
    if told.final is not None:
        fields["state"] = JobState.CLOSED.value
        fields["outcome"] = told.final.data.get("outcome")
        fields["closed_at"] = format_time(told.final.at)
    elif told.orders:
        fields["state"] = JobState.ABANDONED.value
        # The first of them ended the job, the last one moved the unit.
        del fields["closed_at"]
        if told.in_order is not None:
            fields["closed_at"] = format_time(told.in_order[0].at)
    elif following is not None and following.opened is not None:
        fields["state"] = JobState.ABANDONED.value
        fields["closed_at"] = format_time(following.opened.at)
    return fields


def _number(opened: Event | None) -> int:
    number = 0 if opened is None else opened.data.get("job_number")
    return number if isinstance(number, int) else 0


def _bundle(opened: Event) -> bytes:
    return hex_field(opened, "bundle")


def hex_field(event: Event, name: str) -> bytes:
    """Return bytes that an event tells in hexadecimal; none when it does not."""
    try:
        return bytes.fromhex(str(event.data.get(name)))
    except ValueError:
        return b""


def _parts(serial: str, serial_format: SerialFormat) -> Fields:
    try:
        parts = parse_serial(serial, serial_format)
    except SerialNumberError as error:
        raise contradiction(f"serial_numbers {serial}", "a serial number", str(error)) from error
    return {
        "prefix": parts.prefix,
        "model": parts.model,
        "year": parts.year,
        "week": parts.week,
        "sequence": parts.sequence,
        "epoch": epoch_of_sequence(parts.sequence, serial_format),
    }


def contradiction(where: str, expected: object, got: object) -> LedgerError:
    """Return the error for a row that does not follow from the events."""
    return LedgerError(
        "the ledger's tables contradict its events",
        expected=expected,
        got=got,
        where=where,
        hint="the ledger was changed outside Ampforge; compare it with a backup or an export",
    )
