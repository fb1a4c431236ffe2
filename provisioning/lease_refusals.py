"""What the ledger says of an event that it cannot follow, and does about the board.

One event of the synchronising station says from where on and why. The chip goes into quarantine,
and a number that was given for nothing becomes void. Why an event cannot be followed is
`lease_conflicts`. Implements docs/spec/lease.md §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert, select

from provisioning.classification import BoardClass
from provisioning.lease_conflicts import read_quarantine
from provisioning.ledger_events import Phase, format_time, parse_event
from provisioning.ledger_journal import append_event
from provisioning.ledger_leases import is_void
from provisioning.ledger_quarantine import QUARANTINE_STEP
from provisioning.ledger_schema import events, quarantines, serial_numbers, units
from provisioning.ledger_values import Reservation, UnitState
from provisioning.ledger_voids import REASON_MAX_LENGTH, VoidedRange, void_range
from provisioning.outbox_events import REFUSE_STEP
from signing.value_class import dataclass

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent, Event
    from provisioning.ledger_leases import LeaseRecord
    from provisioning.ledger_values import Writer
    from provisioning.serial_numbers import SerialNumber

_QUARANTINE_REASON_MAX_LENGTH: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """One transaction in which the ledger follows a lease's events.

    Attributes:
        connection: Inside a writing transaction.
        ledger: The open ledger.
        writer: The station that synchronises.
        record: The lease as the ledger has it.
        now: The present, aware.
    """

    connection: Connection
    ledger: Ledger
    writer: Writer
    record: LeaseRecord
    now: dt.datetime

    @property
    def epoch(self) -> int:
        """The ledger's epoch, in which it says what it says."""
        return self.ledger.identity.epoch


class Refusals:
    """What is refused while the ledger follows a lease's events.

    Args:
        following: The transaction.

    Attributes:
        sentences: One for each event that could not follow, for the operator.
    """

    def __init__(self, following: Following) -> None:
        self._following = following
        self._connection = following.connection
        self.sentences: list[str] = []

    def refuse(self, event: Event, problem: str) -> None:
        """Say why an event stays without effect, and put its chip into quarantine."""
        self.say(event, problem)
        if read_quarantine(self._connection, event.mac) is None:
            self._open_quarantine(event, problem)

    def refuse_number(self, event: Event, number: SerialNumber, problem: str) -> None:
        """Refuse the event that gave a number; one that nobody else explains becomes void."""
        if not self._is_explained(event, number):
            self._void(number, f"lease {self._following.record.name}: {problem}")
        self.refuse(event, problem)

    def say(self, event: Event, problem: str) -> None:
        """Say why an event stays without effect, and leave its chip as it is."""
        self.sentences.append(f"{event.serial or bytes(event.mac or b'').hex(':')}: {problem}")
        self._tell(
            REFUSE_STEP,
            {"chain": event.station, "number": event.number, "reason": problem},
            event,
            has_serial=event.step != QUARANTINE_STEP,  # which is of a chip, all else of a unit
        )

    def has_refused(self, event: Event) -> bool:
        """Whether what this chain tells of the unit has no effect any more."""
        told = self._connection.execute(
            select(events.c.content).where(
                events.c.serial == event.serial, events.c.step == REFUSE_STEP
            )
        ).scalars()
        return any(
            parse_event(content, where=f"a refusal of {event.serial}").data.get("chain")
            == event.station
            for content in told
        )

    def _is_explained(self, event: Event, number: SerialNumber) -> bool:
        """Whether the ledger knows the number: void, or given back to its board (`adopt`)."""
        given = self._connection.execute(
            select(serial_numbers.c.serial).where(serial_numbers.c.serial == event.serial)
        ).scalar()
        return given is not None or is_void(self._connection, number) is not None

    def _open_quarantine(self, event: Event, problem: str) -> None:
        reason = f"made under lease {self._following.record.name} as {event.serial}: {problem}"
        reason = reason[:_QUARANTINE_REASON_MAX_LENGTH]
        board_class = BoardClass.FOREIGN.value
        known = self._connection.execute(
            select(units.c.serial).where(units.c.mac == event.mac)
        ).scalar()
        chained = self._tell(
            QUARANTINE_STEP,
            {"board_class": board_class, "reason": reason, "record_digest": "", "serial": known},
            event,
            has_serial=False,
        )
        self._connection.execute(
            insert(quarantines).values(
                station=self._following.writer.station, number=chained.event.number, mac=event.mac,
                serial=known, board_class=board_class, reason=reason, record_digest=None,
                opened_at=format_time(self._following.now),
            )
        )  # fmt: skip

    def _tell(
        self, step: str, data: dict[str, Any], event: Event, *, has_serial: bool
    ) -> ChainedEvent:
        about = None
        if has_serial:
            about = Reservation(
                serial=str(event.serial), mac=bytes(event.mac or b""), job=None, job_number=None,
                opened_at=self._following.now, is_new=False, is_resumed=False,
                unit_state=UnitState.IN_WORK, bundle_digest=b"",
            )  # fmt: skip
        return append_event(
            self._connection, self._following.writer, epoch=self._following.epoch, step=step,
            phase=Phase.CONFIRM, data=data, mac=event.mac, reservation=about,
            at=self._following.now,
        )  # fmt: skip

    def _void(self, number: SerialNumber, reason: str) -> None:
        void = VoidedRange(
            prefix=number.prefix, model=number.model, year=number.year, week=number.week,
            first_sequence=number.sequence, last_sequence=number.sequence,
            epoch=self._following.record.epoch, reason=reason[:REASON_MAX_LENGTH],
            voided_at=format_time(self._following.now),
        )  # fmt: skip
        void_range(
            self._connection, self._following.writer, epoch=self._following.epoch, void=void,
            at=self._following.now,
        )  # fmt: skip
