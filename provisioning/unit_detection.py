"""Finds out which board is in a slot, before it gets a number: by its loader, or by its own proof.

What it found is written down as the step `detect` of the station's chain. Whether the station may
work on the board is `unit_admission`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.classification import BoardIdentity, RecordCondition
from provisioning.errors import FlashError, LockedChipError
from provisioning.ledger_board_view import view_board
from provisioning.ledger_events import Phase
from provisioning.locked_board import FoundBoard, identify_locked_board
from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.device_link import DeviceLink
    from provisioning.flasher import Flasher
    from provisioning.station import Station
    from provisioning.station_values import SlotConfig


def detect_board(
    station: Station,
    slot: SlotConfig,
    flasher: Flasher,
    link: DeviceLink,
    *,
    on_progress: Callable[[Step, float, str], None],
) -> FoundBoard:
    """Return the board in a slot, of the product's chip.

    Args:
        station: What all slots share.
        slot: Where the board is.
        flasher: Asks its loader.
        link: Asks its application.
        on_progress: Told the step, its fraction and a text.

    Raises:
        FlashError: No loader answers, and no locked board proves who it is; or the chip is another
            one than the product's.
        ProvisioningError: Port, board or ledger failed.
    """
    where = {"slot": slot.name, "port": slot.port}
    station.ledger.append(station.writer, step=Step.DETECT.value, phase=Phase.INTENT, data=where)
    chip = _find_board(station, flasher, link, on_progress=on_progress)
    wanted = station.bundle.statement.chip
    if chip.chip.lower().replace("-", "") != wanted:
        raise FlashError(
            "this is not the product's chip",
            expected=wanted,
            got=chip.chip,
            where=slot.port,
            hint="check which board is in the slot; it got no serial number",
        )
    station.ledger.append(
        station.writer,
        step=Step.DETECT.value,
        phase=Phase.CONFIRM,
        data=where
        | {
            "chip": chip.chip,
            "revision": chip.revision,
            "identified_by": "signed identity" if chip.is_locked else "loader",
        },
        mac=chip.mac,
    )
    return chip


def _find_board(
    station: Station,
    flasher: Flasher,
    link: DeviceLink,
    *,
    on_progress: Callable[[Step, float, str], None],
) -> FoundBoard:
    try:
        facts = flasher.detect()
    except FlashError as error:
        on_progress(Step.DETECT, 0.0, "no answer from the loader: asking the application")
        found = identify_locked_board(station, link, error)
        if not isinstance(error, LockedChipError) and not _is_locked_by_us(station, found.mac):
            # An open board whose loader is out of reach is no locked one: nothing on it was
            # compared, and it would pass with what an earlier job left there.
            raise
        return found
    return FoundBoard(chip=facts.chip, revision=facts.revision, mac=facts.mac)


def _is_locked_by_us(station: Station, mac: bytes) -> bool:
    identity = BoardIdentity(condition=RecordCondition.UNREADABLE)
    unit = view_board(station.ledger, mac, identity).unit
    return unit is not None and any(
        chained.event.step == Step.LOCK.value and chained.event.mac == mac
        for chained in station.ledger.events(serial=unit.serial)
    )
