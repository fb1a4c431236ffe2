"""What happens after reset: ESP-IDF's second-stage bootloader, and which slot it starts.

Partition table at 0x8000 → otadata → chosen slot → is the image whole? A NEW slot becomes
PENDING_VERIFY; one that is still PENDING_VERIFY did not confirm its last boot, becomes ABORTED, and
the other slot starts. Image format: ESP-IDF "App Image Format" (magic, segments, XOR checksum in
the last byte of a 16-byte row, SHA-256 when the header says so).

The bootloader itself is part of the simulator: nothing needs to lie at flash offset 0, unless
Secure Boot is burned: then the ROM wants a signed bootloader there, and app slots are started only
with a signature by a key whose digest the chip holds. Flash encryption is not modelled.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Final

from firmware_images.errors import FirmwareImageError
from firmware_images.esp_image_layout import measure_image
from firmware_images.flash_medium import SECTOR_BYTES
from firmware_images.otadata import OtaState, boot_order, write_boot
from firmware_images.partitions import (
    TABLE_OFFSET_BYTES,
    TABLE_SIZE_BYTES,
    Partition,
    PartitionTable,
    parse_partition_table,
)
from firmware_images.secure_boot import verify_signed_image
from firmware_images.signature_sector import parse_signature_sector
from provisioning.errors import SimulatorError
from provisioning.simulator.flash_download import checksum
from provisioning.simulator.loader import CHIP_ID
from signing.errors import SigningError

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium

_HEADER: Final = struct.Struct("<BB10xH9xB")
_SEGMENT: Final = struct.Struct("<II")
_DESCRIPTOR: Final = struct.Struct("<II8x32s32s16s16s32s32s")
_MAGIC: Final = 0xE9
_DESCRIPTOR_MAGIC: Final = 0xABCD5432
_SEGMENT_MAX: Final = 16
_ROW_BYTES: Final = 16
_SHA256_BYTES: Final = 32
_BOOTLOADER: Final = Partition(
    name="bootloader", type=0, subtype=0, offset_bytes=0, size_bytes=TABLE_OFFSET_BYTES
)
assert _HEADER.size == 24  # noqa: PLR2004 - esp_image_header_t


@dataclass(frozen=True, slots=True, kw_only=True)
class BootedImage:
    """What runs.

    Attributes:
        slot: OTA slot number.
        state: The slot's state in otadata after this boot.
        table: The partition table it was found by.
        partition: Its app partition.
        project_name: From the application descriptor.
        version: From the application descriptor.
        elf_sha256: From the application descriptor.
        secure_version: From the application descriptor.
        image_sha256: SHA-256 of the image file, appended digest and signature sector included.
        size_bytes: Length of the image file.
    """

    slot: int
    state: OtaState
    table: PartitionTable
    partition: Partition
    project_name: str
    version: str
    elf_sha256: bytes
    secure_version: int
    image_sha256: bytes
    size_bytes: int


def boot_flash(medium: FlashMedium, *, key_digests: frozenset[bytes] | None = None) -> BootedImage:
    """Do what the bootloader does, otadata included, and return what it would jump to.

    Args:
        medium: The flash.
        key_digests: Keys that the chip accepts, or `None` while Secure Boot is off.

    Raises:
        FirmwareImageError: There is no usable partition table.
        SimulatorError: No slot holds a whole image, or none that the chip accepts.
    """
    if key_digests is not None:
        _refuse_unsigned(medium, _BOOTLOADER, key_digests)
    table = parse_partition_table(medium.read(TABLE_OFFSET_BYTES, TABLE_SIZE_BYTES))
    slots = table.ota_slots
    if not slots:
        raise SimulatorError("there is no OTA app partition")
    otadata = table.find("otadata")
    choice = write_boot(medium, otadata, len(slots))
    reasons = []
    for slot in boot_order(choice, len(slots)):
        state = choice.state if slot == choice.slot else OtaState.UNDEFINED
        try:
            if key_digests is not None:
                _refuse_unsigned(medium, slots[slot], key_digests)
            return inspect_slot(medium, table, slots[slot], slot=slot, state=state)
        except SimulatorError as error:
            reasons.append(f"ota_{slot}: {error}")
    raise SimulatorError(
        "no bootable app partitions in the partition table", got="; ".join(reasons)
    )


def try_boot(
    medium: FlashMedium, *, key_digests: frozenset[bytes] | None = None
) -> BootedImage | SimulatorError | FirmwareImageError:
    """Boot, and return the reason instead of raising it: a board that cannot boot is silent.

    Raises:
        PowerCutError: The fault plan cuts the power while otadata is written.
    """
    try:
        return boot_flash(medium, key_digests=key_digests)
    except (SimulatorError, FirmwareImageError) as error:
        return error


def inspect_slot(
    medium: FlashMedium, table: PartitionTable, partition: Partition, *, slot: int, state: OtaState
) -> BootedImage:
    """Judge the image in one app slot.

    Raises:
        SimulatorError: It is not a whole image for this chip.
    """
    start = partition.offset_bytes
    magic, segment_count, chip_id, has_digest = _HEADER.unpack(medium.read(start, _HEADER.size))
    if magic != _MAGIC or not 0 < segment_count <= _SEGMENT_MAX:
        raise SimulatorError("not an image", expected=f"{_MAGIC:#x}", got=f"{magic:#x}")
    if chip_id != CHIP_ID:
        raise SimulatorError("an image for another chip", expected=CHIP_ID, got=chip_id)
    position = _HEADER.size
    total = 0
    descriptor = b""
    for index in range(segment_count):
        if position + _SEGMENT.size > partition.size_bytes:
            raise SimulatorError("the image leaves its partition")
        _, segment_bytes = _SEGMENT.unpack(medium.read(start + position, _SEGMENT.size))
        position += _SEGMENT.size
        if position + segment_bytes + _ROW_BYTES + _SHA256_BYTES > partition.size_bytes:
            raise SimulatorError("the image leaves its partition")
        content = medium.read(start + position, segment_bytes)
        total = reduce(xor, (total, checksum(content), checksum(b"")))
        descriptor = content[: _DESCRIPTOR.size] if index == 0 else descriptor
        position += segment_bytes
    position += _ROW_BYTES - position % _ROW_BYTES
    end = position + _SHA256_BYTES * (has_digest == 1)
    image = medium.read(start, end)
    if image[position - 1] != total ^ checksum(b""):
        raise SimulatorError(
            "image checksum",
            expected=f"{total ^ checksum(b''):#x}",
            got=f"{image[position - 1]:#x}",
        )
    if has_digest and hashlib.sha256(image[:position]).digest() != image[position:]:
        raise SimulatorError("the image does not match its appended SHA-256")
    name, version, elf_sha256, secure_version = _parse_descriptor(descriptor)
    image = _with_signature(medium, partition, image)
    return BootedImage(
        slot=slot,
        state=state,
        table=table,
        partition=partition,
        project_name=name,
        version=version,
        elf_sha256=elf_sha256,
        secure_version=secure_version,
        image_sha256=hashlib.sha256(image).digest(),
        size_bytes=len(image),
    )


def _with_signature(medium: FlashMedium, partition: Partition, image: bytes) -> bytes:
    """Return the image file: with padding and signature sector, if there is one for it."""
    padded_bytes = -(-len(image) // SECTOR_BYTES) * SECTOR_BYTES
    if padded_bytes + SECTOR_BYTES > partition.size_bytes:
        return image
    file = medium.read(partition.offset_bytes, padded_bytes + SECTOR_BYTES)
    try:
        blocks = parse_signature_sector(file[padded_bytes:], where=partition.name)
    except (FirmwareImageError, SigningError):
        return image
    # What lies behind an image may be left from an earlier one.
    is_its_own = blocks[0].content_digest == hashlib.sha256(file[:padded_bytes]).digest()
    return file if is_its_own else image


def _refuse_unsigned(
    medium: FlashMedium, partition: Partition, key_digests: frozenset[bytes]
) -> None:
    """Refuse what a chip with Secure Boot does not start.

    Raises:
        SimulatorError: There is no image, no signature, or none by a key of the chip.
    """
    end = _measure(medium, partition)
    file_bytes = -(-end // SECTOR_BYTES) * SECTOR_BYTES + SECTOR_BYTES
    if file_bytes > partition.size_bytes:
        raise SimulatorError("the image is not signed", where=partition.name)
    file = medium.read(partition.offset_bytes, file_bytes)
    try:
        signed = verify_signed_image(file, where=partition.name)
    except (FirmwareImageError, SigningError) as error:
        raise SimulatorError("Secure Boot check failed", got=error) from error
    if not {block.key_digest for block in signed.blocks} & key_digests:
        raise SimulatorError("the image is signed by no key of this chip", where=partition.name)


def _measure(medium: FlashMedium, partition: Partition) -> int:
    try:
        content = medium.read(partition.offset_bytes, partition.size_bytes)
        return measure_image(content, where=partition.name)
    except FirmwareImageError as error:
        raise SimulatorError("there is no image", got=error) from error


def _parse_descriptor(descriptor: bytes) -> tuple[str, str, bytes, int]:
    if len(descriptor) < _DESCRIPTOR.size:
        return "", "", bytes(_SHA256_BYTES), 0
    magic, secure_version, version, name, _, _, _, elf_sha256 = _DESCRIPTOR.unpack(descriptor)
    if magic != _DESCRIPTOR_MAGIC:
        return "", "", bytes(_SHA256_BYTES), 0
    return _as_text(name), _as_text(version), elf_sha256, secure_version


def _as_text(field: bytes) -> str:
    return field.split(b"\x00", 1)[0].decode("utf-8", "replace")
