"""The one format of a ledger's serial numbers, as its first event says it.

A ledger whose format is not the standard one begins with a CONFIRM of step `serial-format`, number
0 of the chain of the station that made it (docs/spec/ledger-and-record-export.md §3.2). It is
chained, backed up and audited like any other event, and there can be no second one: numbers of two
formats could be mistaken for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger_events import Phase
from provisioning.ledger_journal import append_event, read_row
from provisioning.ledger_schema import events
from provisioning.ledger_values import Writer
from provisioning.serial_formats import STANDARD_FORMAT, SerialFormat, parse_format

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from provisioning.ledger_events import Event

FORMAT_STEP: Final = "serial-format"
_KEY: Final = "format"


def write_format(
    connection: Connection, serial_format: SerialFormat, *, station: str, at: dt.datetime
) -> None:
    """Write the format down as the first event of a new ledger, in the transaction that makes it.

    Args:
        connection: Inside that transaction.
        serial_format: The format, for ever.
        station: The station that makes the ledger.
        at: Now, aware.
    """
    writer = Writer(station=station, now=lambda: at, new_job=lambda: "")
    append_event(
        connection, writer, epoch=1, step=FORMAT_STEP, phase=Phase.CONFIRM,
        data={_KEY: serial_format.picture}, mac=None, reservation=None, at=at,
    )  # fmt: skip


def read_format(connection: Connection) -> SerialFormat:
    """Return the format of a ledger's serial numbers.

    Raises:
        LedgerError: Its first events say something that is no format, or two of them.
    """
    found = [event for event in _first_events(connection) if event.step == FORMAT_STEP]
    if not found:
        return STANDARD_FORMAT
    if len(found) > 1:
        raise _damaged(found[1], expected="one event that states it", got=f"{len(found)}")
    try:
        return parse_format(str(found[0].data.get(_KEY)))
    except SerialNumberError as error:
        raise _damaged(found[0], expected=error.expected, got=error.got) from error


def refuse_late_format(event: Event) -> None:
    """Refuse a format that was stated after its station had written something else.

    Raises:
        LedgerError: The event is not the first of its chain.
    """
    if event.number != 0:
        raise _damaged(event, expected="only in the first event of a ledger", got="a later one")


def _first_events(connection: Connection) -> Iterator[Event]:
    station = ""
    while True:  # one look-up for each station: the table of events has no index by number
        following = select(func.min(events.c.station)).where(events.c.station > station)
        found = connection.execute(following).scalar()
        if found is None:
            return
        station = str(found)
        chosen = select(events).where(events.c.station == station, events.c.number == 0)
        row = connection.execute(chosen).one_or_none()
        if row is not None:  # the audit says what a chain without beginning is
            yield read_row(row)


def _damaged(event: Event, *, expected: object, got: object) -> LedgerError:
    return LedgerError(
        "the format of the ledger's serial numbers is not stated properly",
        expected=expected,
        got=got,
        where=f"station {event.station}, event {event.number}",
        hint="the ledger was changed outside Ampforge; compare it with a backup",
    )
