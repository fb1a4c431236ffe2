"""Boards in quarantine: put there, found, and let out again on an order.

Implements docs/spec/provisioning.md §4. Who may order that is `provisioning.ledger_supervision`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, insert, select, update

from provisioning.errors import SupervisionError
from provisioning.ledger_events import Phase, format_time, parse_time
from provisioning.ledger_journal import append_event
from provisioning.ledger_queries import find_by
from provisioning.ledger_rows import check_row
from provisioning.ledger_schema import events, quarantines, units
from provisioning.ledger_values import Quarantine

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from provisioning.classification import BoardIdentity, Classification
    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Writer

QUARANTINE_STEP: Final = "quarantine"
_SELECT: Final = select(quarantines, events.c.hash).join(
    events,
    and_(events.c.station == quarantines.c.station, events.c.number == quarantines.c.number),
)


def find_quarantine(ledger: Ledger, mac: bytes) -> Quarantine | None:
    """Return the open quarantine of a board, or `None`."""
    with ledger.database.reading() as connection:
        return find_open_quarantine(connection, mac)


def list_quarantines(ledger: Ledger, *, is_open_only: bool = True) -> tuple[Quarantine, ...]:
    """Return the quarantines, oldest first."""
    statement = _SELECT.order_by(quarantines.c.opened_at, quarantines.c.number)
    if is_open_only:
        statement = statement.where(quarantines.c.closed_at.is_(None))
    with ledger.database.reading() as connection:
        return tuple(_quarantine(row) for row in connection.execute(statement).all())


def open_quarantine(
    ledger: Ledger,
    writer: Writer,
    *,
    mac: bytes,
    classification: Classification,
    identity: BoardIdentity,
) -> Quarantine:
    """Put a board into quarantine; one that is there already stays as it is.

    Returns:
        The open quarantine.

    Raises:
        LedgerError: The database cannot be written.
    """
    with ledger.database.writing() as connection:
        known = find_open_quarantine(connection, mac)
        if known is not None:
            return known
        unit = find_by(connection, units.c.mac == mac)
        now = writer.now()
        chained = append_event(
            connection, writer, epoch=ledger.identity.epoch, step=QUARANTINE_STEP,
            phase=Phase.CONFIRM,
            data={
                "board_class": classification.board_class.value,
                "reason": classification.reason,
                "record_digest": identity.digest.hex(),
                "serial": None if unit is None else unit.serial,
            },
            mac=mac, reservation=None, at=now,
        )  # fmt: skip
        connection.execute(
            insert(quarantines).values(
                station=writer.station,
                number=chained.event.number,
                mac=mac,
                serial=None if unit is None else unit.serial,
                board_class=classification.board_class.value,
                reason=classification.reason,
                record_digest=identity.digest or None,
                opened_at=format_time(now),
            )
        )
        opened = find_open_quarantine(connection, mac)
    assert opened is not None, "it was opened just now"
    return opened


def require_quarantined(connection: Connection, mac: bytes) -> Quarantine:
    """Return the open quarantine of a board.

    Raises:
        SupervisionError: It is in none.
    """
    quarantine = find_open_quarantine(connection, mac)
    if quarantine is None:
        raise SupervisionError(
            "the board is not in quarantine",
            got=mac.hex(":"),
            hint="`ampforge unit quarantine` lists those that are",
        )
    return quarantine


def close_quarantine(connection: Connection, mac: bytes, *, at: str) -> None:
    """End the open quarantine of a board; `at` is now, as `format_time` writes it."""
    connection.execute(
        update(quarantines)
        .where(quarantines.c.mac == mac, quarantines.c.closed_at.is_(None))
        .values(closed_at=at)
    )


def find_open_quarantine(connection: Connection, mac: bytes) -> Quarantine | None:
    """Return the open quarantine of a board, or `None`, inside the caller's transaction."""
    row = connection.execute(
        _SELECT.where(quarantines.c.mac == mac, quarantines.c.closed_at.is_(None))
    ).one_or_none()
    return None if row is None else _quarantine(row)


def _quarantine(row: Row[Any]) -> Quarantine:
    check_row(row, quarantines, where="table quarantines")
    return Quarantine(
        mac=row.mac,
        serial=row.serial,
        board_class=row.board_class,
        reason=row.reason,
        opened_at=parse_time(row.opened_at),
        closed_at=None if row.closed_at is None else parse_time(row.closed_at),
        event_hash=row.hash,
    )
