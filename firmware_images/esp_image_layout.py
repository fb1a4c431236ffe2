"""Where everything of an ESP32 application image lies.

An image is a 24-byte header, segments, padding, a checksum byte that ends a 16-byte row, and the
SHA-256 of all that. The header fields that matter here, little endian:

| offset | bytes | field | meaning |
|---|---|---|---|
| 0 | 1 | magic | E9 |
| 1 | 1 | segments | 1 to 16 |
| 4 | 4 | entry | address of the first instruction |
| 12 | 2 | chip id | 5 is ESP32-C3 |
| 15 | 2 | lowest revision | of the silicon, as 100 * major + minor |
| 17 | 2 | highest revision | likewise; 65535 means any |
| 23 | 1 | digest | 1: a SHA-256 follows the checksum; 0: none does |

A segment is its address and size, four bytes each, and its content. This module finds the places
and judges nothing but that it is an image and all inside of the buffer; what it says of itself is
`esp_image`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from firmware_images.errors import EspImageError

IMAGE_MAGIC = 0xE9
SEGMENT_COUNT_MAX = 16
DIGEST_BYTES = 32
_CHECKSUM_ROW_BYTES = 16
_HEADER = struct.Struct("<BBBBIBBBBHBHHBBBBB")
assert _HEADER.size == 24  # noqa: PLR2004 - the size in the text above
DIGEST_FLAG_OFFSET = _HEADER.size - 1
_SEGMENT_HEADER = struct.Struct("<II")
DAMAGED_HINT = "build the image again, or copy it again from where it was built"


class ImageLayout(NamedTuple):
    """Where everything of an image lies, nothing of it judged yet.

    Attributes:
        entry_point: Address of the first instruction.
        chip_id: The chip, as the header numbers it.
        min_chip_revision: Lowest silicon revision, as 100 * major + minor.
        max_chip_revision: Highest silicon revision.
        digest_flag: What stands where a 1 says that a SHA-256 follows the checksum.
        segments: Address, and where its content begins and ends in the file.
        checksum_at: Where the checksum byte lies.
        end: Where the image ends, its digest included.
    """

    entry_point: int
    chip_id: int
    min_chip_revision: int
    max_chip_revision: int
    digest_flag: int
    segments: tuple[tuple[int, int, int], ...]
    checksum_at: int
    end: int


def lay_out(untrusted_bytes: bytes, *, where: str) -> ImageLayout:
    """Return where everything of the image at the start of a buffer lies.

    Args:
        untrusted_bytes: A file, or a partition whose end is erased.
        where: The file or partition, for messages.

    Raises:
        EspImageError: It does not start like an image, or ends before the image does.
    """
    if len(untrusted_bytes) < _HEADER.size:
        raise _truncated(_HEADER.size, untrusted_bytes, where)
    header = _HEADER.unpack_from(untrusted_bytes)
    magic, segment_count, digest_flag = header[0], header[1], header[-1]
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
            hint=DAMAGED_HINT,
        )
    segments = []
    end = _HEADER.size
    for _ in range(segment_count):
        start = end + _SEGMENT_HEADER.size
        if start > len(untrusted_bytes):
            raise _truncated(start, untrusted_bytes, where)
        address, size_bytes = _SEGMENT_HEADER.unpack_from(untrusted_bytes, end)
        end = start + size_bytes
        segments.append((address, start, end))
    end += _CHECKSUM_ROW_BYTES - end % _CHECKSUM_ROW_BYTES
    checksum_at = end - 1
    end += DIGEST_BYTES if digest_flag == 1 else 0
    if end > len(untrusted_bytes):
        raise _truncated(end, untrusted_bytes, where)
    return ImageLayout(
        entry_point=header[4],
        chip_id=header[9],
        min_chip_revision=header[11],
        max_chip_revision=header[12],
        digest_flag=digest_flag,
        segments=tuple(segments),
        checksum_at=checksum_at,
        end=end,
    )


def measure_image(untrusted_bytes: bytes, *, where: str) -> int:
    """Return how many bytes the image at the start of a buffer has, without what follows it.

    Args:
        untrusted_bytes: A file, or a partition whose end is erased.
        where: The file or partition, for messages.

    Raises:
        EspImageError: It does not start like an image, or ends before the image does.
    """
    return lay_out(untrusted_bytes, where=where).end


def _truncated(expected_bytes: int, untrusted_bytes: bytes, where: str) -> EspImageError:
    return EspImageError(
        "the image ends too early",
        expected=f"at least {expected_bytes} bytes",
        got=f"{len(untrusted_bytes)} bytes",
        where=where,
        hint=DAMAGED_HINT,
    )
