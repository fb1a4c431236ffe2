"""Why the ledger cannot follow what an outbox tells of a number or a unit: it knows better.

Reads the ledger's rows and writes none; what follows from a conflict is `lease_refusals`.
Implements docs/spec/lease.md §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from provisioning.errors import LeaseError
from provisioning.ledger_leases import is_void
from provisioning.ledger_schema import jobs, quarantines, replaced_modules, serial_numbers, units
from provisioning.ledger_values import JobState, UnitState
from provisioning.outbox_events import CHANGED_HINT
from provisioning.station_values import Step

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.ledger_events import Event
    from provisioning.ledger_leases import LeaseRecord
    from provisioning.serial_numbers import SerialNumber


def find_number_conflict(
    connection: Connection, record: LeaseRecord, event: Event, number: SerialNumber
) -> str | None:
    """Return why the ledger cannot give a number that the outbox gave, or `None`."""
    if event.at >= record.expires_at:
        return "the number was given after the lease had expired"
    if (reason := is_void(connection, number)) is not None:
        return f"the number is void: {reason}"
    mac = event.mac
    holder = connection.execute(
        select(serial_numbers.c.mac).where(serial_numbers.c.serial == event.serial)
    ).scalar()
    if holder is not None and holder != mac:  # an outbox that was set back, and gave it twice
        return f"the number belongs to {bytes(holder).hex(':')} now"
    known = connection.execute(select(units.c.serial).where(units.c.mac == mac)).scalar()
    if known is not None:
        return f"the ledger gave the chip {known} meanwhile"
    replaced = connection.execute(
        select(replaced_modules.c.serial).where(replaced_modules.c.mac == mac)
    ).scalar()
    if replaced is not None:
        return f"the chip was taken out of unit {replaced}"
    reason = read_quarantine(connection, mac)
    return None if reason is None else f"the chip is in quarantine: {reason}"


def find_other_hand(connection: Connection, record: LeaseRecord, event: Event) -> str | None:
    """Return who else has the unit that the outbox goes on with, or `None`.

    Raises:
        LeaseError: The ledger does not have the unit at all.
    """
    last = connection.execute(
        select(jobs).where(jobs.c.serial == event.serial).order_by(jobs.c.number.desc())
    ).first()
    if last is None:
        raise LeaseError(
            "the outbox goes on with a unit that the ledger does not have",
            expected="its `reserve` before",
            got=event.serial,
            where=f"{record.name}, event {event.number}",
            hint=CHANGED_HINT,
        )
    if last.station != record.name:
        return f"{last.station} worked on {event.serial} meanwhile"
    opens_job = event.step == Step.RESERVE and not event.data.get("resumed")
    if not opens_job and (last.job, last.state) != (event.job, JobState.OPEN.value):
        return f"the job on {event.serial} was ended meanwhile"
    if read_unit_state(connection, event.serial) is UnitState.HOLD:
        return "the unit was put on hold meanwhile"
    if (reason := read_quarantine(connection, event.mac)) is not None:
        return f"the chip is in quarantine: {reason}"
    return None


def read_quarantine(connection: Connection, mac: bytes | None) -> str | None:
    """Return why a chip is in quarantine, or `None` when it is not."""
    reason: str | None = connection.execute(
        select(quarantines.c.reason).where(
            quarantines.c.mac == mac, quarantines.c.closed_at.is_(None)
        )
    ).scalar()
    return reason


def read_unit_state(connection: Connection, serial: str | None) -> UnitState | None:
    """Return the state of a unit; `None` when the ledger does not have it."""
    state = connection.execute(select(units.c.state).where(units.c.serial == serial)).scalar()
    return None if state is None else UnitState(state)
