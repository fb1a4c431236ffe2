"""Which app slot boots: ESP-IDF's otadata, its selection rule and its state changes.

The otadata partition has two 4096-byte sectors. Each begins with one entry
(ESP-IDF `esp_ota_select_entry_t`), little endian:

| offset | bytes | field | meaning |
|---|---|---|---|
| 0 | 4 | sequence | 1.., FFFFFFFF means empty; slot = (sequence - 1) mod slot count |
| 4 | 20 | label | unused, FF |
| 24 | 4 | state | 0 new, 1 pending verify, 2 valid, 3 invalid, 4 aborted, FFFFFFFF undefined |
| 28 | 4 | CRC | CRC-32 of the four sequence bytes alone, started as ESP-IDF does (FFFFFFFF) |

An entry can be chosen if its sequence is not FFFFFFFF, its state is not invalid or aborted, and
its CRC matches; of two such entries the higher sequence wins. If none can be chosen and there is
no factory app, slot 0 is tried. Normative text: docs/spec/otadata.md.

This module does not look at the app images themselves: whether the chosen slot holds a valid image
is the bootloader's next question.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.errors import FlashMediumError, OtaDataError
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.otadata_entries import (
    CRC_OFFSET_BYTES,
    CRC_SIZE_BYTES,
    EMPTY_SEQUENCE,
    ENTRY_COUNT,
    OTADATA_SIZE_BYTES,
    SEQUENCE_MAX,
    BootChoice,
    OtaData,
    OtaEntry,
    OtaState,
    begin_boot,
    boot_order,
    initial_otadata,
    make_entry,
    parse_otadata,
    select_boot,
    sequence_crc,
    serialize_entry,
)

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition

__all__ = [
    "EMPTY_SEQUENCE",
    "ENTRY_COUNT",
    "OTADATA_SIZE_BYTES",
    "BootChoice",
    "OtaData",
    "OtaEntry",
    "OtaState",
    "begin_boot",
    "boot_order",
    "initial_otadata",
    "make_entry",
    "mark_state",
    "parse_otadata",
    "read_otadata",
    "select_boot",
    "sequence_crc",
    "serialize_entry",
    "spoil_rejected_entry",
    "switch_slot",
    "write_boot",
]


def read_otadata(medium: FlashMedium, partition: Partition) -> OtaData:
    """Read both entries from flash."""
    return parse_otadata(medium.read(partition.offset_bytes, OTADATA_SIZE_BYTES))


def write_boot(medium: FlashMedium, partition: Partition, slot_count: int = 2) -> BootChoice:
    """Do what the bootloader does to otadata at a boot, and return what it starts.

    As the bootloader, it starts what it chose, whether or not a worn flash takes the new state
    (docs/spec/otadata.md §3), and writes an entry in one piece: a tear may leave the CRC and not
    the state.
    """
    before = read_otadata(medium, partition)
    after, choice = begin_boot(before, slot_count)
    for index in range(ENTRY_COUNT):
        if after.entries[index] != before.entries[index]:
            offset_bytes = partition.offset_bytes + index * SECTOR_BYTES
            with suppress(FlashMediumError):
                medium.erase(offset_bytes, SECTOR_BYTES)
                medium.write(offset_bytes, serialize_entry(after.entries[index]))
    return choice


def switch_slot(
    medium: FlashMedium,
    partition: Partition,
    slot: int,
    state: OtaState = OtaState.NEW,
    *,
    slot_count: int = 2,
) -> OtaData:
    """Make the next boot try another slot, by writing the entry that is *not* in use.

    Until that one sector is complete the entry in use decides, so a reset at any moment boots
    either the old slot or the new one.

    Args:
        medium: The flash.
        partition: The otadata partition.
        slot: The slot to boot next.
        state: NEW asks the bootloader to revert unless the app confirms itself.
        slot_count: Number of OTA slots in the table.

    Raises:
        OtaDataError: The slot does not exist, the sequence is used up, or the flash did not take
            the entry.
    """
    if not 0 <= slot < slot_count:
        raise OtaDataError("there is no such app slot", expected=f"0 to {slot_count - 1}", got=slot)
    otadata = read_otadata(medium, partition)
    active = otadata.active_index
    if active is None:
        target, sequence = _unused_index(otadata), slot + 1
    else:
        target = 1 - active
        running = otadata.entries[active].sequence
        sequence = running + 1 + (slot - running) % slot_count
    if sequence > SEQUENCE_MAX:
        raise OtaDataError(
            "otadata has no sequence number left",
            expected=f"at most {SEQUENCE_MAX}",
            got=sequence,
            hint="erase the otadata partition and write it anew at a service station",
        )
    _write_entry(medium, partition, target, make_entry(sequence, state))
    return read_otadata(medium, partition)


def _unused_index(otadata: OtaData) -> int:
    # Neither entry can be chosen: replace an empty or damaged one before a rejected one.
    return 1 if otadata.entries[0].is_intact and not otadata.entries[1].is_intact else 0


def mark_state(
    medium: FlashMedium,
    partition: Partition,
    state: OtaState,
    *,
    entry_index: int | None = None,
) -> OtaData:
    """Change the state of one entry in place, as ESP-IDF's app and bootloader do.

    The *other* entry is the way back and must survive, so it is never the one that is written: a
    reset between erase and write loses this entry and boots the other one.

    Args:
        medium: The flash.
        partition: The otadata partition.
        state: VALID confirms, INVALID rejects, ABORTED is the bootloader's.
        entry_index: The entry; by default the one in use.

    Raises:
        OtaDataError: There is no such intact entry, or the flash did not take the change.
    """
    otadata = read_otadata(medium, partition)
    index = otadata.active_index if entry_index is None else entry_index
    if index is None or not otadata.entries[index].is_intact:
        raise OtaDataError(
            "otadata has no entry whose state could change",
            expected="an intact entry",
            got="empty or damaged entries",
            where=f"partition {partition.name}",
        )
    entry = otadata.entries[index]
    if entry.state != state:
        _write_entry(medium, partition, index, replace(entry, state=state))
    return read_otadata(medium, partition)


def spoil_rejected_entry(medium: FlashMedium, partition: Partition) -> None:
    """Make an entry that was rejected count no more, without an erase.

    It would look like the verdict on the update that is about to be switched to, if the power
    failed before that. Its CRC is cleared, and of its state no bit changes: an erase that is torn
    may leave a state that boots, and with it a release that nobody chose.

    Raises:
        OtaDataError: The flash did not take it.
    """
    otadata = read_otadata(medium, partition)
    active = otadata.active_index
    if active is None:
        return
    rejected = otadata.entries[1 - active]
    if not rejected.is_intact or rejected.is_selectable:
        return
    offset_bytes = partition.offset_bytes + (1 - active) * SECTOR_BYTES + CRC_OFFSET_BYTES
    medium.write(offset_bytes, bytes(CRC_SIZE_BYTES))
    got = medium.read(offset_bytes, CRC_SIZE_BYTES)
    if got != bytes(CRC_SIZE_BYTES):
        raise OtaDataError(
            "the flash did not give up a rejected otadata entry",
            expected=bytes(CRC_SIZE_BYTES).hex(),
            got=got.hex(),
            where=f"partition {partition.name}, sector {1 - active}",
            hint="the flash sector may be worn out: take the board out of the line",
        )


def _write_entry(medium: FlashMedium, partition: Partition, index: int, entry: OtaEntry) -> None:
    offset_bytes = partition.offset_bytes + index * SECTOR_BYTES
    content = serialize_entry(entry)
    medium.erase(offset_bytes, SECTOR_BYTES)
    # The CRC covers the sequence alone. Written last, it keeps a torn state from counting.
    medium.write(offset_bytes, content[:CRC_OFFSET_BYTES])
    medium.write(offset_bytes + CRC_OFFSET_BYTES, content[CRC_OFFSET_BYTES:])
    got = medium.read(offset_bytes, len(content))
    if got != content:
        raise OtaDataError(
            "the flash did not keep an otadata entry",
            expected=content.hex(),
            got=got.hex(),
            where=f"partition {partition.name}, sector {index}",
            hint="the flash sector may be worn out: take the board out of the line",
        )
