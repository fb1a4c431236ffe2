"""What must hold before a station writes of a board: nobody forbade it, and the job is its own.

Asked together with the write lock, in one question, because others wait while it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, literal, select, true

from provisioning.errors import LedgerError, QuarantineError
from provisioning.ledger_journal import chain_end_of, last_event_of
from provisioning.ledger_schema import jobs, quarantines, replaced_modules
from provisioning.ledger_values import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ScalarSelect, Select

    from provisioning.ledger_journal import ChainEnd
    from provisioning.ledger_values import Reservation, Writer
    from provisioning.ledger_writes import Question


def why_excluded() -> ScalarSelect[Any]:
    """Return the question why the board `of_mac` must get no number and no work; NULL: it may."""
    return (
        select(quarantines.c.reason)
        .where(quarantines.c.mac == bindparam("of_mac"), quarantines.c.closed_at.is_(None))
        .union_all(
            select(replaced_modules.c.serial).where(replaced_modules.c.mac == bindparam("of_mac"))
        )
        .limit(1)
        .scalar_subquery()
    )


def _lookup() -> Any:
    one = select(literal(1).label("one")).subquery()
    last = last_event_of("of_station").subquery()
    joined = one.outerjoin(jobs, jobs.c.job == bindparam("of_job")).outerjoin(last, true())
    columns: list[Any] = [
        jobs.c.station, jobs.c.state, jobs.c.run, why_excluded().label("excluded"),
        last.c.number, last.c.hash, last.c.at,
    ]  # fmt: skip
    return select(*columns).select_from(joined)


_LOOKUP: Final[Select[Any]] = _lookup()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStanding:
    """What the ledger knows when a station goes on with a job.

    Attributes:
        station: Who has the job; `None` without a job.
        state: The job's state; `None` without a job.
        run: Which run of the station has it; `None` without a job.
        excluded: Why the board must not be worked on; `None` when it may.
        end: Where the station's chain ends; `None` when it must be looked at again.
    """

    station: str | None
    state: str | None
    run: str | None
    excluded: str | None
    end: ChainEnd | None


def ask_about_job(writer: Writer, reservation: Reservation | None) -> Question:
    """Return the question about a job, its board, and the end of the station's chain."""
    values = {
        "of_station": writer.station,
        "of_job": None if reservation is None else reservation.job,
        "of_mac": None if reservation is None else reservation.mac,
    }
    return _LOOKUP, values


def read_standing(row: Sequence[Any]) -> JobStanding:
    """Return what the answer to `ask_about_job` says."""
    station, state, run, excluded, *last = row
    end = chain_end_of(*last)
    return JobStanding(station=station, state=state, run=run, excluded=excluded, end=end)


def refuse_excluded(reason: str | None, mac: bytes) -> None:
    """Refuse a board that must get no number and no work, in the transaction that would give them.

    Args:
        reason: The answer to `why_excluded`.
        mac: Chip MAC, 6 bytes.

    Raises:
        QuarantineError: It is in quarantine, or was taken out of a unit.
    """
    if reason is not None:
        raise QuarantineError(
            "this board must not be worked on",
            expected="a board that is not in quarantine and was not replaced",
            got=reason,
            where=mac.hex(":"),
            hint="put it aside; a supervisor decides: `ampforge unit quarantine`",
        )


def require_own_job(standing: JobStanding, writer: Writer, reservation: Reservation) -> None:
    """Refuse to go on with a job that another run resumed, or that was ended meanwhile.

    A run, and not a station by its name: two processes may have been started under one name.

    Raises:
        LedgerError: The job is not this run's any more, or not open.
    """
    owner = (standing.station, standing.run, standing.state)
    if owner != (writer.station, writer.run, JobState.OPEN.value):
        is_open, is_same = standing.state == JobState.OPEN.value, standing.station == writer.station
        other = "another run of this station" if is_same else "another station"
        raise LedgerError(
            f"{other} works on this board now" if is_open else "this job has been ended",
            expected=f"an open job of {writer.station}, run {writer.run}",
            got=f"{standing.station}, run {standing.run}, {standing.state}",
            where=f"unit {reservation.serial}, job {reservation.job}",
            hint="one board, one place: leave it where it is worked on, or start this slot again",
        )
