"""Earlier readings of check standards in the ledger.

Every function takes a connection inside a transaction. What was measured between readings is in
`check_coverage`. Implements docs/spec/calibration.md §3.8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from provisioning.check_entry import ToldCheck, parse_check
from provisioning.ledger_event_rows import read_row
from provisioning.ledger_events import Phase
from provisioning.ledger_schema import CHECK_STANDARD_STEP, IS_METROLOGY, events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from provisioning.check_entry import ChartKey

CHART_LENGTH: Final = 200
"""Good readings of a chart that are looked back at: what is older weighs 0.8^200 in its average."""
_ROWS_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckHistory:
    """The readings by one instrument of a station that count for the next one.

    Attributes:
        charted: Good readings of its chart, in order; of very many the last.
        last_of_chart: The last reading of its chart, good or not; `None` when there was none.
        last_good: The last good reading by the instrument; `None` when there was none.
        last: The last reading by it.
    """

    charted: tuple[ToldCheck, ...]
    last_of_chart: ToldCheck | None
    last_good: ToldCheck | None
    last: ToldCheck | None


def read_history(
    connection: Connection, station: str, *, instrument: str, chart: ChartKey | None = None
) -> CheckHistory:
    """Return what an instrument of a station read before.

    However much other instruments, other charts or bad readings lie in between: what is forgotten
    here would begin anew, and nobody would say so.

    Args:
        connection: Inside a transaction.
        station: Whose own chain is looked at.
        instrument: Serial number of the instrument.
        chart: The chart that is looked at; `None`: none.

    Raises:
        LedgerError: An event is damaged, or no reading.
    """
    charted: list[ToldCheck] = []
    last_of_chart = last_good = last = None
    for told in walk_checks(connection, station, instrument):
        last = last or told
        if told.entry.is_good:
            last_good = last_good or told
        if chart is not None and told.entry.chart == chart:
            last_of_chart = last_of_chart or told
            if told.entry.is_good:
                charted.append(told)
        if last_good is not None and (chart is None or len(charted) == CHART_LENGTH):
            break
    return CheckHistory(
        charted=tuple(charted[::-1]), last_of_chart=last_of_chart, last_good=last_good, last=last
    )


def read_checks(
    connection: Connection, station: str, *, instrument: str | None = None
) -> list[ToldCheck]:
    """Return all readings that a station tells, in order.

    Args:
        connection: Inside a transaction.
        station: Whose own chain is looked at.
        instrument: Only those by this serial number.

    Raises:
        LedgerError: An event is damaged, or no reading.
    """
    return list(walk_checks(connection, station, instrument))[::-1]


def walk_checks(
    connection: Connection,
    station: str,
    instrument: str | None = None,
    *,
    first: int = 0,
    end: int | None = None,
    is_forward: bool = False,
) -> Iterator[ToldCheck]:
    """Yield the readings that a station tells, back from the last.

    Args:
        connection: Inside a transaction.
        station: Whose own chain is looked at.
        instrument: Only those by this serial number; `None`: all.
        first: Only those from this event on.
        end: Only those before this event; `None`: all.
        is_forward: On from the first instead.

    Raises:
        LedgerError: An event is damaged, or no reading.
    """
    statement = (
        select(events)
        .where(IS_METROLOGY, events.c.station == station, events.c.number >= first)
        .order_by(events.c.number if is_forward else events.c.number.desc())
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    if end is not None:
        statement = statement.where(events.c.number < end)
    # As it stands in the content: most rows of a busy station are another instrument's.
    named = b"" if instrument is None else json.dumps(instrument, ensure_ascii=False).encode()
    rows = connection.execute(statement)
    try:
        for row in rows:
            if named not in row.content:
                continue
            event = read_row(row)
            if event.step == CHECK_STANDARD_STEP and event.phase is Phase.CONFIRM:
                told = parse_check(event)
                if instrument is None or told.entry.instrument == instrument:
                    yield told
    finally:
        rows.close()
