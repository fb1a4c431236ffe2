"""The outbox of a lease as a ledger: the same rules for units, and numbers of one block alone.

Everything that works on a board works with it as with the factory's ledger. What it cannot know, it
does not guess: a chip that the ledger may know more of is set aside (docs/spec/lease.md §4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from provisioning.classification import RecordCondition
from provisioning.errors import LeaseError, SetAsideError
from provisioning.ledger import Ledger
from provisioning.ledger_allocation import Known, NumberBlock
from provisioning.ledger_events import Phase, format_time, parse_event, parse_time
from provisioning.ledger_leases import LEASE_END_STEP, LEASE_STEP
from provisioning.ledger_schema import events, serial_numbers, units
from provisioning.outbox_chips import is_known_chip, remember_chip
from provisioning.outbox_memory import has_forgotten, remember_outbox

if TYPE_CHECKING:
    import datetime as dt

    from provisioning.classification import BoardIdentity
    from provisioning.lease import Lease
    from provisioning.ledger_database import LedgerDatabase
    from provisioning.ledger_values import Reservation, Writer

_GO_ONLINE = "bring the ledger back; the next start synchronises by itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedBlock(NumberBlock):
    """The numbers of a lease, and until when they may be given.

    Attributes:
        lease: The lease.
    """

    lease: Lease

    def next_after(self, known: Known, *, now: dt.datetime, where: str) -> int:
        """Return the sequence that is given next.

        Raises:
            LeaseError: None is left, the lease has expired, the clock is not to be trusted, or the
                series is another.
        """
        lease = self.lease
        if where != lease.prefix + lease.model:
            raise LeaseError(
                "the lease is for other serial numbers",
                expected=lease.prefix + lease.model, got=where, where=lease.chain, hint=_GO_ONLINE,
            )  # fmt: skip
        require_in_force(lease, now=now, last_at=None if known.end is None else known.end.at)
        sequence = (known.last_sequence or lease.first_sequence - 1) + 1
        if sequence not in self.sequences:
            raise LeaseError(
                "the lease has no number left",
                expected=f"at most {lease.count} boards",
                got="one more",
                where=f"{lease.chain}, {lease.serial(lease.first_sequence)} to "
                f"{lease.serial(lease.last_sequence)}",
                hint=_GO_ONLINE,
            )
        return sequence


def require_in_force(lease: Lease, *, now: dt.datetime, last_at: str | None) -> None:
    """Refuse to give numbers of a lease at a moment at which it must not be used.

    Args:
        lease: The lease.
        now: The present, aware, as the station's clock says.
        last_at: Time of the last event under the lease, if there is one.

    Raises:
        LeaseError: It has expired, or the clock stands before something that happened already.
    """
    latest = max(format_time(lease.issued_at), last_at or "")
    if format_time(now) < latest:
        raise LeaseError(
            "the station's clock cannot be trusted, so no number is given (CLOCK_SUSPECT)",
            expected=f"a moment after {latest}",
            got=format_time(now),
            where=lease.chain,
            hint="set the clock: it says whether the lease is still in force",
        )
    if now >= lease.expires_at:
        raise LeaseError(
            "the lease has expired",
            expected=f"a moment before {format_time(lease.expires_at)}",
            got=format_time(now),
            where=lease.chain,
            hint=_GO_ONLINE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseUse:
    """How far a lease has come, as its outbox knows.

    Attributes:
        given: How many of its numbers were given.
        event_count: How many events were written under it.
        last_at: When the last of them was written, aware.
        is_complete: Whether the station ever held the signed lease.
        end_reason: Why it was ended, if it was.
    """

    given: int
    event_count: int
    last_at: dt.datetime | None
    is_complete: bool
    end_reason: str | None


class OfflineLedger(Ledger):
    """An outbox that gives the numbers of its lease.

    Args:
        database: The outbox.
        lease: The verified lease.
    """

    def __init__(self, database: LedgerDatabase, lease: Lease) -> None:
        super().__init__(database)
        self._path = Path(str(database.address))
        self._remembering = Lock()  # slots are threads: the later word must not be the older one
        # The outbox has not the event that states it.
        self.identity = replace(self.identity, serial_format=lease.serial_format)
        self.lease = lease
        self.block = lease.sequences
        self.begins_in = lease.epoch, lease.opening  # the `restore` that opened it is the ledger's
        self._block = LeasedBlock(
            year=lease.year, week=lease.week, sequences=lease.sequences, lease=lease
        )

    def numbers_at(self, moment: dt.datetime) -> NumberBlock:
        """Return the block of the lease, whatever the moment: giving one looks at the clock."""
        del moment
        return self._block

    def reserve(
        self,
        writer: Writer,
        *,
        mac: bytes,
        prefix: str,
        model: str,
        bundle_digest: bytes,
        again: bool,
    ) -> Reservation:
        """Give a board its number and its job; that it has them is remembered beside the outbox.

        Before the board hears of its number: an older copy of the outbox is known by that.

        Raises:
            DurableFileError: It cannot be remembered; done again, the board keeps its number.
        """
        given = super().reserve(
            writer, mac=mac, prefix=prefix, model=model, bundle_digest=bundle_digest, again=again
        )
        if given.job is not None:
            with self._remembering:
                remember_outbox(self, self._path)
        return given

    def has_forgotten(self) -> bool:
        """Whether it lacks what the station remembers of it: it is an older copy."""
        return has_forgotten(self, self._path)

    def remember(self, mac: bytes) -> None:
        """Write down that a chip is worked on with the ledger now; before it is.

        Raises:
            LedgerError: The outbox cannot be written.
        """
        remember_chip(self, mac)

    def require_own(self, mac: bytes, identity: BoardIdentity) -> None:
        """Refuse a board that the ledger may know, and the outbox does not.

        Args:
            mac: MAC of the chip.
            identity: What its flash says.

        Raises:
            SetAsideError: It must wait for the ledger.
        """
        with self.database.reading() as connection:
            is_known = is_known_chip(connection, mac)
            is_own = connection.execute(select(units.c.serial).where(units.c.mac == mac)).scalar()
        got = None
        if is_known:
            got = "a chip that the ledger knew when it was last here"
        elif is_own is None and identity.condition is RecordCondition.PRESENT:
            got = f"the identity {identity.serial}, which was not given here"
        if got is not None:
            raise SetAsideError(
                "this board must wait for the ledger",
                expected="a new board, or one that was begun since the ledger was last here",
                got=got,
                where=mac.hex(":"),
                hint="put it aside and take another; nothing was written to it",
            )

    def use(self) -> LeaseUse:
        """Return how far the lease has come."""
        return read_use(self)


def read_use(outbox: Ledger) -> LeaseUse:
    """Return how far a lease has come, from its outbox.

    Raises:
        LedgerError: An event of it is damaged.
    """
    with outbox.database.reading() as connection:
        given = connection.execute(select(func.count()).select_from(serial_numbers)).scalar_one()
        last = connection.execute(
            select(events.c.number, events.c.at).order_by(events.c.number.desc()).limit(1)
        ).one_or_none()
        steps = connection.execute(
            select(events.c.step, events.c.content).where(
                events.c.step.in_((LEASE_STEP, LEASE_END_STEP)),
                events.c.phase == Phase.CONFIRM.value,
            )
        ).all()
    ends = [
        str(parse_event(row.content, where=str(outbox.database.address)).data.get("reason"))
        for row in steps
        if row.step == LEASE_END_STEP
    ]
    return LeaseUse(
        given=given,
        event_count=0 if last is None else last.number + 1,
        last_at=None if last is None else parse_time(last.at),
        is_complete=any(row.step == LEASE_STEP for row in steps),
        end_reason=ends[-1] if ends else None,
    )
