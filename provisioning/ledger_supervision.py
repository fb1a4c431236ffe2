"""What supervisors order: each order is one event and its rows, in one transaction.

Implements docs/spec/provisioning.md §4 and §5. Orders are verified by the caller
(`provisioning.supervision`); what is decided here is whether an order fits the ledger as it stands.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, select, update

from provisioning.errors import SupervisionError
from provisioning.ledger_allocation import withdraw_release
from provisioning.ledger_connection import ConnectionQuestions
from provisioning.ledger_event_rows import read_events
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_journal import append_event
from provisioning.ledger_quarantine import (
    close_quarantine,
    find_open_quarantine,
    require_quarantined,
)
from provisioning.ledger_queries import find_by
from provisioning.ledger_schema import events, jobs, replaced_modules, serial_numbers, units
from provisioning.ledger_values import JobState, Reservation, UnitState
from provisioning.supervision import Act, SupervisedAct
from provisioning.unit_states import Cause, next_state

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent
    from provisioning.ledger_values import UnitRecord, Writer

SUPERVISE_STEP: Final = "supervise"


def prepare_order(
    ledger: Ledger, writer: Writer, *, act: Act, mac: bytes, reason: str, new_mac: bytes = b""
) -> SupervisedAct:
    """Return the order for a supervisor to sign, about the board as it stands now.

    Raises:
        SupervisionError: There is nothing that this could be ordered for.
    """
    with ledger.database.reading() as connection:
        answers = _answered_hash(connection, act, mac)
        if act is Act.REBIND:
            _require_free(connection, new_mac)
    return SupervisedAct(
        ledger_uuid=ledger.identity.uuid,
        act=act,
        mac=mac,
        new_mac=new_mac,
        answers=answers,
        reason=reason,
        at=writer.now(),
    )


def carry_out(ledger: Ledger, writer: Writer, order: SupervisedAct, signed: bytes) -> ChainedEvent:
    """Carry out a verified order: its event and everything that follows, in one transaction.

    Args:
        ledger: The open ledger.
        writer: Who writes.
        order: The order, verified.
        signed: The same as it was signed, for the record.

    Raises:
        SupervisionError: The board does not stand as it did when this was signed.
        LedgerError: The database cannot be written.
    """
    with ledger.database.writing() as connection:
        now = writer.now()
        if _answered_hash(connection, order.act, order.mac) != order.answers:
            raise SupervisionError(
                "the order was signed for something that has changed since",
                expected="the board as it stood then",
                got="newer events",
                where=order.mac.hex(":"),
                hint="look at it again (`ampforge unit history`), then order anew",
            )
        if order.act is Act.REBIND:
            _require_free(connection, order.new_mac)
        unit = find_by(connection, units.c.mac == order.mac)
        if unit is not None:
            _refuse_known_order(connection, unit.serial, signed)
        # A release leaves an open job open; everything else has the unit done again.
        is_sent_back = unit is not None and (
            order.act is not Act.RELEASE or unit.state is not UnitState.IN_WORK
        )
        chained = append_event(
            connection, writer, epoch=ledger.identity.epoch, step=SUPERVISE_STEP,
            phase=Phase.CONFIRM,
            data={
                "act": order.act.value,
                "reason": order.reason,
                "answers": order.answers.hex(),
                "sends_back": is_sent_back,
                "new_mac": order.new_mac.hex(),
                "order": signed.hex(),
            },
            mac=order.mac, reservation=None if unit is None else last_job(unit, order.mac), at=now,
        )  # fmt: skip
        at = format_time(now)
        if order.act is Act.RELEASE:
            close_quarantine(connection, order.mac, at=at)
        if unit is not None and is_sent_back:
            take_out_of_work(connection, unit, Cause.ORDER, at=at)
        if order.act is Act.REBIND:
            assert unit is not None, "only a unit has a module"
            _replace_module(connection, unit, order, at=at)
    return chained


def take_out_of_work(connection: Connection, unit: UnitRecord, cause: Cause, *, at: str) -> None:
    """Move a unit on for a cause that ends its open job and withdraws its release.

    Args:
        connection: Inside a writing transaction.
        unit: The unit as it stands.
        cause: Why.
        at: Now, as `format_time` writes it.
    """
    connection.execute(
        update(units)
        .where(units.c.serial == unit.serial)
        .values(state=next_state(unit.state, cause, where=unit.serial).value, changed_at=at)
    )
    connection.execute(
        update(jobs)
        .where(jobs.c.serial == unit.serial, jobs.c.state == JobState.OPEN.value)
        .values(state=JobState.ABANDONED.value, closed_at=at)
    )
    withdraw_release(connection, unit.serial)


def _replace_module(
    connection: Connection, unit: UnitRecord, order: SupervisedAct, *, at: str
) -> None:
    for table in (units, serial_numbers):
        connection.execute(
            update(table).where(table.c.serial == unit.serial).values(mac=order.new_mac)
        )
    connection.execute(
        insert(replaced_modules).values(
            mac=order.mac, serial=unit.serial, replaced_by=order.new_mac, replaced_at=at
        )
    )


def _answered_hash(connection: Connection, act: Act, mac: bytes) -> bytes:
    if act is Act.RELEASE:
        return require_quarantined(connection, mac).event_hash
    if act is Act.ADOPT:
        raise SupervisionError(
            "a board is adopted by what it proves itself",
            got=mac.hex(":"),
            hint="put it into a slot: `ampforge unit adopt`",
        )
    unit = find_by(connection, units.c.mac == mac)
    if unit is None:
        raise SupervisionError(
            "no unit has this MAC",
            got=mac.hex(":"),
            hint="`ampforge serials status` lists the units",
        )
    if act is Act.REWORK and unit.state in {UnitState.IN_WORK, UnitState.REWORK}:
        raise SupervisionError(
            "the unit is not finished, so there is nothing to do again",
            expected="a unit that was judged",
            got=unit.state.value,
            where=unit.serial,
            hint="put it on the fixture: it goes on where it stopped",
        )
    if act is Act.REBIND and find_open_quarantine(connection, mac) is not None:
        raise SupervisionError(
            "the unit is in quarantine",
            where=unit.serial,
            hint="`ampforge unit release` first",
        )
    return _last_hash(connection, unit.serial)


def _require_free(connection: Connection, new_mac: bytes) -> None:
    """Refuse a module that is another unit's, was one's, or is in quarantine."""
    taken = find_by(connection, units.c.mac == new_mac)
    replaced = connection.execute(
        select(replaced_modules.c.serial).where(replaced_modules.c.mac == new_mac)
    ).scalar()
    got = None
    if taken is not None:
        got = f"the module of unit {taken.serial}"
    elif replaced is not None:
        got = f"a module that was taken out of unit {replaced}"
    elif find_open_quarantine(connection, new_mac) is not None:
        got = "a module in quarantine"
    if got is not None:
        raise SupervisionError(
            "the new module cannot be used",
            expected="a module that no unit has or had",
            got=got,
            where=new_mac.hex(":"),
            hint="take another module; or put this one on a fixture by itself and look",
        )


def _refuse_known_order(connection: Connection, serial: str, signed: bytes) -> None:
    for chained in read_events(ConnectionQuestions(connection), serial=serial):
        if chained.event.step == SUPERVISE_STEP and chained.event.data.get("order") == signed.hex():
            raise SupervisionError(
                "the order was carried out before",
                expected="an order that counts once",
                got=f"event {chained.event.number} of {chained.event.station}",
                where=serial,
                hint="look at it again (`ampforge unit history`), then order anew",
            )


def _last_hash(connection: Connection, serial: str) -> bytes:
    """Return what names the unit as it stands: the newest event of each station that wrote of it.

    By number and not by time: clocks jump, and those of two stations need not agree.
    """
    newest: dict[str, bytes] = {}
    for row in connection.execute(
        select(events.c.station, events.c.number, events.c.hash)
        .where(events.c.serial == serial)
        .order_by(events.c.station, events.c.number)
    ):
        newest[row.station] = bytes(row.hash)
    digest = hashlib.sha256()
    for station, event_hash in sorted(newest.items()):
        digest.update(station.encode() + b"\0" + event_hash)
    return digest.digest()


def last_job(unit: UnitRecord, mac: bytes) -> Reservation:
    """Return what an event about a unit names when no job is at work on it: the last one."""
    return Reservation(
        serial=unit.serial,
        mac=mac,
        job=unit.last_job,
        job_number=None,
        opened_at=unit.changed_at,
        is_new=False,
        is_resumed=False,
        unit_state=unit.state,
        bundle_digest=unit.bundle_digest,
    )
