"""Compares the ledger's tables with its events, which alone are chained.

Units, jobs, serial numbers, epoch and voided ranges follow from the events
(docs/spec/ledger-and-record-export.md §2.1). Whoever edits a row, or cuts events off the end of a
chain, leaves a contradiction; this finds it. Who cuts the events and undoes the rows to match
leaves none: only an export, a backup or a station's own memory from before shows that.

Nothing piles up, however large the ledger is. Rows are compared by `provisioning.ledger_row_audit`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from provisioning.chain_heads import StationCertificates
from provisioning.check_audit import CheckAudit
from provisioning.instrument_register import parse_entry
from provisioning.lease_audit import LeaseFacts
from provisioning.ledger_events import Phase, format_time, parse_event
from provisioning.ledger_formats import FORMAT_STEP, refuse_late_format
from provisioning.ledger_heads import audit_heads
from provisioning.ledger_journal import list_stations, walk_chain
from provisioning.ledger_quarantine import QUARANTINE_STEP
from provisioning.ledger_retelling import Fields, contradiction, hex_field
from provisioning.ledger_row_audit import (
    audit_few,
    audit_gaps,
    audit_rows_without_events,
    audit_units,
    serials_in_events,
)
from provisioning.ledger_schema import (
    INSTRUMENT_STEP,
    events,
    leases,
    quarantines,
    replaced_modules,
    units,
    voided_ranges,
)
from provisioning.ledger_supervision import SUPERVISE_STEP
from provisioning.ledger_told_orders import require_told_order, require_told_steps
from provisioning.ledger_voids import RESTORE_STEP, VOID_STEP, VoidedRange, parse_void
from provisioning.serial_numbers import SerialNumber, parse_serial
from provisioning.supervision import Act
from signing.hash_chain import GENESIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from provisioning.ledger_events import ChainedEvent, Event
    from provisioning.ledger_values import LedgerIdentity

    Progress = Callable[[int, int], None]

_EVENTS_PER_REPORT: Final = 1000


@dataclass(slots=True, kw_only=True)
class _LedgerFacts:
    """What the events say about the ledger itself."""

    epoch: int = 1
    opening: str | None = None
    voids: list[VoidedRange] = field(default_factory=list)

    def told_voids(self, adopted: Iterable[SerialNumber]) -> dict[tuple[object, ...], Fields]:
        """Return what the rows of the voided ranges must be."""
        left = self.voids
        for number in adopted:
            left = [part for void in left for part in void.without(number)]
        return {void.key(): void.row() for void in left}


@dataclass(slots=True)
class _Beside:
    """What events say about quarantines and replaced modules."""

    quarantines: dict[object, tuple[bytes, Fields]] = field(default_factory=dict)
    closed_at: dict[bytes, str] = field(default_factory=dict)
    replaced: dict[object, Fields] = field(default_factory=dict)
    orders: list[Event] = field(default_factory=list)

    def take(self, chained: ChainedEvent) -> None:
        """Take note of one event."""
        event = chained.event
        if event.phase is not Phase.CONFIRM:
            return
        if event.step == QUARANTINE_STEP:
            fields: Fields = {
                "mac": event.mac,
                "serial": event.data.get("serial"),
                "board_class": event.data.get("board_class"),
                "reason": event.data.get("reason"),
                "record_digest": hex_field(event, "record_digest") or None,
                "opened_at": format_time(event.at),
            }
            self.quarantines[event.station, event.number] = (chained.hash, fields)
        elif event.step == SUPERVISE_STEP:
            self.orders.append(event)
            self.closed_at[hex_field(event, "answers")] = format_time(event.at)
            if new_mac := hex_field(event, "new_mac"):
                self.replaced[event.mac] = {
                    "serial": event.serial,
                    "replaced_by": new_mac,
                    "replaced_at": format_time(event.at),
                }

    def told_quarantines(self, refused: set[tuple[object, object]]) -> dict[object, Fields]:
        """Return what the rows of the quarantines must be, but for those without effect."""
        return {
            key: {**fields, "closed_at": self.closed_at.get(event_hash)}
            for key, (event_hash, fields) in self.quarantines.items()
            if key not in refused
        }


def audit_ledger(
    connection: Connection,
    identity: LedgerIdentity,
    *,
    on_progress: Progress = lambda _done, _total: None,
    on_chains: Callable[[Connection], object] | None = None,
    block: range | None = None,
    begins_in: tuple[int, str | None] = (1, None),
    ca_der: bytes | None = None,
) -> dict[str, tuple[int, bytes]]:
    """Verify every chain, what stations signed of them, and every row against the events.

    Args:
        connection: Inside a transaction that sees one state.
        identity: What the ledger says it is.
        on_progress: Told how many of how many events and units were looked at.
        on_chains: Called when every chain was found whole, before rows are looked at. It compares
            the chains with what is known of them from elsewhere; by default with what stations
            signed and saw, whose signatures nobody here can verify.
        block: The only sequences that may be given; `None` for those of each epoch.
        begins_in: Epoch and opening before the first event: an outbox begins in those of its lease.
        ca_der: Certificate of the factory CA, if that is known: boards that were adopted are its.

    Returns:
        Count and head of each station's chain.

    Raises:
        LedgerError: A chain is broken, or a row is missing, has no events, or contradicts them.
    """
    total = int(connection.execute(select(func.count()).select_from(events)).scalar_one())
    total += int(connection.execute(select(func.count()).select_from(units)).scalar_one())
    done = 0
    heads: dict[str, tuple[int, bytes]] = {}
    facts = _LedgerFacts(epoch=begins_in[0], opening=begins_in[1])
    beside, lease_facts, checks = _Beside(), LeaseFacts(), CheckAudit()
    for station in list_stations(connection):
        count, head = 0, GENESIS
        for chained in walk_chain(connection, station):
            count, head = count + 1, chained.hash
            _gather(facts, chained.event, identity)
            beside.take(chained)
            checks.take(chained.event)
            lease_facts.take(chained)
            done += 1
            if done % _EVENTS_PER_REPORT == 0:
                on_progress(done, total)
        heads[station] = (count, head)
    if on_chains is None:
        audit_heads(connection, identity, StationCertificates(None, now=None))
    else:
        on_chains(connection)
    counts = {station: count for station, (count, _) in heads.items()}
    lease_facts.require_synced(connection, counts, is_outbox=block is not None)
    checks.require_held(connection, counts)
    for event in beside.orders:
        require_told_order(event, identity, ca_der=ca_der)
    adoptions = [event for event in beside.orders if event.data.get("act") == Act.ADOPT.value]
    for event in adoptions:
        require_told_steps(event, _read_job_before(connection, event))
    adopted = frozenset(str(event.serial) for event in adoptions)
    for serials in serials_in_events(connection):
        audit_units(connection, serials, identity.serial_format)
        done += len(serials)
        on_progress(done, total)
    audit_rows_without_events(connection)
    audit_few(connection, quarantines, beside.told_quarantines(lease_facts.refused))
    audit_few(connection, replaced_modules, beside.replaced)
    _audit_identity(facts, identity)
    # What is no number was refused with its unit.
    given_back = [parse_serial(serial, identity.serial_format) for serial in sorted(adopted)]
    audit_few(connection, voided_ranges, facts.told_voids(given_back))
    audit_few(connection, leases, lease_facts.told_leases())
    audit_gaps(connection, identity.serial_format, block, adopted)
    on_progress(total, total)
    return heads


def _gather(facts: _LedgerFacts, event: Event, identity: LedgerIdentity) -> None:
    if not 1 <= event.epoch <= identity.epoch:
        raise contradiction("ledger_identity epoch", event.epoch, identity.epoch)
    if event.phase is not Phase.CONFIRM:
        return
    if event.step == RESTORE_STEP and event.epoch > facts.epoch:
        opening = event.data.get("opening")
        facts.epoch, facts.opening = event.epoch, None if opening is None else str(opening)
    elif event.step == FORMAT_STEP:
        refuse_late_format(event)
    elif event.step == INSTRUMENT_STEP:
        parse_entry(event)
    elif event.step == VOID_STEP:
        facts.voids.append(parse_void(event))


def _read_job_before(connection: Connection, order: Event) -> list[Event]:
    statement = (
        select(events.c.number, events.c.content)
        .where(
            events.c.station == order.station,
            events.c.job == order.job,
            events.c.number < order.number,
        )
        .order_by(events.c.number)
    )
    return [
        parse_event(row.content, where=f"station {order.station}, event {row.number}")
        for row in connection.execute(statement)
    ]


def _audit_identity(facts: _LedgerFacts, identity: LedgerIdentity) -> None:
    if (facts.epoch, facts.opening) != (identity.epoch, identity.opening):
        raise contradiction(
            "ledger_identity epoch",
            f"{facts.epoch}, opened by {facts.opening or 'station init'}",
            f"{identity.epoch}, opened by {identity.opening or 'station init'}",
        )
