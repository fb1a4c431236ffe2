"""Builds tests/rejected/secure-version, when run as a module."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_images.secure_version_entry import Act, LedgerEntry, serialize_entry
from firmware_images.secure_version_history import verify_ledger
from tests.firmware_images.secure_version_bench import BOARDS, open_ledger, release
from tests.gallery import Gallery, write_gallery

if TYPE_CHECKING:
    from collections.abc import Mapping

ABOUT = """Each file is a secure-version ledger with one thing wrong and is named after it; where a
line says something that would not have been admitted, its hashes are right. Written by
`python -m tests.firmware_images.rejected_secure_version`;
`tests/firmware_images/test_rejected_by_name.py` checks each error, word by word."""


def read(name: str, content: bytes) -> object:
    """Read a file as the ledger of the example boards."""
    return verify_ledger(content, hardware_class=BOARDS, chip="esp32c3", where=name)


def right() -> tuple[LedgerEntry, ...]:
    """Three lines that are right."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(Path(folder))
        ledger.admit(release(0, "one"), reason=None)
        ledger.admit(release(1, "two"), reason="1.0 leaks its key")
        return ledger.admit(release(1, "three"), reason=None).entries


def follow(*entries: LedgerEntry) -> bytes:
    """Write lines as a chain whose numbers and hashes are right."""
    content, previous = b"", "00" * 32
    for number, entry in enumerate(entries, 1):
        linked = replace(entry, sequence=number, previous=previous)
        content += serialize_entry(linked)
        previous = linked.head.hash.hex()
    return content


def build() -> Mapping[str, bytes]:
    """Return every file by name."""
    one, two, three = right()
    lines = [serialize_entry(entry) for entry in (one, two, three)]
    whole = b"".join(lines)
    adopted = replace(one, act=Act.ADOPT, digest=None, app_version=None, reason="read from boards")
    return {
        "digest-in-upper-case.jsonl": follow(replace(one, digest=str(one.digest).upper())),
        "jump-of-two.jsonl": follow(one, replace(two, secure_version=2)),
        "last-line-cut.jsonl": whole[:-20],
        "line-changed.jsonl": whole.replace(b"1.0 leaks", b"2.0 leaks"),
        "line-removed.jsonl": lines[0] + lines[2],
        "line-twice.jsonl": lines[0] + lines[0],
        "lines-exchanged.jsonl": lines[1] + lines[0],
        "lower-again.jsonl": follow(one, two, replace(three, secure_version=0)),
        "more-than-the-chip-has.jsonl": follow(replace(adopted, secure_version=17)),
        "not-json.jsonl": b"secure_version 3\n",
        "adopted-in-the-middle.jsonl": follow(one, replace(adopted, secure_version=3)),
        "adopted-without-a-reason.jsonl": follow(replace(adopted, reason=None)),
        "of-another-chip.jsonl": follow(replace(one, chip="esp32s3")),
        "of-other-boards.jsonl": follow(replace(one, hardware_class="glow-s3")),
        "reason-of-two-lines.jsonl": follow(one, replace(two, reason="leaks\nits key")),
        "release-without-a-digest.jsonl": follow(replace(one, digest=None)),
        "secure-version-as-boolean.jsonl": follow(replace(one, secure_version=False)),
        "spaces-in-a-line.jsonl": whole.replace(b'"act":', b'"act": ', 1),
        "step-without-a-reason.jsonl": follow(one, replace(two, reason=None)),
        "time-in-another-form.jsonl": follow(replace(one, time="2026-3-1T12:00:00Z")),
        "unknown-act.jsonl": follow(replace(one, act="sign-table")),
        "unknown-field.jsonl": lines[0].replace(b'{"act"', b'{"aa":1,"act"'),
    }


GALLERY = Gallery(
    name="secure-version",
    title="Secure-version ledgers that must be refused",
    about=ABOUT,
    build=build,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
