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

import struct
import zlib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from firmware_images.errors import OtaDataError
from firmware_images.flash_medium import SECTOR_BYTES

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium
    from firmware_images.partitions import Partition

ENTRY_COUNT = 2
OTADATA_SIZE_BYTES = ENTRY_COUNT * SECTOR_BYTES
EMPTY_SEQUENCE = 0xFFFFFFFF
_SEQUENCE_MAX = EMPTY_SEQUENCE - 1
_CRC_START = 0xFFFFFFFF
_LABEL = b"\xff" * 20
_ENTRY = struct.Struct("<I20sII")
assert _ENTRY.size == 32  # noqa: PLR2004 - the size in the table above


class OtaState(IntEnum):
    """The state of an entry, as ESP-IDF's bootloader with rollback enabled keeps it."""

    NEW = 0
    PENDING_VERIFY = 1
    VALID = 2
    INVALID = 3
    ABORTED = 4
    UNDEFINED = 0xFFFFFFFF


_STATES = {state.value: state for state in OtaState}


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaEntry:
    """One entry as it was read; it may be empty or damaged.

    Attributes:
        sequence: 32-bit sequence number.
        state: The raw 32-bit state; a value outside `OtaState` boots like VALID, as on the chip.
        crc: The stored CRC.
        label: The unused 20 bytes, kept so that a rewrite preserves them.
    """

    sequence: int
    state: int
    crc: int
    label: bytes = _LABEL

    @property
    def is_intact(self) -> bool:
        """Whether there is a sequence number and its CRC matches."""
        return self.sequence != EMPTY_SEQUENCE and self.crc == sequence_crc(self.sequence)

    @property
    def is_selectable(self) -> bool:
        """Whether the bootloader may choose it."""
        return self.is_intact and self.state not in {OtaState.INVALID, OtaState.ABORTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaData:
    """Both entries of the partition."""

    entries: tuple[OtaEntry, OtaEntry]

    @property
    def active_index(self) -> int | None:
        """The entry that the bootloader follows, or `None` if neither can be chosen."""
        first, second = self.entries
        if first.is_selectable and second.is_selectable:
            return 0 if first.sequence >= second.sequence else 1
        if first.is_selectable:
            return 0
        return 1 if second.is_selectable else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootChoice:
    """What the bootloader tries first.

    Attributes:
        slot: OTA slot number.
        entry_index: The entry that says so, or `None` when slot 0 is the fallback.
        state: The state of that entry; UNDEFINED for the fallback.
    """

    slot: int
    entry_index: int | None
    state: OtaState


def sequence_crc(sequence: int) -> int:
    """Return the CRC-32 that belongs to a sequence number."""
    return zlib.crc32(sequence.to_bytes(4, "little"), _CRC_START)


def make_entry(sequence: int, state: OtaState) -> OtaEntry:
    """Return an intact entry."""
    return OtaEntry(sequence=sequence, state=state, crc=sequence_crc(sequence))


def serialize_entry(entry: OtaEntry) -> bytes:
    """Return the 32 bytes of an entry."""
    return _ENTRY.pack(entry.sequence, entry.label, entry.state, entry.crc)


def parse_otadata(untrusted_bytes: bytes) -> OtaData:
    """Parse the whole partition; empty and damaged entries are values, not errors.

    Raises:
        OtaDataError: The size is not that of two sectors.
    """
    if len(untrusted_bytes) != OTADATA_SIZE_BYTES:
        raise OtaDataError(
            "otadata has the wrong size",
            expected=f"{OTADATA_SIZE_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
        )
    first, second = (
        OtaEntry(sequence=sequence, label=label, state=state, crc=crc)
        for sequence, label, state, crc in (
            _ENTRY.unpack_from(untrusted_bytes, index * SECTOR_BYTES)
            for index in range(ENTRY_COUNT)
        )
    )
    return OtaData(entries=(first, second))


def initial_otadata(slot: int, *, state: OtaState = OtaState.VALID) -> bytes:
    """Return the content of a fresh partition that boots the given slot.

    Args:
        slot: OTA slot number.
        state: VALID for a factory: the first boot there is checked by the station.
    """
    entry = serialize_entry(make_entry(slot + 1, state))
    return entry.ljust(OTADATA_SIZE_BYTES, b"\xff")


def select_boot(otadata: OtaData, slot_count: int = 2) -> BootChoice:
    """Choose the slot as the bootloader does, without factory app and anti-rollback eFuse."""
    index = otadata.active_index
    if index is None:
        return BootChoice(slot=0, entry_index=None, state=OtaState.UNDEFINED)
    entry = otadata.entries[index]
    # The chip subtracts in 32 bits: sequence 0 is slot (2^32 - 1) mod count.
    slot = ((entry.sequence - 1) & EMPTY_SEQUENCE) % slot_count
    return BootChoice(slot=slot, entry_index=index, state=_known_state(entry.state))


def boot_order(choice: BootChoice, slot_count: int = 2) -> tuple[int, ...]:
    """Return the slots in the order in which the bootloader tries them for a valid image.

    From the chosen slot down to 0, then from the chosen one upward.
    """
    return (*range(choice.slot, -1, -1), *range(choice.slot + 1, slot_count))


def _known_state(state: int) -> OtaState:
    return _STATES.get(state, OtaState.UNDEFINED)


def begin_boot(otadata: OtaData, slot_count: int = 2) -> tuple[OtaData, BootChoice]:
    """Return otadata as the bootloader leaves it, and its choice (rollback enabled).

    An entry still PENDING_VERIFY did not confirm its first boot: it becomes ABORTED. A NEW entry
    that is chosen becomes PENDING_VERIFY.
    """
    first, second = (
        replace(entry, state=OtaState.ABORTED) if entry.state == OtaState.PENDING_VERIFY else entry
        for entry in otadata.entries
    )
    swept = OtaData(entries=(first, second))
    choice = select_boot(swept, slot_count)
    if choice.entry_index is None or choice.state is not OtaState.NEW:
        return swept, choice
    pending = replace(swept.entries[choice.entry_index], state=OtaState.PENDING_VERIFY)
    return (
        _with_entry(swept, choice.entry_index, pending),
        replace(choice, state=OtaState.PENDING_VERIFY),
    )


def _with_entry(otadata: OtaData, index: int, entry: OtaEntry) -> OtaData:
    first, second = otadata.entries
    return OtaData(entries=(entry, second) if index == 0 else (first, entry))


def read_otadata(medium: FlashMedium, partition: Partition) -> OtaData:
    """Read both entries from flash."""
    return parse_otadata(medium.read(partition.offset_bytes, OTADATA_SIZE_BYTES))


def write_boot(medium: FlashMedium, partition: Partition, slot_count: int = 2) -> BootChoice:
    """Do what the bootloader does to otadata at a boot, and return what it starts."""
    before = read_otadata(medium, partition)
    after, choice = begin_boot(before, slot_count)
    for index in range(ENTRY_COUNT):
        if after.entries[index] != before.entries[index]:
            _write_entry(medium, partition, index, after.entries[index])
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
    if sequence > _SEQUENCE_MAX:
        raise OtaDataError(
            "otadata has no sequence number left",
            expected=f"at most {_SEQUENCE_MAX}",
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


def _write_entry(medium: FlashMedium, partition: Partition, index: int, entry: OtaEntry) -> None:
    offset_bytes = partition.offset_bytes + index * SECTOR_BYTES
    content = serialize_entry(entry)
    medium.erase(offset_bytes, SECTOR_BYTES)
    medium.write(offset_bytes, content)
    got = medium.read(offset_bytes, len(content))
    if got != content:
        raise OtaDataError(
            "the flash did not keep an otadata entry",
            expected=content.hex(),
            got=got.hex(),
            where=f"partition {partition.name}, sector {index}",
            hint="the flash sector may be worn out: take the board out of the line",
        )
