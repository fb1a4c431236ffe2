"""The UDI in a unit's record: given with the first PASS, kept for ever.

A label that was printed must stay true. So the identification is written into the `final` event of
the unit's first PASS, and each later PASS repeats it: rework changes neither lot nor production
date (docs/spec/udi-and-labels.md §3).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from provisioning.ledger_events import Phase
from provisioning.ledger_values import UnitState
from provisioning.station_values import Step
from provisioning.udi import Udi, parse_udi_document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import Event
    from provisioning.ledger_values import Reservation
    from provisioning.station import Station

UDI_KEY: Final = "udi"
LOT_KEY: Final = "lot"


def choose_udi(station: Station, reservation: Reservation, state: UnitState) -> Udi | None:
    """Return the identification that a verdict gives to a unit, or that it had before.

    Args:
        station: With lot and GTIN, where there are any.
        reservation: Serial number and job.
        state: The verdict.

    Returns:
        The identification; `None` without a PASS, or where the product has no GTIN.

    Raises:
        UdiError: The record of the unit holds an identification that cannot be read.
    """
    if state is not UnitState.PASS:
        return None
    if reservation.job_number != 1:  # the first job has nothing before it to repeat
        known = load_udi(station.ledger, reservation.serial)
        if known is not None:
            return known
    if station.gtin is None:
        return None
    return Udi(
        gtin=station.gtin,
        production_date=station.outside.now().astimezone(dt.UTC).date(),
        lot=station.settings.lot,
        serial=reservation.serial,
    )


def describe_udi(lot: str | None, udi: Udi | None) -> dict[str, object]:
    """Return what the `final` event of a job says about lot and identification."""
    said: dict[str, object] = {}
    if lot is not None:
        said[LOT_KEY] = lot
    if udi is not None:
        said[UDI_KEY] = udi.document()
    return said


def load_udi(ledger: Ledger, serial: str) -> Udi | None:
    """Return the identification that the ledger holds for a unit, or `None`.

    Raises:
        LedgerError: An event is damaged.
        UdiError: What it holds is none.
    """
    return find_udi(chained.event for chained in ledger.events(serial=serial))


def find_lot(events: Iterable[Event]) -> str | None:
    """Return the lot that a unit's last verdict names, or `None`.

    Args:
        events: The unit's, in order.
    """
    lot = None
    for event in events:
        if event.step == Step.FINAL.value and event.phase is Phase.CONFIRM:
            lot = event.data.get(LOT_KEY)
    return None if lot is None else str(lot)


def find_udi(events: Iterable[Event]) -> Udi | None:
    """Return the identification that a unit's record holds, or `None`.

    Args:
        events: The unit's, in any order: every PASS says the same.

    Raises:
        UdiError: What it holds is none.
    """
    for event in events:
        if (
            event.step == Step.FINAL.value
            and event.phase is Phase.CONFIRM
            and UDI_KEY in event.data
        ):
            where = f"station {event.station}, event {event.number}"
            return parse_udi_document(event.data[UDI_KEY], where=where)
    return None
