"""What a station left half-done: nothing is lost, and each board says what it waits for.

A crash needs no repair: the ledger's transactions are whole, and a board on the fixture goes on
where it stopped. What a person needs is the list of the boards that must go back on a fixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from provisioning.ledger_connection import ConnectionQuestions
from provisioning.ledger_event_rows import read_events
from provisioning.ledger_events import Phase
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import jobs, units
from provisioning.ledger_values import JobState

if TYPE_CHECKING:
    import datetime as dt

    from provisioning.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedJob:
    """A job that no verdict has closed.

    Attributes:
        serial: Serial number of the unit.
        mac: MAC of its chip, 6 bytes.
        job: Name of the job.
        station: Who had it last.
        step: Step that was written down last.
        is_uncertain: Whether that step was begun and not confirmed: it is looked at again.
        last_at: When, aware.
        error: What stopped it, if the station could still say so.
    """

    serial: str
    mac: bytes
    job: str
    station: str
    step: str
    is_uncertain: bool
    last_at: dt.datetime
    error: str | None


def find_unfinished(ledger: Ledger) -> tuple[UnfinishedJob, ...]:
    """Return the open jobs, the one that has waited longest first.

    Raises:
        LedgerError: A row or an event is damaged.
    """
    statement = (
        select(jobs, units.c.mac)
        .join(units, units.c.serial == jobs.c.serial)
        .where(jobs.c.state == JobState.OPEN.value)
    )
    found = []
    with ledger.database.reading() as connection:
        questions = ConnectionQuestions(connection)
        for row in connection.execute(statement).all():
            check_row(row, jobs, where="table jobs")
            events = [chained.event for chained in read_events(questions, job=row.job)]
            acts = [event for event in events if event.phase is not Phase.NOTE]
            errors = [event for event in events if "error" in event.data]
            is_stopped = bool(errors) and events[-1] is errors[-1]
            found.append(
                UnfinishedJob(
                    serial=row.serial,
                    mac=row.mac,
                    job=row.job,
                    station=row.station,
                    step=acts[-1].step,
                    is_uncertain=acts[-1].phase is Phase.INTENT,
                    last_at=events[-1].at,
                    error=str(errors[-1].data.get("message")) if is_stopped else None,
                )
            )
    return tuple(sorted(found, key=lambda job: job.last_at))
