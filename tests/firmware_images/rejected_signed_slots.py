"""Builds tests/rejected/signed-slots, when run as a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.waveform_slot import SLOT_BYTES
from firmware_images.waveform_slot_signing import verify_signed_slot
from tests.gallery import FOLDER, Gallery, write_gallery

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = FOLDER.parent / "golden" / "waveforms"
ABOUT = """Each file is the golden signed slot (`tests/golden/waveforms/tighten-signed.slot`) with
one thing wrong, and is named after it. Written by
`python -m tests.firmware_images.rejected_signed_slots`;
`tests/firmware_images/test_rejected_by_name.py` checks each error, word by word."""
CONTENT_BYTES = 4096


def read(name: str, content: bytes) -> object:
    """Read a file as a signed waveform slot."""
    return verify_signed_slot(content, where=name)


def right() -> bytes:
    """Return a slot that is right."""
    return (GOLDEN / "tighten-signed.slot").read_bytes()


def flip(content: bytes, at: int) -> bytes:
    """Return content with the lowest bit of one byte turned over."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def build() -> Mapping[str, bytes]:
    """Return every file by name."""
    signed = right()
    slot = (GOLDEN / "tighten.slot").read_bytes()
    padded, sector = signed[:CONTENT_BYTES], signed[CONTENT_BYTES:]
    return {
        "approval-changed.slot": flip(signed, len(slot) - 1),
        "byte-behind-the-sector.slot": signed + b"\0",
        "gap-not-erased.slot": flip(signed, len(slot)),
        "no-gap.slot": slot + sector,
        "sector-a-sector-later.slot": padded + b"\xff" * CONTENT_BYTES + sector,
        "sector-alone.slot": sector,
        "sector-checksum.slot": flip(signed, CONTENT_BYTES + 1196),
        "sector-cut.slot": signed[:-1],
        "sector-twice.slot": signed + sector,
        "sector-with-hidden-bytes.slot": flip(signed, SLOT_BYTES // 8 - 1),
        "sector-with-the-digest-of-another-slot.slot": flip(signed, CONTENT_BYTES + 4),
        "table-changed.slot": flip(signed, 100),
        "unsigned.slot": slot,
    }


GALLERY = Gallery(
    name="signed-slots",
    title="Signed waveform slots that must be refused",
    about=ABOUT,
    build=build,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
