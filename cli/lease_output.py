"""Leases and synchronisations, as JSON values and as lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output import count_of

if TYPE_CHECKING:
    from provisioning.lease_sync import SyncResult
    from provisioning.ledger_leases import LeaseRecord
    from provisioning.offline_ledger import OfflineLedger
    from provisioning.station_ledger import StationLedger


def lease_document(record: LeaseRecord) -> dict[str, object]:
    """Return one lease as JSON values."""
    from provisioning.ledger_events import format_time

    closed_at = record.closed_at
    return {
        "lease": record.name,
        "station": record.station,
        "first": record.serial(record.first_sequence),
        "last": record.serial(record.last_sequence),
        "count": record.count,
        "given": record.given,
        "void": record.voided,
        "left": record.left,
        "epoch": record.epoch,
        "issued_at": format_time(record.issued_at),
        "expires_at": format_time(record.expires_at),
        "closed_at": None if closed_at is None else format_time(closed_at),
        "reason": record.reason,
    }


def format_lease(record: LeaseRecord) -> list[str]:
    """Return one lease as lines for a person."""
    state = f"{record.left} left" if record.closed_at is None else "ended"
    first, last = (record.serial(end) for end in (record.first_sequence, record.last_sequence))
    lines = [
        (
            f"lease {record.name}: {count_of(record.count, 'number')}, {record.given} given, "
            f"{record.voided} void, {state}"
        ),
        f"  {first} to {last}, expires {record.expires_at:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if record.reason is not None:
        lines.append(f"  ended: {record.reason}")
    return lines


def sync_document(result: SyncResult | None) -> dict[str, object]:
    """Return what came of a synchronisation as a JSON document."""
    document: dict[str, object] = {"schema": "ampforge.sync/1", "lease": None}
    if result is None:
        return document
    return document | {
        "lease": lease_document(result.record),
        "events": result.event_count,
        "refused": list(result.refused),
        "is_in_place": result.is_in_place,
        "archive": None if result.archive is None else str(result.archive),
    }


def format_sync(result: SyncResult | None) -> list[str]:
    """Return what came of a synchronisation as lines for a person."""
    if result is None:
        return ["the station holds no lease: there is nothing to synchronise"]
    lines = [
        f"synchronised: {count_of(result.event_count, 'event')} taken over",
        *format_lease(result.record),
    ]
    if result.refused:
        lines.append(
            f"{len(result.refused)} could not be taken over; the boards are in quarantine, a "
            "supervisor decides (`ampforge unit quarantine`)"
        )
        lines += [f"  {refused}" for refused in result.refused]
    if not result.is_in_place:
        lines += [
            "this folder is a copy: no number is given with its lease, nor is it ended",
            "  to take a new one: `ampforge station sync --give-up --reason TEXT` first",
        ]
    if result.archive is not None:
        lines.append(f"  its outbox is kept in {result.archive}")
    return lines


def offline_document(opened: StationLedger) -> dict[str, object] | None:
    """Return what a station works under while the ledger is out of reach, or `None`."""
    return outbox_document(opened.outbox) if opened.is_offline and opened.outbox else None


def synced_document(opened: StationLedger) -> dict[str, object] | None:
    """Return what was taken over at the start, or `None` when that was nothing."""
    synced = opened.synced
    if synced is None or not (synced.event_count or synced.archive):
        return None
    return sync_document(synced)


def outbox_document(outbox: OfflineLedger) -> dict[str, object]:
    """Return how far a lease has come as JSON values, as its outbox knows."""
    from provisioning.ledger_events import format_time

    return {
        "lease": outbox.lease.chain,
        "left": _left(outbox),
        "expires_at": format_time(outbox.lease.expires_at),
    }


def format_offline(outbox: OfflineLedger) -> list[str]:
    """Return what an operator must know who works without the ledger."""
    lease = outbox.lease
    return [
        f"OFFLINE: the ledger cannot be reached; working under lease {lease.chain}",
        (
            f"  {_left(outbox)} of {lease.count} numbers left, until "
            f"{lease.expires_at:%Y-%m-%d %H:%M:%S} UTC; boards that the ledger knows must wait"
        ),
    ]


def _left(outbox: OfflineLedger) -> int:
    return outbox.lease.count - outbox.use().given
