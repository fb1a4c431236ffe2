"""Events as the database's rows have them: read, verified each by itself, put in order.

That an event follows from the one before it is looked at where a chain is walked
(`provisioning.ledger_journal`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioning.errors import LedgerError
from provisioning.ledger_columns import EVENTS
from provisioning.ledger_events import ChainedEvent, Event, event_digest, format_time, parse_event
from provisioning.ledger_questions import select_all
from provisioning.ledger_rows import check_row
from signing.hash_chain import link_hash

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from provisioning.ledger_questions import Questions

_OF_UNIT: Final = select_all(EVENTS, "WHERE serial = :serial")
_OF_JOB: Final = select_all(EVENTS, "WHERE job = :job")
_OF_NO_UNIT: Final = select_all(EVENTS, "WHERE serial IS NULL")


def read_events(
    questions: Questions, *, serial: str | None = None, job: str | None = None
) -> tuple[ChainedEvent, ...]:
    """Return the events of one unit or one job, in the order in which they were written.

    Args:
        questions: Asked of the ledger.
        serial: The unit; `None` for what belongs to no unit.
        job: The job instead.

    Raises:
        LedgerError: An event is damaged, or its columns say something else than its content.
    """
    if job is not None:
        rows = questions.ask(_OF_JOB, job=job)
    elif serial is not None:
        rows = questions.ask(_OF_UNIT, serial=serial)
    else:
        rows = questions.ask(_OF_NO_UNIT)
    return in_order(read_chained(row) for row in rows)


def in_order(chained_events: Iterable[ChainedEvent]) -> tuple[ChainedEvent, ...]:
    """Return one unit's events as they were written: by job, then by time.

    A clock that was set back does not change the order within a chain: an event counts as written
    no earlier than the one before it.
    """
    latest: dict[str, dt.datetime] = {}
    job_numbers: dict[str | None, int] = {}
    stations = sorted(chained_events, key=lambda one: (one.event.station, one.event.number))
    for chained in stations:
        told = chained.event.data.get("job_number")
        if isinstance(told, int):
            job_numbers[chained.event.job] = told
    newest = max(job_numbers.values(), default=0)
    placed: list[tuple[tuple[int, dt.datetime, str, int], ChainedEvent]] = []
    for chained in stations:
        event = chained.event
        at = max(event.at, latest.get(event.station, event.at))
        latest[event.station] = at
        job_number = job_numbers.get(event.job, newest)
        place = (job_number, at, event.station, event.number)
        placed.append((place, chained))
    return tuple(chained for _, chained in sorted(placed, key=lambda entry: entry[0]))


def read_row(row: Any) -> Event:
    """Return the event of a row, which must have its station, number and content.

    Raises:
        LedgerError: A column has another type than declared, or the content is damaged.
    """
    where = f"station {row.station}, event {row.number}"
    return parse_event(check_row(row, EVENTS, where=where).content, where=where)


def read_chained(row: Any) -> ChainedEvent:
    """Return the event of a whole row with its link, each verified by itself.

    Raises:
        LedgerError: It is damaged, or its columns say something else than its content.
    """
    event = read_row(row)
    where = f"station {row.station}, event {row.number}"
    columns = (row.station, row.number, row.at, row.job, row.serial, row.step, row.phase)
    stated = (
        event.station,
        event.number,
        format_time(event.at),
        event.job,
        event.serial,
        event.step,
        event.phase.value,
    )
    if columns != stated:
        raise LedgerError(
            "the columns of an event say something else than its content",
            expected=stated,
            got=columns,
            where=where,
            hint="the ledger was changed outside Ampforge; compare it with a backup",
        )
    if row.hash != link_hash(row.previous, event_digest(row.content)):
        raise LedgerError(
            "an event was changed after it was written",
            expected=f"hash {row.hash.hex()}",
            got="another content",
            where=where,
            hint="the ledger was changed outside Ampforge; compare it with a backup",
        )
    return ChainedEvent(event=event, content=row.content, previous=row.previous, hash=row.hash)
