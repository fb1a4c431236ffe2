"""The transcript of a key ceremony: one line before each step and one after it, hash-chained.

Implements docs/spec/key-ceremony.md §4. A line is one JSON object, sorted keys, no spaces, ASCII:

===========  ==================================================================
field        meaning
===========  ==================================================================
`sequence`   1 for the first line, one more for each
`time`       UTC, whole seconds, `2026-03-01T12:00:00Z`
`step`       the step, as `begin`, `key root-1`, `sign root-1`
`phase`      `INTENT` before the step acts, `CONFIRM` after it was read back
`content`    what the step says (§5); texts, numbers, and lists of texts
`previous`   hash of the line before, 64 zeros for the first
`hash`       link hash (trust.md §7) over `previous` and the line without `hash`
===========  ==================================================================

It is written whole and replaced in one step, so that there is never half a line. Nothing in it is
secret. What the lines mean is judged by `signing.ceremony_replay`.
"""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from signing.errors import CeremonyError
from signing.hash_chain import GENESIS, HASH_BYTES, link_hash
from signing.sign_log import serialize_line_json
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSCRIPT_MAX_BYTES: Final = 4 << 20
LINE_MAX_BYTES: Final = 65_536
CHECK_CHARACTERS: Final = 20

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS: Final = {"sequence", "time", "step", "phase", "content", "previous", "hash"}
_HINT: Final = "get the transcript again from the ceremony's folder, and ask who changed it"


class Phase(StrEnum):
    """Before or after a step acted."""

    INTENT = "INTENT"
    CONFIRM = "CONFIRM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line.

    Attributes:
        sequence: From 1.
        time: When it was written, aware, whole seconds.
        step: The step's name.
        phase: Before or after it acted.
        content: What the step says.
        previous: Hash of the line before.
    """

    sequence: int
    time: datetime
    step: str
    phase: Phase
    content: Mapping[str, object]
    previous: bytes

    @property
    def hash(self) -> bytes:
        """The head of a transcript that ends with this line."""
        return link_hash(self.previous, serialize_line_json(self._fields()))

    @property
    def check_value(self) -> str:
        """What a witness writes down: the beginning of the hash, in groups."""
        return format_check_value(self.hash)

    def document(self) -> dict[str, object]:
        """Return the line as it is written."""
        return {**self._fields(), "hash": self.hash.hex()}

    def _fields(self) -> dict[str, object]:
        return {
            "sequence": self.sequence,
            "time": self.time.astimezone(UTC).strftime(_TIME_FORMAT),
            "step": self.step,
            "phase": str(self.phase),
            "content": dict(self.content),
            "previous": self.previous.hex(),
        }


def format_check_value(value: bytes) -> str:
    """Return the beginning of a hash as people read it out: five groups of four digits."""
    digits = value.hex()[:CHECK_CHARACTERS]
    return "-".join(digits[start : start + 4] for start in range(0, CHECK_CHARACTERS, 4))


def serialize_entry(entry: Entry) -> bytes:
    """Write one line, with its end."""
    return serialize_line_json(entry.document()) + b"\n"


def next_entry(
    entries: tuple[Entry, ...],
    step: object,
    phase: Phase,
    content: Mapping[str, object],
    *,
    now: datetime,
) -> Entry:
    """Return the line that follows."""
    return Entry(
        sequence=len(entries) + 1,
        time=now,
        step=str(step),
        phase=phase,
        content=content,
        previous=entries[-1].hash if entries else GENESIS,
    )


def parse_transcript(untrusted_bytes: bytes, *, where: str) -> tuple[Entry, ...]:
    """Read a transcript and verify its chain; not yet what its lines say.

    Raises:
        CeremonyError: It is too long, or a line was changed, removed from the middle, or moved.
    """
    if len(untrusted_bytes) > TRANSCRIPT_MAX_BYTES:
        raise CeremonyError(
            "the transcript is too long",
            expected=f"at most {TRANSCRIPT_MAX_BYTES} bytes",
            got="more",
            where=where,
            hint=_HINT,
        )
    if untrusted_bytes and not untrusted_bytes.endswith(b"\n"):
        raise CeremonyError(
            "the transcript ends in the middle of a line",
            where=f"{where}, line {untrusted_bytes.count(10) + 1}",
            hint=_HINT,
        )
    entries: list[Entry] = []
    head = GENESIS
    for number, line in enumerate(io.BytesIO(untrusted_bytes), 1):
        place = f"{where}, line {number}"
        entry = _parse_entry(line[:-1], where=place)
        if entry.sequence != number or entry.previous != head:
            raise CeremonyError(
                "a line of the transcript does not follow the line before it",
                expected=f"sequence {number} after {head.hex()}",
                got=f"sequence {entry.sequence} after {entry.previous.hex()}",
                where=place,
                hint=_HINT,
            )
        if entries and entry.time < entries[-1].time:
            raise CeremonyError(
                "a line of the transcript is older than the line before it",
                got=entry.time.strftime(_TIME_FORMAT),
                expected=f"{entries[-1].time:{_TIME_FORMAT}} or later",
                where=place,
                hint="set the clock of the ceremony's machine; time must not go back",
            )
        entries.append(entry)
        head = entry.hash
    return tuple(entries)


def _parse_entry(untrusted_bytes: bytes, *, where: str) -> Entry:
    try:
        is_short = len(untrusted_bytes) <= LINE_MAX_BYTES
        entry = _read_document(json.loads(untrusted_bytes) if is_short else None)
    except (ValueError, TypeError, RecursionError) as error:
        raise CeremonyError(
            "a line of the transcript is not readable",
            expected=f"one JSON object with {', '.join(sorted(_FIELDS))}",
            where=where,
            hint=_HINT,
        ) from error
    if serialize_entry(entry) != untrusted_bytes + b"\n":
        raise CeremonyError(
            "a line of the transcript does not match its hash", where=where, hint=_HINT
        )
    return entry


def _read_document(document: object) -> Entry:
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise ValueError("fields")
    content = document["content"]
    sequence, previous = document["sequence"], bytes.fromhex(document["previous"])
    if not isinstance(content, dict) or not all(map(_is_plain, content.values())):
        raise ValueError("content")
    if type(sequence) is not int or len(previous) != HASH_BYTES:
        raise ValueError("types")
    return Entry(
        sequence=sequence,
        time=datetime.strptime(document["time"], _TIME_FORMAT).replace(tzinfo=UTC),
        step=str(document["step"]),
        phase=Phase(document["phase"]),
        content=content,
        previous=previous,
    )


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | bool | int)
