"""Which instruments measured a unit, as the events of its jobs tell.

Every function takes a connection inside a transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from provisioning.ledger_events import Phase, parse_event
from provisioning.ledger_schema import events
from provisioning.station_values import Step

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.ledger_events import Event

MEASURING_STEPS: Final = (Step.CALIBRATE.value, Step.VERIFY.value, Step.RECHECK.value)
"""Steps whose results name the instrument; that of an older Ampforge's recheck has none."""


def instrument_of(event: Event) -> str | None:
    """Return the serial number of the instrument that a result names; `None` if it names none."""
    result = event.data.get("result")
    measured_by = result.get("instrument") if isinstance(result, dict) else None
    return str(measured_by.get("serial_number")) if isinstance(measured_by, dict) else None


def instruments_of_job(connection: Connection, job: str | None) -> set[str | None]:
    """Return the serial numbers of the instruments that measured in a job.

    Raises:
        LedgerError: An event is damaged.
    """
    return {instrument for _, instrument in places_of_job(connection, job)}


def places_of_job(connection: Connection, job: str | None) -> list[tuple[str, str | None]]:
    """Return where a job was measured, each once: the station and the instrument.

    Raises:
        LedgerError: An event is damaged.
    """
    rows = connection.execute(
        select(events.c.station, events.c.content)
        .where(
            events.c.job == job,
            events.c.step.in_(MEASURING_STEPS),
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.station, events.c.number)
    )
    found = [
        (row.station.partition("/")[0], instrument_of(parse_event(row.content, where=f"job {job}")))
        for row in rows
    ]
    return list(dict.fromkeys(found))


def verified_by(connection: Connection, job: str | None, *, station: str) -> str | None:
    """Return the serial number of the instrument on whose readings the verdict of a job stands.

    The last verification of each chain counts, whatever the clock said. A job that two chains
    verified, each with another instrument, stands on neither: their order is that of two clocks.

    Args:
        connection: Inside a transaction.
        job: The job.
        station: Where it must have been verified, or under a lease of it: the standard of another
            fixture says nothing of this one.

    Returns:
        The serial number; `None` if there is none, or the station did not verify it.

    Raises:
        LedgerError: An event is damaged.
    """
    rows = connection.execute(
        select(events.c.station, events.c.content)
        .where(
            events.c.job == job,
            events.c.step == Step.VERIFY.value,
            events.c.phase == Phase.CONFIRM.value,
        )
        .order_by(events.c.number)
    )
    last = {row.station: row.content for row in rows}
    if not any(chain.partition("/")[0] == station for chain in last):
        return None
    found = {instrument_of(parse_event(content, where=f"job {job}")) for content in last.values()}
    return found.pop() if len(found) == 1 else None
