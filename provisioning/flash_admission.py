"""May the station's release be flashed over what a board has taken before?

A release may ask that a board has taken an earlier one first, because it relies on what that one
converted. The updater keeps to it; so does a station, which writes past the updater. Asked before
anything is reserved, erased or written. Implements docs/spec/provisioning.md §3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.bundle_contents import DEVICE_RECORD_PARTITION
from firmware_images.device_record import UPDATE_STATE_SECTORS, DeviceRecord
from firmware_images.errors import RecordError
from firmware_images.flash_medium import SECTOR_BYTES, MemoryFlash
from firmware_images.release_constraints import describe_span
from provisioning.errors import ReleaseOrderError
from provisioning.ledger_events import Phase
from provisioning.station_values import Step

if TYPE_CHECKING:
    from firmware_images.device_record import UpdateState
    from provisioning.flasher import Flasher
    from provisioning.ledger_values import UnitRecord
    from provisioning.station import Station


def refuse_out_of_order(
    station: Station, flasher: Flasher, mac: bytes, unit: UnitRecord | None
) -> None:
    """Refuse to flash the station's release over a newer one, or past a step that it asks for.

    A board that has taken no release, or whose update state is damaged, is let through: the first
    has nothing that a step converts, and the second never passes (docs/spec/provisioning.md §3.3).

    Args:
        station: What all slots share.
        flasher: It has found an open chip.
        mac: The chip's MAC.
        unit: What the ledger knows of it, if anything.

    Raises:
        ReleaseOrderError: The board must take another release first, or had a newer one.
        FlashError: Its flash cannot be read.
    """
    state = _read_update_state(station, flasher)
    if state is None:
        return
    statement = station.bundle.statement
    where = mac.hex(":") if unit is None else f"{unit.serial}, {mac.hex(':')}"
    for what, got, offered in (
        ("release counter", state.release_counter, statement.release_counter),
        ("policy version", state.policy_version_floor, statement.policy_version),
    ):
        if got > offered:
            raise ReleaseOrderError(
                "the board had a newer release before than the station's",
                expected=f"{what} {offered} or lower",
                got=got,
                where=where,
                hint="nothing was written; start the station with the bundle of the newest release",
            )
    lowest = statement.constraints.minimum_current_counter
    if state.release_counter >= lowest:
        return
    told = _confirmed_counters(station, mac, unit)
    if not state.release_counter and not told:
        return
    known = max(state.release_counter, *told, 0)
    if known < lowest:
        raise ReleaseOrderError(
            f"the board must take a step before release {statement.version}",
            expected=f"a board with release counter {lowest} or later",
            got=f"release counter {known}" if known else "a board that knows of no release counter",
            where=where,
            hint="nothing was written; start the station with the bundle of a release with counter "
            f"{describe_span(lowest, statement.release_counter - 1)} for this board, then with "
            "this one again",
        )


def _read_update_state(station: Station, flasher: Flasher) -> UpdateState | None:
    """Return what the board keeps of its updates; `None` if it is damaged or not told."""
    partition = station.bundle.partition_table.find(DEVICE_RECORD_PARTITION)
    first, last = UPDATE_STATE_SECTORS
    offset_bytes = first * SECTOR_BYTES
    size_bytes = (last + 1) * SECTOR_BYTES - offset_bytes
    content = flasher.read(partition.offset_bytes + offset_bytes, size_bytes)
    if content is None:
        return None
    flash = MemoryFlash(partition.offset_bytes + partition.size_bytes)
    flash.write(partition.offset_bytes + offset_bytes, content)
    try:
        return DeviceRecord(flash, partition).load_update_state()
    except RecordError:
        return None


def _confirmed_counters(station: Station, mac: bytes, unit: UnitRecord | None) -> list[int]:
    """Return the release counters that this very chip was seen to hold; 0 where none was noted."""
    if unit is None:
        return []
    return [
        counter if type(counter := event.data.get("release_counter")) is int else 0
        for event in (chained.event for chained in station.ledger.events(serial=unit.serial))
        if event.mac == mac and event.step == Step.IDENTITY.value and event.phase is Phase.CONFIRM
    ]
