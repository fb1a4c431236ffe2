"""Builds tests/rejected/patches and tests/golden/deltas; run as a module it writes both."""

from __future__ import annotations

from firmware_images.delta_applying import apply_patch
from firmware_images.delta_format import parse_patch_header
from tests.gallery import FOLDER, Gallery, write_gallery

GOLDEN = FOLDER.parent / "golden" / "deltas"
BASE = bytes(range(200))
RESULT = BASE[40:140] + b"new bytes" + bytes((b + 1) & 0xFF for b in BASE[10:30])
ABOUT = """Patches from `base.bin` to `result.bin` of `tests/golden/deltas`, each with one thing
wrong and named after it. Written by `python -m tests.firmware_images.rejected_patches`;
`tests/firmware_images/test_rejected_by_name.py` checks each error, word by word."""


def pack_size(value: int) -> bytes:
    """Write a size by hand, to docs/spec/delta.md §2 and not by the code that is tested."""
    sign, value = (0x40, -value) if value < 0 else (0, value)
    packed = [sign | value & 0x3F]
    value >>= 6
    while value:
        packed[-1] |= 0x80
        packed.append(value & 0x7F)
        value >>= 7
    return bytes(packed)


def instruction(differences: bytes, new: bytes, step: int) -> bytes:
    return pack_size(len(differences)) + differences + pack_size(len(new)) + new + pack_size(step)


# The reading position starts at 0: an empty instruction moves it to 40, and another back to 10.
FOLLOWED = (
    instruction(b"", b"", 40)
    + instruction(bytes(100), b"new bytes", -130)
    + instruction(b"\1" * 20, b"", 0)
)
START = pack_size(0)
PLAIN = b"\x00" + pack_size(len(RESULT)) + START + FOLLOWED


def packed_bits(content: bytes) -> bytes:
    """Write heatshrink 8/7 by hand: literals, and runs of zeros as one zero and its repetition."""
    bits, index = "", 0
    while index < len(content):
        bits += f"1{content[index]:08b}"
        zeros = len(content[index:]) - len(content[index:].lstrip(b"\0"))
        if zeros > 1:
            bits += f"0{0:08b}{zeros - 2:07b}"  # one back, so many more
        index += max(zeros, 1)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8))


PACKED = b"\x04" + pack_size(len(RESULT)) + b"\x44" + packed_bits(START + FOLLOWED)


def build_golden() -> dict[str, bytes]:
    return {
        "base.bin": BASE,
        "result.bin": RESULT,
        "plain.patch": PLAIN,
        "heatshrink.patch": PACKED,
    }


def read(name: str, content: bytes) -> bytes:
    """Apply a patch to the base, as a device does."""
    del name
    pieces = apply_patch(
        lambda offset, size: content[offset : offset + size],
        len(content),
        lambda offset, size: BASE[offset : offset + size],
        len(BASE),
        result_size_bytes=len(RESULT),
    )
    return b"".join(pieces)


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    head = b"\x00" + pack_size(len(RESULT))
    packed_start = parse_patch_header(PACKED).instructions_offset_bytes
    before, after = PACKED[: packed_start - 1], PACKED[packed_start:]
    return {
        "empty.patch": b"",
        "header-alone.patch": head,
        "in-place.patch": b"\x10" + PLAIN[1:],
        "lzma.patch": b"\x01" + PLAIN[1:],
        "window-of-fifteen-bits.patch": before + b"\xb4" + after,
        "lookahead-as-long-as-window.patch": before + b"\x45" + after,
        "no-result.patch": b"\x00" + pack_size(0),
        "negative-result.patch": b"\x00" + pack_size(-5) + PLAIN[3:],
        "another-result-size.patch": b"\x00" + pack_size(len(RESULT) + 1) + PLAIN[3:],
        "endless-size.patch": b"\x00" + b"\xff" * 64,
        "for-one-processor.patch": head + pack_size(1) + FOLLOWED,
        "negative-differences.patch": head + START + pack_size(-1) + bytes(200),
        "more-than-the-image.patch": head + START + instruction(bytes(130), b"", 0),
        "base-left-at-its-end.patch": head
        + START
        + instruction(b"", b"", 150)
        + instruction(bytes(100), b"", 0),
        "base-left-at-its-start.patch": head
        + START
        + instruction(b"", b"", -1)
        + instruction(bytes(100), b"", 0),
        "nothing-for-ever.patch": head + START + bytes(4096),
        "truncated.patch": PLAIN[:-2],
        "trailing-byte.patch": PLAIN + b"\0",
        "heatshrink-truncated.patch": PACKED[:-2],
        "heatshrink-trailing-byte.patch": PACKED + b"\0",
    }


GALLERY = Gallery(
    name="patches",
    title="Patches that no device applies",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    for file_name, file_content in build_golden().items():
        (GOLDEN / file_name).write_bytes(file_content)
    write_gallery(GALLERY)
