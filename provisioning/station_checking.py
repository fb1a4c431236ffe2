"""Reads a slot's check standard for a station, and stops the slot when it is not what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.check_schedule import find_standing
from provisioning.check_standard import read_check_standard
from provisioning.errors import CheckStandardError
from provisioning.ledger_checks import record_check

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from provisioning.check_entry import Moment
    from provisioning.instruments import InstrumentIdentity
    from provisioning.ledger_checks import CheckResult
    from provisioning.station_ledger import StationLedger
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig


def check_slot(
    opened: StationLedger,
    settings: StationSettings,
    slot: SlotConfig,
    moment: Moment,
    *,
    now: Callable[[], dt.datetime],
    is_asked_for: bool = False,
) -> CheckResult | None:
    """Read the standard, if there is one and it is due; release or hold what was measured since.

    Without the ledger a good reading releases nothing yet: the ledger does, when it takes the
    reading over and nothing that it knows speaks against it.

    Args:
        opened: The ledger, or the outbox.
        settings: Section `[station]`, with the certificates of the register.
        slot: Where.
        moment: When in the work.
        now: Returns the present, aware.
        is_asked_for: Read it although none is due.

    Returns:
        What came of the reading; `None` when there was none.

    Raises:
        CheckStandardError: It is not good; every unit since the last good reading is on hold.
        InstrumentError: It could not be read.
        LedgerError: The ledger cannot be written.
    """
    standard = settings.check_standard
    if standard is None:
        return None

    def is_due(identity: InstrumentIdentity, certificate: str | None) -> bool:
        if is_asked_for or standard.is_read_each_run:
            return True
        standing = find_standing(
            opened.ledger,
            standard,
            station=opened.writer.station,
            slot=slot.name,
            instrument=identity.serial_number,
            certificate=certificate,
            now=now(),
        )
        return standing.due is not None

    facts = read_check_standard(slot, settings, standard, moment=moment, clock=now, is_due=is_due)
    if facts is None:
        return None
    result = record_check(opened.ledger, opened.writer, facts, may_release=not opened.is_offline)
    if not result.judgement.is_good:
        raise CheckStandardError(
            f"the check standard failed, {moment.value} of the run",
            expected=f"{standard.name} as it was",
            got="; ".join(result.judgement.reasons),
            where=f"slot {slot.name}, instrument {facts.instrument}",
            hint=f"{len(result.held)} units are on hold ({', '.join(result.held[:5]) or 'none'}): "
            "find the cause, then `ampforge unit rework SERIAL` for each",
        )
    return result
