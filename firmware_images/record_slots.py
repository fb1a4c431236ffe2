"""Two flash sectors that hold one record, so that a power cut leaves the old one or the new one.

Each sector begins with (little endian):

| offset | bytes | field | meaning |
|---|---|---|---|
| 0 | 4 | magic | `AFR1` |
| 4 | 4 | generation | 1.., the higher one counts |
| 8 | 4 | length | payload bytes, 0 to 4080 |
| 12 | 4 | CRC | CRC-32 of bytes 0 to 11 and the payload; for torn writes only |
| 16 | n | payload | |

The CRC is no protection against a person: what needs that is signed inside the payload. Normative
text: docs/spec/device-record.md §2.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from firmware_images.errors import RecordError
from firmware_images.flash_medium import ERASED_BYTE, SECTOR_BYTES
from signing.value_class import dataclass

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium

SLOT_COUNT = 2
_MAGIC = b"AFR1"
_HEAD = struct.Struct("<4sII")
_HEADER = struct.Struct("<4sIII")
assert _HEADER.size == 16  # noqa: PLR2004 - the size in the table above
RECORD_NAMES = ("calibration record", "identity record", "trust record", "update state")
DEVICE_RECORD_SIZE_BYTES = len(RECORD_NAMES) * SLOT_COUNT * SECTOR_BYTES
PAYLOAD_MAX_BYTES = SECTOR_BYTES - _HEADER.size
GENERATION_MAX = 0xFFFFFFFE
_ERASED_SECTOR = bytes([ERASED_BYTE]) * SECTOR_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One whole record and where it was found."""

    generation: int
    payload: bytes
    slot: int


def serialize_record(payload: bytes, *, generation: int) -> bytes:
    """Return the bytes that a sector begins with.

    Raises:
        RecordError: The payload does not fit a sector, or the generation is used up.
    """
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise RecordError(
            "the record does not fit its flash sector",
            expected=f"at most {PAYLOAD_MAX_BYTES} bytes",
            got=f"{len(payload)} bytes",
        )
    if not 1 <= generation <= GENERATION_MAX:
        raise RecordError(
            "the record's generation is out of range",
            expected=f"1 to {GENERATION_MAX}",
            got=generation,
        )
    head = _HEAD.pack(_MAGIC, generation, len(payload))
    return head + zlib.crc32(head + payload).to_bytes(4, "little") + payload


def parse_sector(untrusted_bytes: bytes, *, slot: int) -> Record | None:
    """Return the record in a sector, or `None` if the sector is erased, torn or foreign."""
    if len(untrusted_bytes) < _HEADER.size:
        return None
    magic, generation, length, crc = _HEADER.unpack_from(untrusted_bytes)
    if magic != _MAGIC or not 1 <= generation <= GENERATION_MAX or length > PAYLOAD_MAX_BYTES:
        return None
    payload = untrusted_bytes[_HEADER.size : _HEADER.size + length]
    if len(payload) != length or zlib.crc32(untrusted_bytes[: _HEAD.size] + payload) != crc:
        return None
    return Record(generation=generation, payload=payload, slot=slot)


class RecordSlots:
    """The two sectors of one record.

    Args:
        medium: The flash.
        offset_bytes: Where the first of the two sectors starts.
        name: What the record is, for messages.
    """

    def __init__(self, medium: FlashMedium, offset_bytes: int, *, name: str = "record") -> None:
        self._medium = medium
        self._offset_bytes = offset_bytes
        self._name = name

    def load(self) -> Record | None:
        """Return the newest whole record, or `None` if none was ever completed.

        Raises:
            RecordError: Both sectors are damaged, which no torn write can cause, or they
                contradict each other.
        """
        sectors = [self._read_sector(slot) for slot in range(SLOT_COUNT)]
        records = [parse_sector(sector, slot=slot) for slot, sector in enumerate(sectors)]
        whole = [record for record in records if record is not None]
        if not whole:
            if all(sector != _ERASED_SECTOR for sector in sectors):
                raise RecordError(
                    f"both copies of the {self._name} are damaged",
                    expected="at least one whole copy",
                    where=f"flash {self._offset_bytes:#x}",
                    hint="send the unit to a service station, which writes it anew",
                )
            return None
        if len(whole) == SLOT_COUNT and whole[0].generation == whole[1].generation:
            raise RecordError(
                f"the two copies of the {self._name} claim the same generation",
                got=f"generation {whole[0].generation} twice",
                where=f"flash {self._offset_bytes:#x}",
                hint="send the unit to a service station, which writes it anew",
            )
        return max(whole, key=lambda record: record.generation)

    def save(self, payload: bytes) -> Record:
        """Write a new generation into the sector that does not hold the current one.

        Args:
            payload: Up to 4080 bytes.

        Returns:
            The record as it was read back.

        Raises:
            RecordError: It does not fit, or the flash did not keep it.
        """
        current = self.load()
        slot = 0 if current is None else 1 - current.slot
        generation = 1 if current is None else current.generation + 1
        content = serialize_record(payload, generation=generation)
        offset_bytes = self._offset_bytes + slot * SECTOR_BYTES
        self._medium.erase(offset_bytes, SECTOR_BYTES)
        # The header goes last: until it is whole, the sector does not count.
        self._medium.write(offset_bytes + _HEADER.size, content[_HEADER.size :])
        self._medium.write(offset_bytes, content[: _HEADER.size])
        written = parse_sector(self._read_sector(slot), slot=slot)
        if written is None or (written.generation, written.payload) != (generation, payload):
            raise RecordError(
                f"the flash did not keep the {self._name}",
                expected=f"generation {generation} with {len(payload)} bytes",
                got="other bytes" if written is None else f"generation {written.generation}",
                where=f"flash {offset_bytes:#x}",
                hint="the flash sector may be worn out: take the board out of the line",
            )
        return written

    def erase(self) -> None:
        """Forget the record: a station does this before it writes a unit anew."""
        self._medium.erase(self._offset_bytes, SLOT_COUNT * SECTOR_BYTES)

    def _read_sector(self, slot: int) -> bytes:
        return self._medium.read(self._offset_bytes + slot * SECTOR_BYTES, SECTOR_BYTES)
