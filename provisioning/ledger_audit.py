"""Compares the ledger's tables with its events, which alone are chained.

Units, jobs and serial numbers follow from the events (docs/spec/ledger-and-record-export.md §2.1).
Whoever edits a row, or cuts events off the end of a chain, leaves a contradiction; this finds it.
Who cuts the events and undoes the rows to match leaves none: only an export from before shows that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import (
    jobs,
    quarantines,
    replaced_modules,
    serial_numbers,
    units,
)
from provisioning.ledger_supervision import QUARANTINE_STEP, SUPERVISE_STEP
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.serial_numbers import parse_serial

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection, Table

    from provisioning.ledger_events import ChainedEvent, Event

Fields = dict[str, object]
_RESERVE, _IDENTITY, _FINAL = "reserve", "identity", "final"


@dataclass(slots=True, kw_only=True)
class _Job:
    """What the events of one job say."""

    opened: Event | None = None
    resumed: list[Event] = field(default_factory=list)
    final: Event | None = None
    has_identity: bool = False
    orders: list[Event] = field(default_factory=list)
    """Supervisors' orders after which the unit waited to be worked on again."""

    @property
    def sent_back_at(self) -> dt.datetime | None:
        """When the unit was sent back last."""
        return max((order.at for order in self.orders), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the events of one unit say about its rows."""

    number: Fields
    unit: Fields
    jobs: dict[str, Fields]


def audit_tables(connection: Connection, events: Iterable[ChainedEvent], *, epoch: int) -> None:
    """Refuse a ledger whose rows say something else than its events.

    Args:
        connection: Inside a transaction that sees one state.
        events: Every event, verified.
        epoch: Epoch of the ledger.

    Raises:
        LedgerError: A row is missing, has no events, or contradicts them.
    """
    by_serial: dict[str, list[ChainedEvent]] = {}
    beside = _Beside()
    for chained in events:
        if not 1 <= chained.event.epoch <= epoch:
            raise _contradiction("ledger_identity epoch", chained.event.epoch, epoch)
        beside.take(chained)
        if chained.event.serial is not None:
            by_serial.setdefault(chained.event.serial, []).append(chained)
    told = {serial: _retell(serial, of_unit) for serial, of_unit in by_serial.items()}
    voided: Fields = {"state": SerialState.VOIDED.value}
    _compare(
        connection, serial_numbers, "serial",
        {serial: {**_parts(serial), **unit.number} for serial, unit in told.items()},
        without_events=voided,
    )  # fmt: skip
    _compare(connection, units, "serial", {serial: unit.unit for serial, unit in told.items()})
    _compare(
        connection, jobs, "job",
        {job: {"serial": serial, **fields}
         for serial, unit in told.items() for job, fields in unit.jobs.items()},
    )  # fmt: skip
    _compare(connection, quarantines, "station number", beside.told_quarantines())
    _compare(connection, replaced_modules, "mac", beside.replaced)


def _retell(serial: str, events: Iterable[ChainedEvent]) -> _Told:
    """Say what the rows of one unit must be.

    Jobs follow each other by their number; the clocks of two stations need not agree.
    """
    collected = _collect(events)
    order = sorted(collected, key=lambda job: _number(collected[job].opened))
    if not order or any(collected[job].opened is None for job in order):
        raise _contradiction(f"unit {serial}", "a `reserve` event for each job", "none")
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
            is_back = told.sent_back_at is not None
            number["state"] = (SerialState.ASSIGNED if is_back else SerialState.RELEASED).value
    unit = {
        "mac": mac,
        "first_seen_at": format_time(first.opened.at),
        "last_job": order[-1],
        "bundle_digest": _bundle(last.opened),
        "state": told_jobs[order[-1]]["outcome"] or UnitState.IN_WORK.value,
    }
    if last.sent_back_at is not None:
        unit["state"] = UnitState.REWORK.value
        unit["changed_at"] = format_time(last.sent_back_at)
    elif last.final is not None or not last.resumed:
        unit["changed_at"] = format_time((last.final or last.opened).at)
    return _Told(number=number, unit=unit, jobs=told_jobs)


def _collect(events: Iterable[ChainedEvent]) -> dict[str, _Job]:
    collected: dict[str, _Job] = {}
    for chained in events:
        event = chained.event
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
        elif event.step == SUPERVISE_STEP and event.data.get("sends_back"):
            told.orders.append(event)
    return collected


def _module_of(first: Event, orders: list[Event]) -> object:
    """Return the MAC that a unit has: the one it was reserved for, or what took its place."""
    mac: object = first.mac
    for order in sorted(orders, key=lambda one: one.at):
        mac = _hex_field(order, "new_mac") or mac
    return mac


@dataclass(slots=True)
class _Beside:
    """What events say about quarantines and replaced modules."""

    quarantines: dict[object, tuple[bytes, Fields]] = field(default_factory=dict)
    closed_at: dict[bytes, str] = field(default_factory=dict)
    replaced: dict[object, Fields] = field(default_factory=dict)

    def take(self, chained: ChainedEvent) -> None:
        """Take note of one event."""
        event = chained.event
        if event.phase is not Phase.CONFIRM:
            return
        if event.step == QUARANTINE_STEP:
            fields: Fields = {
                "mac": event.mac,
                "serial": event.data.get("serial"),
                "board_class": event.data.get("board_class"),
                "reason": event.data.get("reason"),
                "record_digest": _hex_field(event, "record_digest") or None,
                "opened_at": format_time(event.at),
            }
            self.quarantines[event.station, event.number] = (chained.hash, fields)
        elif event.step == SUPERVISE_STEP:
            self.closed_at[_hex_field(event, "answers")] = format_time(event.at)
            if new_mac := _hex_field(event, "new_mac"):
                self.replaced[event.mac] = {
                    "serial": event.serial,
                    "replaced_by": new_mac,
                    "replaced_at": format_time(event.at),
                }

    def told_quarantines(self) -> dict[object, Fields]:
        """Return what the rows of the quarantines must be."""
        return {
            key: {**fields, "closed_at": self.closed_at.get(event_hash)}
            for key, (event_hash, fields) in self.quarantines.items()
        }


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
    held = (told.opened, *told.resumed)
    stations = {event.station for event in held if event.at == max(one.at for one in held)}
    if len(stations) == 1:
        # Two that resumed at the same time cannot be put in order from outside.
        fields["station"] = stations.pop()
    if told.final is not None:
        fields["state"] = JobState.CLOSED.value
        fields["outcome"] = told.final.data.get("outcome")
        fields["closed_at"] = format_time(told.final.at)
    elif told.sent_back_at is not None:
        fields["state"] = JobState.ABANDONED.value
        fields["closed_at"] = format_time(told.sent_back_at)
    elif following is not None and following.opened is not None:
        fields["state"] = JobState.ABANDONED.value
        fields["closed_at"] = format_time(following.opened.at)
    return fields


def _number(opened: Event | None) -> int:
    number = 0 if opened is None else opened.data.get("job_number")
    return number if isinstance(number, int) else 0


def _bundle(opened: Event) -> bytes:
    return _hex_field(opened, "bundle")


def _hex_field(event: Event, name: str) -> bytes:
    try:
        return bytes.fromhex(str(event.data.get(name)))
    except ValueError:
        return b""


def _compare(
    connection: Connection,
    table: Table,
    key: str,
    told: Mapping[Any, Fields],
    *,
    without_events: Fields | None = None,
) -> None:
    remaining = dict(told)
    key_columns = key.split()
    for row in connection.execute(select(table)):
        values = check_row(row, table, where=f"table {table.name}")._mapping  # noqa: SLF001 - public
        of_row = tuple(values[name] for name in key_columns)
        named = " ".join(str(_shown(part)) for part in of_row)
        expected = remaining.pop(of_row[0] if len(of_row) == 1 else of_row, without_events)
        if expected is None:
            raise _contradiction(f"{table.name} {named}", "no such row", "one without events")
        for name, value in expected.items():
            if values[name] != value:
                raise _contradiction(
                    f"{table.name} {named}, {name}", _shown(value), _shown(values[name])
                )
    if remaining:
        raise _contradiction(f"{table.name} {_shown(min(remaining))}", "a row", "none")


def _parts(serial: str) -> Fields:
    try:
        parts = parse_serial(serial)
    except SerialNumberError as error:
        raise _contradiction(f"serial_numbers {serial}", "a serial number", str(error)) from error
    return {
        "prefix": parts.prefix,
        "model": parts.model,
        "year": parts.year,
        "week": parts.week,
        "sequence": parts.sequence,
    }


def _shown(value: Any) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _contradiction(where: str, expected: object, got: object) -> LedgerError:
    return LedgerError(
        "the ledger's tables contradict its events",
        expected=expected,
        got=got,
        where=where,
        hint="the ledger was changed outside Ampforge; compare it with a backup or an export",
    )
