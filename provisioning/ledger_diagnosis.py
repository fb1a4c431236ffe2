"""Says what was done to the event at which a station's chain is broken.

Looks only once something is found: what was edited, deleted or put elsewhere can be told apart by
the rows around the break. Whoever writes a whole chain anew leaves no break; the signed heads and
the memory of other stations find that (`provisioning.ledger_heads`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from provisioning.errors import Damage, LedgerDamageError, LedgerError
from provisioning.ledger_events import event_digest, parse_event
from provisioning.ledger_schema import events
from signing.hash_chain import GENESIS, HASH_BYTES, link_hash

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from provisioning.ledger_events import Event

DAMAGE_HINT = (
    "the ledger was changed outside Ampforge: keep it as it is for whoever looks into it, and "
    "compare it with a backup or an export"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A row as it is, with what its content says."""

    number: object
    at: object
    previous: object
    hash: object
    event: Event | None
    is_linked: bool
    """Whether its hash is that of its content."""


def diagnose(
    connection: Connection,
    station: str,
    *,
    place: int,
    found: object,
    head: bytes,
    cause: LedgerError,
) -> LedgerDamageError:
    """Return the error for a chain that is broken.

    Args:
        connection: Inside the transaction in which it was found.
        station: Whose chain it is.
        place: Number of the event that could not be verified; those before it were.
        found: Number of the row that was met there.
        head: Hash of the event before.
        cause: What could not be verified.
    """
    damage, number, at = _tell(connection, station, place=place, found=found, head=head)
    return LedgerDamageError(
        cause.what,
        damage=damage,
        station=station,
        number=number,
        at=at if isinstance(at, str) else None,
        expected=cause.expected,
        got=cause.got,
        hint=DAMAGE_HINT,
    )


def _tell(
    connection: Connection, station: str, *, place: int, found: object, head: bytes
) -> tuple[Damage, int, object]:
    row = _read(connection, station, place)
    if row is None:
        question = select(events.c.number).where(events.c.previous == head)
        if head == GENESIS:  # which the first events of all chains follow
            question = question.where(events.c.station == station)
        moved = connection.execute(question.limit(1)).scalar()
        return (Damage.DELETED if moved is None else Damage.REORDERED), place, None
    if type(found) is int and found != place:  # a row where there can be none, before number 0
        return Damage.REORDERED, found, row.at
    event = row.event
    if event is None or event.station != station or event.number != place:
        return _tell_by_content(connection, station, place, row), place, row.at
    if row.is_linked and row.previous != head and place > 0:
        # Whole in itself, and yet it follows another event than the one before it.
        following = _read(connection, station, place + 1)
        if following is not None and following.previous != row.hash:
            return Damage.FORGED, place, row.at
        before = _read(connection, station, place - 1)
        return Damage.EDITED, place - 1, None if before is None else before.at
    return Damage.EDITED, place, row.at


def _tell_by_content(connection: Connection, station: str, place: int, row: _Found) -> Damage:
    """Say what was done where the content is of another place, or of none."""
    event = row.event
    if event is None:
        return Damage.EDITED
    if event.station != station:
        return Damage.FORGED if row.is_linked else Damage.EDITED
    other = _read(connection, station, event.number)
    is_swapped = other is not None and other.event is not None and other.event.number == place
    return Damage.REORDERED if row.is_linked or is_swapped else Damage.EDITED


def _read(connection: Connection, station: str, number: int) -> _Found | None:
    row = connection.execute(
        select(events).where(events.c.station == station, events.c.number == number)
    ).one_or_none()
    if row is None:
        return None
    event = None
    is_linked = False
    if isinstance(row.content, bytes):
        try:
            event = parse_event(row.content, where="")
        except LedgerError:
            event = None
        if isinstance(row.previous, bytes) and len(row.previous) == HASH_BYTES:
            is_linked = row.hash == link_hash(row.previous, event_digest(row.content))
    return _Found(
        number=row.number,
        at=row.at,
        previous=row.previous,
        hash=row.hash,
        event=event,
        is_linked=is_linked,
    )
