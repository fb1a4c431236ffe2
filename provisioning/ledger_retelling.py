"""Says what the rows of one unit must be, from its events alone.

Implements docs/spec/ledger-and-record-export.md §2.1; `provisioning.ledger_audit` compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger_epochs import epoch_of_sequence
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.serial_numbers import parse_serial

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioning.ledger_events import Event

Fields = dict[str, object]
_RESERVE, _IDENTITY, _FINAL = "reserve", "identity", "final"
TELLING_STEPS = (_RESERVE, _IDENTITY, _FINAL)


@dataclass(slots=True, kw_only=True)
class _Job:
    """What the events of one job say."""

    opened: Event | None = None
    resumed: list[Event] = field(default_factory=list)
    final: Event | None = None
    has_identity: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the events of one unit say about its rows."""

    number: Fields
    unit: Fields
    jobs: dict[str, Fields]


def retell_unit(serial: str, events: Iterable[Event], *, jobs: Iterable[str | None]) -> Told:
    """Say what the rows of one unit must be.

    Jobs follow each other by their number; the clocks of two stations need not agree.

    Args:
        serial: The unit.
        events: Its events of `TELLING_STEPS`, verified, in the order of their chains.
        jobs: The jobs that its events name, all of them.

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
    number: Fields = {"mac": first.opened.mac, "reserved_at": format_time(first.opened.at)}
    number["state"] = SerialState.RESERVED.value
    told_jobs: dict[str, Fields] = {}
    for place, job in enumerate(order):
        told, following = collected[job], [collected[later] for later in order[place + 1 :]]
        told_jobs[job] = _job_fields(told, following[0] if following else None)
        if told.has_identity:
            number["state"] = SerialState.ASSIGNED.value
        if told_jobs[job]["outcome"] == UnitState.PASS.value:
            number["state"] = SerialState.RELEASED.value
    unit = {
        "mac": first.opened.mac,
        "first_seen_at": format_time(first.opened.at),
        "last_job": order[-1],
        "bundle_digest": _bundle(last.opened),
        "state": told_jobs[order[-1]]["outcome"] or UnitState.IN_WORK.value,
    }
    if last.final is not None or not last.resumed:
        unit["changed_at"] = format_time((last.final or last.opened).at)
    return Told(number={**_parts(serial), **number}, unit=unit, jobs=told_jobs)


def _collect(events: Iterable[Event]) -> dict[str, _Job]:
    collected: dict[str, _Job] = {}
    for event in events:
        told = collected.setdefault(event.job or "", _Job())
        if event.phase is not Phase.CONFIRM:
            continue
        if event.step == _RESERVE and event.data.get("resumed"):
            told.resumed.append(event)
        elif event.step == _RESERVE:
            told.opened = event
        elif event.step == _IDENTITY:
            told.has_identity = True
        elif event.step == _FINAL:
            told.final = event
    return collected


def _job_fields(told: _Job, following: _Job | None) -> Fields:
    assert told.opened is not None
    fields: Fields = {
        "number": _number(told.opened),
        "station": told.opened.station,
        "bundle_digest": _bundle(told.opened),
        "opened_at": format_time(told.opened.at),
        "state": JobState.OPEN.value,
        "outcome": None,
        "closed_at": None,
    }
    if told.final is not None:
        fields["state"] = JobState.CLOSED.value
        fields["outcome"] = told.final.data.get("outcome")
        fields["closed_at"] = format_time(told.final.at)
    elif following is not None and following.opened is not None:
        fields["state"] = JobState.ABANDONED.value
        fields["closed_at"] = format_time(following.opened.at)
    return fields


def _number(opened: Event | None) -> int:
    number = 0 if opened is None else opened.data.get("job_number")
    return number if isinstance(number, int) else 0


def _bundle(opened: Event) -> bytes:
    try:
        return bytes.fromhex(str(opened.data.get("bundle")))
    except ValueError:
        return b""


def _parts(serial: str) -> Fields:
    try:
        parts = parse_serial(serial)
    except SerialNumberError as error:
        raise contradiction(f"serial_numbers {serial}", "a serial number", str(error)) from error
    return {
        "prefix": parts.prefix,
        "model": parts.model,
        "year": parts.year,
        "week": parts.week,
        "sequence": parts.sequence,
        "epoch": epoch_of_sequence(parts.sequence),
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
