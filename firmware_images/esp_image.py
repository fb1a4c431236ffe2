"""What an ESP32 application image says about itself.

The checksum is the exclusive or of EF and every byte of every segment; where it and the rest lie is
`esp_image_layout`. esptool reads the same format; the tests hold the two against each other.

What an ESP-IDF application says about itself in its first segment is in `app_descriptor`. An
image without a descriptor is still an image: those fields are then `None`. Nothing here runs or
disassembles code, and a Secure Boot signature sector is recognised but not verified.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import reduce
from operator import xor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from firmware_images.app_descriptor import parse_app_descriptor
from firmware_images.errors import EspImageError
from firmware_images.esp_image_layout import DAMAGED_HINT, DIGEST_FLAG_OFFSET, lay_out
from signing.input_file import read_input
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from firmware_images.esp_image_layout import ImageLayout

IMAGE_MAX_BYTES = 16 * 1024 * 1024
SIGNATURE_SECTOR_BYTES = 4096
# The chip id of the header, and esptool's name of the chip.
CHIP_NAMES: Mapping[int, str] = MappingProxyType(
    {
        0: "esp32",
        2: "esp32s2",
        5: "esp32c3",
        9: "esp32s3",
        12: "esp32c2",
        13: "esp32c6",
        16: "esp32h2",
        18: "esp32p4",
        20: "esp32c61",
        23: "esp32c5",
        25: "esp32h21",
        28: "esp32h4",
        31: "esp32e22",
        32: "esp32s31",
    }
)
_CHECKSUM_SEED = 0xEF
_FOLDED_BYTES = 4096
_SIGNATURE_MAGICS = (b"\xe7\x02", b"\xe7\x03")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSegment:
    """One loaded piece: where in memory, and how long."""

    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EspImage:
    """An image that is whole: its checksum and its appended digest match.

    Attributes:
        chip: esptool's name of the chip, such as `esp32c3`.
        size_bytes: Size of the file.
        image_sha256: SHA-256 of exactly these bytes.
        appended_sha256: The digest inside the image, or `None` if it was built without.
        entry_point: Address of the first instruction.
        segments: In the order of the file.
        min_chip_revision: Lowest silicon revision, as 100 * major + minor.
        max_chip_revision: Highest silicon revision; 65535 means any.
        signature_bytes: Bytes of padding and Secure Boot v2 signature sector, 0 if unsigned.
        project_name: From the descriptor; `None` if the image has none, as in the next ones.
        version: The application's version text.
        secure_version: The anti-rollback counter.
        idf_version: ESP-IDF version that it was built with.
        elf_sha256: SHA-256 of the ELF file that it was made from.
        build_date: Date and time texts of the build, if the build states them.
        mmu_page_size_bytes: Flash mapping granularity, if the build states it.
    """

    chip: str
    size_bytes: int
    image_sha256: bytes
    appended_sha256: bytes | None
    entry_point: int
    segments: tuple[ImageSegment, ...]
    min_chip_revision: int
    max_chip_revision: int
    signature_bytes: int
    project_name: str | None = None
    version: str | None = None
    secure_version: int | None = None
    idf_version: str | None = None
    elf_sha256: bytes | None = None
    build_date: str | None = None
    mmu_page_size_bytes: int | None = None

    @property
    def has_descriptor(self) -> bool:
        """Whether the image carries an application descriptor."""
        return self.project_name is not None


def load_image(path: Path) -> tuple[bytes, EspImage]:
    """Load and inspect an image file; returns its bytes and what they say.

    Raises:
        EspImageError: The file cannot be read, or is not a whole image.
    """
    try:
        content = read_input(path, IMAGE_MAX_BYTES)
    except OSError as error:
        raise EspImageError(
            "the image cannot be read",
            got=error.strerror,
            where=path,
            hint="give the path of an ESP32 application image (.bin)",
        ) from error
    return content, inspect_image(content, where=str(path))


def inspect_image(untrusted_bytes: bytes, *, where: str) -> EspImage:
    """Return what an image says, if it is whole and nothing else is in the file.

    Args:
        untrusted_bytes: The file, all of it.
        where: Its name, for messages.

    Raises:
        EspImageError: It is not an image of a known chip, is truncated or damaged, or is followed
            by anything but a Secure Boot v2 signature sector.
    """
    if len(untrusted_bytes) > IMAGE_MAX_BYTES:
        raise EspImageError(
            "the image is too large",
            expected=f"at most {IMAGE_MAX_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes or more",
            where=where,
            hint="give the application image alone, not an image of the whole flash",
        )
    layout = lay_out(untrusted_bytes, where=where)
    chip = _find_chip(layout.chip_id, where=where)
    has_digest = _judge_digest_flag(layout.digest_flag, where=where)
    _judge_checksum(untrusted_bytes, layout, where=where)
    appended, image_sha256 = _judge_digest(untrusted_bytes, layout, has_digest, where=where)
    segments = tuple(
        ImageSegment(address=address, size_bytes=stop - start)
        for address, start, stop in layout.segments
    )
    entry_point = layout.entry_point
    if not any(s.address <= entry_point < s.address + s.size_bytes for s in segments):
        raise EspImageError(
            "the image's entry point is in none of its segments",
            got=f"{entry_point:#x}",
            where=where,
            hint=DAMAGED_HINT,
        )
    _, start, stop = layout.segments[0]
    return EspImage(
        chip=chip,
        size_bytes=len(untrusted_bytes),
        image_sha256=image_sha256,
        appended_sha256=appended,
        entry_point=entry_point,
        segments=segments,
        min_chip_revision=layout.min_chip_revision,
        max_chip_revision=layout.max_chip_revision,
        signature_bytes=_measure_signature(untrusted_bytes, layout.end, where=where),
        **_descriptor_fields(untrusted_bytes[start:stop], where=where),
    )


def _find_chip(chip_id: int, *, where: str) -> str:
    if chip_id not in CHIP_NAMES:
        raise EspImageError(
            "the image is for a chip that is not known here",
            expected=", ".join(f"{number} ({name})" for number, name in CHIP_NAMES.items()),
            got=f"chip id {chip_id}",
            where=where,
            hint=DAMAGED_HINT,
        )
    return CHIP_NAMES[chip_id]


def _judge_digest_flag(flag: int, *, where: str) -> bool:
    if flag not in (0, 1):
        raise EspImageError(
            "the image's digest flag is not a flag",
            expected="0 or 1",
            got=flag,
            where=f"{where}, byte {DIGEST_FLAG_OFFSET}",
            hint=DAMAGED_HINT,
        )
    return flag == 1


def _judge_checksum(untrusted_bytes: bytes, layout: ImageLayout, *, where: str) -> None:
    # Folded block by block as one large number each: a loop over the bytes takes far longer than
    # everything else that is done with an image.
    content = memoryview(untrusted_bytes)
    folded = 0
    for _, start, stop in layout.segments:
        for offset in range(start, stop, _FOLDED_BYTES):
            folded ^= int.from_bytes(content[offset : min(offset + _FOLDED_BYTES, stop)], "little")
    checksum = reduce(xor, folded.to_bytes(_FOLDED_BYTES, "little"), _CHECKSUM_SEED)
    if untrusted_bytes[layout.checksum_at] != checksum:
        raise EspImageError(
            "the image's checksum does not match its segments",
            expected=f"{checksum:02x}",
            got=f"{untrusted_bytes[layout.checksum_at]:02x}",
            where=where,
            hint=DAMAGED_HINT,
        )


def _judge_digest(
    untrusted_bytes: bytes, layout: ImageLayout, has_digest: bool, *, where: str
) -> tuple[bytes | None, bytes]:
    """Return the appended digest, once it matches, and the digest of the whole file."""
    content = memoryview(untrusted_bytes)
    digest = hashlib.sha256(content[: layout.checksum_at + 1])
    appended = None
    if has_digest:
        appended = untrusted_bytes[layout.checksum_at + 1 : layout.end]
        if appended != digest.digest():
            raise EspImageError(
                "the image's appended SHA-256 does not match its content",
                expected=digest.hexdigest(),
                got=appended.hex(),
                where=where,
                hint=DAMAGED_HINT,
            )
    digest.update(content[layout.checksum_at + 1 :])
    return appended, digest.digest()


def _measure_signature(untrusted_bytes: bytes, end: int, *, where: str) -> int:
    following = untrusted_bytes[end:]
    if not following:
        return 0
    padding_bytes = -end % SIGNATURE_SECTOR_BYTES
    sector = following[padding_bytes:]
    is_signature = (
        following[:padding_bytes] == b"\xff" * padding_bytes
        and len(sector) == SIGNATURE_SECTOR_BYTES
        and sector.startswith(_SIGNATURE_MAGICS)
    )
    if not is_signature:
        raise EspImageError(
            "something follows the image",
            expected="nothing, or one Secure Boot v2 signature sector",
            got=f"{len(following)} bytes after byte {end}",
            where=where,
            hint="give the application image alone, not a merged or padded flash image",
        )
    return len(following)


def _descriptor_fields(segment: bytes, *, where: str) -> dict[str, Any]:
    descriptor = parse_app_descriptor(segment, where=where)
    return {} if descriptor is None else asdict(descriptor)
