"""An application as large as a real one: the example's code, and more data behind it."""

from __future__ import annotations

import hashlib
import random
import struct
from functools import reduce
from operator import xor

# Fills the example's application partition, less the 4 KiB that a signature sector takes.
FULL_SIZE_BYTES = (3 << 19) - 0x1000
_HEADER_BYTES, _SEGMENT = 24, struct.Struct("<II")
_DROM_ADDRESS = 0x3C00_0000
_PAGE_BYTES = 4096


def grow_image(image: bytes, size_bytes: int, *, random_share: float = 1.0) -> bytes:
    """Return an image with one more segment, so that it has a given size.

    Args:
        image: An image with an appended SHA-256.
        size_bytes: How long it shall be, whole rows of 16 bytes.
        random_share: How much of the added data cannot be compressed, 0 to 1.
    """
    segments, offset = [], _HEADER_BYTES
    for _ in range(image[1]):
        address, length = _SEGMENT.unpack_from(image, offset)
        offset += _SEGMENT.size
        segments.append((address, image[offset : offset + length]))
        offset += length
    taken = offset + _SEGMENT.size + 16 + hashlib.sha256().digest_size
    segments.append((_DROM_ADDRESS, _make_data((size_bytes - taken) & ~15, random_share)))
    body = bytearray(image[:_HEADER_BYTES])
    body[1] = len(segments)
    checksum = 0xEF
    for address, content in segments:
        body += _SEGMENT.pack(address, len(content)) + content
        checksum = reduce(xor, content, checksum)
    body += bytes(15 - len(body) % 16) + bytes((checksum,))
    return bytes(body) + hashlib.sha256(body).digest()


def _make_data(size_bytes: int, random_share: float) -> bytes:
    chooser = random.Random(1)
    random_bytes = int(_PAGE_BYTES * random_share)
    pages = range(0, size_bytes, _PAGE_BYTES)
    data = b"".join(chooser.randbytes(random_bytes).ljust(_PAGE_BYTES, b"\x5a") for _ in pages)
    return data[:size_bytes]
