"""What the events say about leases, for the audit of the whole ledger.

Rows of `leases` follow from events; every number of a lease is given under it, void, or, while it
is open, leased; and what the ledger refused to follow has no rows (docs/spec/lease.md §7).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from provisioning.errors import Damage, LedgerDamageError
from provisioning.ledger_diagnosis import DAMAGE_HINT
from provisioning.ledger_events import Phase, format_time, parse_event
from provisioning.ledger_heads import require_chain
from provisioning.ledger_leases import (
    LEASE_END_STEP,
    LEASE_STEP,
    list_lease_records,
    unused_ranges,
)
from provisioning.ledger_retelling import contradiction, hex_field
from provisioning.ledger_schema import events, serial_numbers
from provisioning.outbox_events import REFUSE_STEP, SYNC_STEP
from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from provisioning.ledger_events import ChainedEvent, Event
    from provisioning.ledger_leases import LeaseRecord
    from provisioning.ledger_retelling import Fields

_KEYS: Final = ("prefix", "model", "year", "week", "first_sequence")
_TERMS: Final = ("last_sequence", "epoch", "station", "number", "expires_at")


@dataclass(slots=True)
class LeaseFacts:
    """What was told of leases, and of what had no effect."""

    terms: dict[str, tuple[tuple[Any, ...], Fields]] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    ended: dict[str, tuple[str, object]] = field(default_factory=dict)
    lost: dict[str, tuple[str, object]] = field(default_factory=dict)
    refused: set[tuple[object, object]] = field(default_factory=set)
    synced: list[Event] = field(default_factory=list)

    def take(self, chained: ChainedEvent) -> None:
        """Take note of one event."""
        event = chained.event
        is_under_lease = "/" in event.station
        if event.step == LEASE_STEP and event.phase is Phase.INTENT:
            name = f"{event.station}/{event.data.get('number')}"
            key = tuple(event.data.get(name) for name in _KEYS)
            fields: Fields = {name: event.data.get(name) for name in _TERMS}
            fields["request"] = hex_field(event, "request")
            fields["issued_at"] = format_time(event.at)
            self.terms[name] = (key, fields)
        elif event.phase is not Phase.CONFIRM:
            return
        elif event.step == LEASE_STEP and not is_under_lease:
            self.documents[str(event.data.get("lease"))] = hex_field(event, "document")
        elif event.step == LEASE_END_STEP:
            end = (format_time(event.at), event.data.get("reason"))
            if is_under_lease:
                self.ended[event.station] = end
            else:
                self.lost[str(event.data.get("lease"))] = end
        elif event.step == REFUSE_STEP:
            self.refused.add((event.data.get("chain"), event.data.get("number")))
        elif event.step == SYNC_STEP and not is_under_lease:
            self.synced.append(event)

    def require_synced(
        self, connection: Connection, counts: Mapping[str, int], *, is_outbox: bool
    ) -> None:
        """Refuse a lease's chain that is not as it was taken over, or goes on behind that.

        Nobody signs the chain of a lease; the station that took it over vouches for it.

        Args:
            connection: Inside a transaction that sees one state.
            counts: How many events each chain has.
            is_outbox: Whether this is the outbox, which nobody took over yet.

        Raises:
            LedgerDamageError: It was changed, cut off, or continued by somebody else.
        """
        covered: dict[str, int] = {}
        for event in self.synced:
            chain, count = str(event.data.get("lease")), event.data.get("count")
            if type(count) is not int or count < 1 or "/" not in chain:
                raise contradiction(
                    f"station {event.station}, event {event.number}",
                    "a lease, and how far its chain was taken over",
                    repr(event.data)[:80],
                )
            teller = f"station {event.station}, event {event.number}, which took it over"
            require_chain(connection, chain, count, hex_field(event, "head"), teller=teller)
            covered[chain] = max(count, covered.get(chain, 0))
        if is_outbox:
            return
        for chain, count in counts.items():
            if "/" in chain and count != covered.get(chain, 0):
                raise LedgerDamageError(
                    "the chain of a lease has events that nobody took over",
                    damage=Damage.FORGED,
                    station=chain,
                    number=covered.get(chain, 0),
                    expected=f"{covered.get(chain, 0)} events, as its station took them over",
                    got=f"{count} events",
                    hint=DAMAGE_HINT,
                )

    def told_leases(self) -> dict[tuple[Any, ...], Fields]:
        """Return what the rows of the leases must be."""
        told = {}
        for name, (key, fields) in self.terms.items():
            # What was declared lost ended then, whatever its station says later.
            closed_at, reason = self.lost.get(name) or self.ended.get(name) or (None, None)
            told[key] = {
                **fields,
                "document_digest": self.documents.get(name),
                "closed_at": closed_at,
                "reason": reason,
            }
        return told


@dataclass(frozen=True, slots=True)
class Refusals:
    """From which event on a chain's word on a unit has no effect: by serial number and chain."""

    first: dict[tuple[str, str], int]

    def cover(self, serial: str, station: str, number: int) -> bool:
        """Whether an event of a unit has no effect."""
        first = self.first.get((serial, station))
        return first is not None and number >= first


def read_refusals(connection: Connection, serials: Sequence[str]) -> Refusals:
    """Return what the ledger refused to follow of some units."""
    rows = connection.execute(
        select(events.c.serial, events.c.content, events.c.station, events.c.number).where(
            events.c.serial.in_(serials), events.c.step == REFUSE_STEP
        )
    )
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        event = parse_event(row.content, where=f"station {row.station}, event {row.number}")
        number = event.data.get("number")
        if isinstance(number, int):
            first[row.serial, str(event.data.get("chain"))] = number
    return Refusals(first)


def leased_ranges(
    connection: Connection, adopted: Collection[str] = ()
) -> list[tuple[LeaseRecord, list[range]]]:
    """Return each lease with the numbers of it that are leased now, after all were looked at.

    Args:
        connection: Inside a transaction that sees one state.
        adopted: Numbers that boards got back on a supervisor's order.

    Raises:
        LedgerError: A number of an ended lease is unexplained, or another gave one of its numbers.
    """
    found = []
    for record in list_lease_records(connection):
        unused = unused_ranges(connection, record)
        if record.closed_at is not None and unused:
            raise contradiction(
                f"lease {record.name}",
                "every number given or voided, because it has ended",
                f"{sum(map(len, unused))} unexplained",
            )
        _require_own(connection, record, adopted)
        found.append((record, unused))
    return found


def count_leased(
    leased: list[tuple[LeaseRecord, list[range]]], series: tuple[object, ...], numbers: range
) -> int:
    """Return how many numbers of a series are leased within some of its sequences.

    Args:
        leased: As `leased_ranges` found them.
        series: Prefix, model, year and week.
        numbers: The sequences that are looked at.
    """
    return sum(
        len(range(max(part.start, numbers.start), min(part.stop, numbers.stop)))
        for record, unused in leased
        if (record.prefix, record.model, record.year, record.week) == series
        for part in unused
    )


def _require_own(connection: Connection, record: LeaseRecord, adopted: Collection[str]) -> None:
    """Refuse a number of a lease that was not given under it."""
    given = (
        select(events.c.serial)
        .where(
            events.c.serial == serial_numbers.c.serial,
            events.c.station == record.name,
            events.c.step == Step.RESERVE.value,
            events.c.phase == Phase.CONFIRM.value,
        )
        .exists()
    )
    strangers = connection.execute(
        select(serial_numbers.c.serial).where(
            serial_numbers.c.prefix == record.prefix,
            serial_numbers.c.model == record.model,
            serial_numbers.c.year == record.year,
            serial_numbers.c.week == record.week,
            serial_numbers.c.sequence.between(record.first_sequence, record.last_sequence),
            ~given,
        )
    ).scalars()
    for stranger in set(strangers) - set(adopted):
        raise contradiction(
            f"serial_numbers {stranger}", f"given under lease {record.name}", "given otherwise"
        )
