"""The rows of the ledger's tables against what the events tell, table by table.

What the events tell is gathered by `provisioning.ledger_audit` and, for units, by
`provisioning.ledger_retelling`. However large the ledger is, a few hundred units at a time are in
memory.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from provisioning.lease_audit import count_leased, leased_ranges, read_refusals
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import Phase, parse_event
from provisioning.ledger_retelling import TELLING_STEPS, contradiction, retell_unit
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import events, jobs, serial_numbers, units, voided_ranges
from provisioning.ledger_values import SerialState
from provisioning.outbox_events import REFUSE_STEP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Table

    from provisioning.ledger_retelling import Fields
    from provisioning.serial_formats import SerialFormat

_UNITS_AT_ONCE: Final = 400


def serials_in_events(connection: Connection) -> Iterator[list[str]]:
    """Yield the serial numbers that events name, some hundred at a time."""
    last = ""
    while True:
        statement = (
            select(events.c.serial)
            .where(events.c.serial > last)
            .distinct()
            .order_by(events.c.serial)
            .limit(_UNITS_AT_ONCE)
        )
        serials = list(connection.execute(statement).scalars())
        if not serials:
            return
        yield serials
        last = serials[-1]


def audit_units(connection: Connection, serials: list[str], serial_format: SerialFormat) -> None:
    """Compare the rows of some units, their numbers and jobs with what their events tell.

    Raises:
        LedgerError: A row is missing, has no effect, or says something else.
    """
    refusals = read_refusals(connection, serials)
    named: dict[str, set[str | None]] = {}
    of_job = (events.c.serial, events.c.job, events.c.station)
    pairs = (
        select(*of_job, func.min(events.c.number))
        .where(events.c.serial.in_(serials), events.c.step != REFUSE_STEP)
        .group_by(*of_job)
    )
    for serial, job, station, number in connection.execute(pairs):
        if not refusals.cover(serial, station, number):
            named.setdefault(serial, set()).add(job)
    statement = (
        select(events.c.serial, events.c.station, events.c.number, events.c.content)
        .where(
            events.c.serial.in_(serials),
            events.c.step.in_(TELLING_STEPS),
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.serial, events.c.station, events.c.number)
    )
    telling = {
        serial: [
            parse_event(row.content, where=f"station {row.station}, event {row.number}")
            for row in rows
            if not refusals.cover(serial, row.station, row.number)
        ]
        for serial, rows in groupby(connection.execute(statement), key=lambda row: row.serial)
    }
    told = {
        serial: retell_unit(
            serial, telling.get(serial, ()), jobs=named[serial], serial_format=serial_format
        )
        for serial in serials
        if serial in named
    }
    _refuse_rows(connection, [serial for serial in serials if serial not in named])
    _compare(
        connection, serial_numbers, "serial", {serial: unit.number for serial, unit in told.items()}
    )
    _compare(connection, units, "serial", {serial: unit.unit for serial, unit in told.items()})
    _compare(
        connection, jobs, "job",
        {job: {"serial": serial, **fields}
         for serial, unit in told.items() for job, fields in unit.jobs.items()},
    )  # fmt: skip


def _refuse_rows(connection: Connection, serials: list[str]) -> None:
    """Refuse rows of units that the ledger refused to follow from their beginning."""
    for table in (serial_numbers, units, jobs):
        found = connection.execute(
            select(table.c.serial).where(table.c.serial.in_(serials)).limit(1)
        ).scalar()
        if found is not None:
            raise contradiction(f"{table.name} {found}", "no such row", "one without effect")


def _compare(connection: Connection, table: Table, key: str, told: dict[str, Fields]) -> None:
    column = table.c[key]
    keys, found = list(told), {}
    for start in range(0, len(keys), _UNITS_AT_ONCE):
        chosen = select(table).where(column.in_(keys[start : start + _UNITS_AT_ONCE]))
        for row in connection.execute(chosen):
            values = check_row(row, table, where=f"table {table.name}")._mapping  # noqa: SLF001 - public
            found[values[key]] = values
    for name in keys:
        if name not in found:
            raise contradiction(f"{table.name} {name}", "a row", "none")
        for field_name, value in told[name].items():
            is_one_of = isinstance(value, frozenset) and found[name][field_name] in value
            if not is_one_of and found[name][field_name] != value:
                raise contradiction(
                    f"{table.name} {name}, {field_name}",
                    _shown(value),
                    _shown(found[name][field_name]),
                )


def audit_rows_without_events(connection: Connection) -> None:
    """Refuse units, jobs and numbers of which no event tells, but for voided numbers."""
    for table, key, in_events in (
        (serial_numbers, serial_numbers.c.serial, events.c.serial),
        (units, units.c.serial, events.c.serial),
        (jobs, jobs.c.job, events.c.job),
    ):
        alone = select(table).where(~select(in_events).where(in_events == key).exists())
        for row in connection.execute(alone):
            values = check_row(row, table, where=f"table {table.name}")._mapping  # noqa: SLF001 - public
            where = f"{table.name} {values[key.name]}"
            if table is not serial_numbers:
                raise contradiction(where, "no such row", "one without events")
            if values["state"] != SerialState.VOIDED.value:
                raise contradiction(f"{where}, state", SerialState.VOIDED.value, values["state"])


def audit_few(connection: Connection, table: Table, told: Mapping[Any, Fields]) -> None:
    """Compare a table whose rows are few with all that the events tell of it."""
    remaining = dict(told)
    for row in connection.execute(select(table)):
        values = check_row(row, table, where=f"table {table.name}")._mapping  # noqa: SLF001 - public
        key: tuple[Any, ...] = tuple(values[column.name] for column in table.primary_key)
        named = f"{table.name} {' '.join(str(_shown(part)) for part in key)}"
        expected = remaining.pop(key if len(key) > 1 else next(iter(key)), None)
        if expected is None:
            raise contradiction(named, "no such row", "one without events")
        for name, value in expected.items():
            if values[name] != value:
                raise contradiction(f"{named}, {name}", _shown(value), _shown(values[name]))
    if remaining:
        missing = min(remaining, key=repr)
        raise contradiction(f"{table.name} {_shown(missing)}", "a row", "none")


def audit_gaps(
    connection: Connection,
    serial_format: SerialFormat,
    block: range | None,
    adopted: frozenset[str],
) -> None:
    """Refuse a series in which a number is neither given nor leased nor voided."""
    series = [serial_numbers.c[name] for name in ("prefix", "model", "year", "week")]
    statement = select(
        *series,
        serial_numbers.c.epoch,
        func.count().label("given"),
        func.min(serial_numbers.c.sequence).label("low"),
        func.max(serial_numbers.c.sequence).label("high"),
    ).group_by(*series, serial_numbers.c.epoch)
    leased = leased_ranges(connection, adopted)
    ranges = [row._mapping for row in connection.execute(select(voided_ranges))]  # noqa: SLF001 - public
    for row in connection.execute(statement):
        first = (block or sequences_of_epoch(row.epoch, serial_format))[0]
        voided = sum(
            max(0, min(row.high, one["last_sequence"]) - max(first, one["first_sequence"]) + 1)
            for one in ranges
            if (one["prefix"], one["model"], one["year"], one["week"])
            == (row.prefix, row.model, row.year, row.week)
        )
        series_key = (row.prefix, row.model, row.year, row.week)
        missing = row.high - first + 1 - row.given - voided
        missing -= count_leased(leased, series_key, range(first, row.high + 1))
        if missing:
            raise contradiction(
                f"series {row.prefix}{row.model} {row.year}-W{row.week:02d}",
                f"every number from {first} to {row.high} given, leased or voided",
                f"{missing} unexplained",
            )


def _shown(value: Any) -> object:
    if isinstance(value, frozenset):
        return " or ".join(sorted(map(str, value)))
    return value.hex() if isinstance(value, bytes) else value
