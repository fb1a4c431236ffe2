"""Gives a board back the number that a lost ledger gave it, on a supervisor's order.

The number must be one that this ledger can never give: void, or of an epoch before its own. It must
be nobody's, and so must the chip. Everything is one transaction: the number leaves the void range
that it was in, gets its row, and its unit waits for the fixture (`rework`), assigned and not
released: the ledger has no PASS of it. The order stands for the CONFIRMs that were lost and that a
locked chip can never give again; each says so. Implements docs/spec/provisioning.md §5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert

from provisioning.board_evidence import evidence_digest, find_fault
from provisioning.classification import BoardClass
from provisioning.errors import SupervisionError
from provisioning.ledger_at_once import reservation_data
from provisioning.ledger_epochs import epoch_of_sequence
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_journal import append_event
from provisioning.ledger_lost_numbers import require_free, take_out_of_void
from provisioning.ledger_lost_steps import lost_steps
from provisioning.ledger_quarantine import close_quarantine, require_quarantined
from provisioning.ledger_schema import jobs, serial_numbers, units
from provisioning.ledger_supervision import SUPERVISE_STEP
from provisioning.ledger_values import JobState, Reservation, SerialState, UnitState
from provisioning.station_values import Step
from provisioning.supervision import Act, SupervisedAct
from provisioning.unit_states import Cause, next_state

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.board_evidence import VerifiedEvidence
    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent
    from provisioning.ledger_lost_steps import Said
    from provisioning.ledger_values import Quarantine, Writer
    from provisioning.serial_numbers import SerialNumber


def prepare_adoption(
    ledger: Ledger,
    writer: Writer,
    *,
    proved: VerifiedEvidence,
    evidence_bytes: bytes,
    reason: str,
) -> SupervisedAct:
    """Return the order for a supervisor to sign, about a board that is in quarantine now.

    Raises:
        SupervisionError: The board or its number cannot be adopted.
    """
    with ledger.database.reading() as connection:
        quarantine = _require_lost(connection, proved.mac)
        require_free(connection, ledger.identity, proved)
    return SupervisedAct(
        ledger_uuid=ledger.identity.uuid,
        act=Act.ADOPT,
        mac=proved.mac,
        new_mac=b"",
        answers=quarantine.event_hash,
        reason=reason,
        at=writer.now(),
        serial=proved.serial,
        evidence=evidence_digest(evidence_bytes),
    )


def carry_out_adoption(
    ledger: Ledger,
    writer: Writer,
    order: SupervisedAct,
    signed: bytes,
    *,
    proved: VerifiedEvidence,
    evidence_bytes: bytes,
    bundle_digest: bytes,
) -> ChainedEvent:
    """Carry out a verified order: its events and everything that follows, in one transaction.

    Args:
        ledger: The open ledger.
        writer: Who writes.
        order: The order, verified.
        signed: The same as it was signed, for the record.
        proved: What the board proved, verified.
        evidence_bytes: The same as it goes on record.
        bundle_digest: Release that the station works with, 32 bytes.

    Returns:
        The event of the order.

    Raises:
        SupervisionError: The order is for another board, or board and number do not stand as they
            did when it was signed.
        LedgerError: The database cannot be written.
    """
    wanted = (Act.ADOPT, proved.mac, proved.serial, evidence_digest(evidence_bytes))
    if (order.act, order.mac, order.serial, order.evidence) != wanted:
        raise SupervisionError(
            "the order is not about this board and what it proved",
            expected=f"{proved.serial}, {proved.mac.hex(':')}",
            got=f"{order.act.value}, {order.serial or 'no number'}, {order.mac.hex(':')}",
        )
    with ledger.database.writing() as connection:
        now = writer.now()
        if _require_lost(connection, order.mac).event_hash != order.answers:
            raise SupervisionError(
                "the order was signed for something that has changed since",
                expected="the board as it stood then",
                got="another quarantine",
                where=order.mac.hex(":"),
                hint="adopt it again: it is asked anew",
            )
        fault = find_fault(
            evidence_bytes, serial=order.serial, mac=order.mac, now=now, where="slot"
        )
        if fault is not None:  # the clock went back: an audit would not believe it at that time
            raise SupervisionError(
                "what the board proved does not hold at the time of this event",
                expected="a clock after the board was made",
                got=fault,
                where=format_time(now),
                hint="set this machine's clock, and adopt it again",
            )
        number = require_free(connection, ledger.identity, proved)
        take_out_of_void(connection, ledger, writer, number, at=now)
        reservation = Reservation(
            serial=order.serial, mac=order.mac, job=writer.new_job(), job_number=1, opened_at=now,
            is_new=True, is_resumed=False, unit_state=UnitState.IN_WORK,
            bundle_digest=bundle_digest,
        )  # fmt: skip
        _insert_rows(connection, writer, number, reservation, at=format_time(now))
        close_quarantine(connection, order.mac, at=format_time(now))
        told: tuple[Said, ...] = (
            (Step.RESERVE.value, Phase.CONFIRM, _reservation(writer, bundle_digest)),
            *lost_steps(proved),
            (SUPERVISE_STEP, Phase.CONFIRM, _order_data(order, signed, evidence_bytes)),
        )
        written = [
            append_event(
                connection, writer, epoch=ledger.identity.epoch, step=step, phase=phase, data=data,
                mac=order.mac, reservation=reservation, at=now,
            )
            for step, phase, data in told
        ]  # fmt: skip
    return written[-1]


def _require_lost(connection: Connection, mac: bytes) -> Quarantine:
    """Return the open quarantine of a board that is there because the ledger does not know it.

    Raises:
        SupervisionError: It is in none, or for another reason, which an adoption does not answer.
    """
    quarantine = require_quarantined(connection, mac)
    if quarantine.board_class != BoardClass.FOREIGN.value:
        raise SupervisionError(
            "the board is in quarantine for another reason than a lost number",
            expected=f"a board of class {BoardClass.FOREIGN.value}",
            got=f"{quarantine.board_class}: {quarantine.reason}",
            where=mac.hex(":"),
            hint="find out which board is the right one; when that is settled, let it out first: "
            f"`ampforge unit release {mac.hex(':')} --reason TEXT`",
        )
    return quarantine


def _insert_rows(
    connection: Connection,
    writer: Writer,
    number: SerialNumber,
    reservation: Reservation,
    *,
    at: str,
) -> None:
    serial, bundle = reservation.serial, reservation.bundle_digest
    state = next_state(None, Cause.ADOPT, where=serial)
    connection.execute(
        insert(serial_numbers).values(
            serial=serial, prefix=number.prefix, model=number.model, year=number.year,
            week=number.week, sequence=number.sequence,
            epoch=epoch_of_sequence(number.sequence, number.format),
            state=SerialState.ASSIGNED.value, mac=reservation.mac, reserved_at=at,
        )
    )  # fmt: skip
    connection.execute(
        insert(units).values(
            serial=serial, mac=reservation.mac, state=state.value, bundle_digest=bundle,
            last_job=reservation.job, first_seen_at=at, changed_at=at,
        )
    )  # fmt: skip
    connection.execute(
        insert(jobs).values(
            job=reservation.job, serial=serial, number=1, station=writer.station,
            bundle_digest=bundle, state=JobState.ABANDONED.value, outcome=None, opened_at=at,
            closed_at=at, run=writer.run,
        )
    )  # fmt: skip


def _reservation(writer: Writer, bundle_digest: bytes) -> dict[str, object]:
    return reservation_data(
        is_new=True, is_resumed=False, job_number=1, bundle_digest=bundle_digest, run=writer.run
    )


def _order_data(order: SupervisedAct, signed: bytes, evidence_bytes: bytes) -> dict[str, object]:
    return {
        "act": order.act.value,
        "reason": order.reason,
        "answers": order.answers.hex(),
        "sends_back": True,
        "new_mac": "",
        "order": signed.hex(),
        "evidence": evidence_bytes.hex(),
    }
