"""The events of one unit with their links, from the ledger or, proved, from an export.

By itself, so that who reads the ledger need not import what reads exports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.ledger_events import format_time
from signing.value_class import dataclass

if TYPE_CHECKING:
    from typing import Any

    from provisioning.ledger_events import Event
    from provisioning.ledger_reader import LedgerReader


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEvents:
    """The events of one unit, each with its place in a chain.

    Attributes:
        ledger_uuid: UUID of the ledger that they are from.
        events: In order.
        hashes: Hash of each event's link, hex.
    """

    ledger_uuid: str
    events: tuple[Event, ...]
    hashes: tuple[str, ...]


def read_unit_events(ledger: LedgerReader[Any], serial: str) -> UnitEvents:
    """Return the events of a unit from the ledger.

    Raises:
        LedgerError: An event is damaged.
    """
    chained_events = ledger.events(serial=serial)
    return UnitEvents(
        ledger_uuid=ledger.identity.uuid,
        events=tuple(chained.event for chained in chained_events),
        hashes=tuple(chained.hash.hex() for chained in chained_events),
    )


def event_document(event: Event, *, link: bytes) -> dict[str, object]:
    """Return one event as JSON values, with the hash of its link."""
    return {
        "station": event.station,
        "number": event.number,
        "at": format_time(event.at),
        "job": event.job,
        "step": event.step,
        "phase": event.phase.value,
        "data": dict(event.data),
        "hash": link.hex(),
    }
