"""Reads the check standards of a station's slots; a bad reading stops a slot, and holds units.

Within the work of a slot (`provisioning.slots`), or by itself, at the end of the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.check_entry import Moment
from provisioning.check_schedule import find_standing
from provisioning.check_standard import read_check_standard
from provisioning.errors import CheckStandardError
from provisioning.instrument_register import apply_register, load_copy, read_register, save_copy
from provisioning.ledger_checks import record_check
from provisioning.ledger_witness import save_witness
from provisioning.station_ledger import open_station_ledger
from signing.refusal import Refusal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from provisioning.instruments import InstrumentIdentity
    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_checks import CheckResult
    from provisioning.ledger_values import Writer
    from provisioning.station_ledger import StationLedger
    from provisioning.station_settings import StationSettings
    from provisioning.station_values import SlotConfig

_HELD_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCheck:
    """What came of reading the standard of one slot.

    Attributes:
        slot: The slot.
        result: What came of the reading, good or not; `None` when there was none.
        error: What stopped it: a bad reading, or why there was none.
    """

    slot: SlotConfig
    result: CheckResult | None
    error: Refusal | None


def check_slots(
    folder: Path,
    address: LedgerAddress,
    settings: StationSettings,
    writer: Writer,
    slots: Sequence[SlotConfig],
) -> tuple[bool, tuple[SlotCheck, ...]]:
    """Read the standard of every slot now, at the close of the work.

    Args:
        folder: The station's folder.
        address: The factory's ledger.
        settings: Section `[station]`, with a check standard.
        writer: The station.
        slots: Where.

    Returns:
        Whether it was done without the ledger, and what came of each slot, one after the other.

    Raises:
        LedgerError: The ledger, or the outbox, cannot be used.
        LeaseError: The ledger is out of reach, and the lease must not be used.
        StationError: Another process works as this station.
    """
    opened = open_station_ledger(folder, address, writer)
    try:
        if opened.is_offline:
            register = load_copy(folder)
        else:
            register = read_register(opened.ledger)
            save_copy(folder, register)
        certified = apply_register(settings, register)
        found = []
        for slot in slots:
            try:
                result = _take_reading(
                    opened, certified, slot, Moment.CLOSE, now=writer.now, is_asked_for=True
                )
                bad = None if result is None else _find_bad(result)
                found.append(SlotCheck(slot=slot, result=result, error=bad))
            except Refusal as error:
                found.append(SlotCheck(slot=slot, result=None, error=error))
        if not opened.is_offline:
            save_witness(folder, opened.ledger, station=writer.station, is_closed=True)
    finally:
        opened.close()
    return opened.is_offline, tuple(found)


def check_slot(
    opened: StationLedger,
    settings: StationSettings,
    slot: SlotConfig,
    moment: Moment,
    *,
    now: Callable[[], dt.datetime],
) -> CheckResult | None:
    """Read the standard, if there is one and it is due; release or hold what was measured since.

    Without the ledger a good reading releases nothing yet: the ledger does, when it takes the
    reading over and nothing that it knows speaks against it. A standard that cannot be read is no
    reading: nothing is written down, released or held (docs/spec/calibration.md §3.8).

    Args:
        opened: The ledger, or the outbox.
        settings: Section `[station]`, with the certificates of the register.
        slot: Where.
        moment: When in the work.
        now: Returns the present, aware.

    Returns:
        What came of the reading; `None` when there was none.

    Raises:
        CheckStandardError: It is not good; every unit since the last good reading is on hold.
        InstrumentError: It could not be read.
        LedgerError: The ledger cannot be written.
    """
    result = _take_reading(opened, settings, slot, moment, now=now)
    bad = None if result is None else _find_bad(result)
    if bad is not None:
        raise bad
    return result


def _take_reading(
    opened: StationLedger,
    settings: StationSettings,
    slot: SlotConfig,
    moment: Moment,
    *,
    now: Callable[[], dt.datetime],
    is_asked_for: bool = False,
) -> CheckResult | None:
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
    return record_check(
        opened.ledger, opened.writer, facts, may_release=not opened.is_offline, after=opened.known
    )


def _find_bad(result: CheckResult) -> CheckStandardError | None:
    if result.judgement.is_good:
        return None
    facts = result.facts
    return CheckStandardError(
        f"the check standard failed, {facts.moment.value} of the run",
        expected=f"{facts.standard} as it was",
        got="; ".join(result.judgement.reasons),
        where=f"slot {facts.slot}, instrument {facts.instrument}",
        hint=_advise(result.held),
    )


def _advise(held: Sequence[str]) -> str:
    if not held:
        return "no unit is concerned: find the cause, then `ampforge instrument check`"
    count = "1 unit is" if len(held) == 1 else f"{len(held)} units are"
    more = "" if len(held) <= _HELD_SHOWN else f" and {len(held) - _HELD_SHOWN} more"
    return (
        f"{count} on hold ({', '.join(held[:_HELD_SHOWN])}{more}): find the cause, "
        "then `ampforge unit rework SERIAL` for each"
    )
