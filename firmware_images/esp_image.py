"""What an ESP32 application image says about itself, read through `esptool.bin_image`.

An image is a 24-byte header, segments, padding, a checksum byte that ends a 16-byte row, and the
SHA-256 of all that. The header fields that this module reads itself, little endian:

| offset | bytes | field | meaning |
|---|---|---|---|
| 0 | 1 | magic | E9 |
| 1 | 1 | segments | 1 to 16 |
| 4 | 4 | entry | address of the first instruction |
| 12 | 2 | chip id | 5 is ESP32-C3 |
| 23 | 1 | digest | 1: a SHA-256 follows the checksum |

What an ESP-IDF application says about itself in its first segment is in `app_descriptor`. An
image without a descriptor is still an image: those fields are then `None`. Nothing here runs or
disassembles code, and a Secure Boot signature sector is recognised but not verified.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from firmware_images.app_descriptor import parse_app_descriptor
from firmware_images.errors import EspImageError
from signing.input_file import read_input

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_MAX_BYTES = 16 * 1024 * 1024
IMAGE_MAGIC = 0xE9
SEGMENT_COUNT_MAX = 16
DIGEST_BYTES = 32
SIGNATURE_SECTOR_BYTES = 4096
_SIGNATURE_MAGICS = (b"\xe7\x02", b"\xe7\x03")
_CHECKSUM_ROW_BYTES = 16
_HEADER = struct.Struct("<BBBBIBBBBHBHHBBBBB")
assert _HEADER.size == 24  # noqa: PLR2004 - the size in the text above
_CHIP_ID_FIELD = 9
_SEGMENT_HEADER = struct.Struct("<II")
_HINT = "build the image again, or copy it again from where it was built"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSegment:
    """One loaded piece: where in memory, and how long."""

    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutline:
    """What an image says at first sight.

    Attributes:
        chip_id: The chip's number in the header.
        version: The application's version text; `None` if the image states none.
    """

    chip_id: int
    version: str | None


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


def measure_image(untrusted_bytes: bytes, *, where: str) -> int:
    """Return how many bytes the image at the start of a buffer has, without what follows it.

    Args:
        untrusted_bytes: A file, or a partition whose end is erased.
        where: The file or partition, for messages.

    Raises:
        EspImageError: It does not start like an image, or ends before the image does.
    """
    if len(untrusted_bytes) < _HEADER.size:
        raise _truncated(_HEADER.size, untrusted_bytes, where)
    header = _HEADER.unpack_from(untrusted_bytes)
    magic, segment_count, has_digest = header[0], header[1], header[-1]
    if magic != IMAGE_MAGIC:
        raise EspImageError(
            "this is not an ESP32 image",
            expected=f"a first byte {IMAGE_MAGIC:02x}",
            got=f"{magic:02x}",
            where=where,
            hint="give the .bin that `esptool elf2image` or the ESP-IDF build made, not the ELF",
        )
    if not 1 <= segment_count <= SEGMENT_COUNT_MAX:
        raise EspImageError(
            "the image has an impossible number of segments",
            expected=f"1 to {SEGMENT_COUNT_MAX}",
            got=segment_count,
            where=where,
            hint=_HINT,
        )
    end = _HEADER.size
    for _ in range(segment_count):
        if end + _SEGMENT_HEADER.size > len(untrusted_bytes):
            raise _truncated(end + _SEGMENT_HEADER.size, untrusted_bytes, where)
        end += _SEGMENT_HEADER.size + _SEGMENT_HEADER.unpack_from(untrusted_bytes, end)[1]
    end += _CHECKSUM_ROW_BYTES - end % _CHECKSUM_ROW_BYTES
    end += DIGEST_BYTES if has_digest == 1 else 0
    if end > len(untrusted_bytes):
        raise _truncated(end, untrusted_bytes, where)
    return end


def skim_image(untrusted_bytes: bytes, *, where: str) -> ImageOutline:
    """Return what an image says at first sight: quick, because esptool is not asked.

    Its segments, the end of the file and the appended digest are judged; the checksum byte and
    what esptool makes of it are not: `inspect_image` does that.

    Raises:
        EspImageError: It is not a whole image, or something else follows it.
    """
    end = measure_image(untrusted_bytes, where=where)
    _measure_signature(untrusted_bytes, end, where=where)
    header = _HEADER.unpack_from(untrusted_bytes)
    if header[-1] == 1:
        stored = untrusted_bytes[end - DIGEST_BYTES : end]
        calculated = hashlib.sha256(memoryview(untrusted_bytes)[: end - DIGEST_BYTES]).digest()
        _judge_digest(stored, calculated, where=where)
    first_bytes = _HEADER.size + _SEGMENT_HEADER.size
    _, size_bytes = _SEGMENT_HEADER.unpack_from(untrusted_bytes, _HEADER.size)
    segment = untrusted_bytes[first_bytes : first_bytes + size_bytes]
    version = _descriptor_fields(segment, where=where).get("version")
    return ImageOutline(chip_id=header[_CHIP_ID_FIELD], version=version)


def _truncated(expected_bytes: int, untrusted_bytes: bytes, where: str) -> EspImageError:
    return EspImageError(
        "the image ends too early",
        expected=f"at least {expected_bytes} bytes",
        got=f"{len(untrusted_bytes)} bytes",
        where=where,
        hint=_HINT,
    )


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
    end = measure_image(untrusted_bytes, where=where)
    chip = _find_chip(_HEADER.unpack_from(untrusted_bytes)[9], where=where)
    loaded = _load_with_esptool(chip, untrusted_bytes[:end], where=where)
    _judge_integrity(loaded, where=where)
    segments = tuple(
        ImageSegment(address=segment.addr, size_bytes=len(segment.data))
        for segment in loaded.segments
    )
    if not any(s.address <= loaded.entrypoint < s.address + s.size_bytes for s in segments):
        raise EspImageError(
            "the image's entry point is in none of its segments",
            got=f"{loaded.entrypoint:#x}",
            where=where,
            hint=_HINT,
        )
    return EspImage(
        chip=chip,
        size_bytes=len(untrusted_bytes),
        image_sha256=hashlib.sha256(untrusted_bytes).digest(),
        appended_sha256=loaded.stored_digest if loaded.append_digest else None,
        entry_point=loaded.entrypoint,
        segments=segments,
        min_chip_revision=loaded.min_rev_full,
        max_chip_revision=loaded.max_rev_full,
        signature_bytes=_measure_signature(untrusted_bytes, end, where=where),
        **_descriptor_fields(loaded.segments[0].data, where=where),
    )


def _find_chip(chip_id: int, *, where: str) -> str:
    try:
        from esptool.targets import CHIP_DEFS
    except OSError as error:  # esptool looks for its settings when it is imported
        raise EspImageError(
            "esptool cannot read its settings",
            got=error.strerror,
            where=error.filename,
            hint="make that file readable, or remove it",
        ) from error

    names = {
        rom.IMAGE_CHIP_ID: name
        for name, rom in CHIP_DEFS.items()
        if getattr(rom, "IMAGE_CHIP_ID", None) is not None
    }
    if chip_id not in names:
        raise EspImageError(
            "the image is for a chip that esptool does not know",
            expected=", ".join(f"{number} ({name})" for number, name in sorted(names.items())),
            got=f"chip id {chip_id}",
            where=where,
            hint=_HINT,
        )
    return str(names[chip_id])


def _load_with_esptool(chip: str, untrusted_bytes: bytes, *, where: str) -> Any:
    from esptool.bin_image import LoadFirmwareImage
    from esptool.util import FatalError

    try:
        return LoadFirmwareImage(chip, untrusted_bytes)
    except (FatalError, RuntimeError, struct.error, IndexError, TypeError, ValueError) as error:
        raise EspImageError(
            "esptool cannot read the image",
            got=" ".join(str(argument) for argument in error.args) or type(error).__name__,
            where=where,
            hint=_HINT,
        ) from error


def _judge_integrity(loaded: Any, *, where: str) -> None:
    checksum = loaded.calculate_checksum()
    if loaded.checksum != checksum:
        raise EspImageError(
            "the image's checksum does not match its segments",
            expected=f"{checksum:02x}",
            got=f"{loaded.checksum:02x}",
            where=where,
            hint=_HINT,
        )
    if loaded.append_digest:
        _judge_digest(loaded.stored_digest, loaded.calc_digest, where=where)


def _judge_digest(stored: bytes, calculated: bytes, *, where: str) -> None:
    if stored != calculated:
        raise EspImageError(
            "the image's appended SHA-256 does not match its content",
            expected=calculated.hex(),
            got=stored.hex(),
            where=where,
            hint=_HINT,
        )


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
