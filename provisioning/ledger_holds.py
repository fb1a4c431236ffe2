"""Puts units on hold, and releases them, as a reading of a check standard says.

Every function works inside the transaction that tells the reading. Which units, is decided in
`ledger_checks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_journal import append_event
from provisioning.ledger_queries import find_by
from provisioning.ledger_retelling import HOLD_STEP, RELEASE_STEP
from provisioning.ledger_schema import serial_numbers, units
from provisioning.ledger_supervision import last_job, take_out_of_work
from provisioning.ledger_values import SerialState, UnitState
from provisioning.unit_states import Cause

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import UnitRecord, Writer


def find_movable(connection: Connection, serials: tuple[str, ...]) -> list[UnitRecord]:
    """Return those units that nobody has stopped yet."""
    found = [find_by(connection, units.c.serial == serial) for serial in serials]
    return [
        unit
        for unit in found
        if unit is not None and unit.state not in {UnitState.HOLD, UnitState.REWORK}
    ]


def hold_all(
    connection: Connection,
    ledger: Ledger,
    writer: Writer,
    serials: tuple[str, ...],
    reasons: tuple[str, ...],
) -> tuple[str, ...]:
    """Put units on hold, and return which of them nobody had stopped yet."""
    held = find_movable(connection, serials)
    for unit in held:
        hold_unit(connection, ledger, writer, unit, reasons=reasons)
    return tuple(unit.serial for unit in held)


def hold_unit(
    connection: Connection, ledger: Ledger, writer: Writer, unit: UnitRecord, *,
    reasons: tuple[str, ...],
) -> None:  # fmt: skip
    """Put a unit on hold, and say why."""
    now = writer.now()
    append_event(
        connection, writer, epoch=ledger.identity.epoch, step=HOLD_STEP, phase=Phase.CONFIRM,
        data={"reasons": list(reasons)}, mac=unit.mac, reservation=last_job(unit, unit.mac), at=now,
    )  # fmt: skip
    take_out_of_work(connection, unit, Cause.HOLD, at=format_time(now))


def release_unit(connection: Connection, ledger: Ledger, writer: Writer, unit: UnitRecord) -> None:
    """Release the serial number of a unit that passed."""
    append_event(
        connection, writer, epoch=ledger.identity.epoch, step=RELEASE_STEP, phase=Phase.CONFIRM,
        data={}, mac=unit.mac, reservation=last_job(unit, unit.mac), at=writer.now(),
    )  # fmt: skip
    connection.execute(
        update(serial_numbers)
        .where(serial_numbers.c.serial == unit.serial)
        .values(state=SerialState.RELEASED.value)
    )
