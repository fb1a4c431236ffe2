"""One line of the secure-version ledger: a signature that boards may burn an eFuse bit for.

Implements docs/spec/secure-version.md §3. A line is one JSON object, sorted keys, no spaces, ASCII:

================  ============================================================
field             meaning
================  ============================================================
`sequence`        1 for the first line, one more for each
`time`            UTC, whole seconds, `2026-03-01T12:00:00Z`
`who`             account and machine
`tool`            name and version of the program
`hardware_class`  the boards; the same in every line
`chip`            esptool's name of their chip; the same in every line
`act`             `adopt`, `sign-image` or `sign-release`
`app_version`     what the app says its version is, or null
`digest`          SHA-256 of what is signed, null where nothing is
`secure_version`  the app's
`reason`          why it was raised, null where it was not
`previous`        hash of the line before, 64 zeros for the first
`hash`            link hash over `previous` and the line without `hash`
================  ============================================================
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from signing.errors import ChainError
from signing.hash_chain import HASH_BYTES, link_hash
from signing.sign_log import LINE_TIME_FORMAT, TEXT_MAX_CHARACTERS, Head, serialize_line_json
from signing.value_class import dataclass

LINE_MAX_BYTES: Final = 8192
SECURE_VERSION_MAX: Final = 0xFFFFFFFF
_HASH: Final = re.compile(f"[0-9a-f]{{{2 * HASH_BYTES}}}", re.ASCII)
HINT: Final = "restore the ledger from a backup, and find out who changed it"


class Act(StrEnum):
    """What a line is about."""

    ADOPT = "adopt"
    SIGN_IMAGE = "sign-image"
    SIGN_RELEASE = "sign-release"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line; the fields are those of the file."""

    sequence: int
    time: str
    who: str
    tool: str
    hardware_class: str
    chip: str
    act: str
    app_version: str | None
    digest: str | None
    secure_version: int
    reason: str | None
    previous: str

    @property
    def head(self) -> Head:
        """The head of a ledger that ends with this line."""
        content = serialize_line_json(asdict(self))
        return Head(count=self.sequence, hash=link_hash(bytes.fromhex(self.previous), content))

    def document(self) -> dict[str, object]:
        """Return the line as it is written and printed."""
        return {**asdict(self), "hash": self.head.hash.hex()}


def serialize_entry(entry: LedgerEntry) -> bytes:
    """Return one line, with its end."""
    return serialize_line_json(entry.document()) + b"\n"


def parse_entry(untrusted_bytes: bytes, *, where: str) -> LedgerEntry:
    """Return one line, given without its end; its place in the chain is not judged yet.

    Raises:
        ChainError: It is not a line as we write it.
    """
    try:
        document = json.loads(untrusted_bytes) if len(untrusted_bytes) < LINE_MAX_BYTES else None
        entry = _read_document(document)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ChainError(
            "a line of the secure-version ledger is not readable",
            expected=f"one JSON object with hash, {', '.join(LedgerEntry.__slots__)}",
            where=where,
            hint=HINT,
        ) from error
    # The same bytes again: one line has one form, and nothing hides in another.
    if serialize_entry(entry) != untrusted_bytes + b"\n":
        raise ChainError(
            "a line of the secure-version ledger does not match its hash", where=where, hint=HINT
        )
    return entry


def is_line_text(text: object) -> bool:
    """Whether a value is text that a line may hold: printable, 1 to 200 characters."""
    return (
        isinstance(text, str)
        and 0 < len(text.strip()) <= len(text) <= TEXT_MAX_CHARACTERS
        and text.isprintable()
    )


def _read_document(document: object) -> LedgerEntry:
    if not isinstance(document, dict):
        raise TypeError("object")
    entry = LedgerEntry(**{name: value for name, value in document.items() if name != "hash"})
    if not _is_acceptable(entry):
        raise ValueError("values")
    return entry


def _is_acceptable(entry: LedgerEntry) -> bool:
    counts = (entry.sequence, entry.secure_version)
    texts = (entry.who, entry.tool, entry.hardware_class, entry.chip)
    optional = (entry.app_version, entry.reason)
    time = datetime.strptime(entry.time, LINE_TIME_FORMAT).replace(tzinfo=UTC)
    return (
        # One moment has one text: strptime takes 2026-3-1, too.
        time.strftime(LINE_TIME_FORMAT) == entry.time
        and all(type(count) is int and 0 <= count <= SECURE_VERSION_MAX for count in counts)
        and all(is_line_text(text) for text in texts)
        and all(text is None or is_line_text(text) for text in optional)
        and entry.act in set(Act)
        and (entry.digest is None) is (entry.act == Act.ADOPT)
        and all(_is_hash(value) for value in (entry.previous, entry.digest or entry.previous))
    )


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
