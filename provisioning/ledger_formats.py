"""The one format of a ledger's serial numbers, as its first event says it.

A ledger whose format is not the standard one begins with a CONFIRM of step `serial-format`, number
0 of the chain of the station that made it (docs/spec/ledger-and-record-export.md §3.2). It is
chained, backed up and audited like any other event, and there can be no second one: numbers of two
formats could be mistaken for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger_columns import EVENTS
from provisioning.ledger_event_rows import read_row
from provisioning.ledger_questions import select_all
from provisioning.ledger_rows import check_row, only_row
from provisioning.serial_formats import STANDARD_FORMAT, SerialFormat, parse_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioning.ledger_events import Event
    from provisioning.ledger_questions import Questions

FORMAT_STEP: Final = "serial-format"
FORMAT_KEY: Final = "format"
"""Under which its data has the picture of the format."""
_FIRST_OF: Final = select_all(EVENTS, "WHERE station = :station AND number = 0")
_NEXT_STATION: Final = "SELECT min(station) AS station FROM events WHERE station > :station"


def read_format(questions: Questions) -> SerialFormat:
    """Return the format of a ledger's serial numbers.

    Raises:
        LedgerError: Its first events say something that is no format, or two of them.
    """
    found = [event for event in _first_events(questions) if event.step == FORMAT_STEP]
    if not found:
        return STANDARD_FORMAT
    if len(found) > 1:
        raise _damaged(found[1], expected="one event that states it", got=f"{len(found)}")
    try:
        return parse_format(str(found[0].data.get(FORMAT_KEY)))
    except SerialNumberError as error:
        raise _damaged(found[0], expected=error.expected, got=error.got) from error


def refuse_late_format(event: Event) -> None:
    """Refuse a format that was stated after its station had written something else.

    Raises:
        LedgerError: The event is not the first of its chain.
    """
    if event.number != 0:
        raise _damaged(event, expected="only in the first event of a ledger", got="a later one")


def _first_events(questions: Questions) -> Iterator[Event]:
    station = ""
    while True:  # one look-up for each station: the table of events has no index by number
        (following,) = questions.ask(_NEXT_STATION, station=station)
        if following.station is None:
            return
        # A station that is no text comes after every text, for ever.
        station = check_row(following, EVENTS, where="table events").station
        rows = questions.ask(_FIRST_OF, station=station)
        row = only_row(rows, EVENTS, where=f"station {station}")
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
