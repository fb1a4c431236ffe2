"""Builds tests/rejected/tables; run as a module it writes the files and the README."""

from __future__ import annotations

import hashlib

from firmware_images.waveform_slot import parse_waveform_slot
from firmware_images.waveform_table import parse_waveform_table
from tests.gallery import Gallery, write_gallery

from .waveform_builders import GOLDEN

ABOUT = """Compiled waveform tables (`.table`) and waveform slots (`.slot`), each the golden one of
`tests/golden/waveforms` with one thing wrong and named after it. Tables are sealed again after the
change, so that their digest alone does not catch it. Written by
`python -m tests.firmware_images.rejected_tables`;
`tests/firmware_images/test_rejected_by_name.py` checks each error, word by word."""

TABLE = (GOLDEN / "tighten.table").read_bytes()
SLOT = (GOLDEN / "tighten.slot").read_bytes()
DIGEST_BYTES = 32


def reseal(content: bytes) -> bytes:
    """Return the content with a trailing digest that matches."""
    return content + hashlib.sha256(content).digest()


def patch(offset: int, replacement: bytes) -> bytes:
    """Return the golden table with other bytes at an offset, sealed again."""
    content = bytearray(TABLE[:-DIGEST_BYTES])
    content[offset : offset + len(replacement)] = replacement
    return reseal(bytes(content))


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content; offsets are those of waveform-table.md."""
    return {
        "empty.table": b"",
        "cut-last-byte.table": TABLE[:-1],
        "trailing-byte.table": TABLE + b"\0",
        "all-ones.table": b"\xff" * 200,
        "digest-of-other-bytes.table": TABLE[:-1] + b"\0",
        "format-2.table": patch(4, b"\2"),
        "header-size-zero.table": patch(6, b"\0"),
        "tick-zero.table": patch(12, b"\0"),
        "policy-version-zero.table": patch(28, b"\0\0\0\0"),
        "hardware-class-in-capitals.table": patch(64, b"FLARE"),
        "hardware-class-with-a-gap.table": patch(70, b"\0"),
        "hardware-class-not-ascii.table": patch(64, b"\xc3\xa9"),
        "no-modes.table": patch(96, b"\0"),
        "one-mode-more-than-there-is.table": patch(96, b"\2"),
        "reserved-header-byte.table": patch(98, b"\1"),
        "mode-name-in-small-letters.table": patch(104, b"tighten"),
        "balance-unknown.table": patch(120, b"\2"),
        "regulation-unknown.table": patch(121, b"\2"),
        "flips-unknown.table": patch(122, b"\2"),
        "no-levels.table": patch(123, b"\0"),
        "no-pulses-in-a-burst.table": patch(124, b"\0\0\0\0"),
        "session-zero.table": patch(132, b"\0\0\0\0"),
        "session-shorter-than-a-pulse.table": patch(132, b"\1\0\0\0"),
        "soft-start-of-one-pulse.table": patch(136, b"\1\0\0\0"),
        "soft-start-beyond-the-format.table": patch(136, b"\1\x40\0\0"),
        "soft-start-longer-than-the-session.table": patch(136, b"\x70\x17\0\0"),
        "soft-stop-of-one-pulse.table": patch(140, b"\1\0\0\0"),
        "peak-not-reached.table": patch(144, b"\0"),
        "no-segments.table": patch(148, b"\0\0"),
        "fewer-segments-than-there-are.table": patch(148, b"\2\0"),
        "segments-beyond-the-end.table": patch(148, b"\xff\x0f"),
        "reserved-level-byte.table": patch(150, b"\1"),
        "segment-without-time.table": patch(152, b"\0"),
        "last-sample-not-zero.table": patch(196, b"\1"),
        "empty.slot": b"",
        "cut-last-byte.slot": SLOT[:-1],
        "trailing-byte.slot": SLOT + b"\0",
        "erased.slot": b"\xff" * 4096,
        "magic-of-a-table.slot": b"AFWT" + SLOT[4:],
        "table-size-zero.slot": SLOT[:8] + b"\0\0\0\0" + SLOT[12:],
        "approval-size-beyond-the-slot.slot": SLOT[:12] + b"\xff\xff\0\0" + SLOT[16:],
    }


def read(name: str, content: bytes) -> object:
    """Read a file as `ampforge waveform inspect` does."""
    if name.endswith(".slot"):
        return parse_waveform_slot(content, where=name)
    return parse_waveform_table(content, where=name)


GALLERY = Gallery(
    name="tables",
    title="Compiled tables and slots that are refused",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
