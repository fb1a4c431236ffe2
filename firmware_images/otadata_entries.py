"""The two entries of otadata as values, and the bootloader's choice between them.

The layout and the rule are described in `otadata`, which writes them to flash; docs/spec/otadata.md
is normative.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from enum import IntEnum

from firmware_images.errors import OtaDataError
from firmware_images.flash_medium import SECTOR_BYTES
from signing.value_class import dataclass

ENTRY_COUNT = 2
OTADATA_SIZE_BYTES = ENTRY_COUNT * SECTOR_BYTES
EMPTY_SEQUENCE = 0xFFFFFFFF
SEQUENCE_MAX = EMPTY_SEQUENCE - 1
CRC_OFFSET_BYTES = 28
CRC_SIZE_BYTES = 4
_CRC_START = 0xFFFFFFFF
_LABEL = b"\xff" * 20
_ENTRY = struct.Struct("<I20sII")
assert _ENTRY.size == 32  # noqa: PLR2004 - docs/spec/otadata.md §1


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
        with_entry(swept, choice.entry_index, pending),
        replace(choice, state=OtaState.PENDING_VERIFY),
    )


def with_entry(otadata: OtaData, index: int, entry: OtaEntry) -> OtaData:
    """Return otadata with one entry exchanged."""
    first, second = otadata.entries
    return OtaData(entries=(entry, second) if index == 0 else (first, entry))
