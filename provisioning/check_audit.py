"""For the audit of the whole ledger: nothing is released or held but by a reading.

A reading of a check standard and all that follows from it are one transaction, so they stand
together in the chain: `check-standard`, then each `hold` and `release`, with nothing in between but
notes on the clock. Implements docs/spec/ledger-and-record-export.md §2.1. That a reading is what it
says, `check_entry` looks at; whether it was ever taken, nobody here can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioning.check_doubts import require_held
from provisioning.check_entry import parse_check
from provisioning.ledger_events import Phase
from provisioning.ledger_retelling import HOLD_STEP, RELEASE_STEP, contradiction
from provisioning.ledger_schema import CHECK_STANDARD_STEP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from provisioning.check_entry import ToldCheck
    from provisioning.errors import LedgerError
    from provisioning.ledger_events import Event


@dataclass(slots=True)
class CheckAudit:
    """What was read just before, in each chain, and what was read bad in the stations' own."""

    _bad: list[ToldCheck] = field(default_factory=list)
    _is_good: dict[str, bool | None] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Look at one event; of each chain in order.

        Raises:
            CheckEntryError: It is not the reading that it says it is.
            LedgerError: It releases or holds a unit, and no reading says so.
        """
        if event.phase is Phase.NOTE:
            return
        step = event.step if event.phase is Phase.CONFIRM else None
        if step == CHECK_STANDARD_STEP:
            told = parse_check(event)
            self._is_good[event.station] = told.entry.is_good
            if not told.entry.is_good and told.entry.seen is not None:
                self._bad.append(told)
        elif step == RELEASE_STEP:
            if self._is_good.get(event.station) is not True:
                raise _unfounded(event, "a good reading just before")
        elif step == HOLD_STEP:
            if self._is_good.get(event.station) is None:
                raise _unfounded(event, "a reading just before")
        else:
            self._is_good[event.station] = None

    def require_held(self, connection: Connection, counts: Mapping[str, int]) -> None:
        """Refuse a ledger in which a unit that a bad reading put in doubt was released.

        Args:
            connection: Inside a transaction that sees one state.
            counts: How many events each chain has.

        Raises:
            LedgerError: One was; or a reading saw what is not there.
        """
        require_held(connection, self._bad, counts)


def _unfounded(event: Event, expected: str) -> LedgerError:
    where = f"station {event.station}, event {event.number}"
    return contradiction(where, expected, f"{event.step} {event.serial}")
