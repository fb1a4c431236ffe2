"""Whether the release that a board runs has yet to prove itself; until then its output stays off.

Two things say so, and each is enough. The update state holds a pending update for the running slot:
that stays so until the self-test has passed and the counters are written. And otadata says NEW or
PENDING_VERIFY. Otadata alone would not do: a torn write may leave VALID there, which nobody said
(docs/spec/updater.md §2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.otadata import OtaState, read_otadata, select_boot

if TYPE_CHECKING:
    from firmware_images.device_record import DeviceRecord
    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition

# NEW, too: a worn flash may not have let the bootloader write PENDING_VERIFY.
UNCONFIRMED_STATES: Final = frozenset({OtaState.NEW, OtaState.PENDING_VERIFY})


def is_unproven(
    medium: FlashMedium, otadata: Partition, record: DeviceRecord, *, slot: int, slot_count: int = 2
) -> bool:
    """Tell whether the release in a slot has yet to prove itself.

    Args:
        medium: The flash.
        otadata: Where otadata lies.
        record: The device record.
        slot: The app slot that runs.
        slot_count: Number of OTA slots in the table.

    Raises:
        RecordError: The update state is damaged beyond what a cut can do: nobody can tell.
    """
    pending = record.load_update_state().pending
    if pending is not None and pending.slot == slot:
        return True
    choice = select_boot(read_otadata(medium, otadata), slot_count)
    return choice.slot == slot and choice.state in UNCONFIRMED_STATES
