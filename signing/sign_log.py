"""The sign log: one line for each signature, append-only, hash-chained.

Implements docs/spec/trust.md §11. A line is one JSON object, sorted keys, no spaces, ASCII:

==============  ==============================================================
field           meaning
==============  ==============================================================
`sequence`      1 for the first line, one more for each
`time`          UTC, whole seconds, `2026-03-01T12:00:00Z`
`who`           account and machine
`role`          the role that the key was used for
`key_id`        SHA-256 of the public key, hexadecimal
`content_type`  what the signed content says it is
`digest`        SHA-256 of the signed content, hexadecimal
`tool`          name and version of the program
`previous`      hash of the line before, 64 zeros for the first
`hash`          link hash (§7) over `previous` and the line without `hash`
==============  ==============================================================

Beside it, `NAME.head` holds `COUNT:HASH` of the last line. A shortened log still is a chain, so it
is compared with that file, and with any head that somebody remembered elsewhere. Whoever can write
both files can shorten both: heads that are kept elsewhere are the proof.

Nothing here signs; `signing.logged_signer` does, and writes here before a signature is handed out.
"""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Final

from signing.errors import ChainError
from signing.hash_chain import GENESIS, HASH_BYTES, link_hash
from signing.value_class import dataclass

SIGN_LOG_MAX_BYTES: Final = 64 << 20
LINE_MAX_BYTES: Final = 2048
TEXT_MAX_CHARACTERS: Final = 200

LINE_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
_TEXTS: Final = ("who", "role", "content_type", "tool")
_HASHES: Final = ("key_id", "digest", "previous", "hash")
_FIELDS: Final = {*_TEXTS, *_HASHES, "sequence", "time"}
_HEAD: Final = re.compile(r"([0-9]{1,15}):([0-9a-f]{64})\n?", re.ASCII)
_HINT: Final = "restore the log from a backup, and find out who changed it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How far a log had come.

    Attributes:
        count: Number of lines.
        hash: Hash of the last one; `GENESIS` for none.
    """

    count: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.count}:{self.hash.hex()}"


EMPTY: Final = Head(count=0, hash=GENESIS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignLogEntry:
    """One signature.

    Attributes:
        sequence: From 1.
        time: When, aware, whole seconds.
        who: Account and machine.
        role: The role that the key was used for.
        key_id: Full id of the key, 32 bytes.
        content_type: What was signed says it is.
        digest: SHA-256 of what was signed.
        tool: Name and version of the program.
        previous: Hash of the entry before.
    """

    sequence: int
    time: datetime
    who: str
    role: str
    key_id: bytes
    content_type: str
    digest: bytes
    tool: str
    previous: bytes

    @property
    def head(self) -> Head:
        """The head of a log that ends with this entry."""
        return Head(count=self.sequence, hash=link_hash(self.previous, self._content()))

    def document(self) -> dict[str, object]:
        """Return the entry as it is written and printed."""
        return {**self._fields(), "hash": self.head.hash.hex()}

    def _fields(self) -> dict[str, object]:
        return {
            "sequence": self.sequence,
            "time": self.time.astimezone(UTC).strftime(LINE_TIME_FORMAT),
            "who": self.who,
            "role": self.role,
            "key_id": self.key_id.hex(),
            "content_type": self.content_type,
            "digest": self.digest.hex(),
            "tool": self.tool,
            "previous": self.previous.hex(),
        }

    def _content(self) -> bytes:
        return serialize_line_json(self._fields())


def serialize_entry(entry: SignLogEntry) -> bytes:
    """Write one line, with its end."""
    return serialize_line_json(entry.document()) + b"\n"


def parse_entry(untrusted_bytes: bytes, *, where: str) -> SignLogEntry:
    """Read one line without its end, and check its own hash; not yet its place in the chain.

    Raises:
        ChainError: It is not a line as we write it.
    """
    try:
        document = json.loads(untrusted_bytes) if len(untrusted_bytes) < LINE_MAX_BYTES else None
        entry = _read_document(document)
    except (ValueError, TypeError, RecursionError) as error:
        raise _unreadable(where) from error
    if serialize_entry(entry) != untrusted_bytes + b"\n":
        raise ChainError("a line of the sign log does not match its hash", where=where, hint=_HINT)
    return entry


def verify_sign_log(
    untrusted_bytes: bytes, *, heads: tuple[Head, ...] = (), where: str = "sign log"
) -> tuple[SignLogEntry, ...]:
    """Verify a whole log, and return what it says.

    Args:
        untrusted_bytes: The file.
        heads: Heads that the log is known to have had; each must still lie on it.
        where: The file's name, for errors.

    Raises:
        ChainError: A line was changed, removed, added or moved; it names the line.
    """
    if untrusted_bytes and not untrusted_bytes.endswith(b"\n"):
        raise ChainError(
            "the last line of the sign log is not complete",
            where=f"{where}, line {untrusted_bytes.count(10) + 1}",
            hint="a power cut leaves this: the signature was never handed out, and the next "
            "one replaces the line",
        )
    entries = []
    head = EMPTY
    for number, line in enumerate(io.BytesIO(untrusted_bytes), 1):
        place = f"{where}, line {number}"
        entry = parse_entry(line[:-1], where=place)
        if entry.sequence != number or entry.previous != head.hash:
            raise ChainError(
                "a line of the sign log does not follow the line before it",
                expected=f"sequence {number} after {head.hash.hex()}",
                got=f"sequence {entry.sequence} after {entry.previous.hex()}",
                where=place,
                hint=f"a line was removed, added or moved: {_HINT}",
            )
        entries.append(entry)
        head = entry.head
    for known in heads:
        refuse_off_chain(entries, known, where=where)
    return tuple(entries)


def refuse_off_chain(entries: list[SignLogEntry], known: Head, *, where: str) -> None:
    """Refuse a log that a known head does not lie on.

    Raises:
        ChainError: The log was shortened, or written anew.
    """
    if known.count > len(entries):
        raise ChainError(
            "lines were removed from the end of the sign log",
            expected=f"at least {known.count} lines",
            got=f"{len(entries)} lines",
            where=where,
            hint=_HINT,
        )
    there = entries[known.count - 1].head if known.count else EMPTY
    if there != known:
        raise ChainError(
            "the sign log is not the one that this head was taken from",
            expected=known,
            got=there,
            where=where,
            hint=f"it was written anew, or the head is of another log; {_HINT}",
        )


def parse_head(
    text: str,
    *,
    where: str = "head",
    log: str = "sign log",
    printed_by: str = "ampforge key log verify",
) -> Head:
    """Read `COUNT:HASH`.

    Args:
        text: What was remembered.
        where: Where it stands, for errors.
        log: What kind of log it is the head of, for errors.
        printed_by: The command that prints such a head, for errors.

    Raises:
        ChainError: It is something else.
    """
    match = _HEAD.fullmatch(text)
    if match is None:
        raise ChainError(
            f"the head of a {log} is not readable",
            expected="COUNT:HASH, the hash as 64 hexadecimal digits",
            got=ascii(text[:80]),
            where=where,
            hint=f"`{printed_by}` prints the head of a log that it has verified",
        )
    return Head(count=int(match[1]), hash=bytes.fromhex(match[2]))


def serialize_line_json(document: dict[str, object]) -> bytes:
    """Return a line's JSON, without the line's end: sorted keys, no spaces, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def clip_text(text: str) -> str:
    """Return text that fits a line, whatever an account or machine is called."""
    return text[:TEXT_MAX_CHARACTERS]


def _read_document(document: object) -> SignLogEntry:
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise ValueError("fields")
    texts = {name: document[name] for name in _TEXTS}
    sequence = document["sequence"]
    if not all(isinstance(text, str) for text in texts.values()) or type(sequence) is not int:
        raise ValueError("types")
    hashes = {name: bytes.fromhex(document[name]) for name in _HASHES}
    if any(len(value) != HASH_BYTES for value in hashes.values()):
        raise ValueError("lengths")
    return SignLogEntry(
        sequence=sequence,
        time=datetime.strptime(document["time"], LINE_TIME_FORMAT).replace(tzinfo=UTC),
        who=texts["who"],
        role=texts["role"],
        key_id=hashes["key_id"],
        content_type=texts["content_type"],
        digest=hashes["digest"],
        tool=texts["tool"],
        previous=hashes["previous"],
    )


def _unreadable(where: str) -> ChainError:
    return ChainError(
        "a line of the sign log is not readable",
        expected=f"one JSON object with {', '.join(sorted(_FIELDS))}",
        where=where,
        hint=_HINT,
    )
