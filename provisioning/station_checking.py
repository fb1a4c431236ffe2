"""Reads a slot's check standard for a station, and stops the slot when it is not what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.check_standard import read_check_standard
from provisioning.errors import CheckStandardError, StationError
from provisioning.ledger_checks import record_check

if TYPE_CHECKING:
    from provisioning.check_standard import Moment
    from provisioning.station import Station
    from provisioning.station_values import SlotConfig


def check_slot(station: Station, slot: SlotConfig, moment: Moment) -> None:
    """Read the standard, if the station has one; release or hold what was measured since.

    Raises:
        CheckStandardError: It is not good; every unit since the last good reading is on hold.
        InstrumentError: It could not be read.
        StationError: The ledger is out of reach, so nothing could be held or released.
        LedgerError: The ledger cannot be written.
    """
    standard = station.settings.check_standard
    if standard is None:
        return
    if station.opened.is_offline:
        raise StationError(
            "a check standard needs the factory's ledger",
            expected="the ledger, where units are held and released",
            got="a lease",
            hint="bring the ledger back, or work without [station.check_standard]",
        )
    check = read_check_standard(
        slot, station.settings, standard, moment=moment, clock=station.outside.now
    )
    result = record_check(station.ledger, station.writer, check, standard)
    if not result.judgement.is_good:
        raise CheckStandardError(
            f"the check standard failed, {moment.value} of the run",
            expected=f"{standard.name} as it was",
            got="; ".join(result.judgement.reasons),
            where=f"slot {slot.name}, {check.instrument}",
            hint=f"{len(result.held)} units are on hold ({', '.join(result.held[:5]) or 'none'}): "
            "find the cause, then `ampforge unit rework SERIAL` for each",
        )
