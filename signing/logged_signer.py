"""Signers that write each signature to the sign log before they hand it out.

Implements docs/spec/trust.md §11. The line is on the disk before the signature leaves `sign`, so no
signature can leave unlogged; a line whose signature was never saved anywhere is possible. Where the
log cannot be written, there is no signature.

What is signed is looked at to say what it is: our messages (docs/spec/cose.md), TUF metadata, SUIT
envelopes, else `application/octet-stream`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from signing.canonical_cbor import parse_cbor
from signing.durable_file import flush_folder, save_durably
from signing.errors import CborError, ChainError, DurableFileError
from signing.input_file import is_present, read_input
from signing.sign_log import (
    EMPTY,
    LINE_MAX_BYTES,
    SIGN_LOG_MAX_BYTES,
    Head,
    SignLogEntry,
    clip_text,
    parse_entry,
    parse_head,
    serialize_entry,
    verify_sign_log,
)
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from signing.keys import PublicKey
    from signing.signers import Signer

SIGN_LOG_NAME: Final = "sign-log.jsonl"
OCTETS: Final = "application/octet-stream"
SUIT_ENVELOPE: Final = "application/suit-envelope+cose"

_HEAD_MAX_BYTES: Final = 100
_TUF_BEGIN: Final = re.compile(rb'\{"_type":"([a-z]{1,32})"[,}]')
_CONTEXTS: Final = ("Signature", "Signature1")
_CONTENT_TYPE: Final = 3
_STRUCTURE_MAX_BYTES: Final = 1 << 20
_SUIT_DIGEST_BYTES: Final = {-16: 32, -43: 48, -44: 64}  # SHA-256, SHA-384, SHA-512


@dataclass(frozen=True, slots=True, kw_only=True)
class SignLog:
    """Where signatures of this process are written down.

    Attributes:
        path: The log.
        who: Account and machine.
        tool: Name and version of the program.
        clock: Gives the time, aware.
    """

    path: Path
    who: str
    tool: str
    clock: Callable[[], datetime]

    def append(self, role: str, key_id: bytes, content_type: str, digest: bytes) -> Head:
        """Write down one signature, on the disk when this returns.

        Raises:
            ChainError: The log is not what its head says: lines are missing or changed at its end.
            DurableFileError: It cannot be written.
        """
        try:
            with _open_locked(self.path) as descriptor:
                last = _read_last(descriptor, self.path)
                if last != (_read_head(self.path) or EMPTY):
                    # A second kill at the same place would leave the log two lines ahead.
                    save_durably(head_path(self.path), f"{last}\n".encode())
                entry = SignLogEntry(
                    sequence=last.count + 1,
                    time=self.clock(),
                    who=clip_text(self.who),
                    role=role,
                    key_id=key_id,
                    content_type=clip_text(content_type),
                    digest=digest,
                    tool=clip_text(self.tool),
                    previous=last.hash,
                )
                os.write(descriptor, serialize_entry(entry))
                os.fsync(descriptor)
                save_durably(head_path(self.path), f"{entry.head}\n".encode())
        except OSError as error:
            raise _not_written(self.path, error) from error
        return entry.head

    def wrap(self, signer: Signer, role: str) -> LoggedSigner:
        """Return a signer that writes down what it signs for a role."""
        return LoggedSigner(signer, role, self)


class LoggedSigner:
    """Another signer, whose signatures are written down."""

    def __init__(self, signer: Signer, role: str, log: SignLog) -> None:
        self._signer = signer
        self._role = role
        self._log = log

    def __repr__(self) -> str:
        return f"LoggedSigner({self._signer!r})"

    @property
    def is_test_key(self) -> bool:
        """Whether the key's file is marked as one for tests."""
        return bool(getattr(self._signer, "is_test_key", False))

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return self._signer.public_key

    def sign(self, message: bytes) -> bytes:
        """Sign, write it down, and only then return the signature."""
        signature = self._signer.sign(message)
        content_type, content = describe_signed(message)
        self._log.append(
            self._role,
            self.public_key.key_id,
            content_type,
            hashlib.sha256(content).digest(),
        )
        return signature


def head_path(path: Path) -> Path:
    """Return the file beside a log that says how far it has come."""
    return path.with_name(f"{path.name}.head")


def load_sign_log(path: Path, *, heads: tuple[Head, ...] = ()) -> tuple[SignLogEntry, ...]:
    """Load a log and verify it, by itself, by the head beside it, and by remembered heads.

    Raises:
        ChainError: It was changed, or cannot be read.
    """
    try:
        content = read_input(path, SIGN_LOG_MAX_BYTES)
    except OSError as error:
        raise ChainError(
            "the sign log cannot be read",
            got=error.strerror,
            where=path,
            hint="it lies beside the trust record, from the first signature on",
        ) from error
    if len(content) > SIGN_LOG_MAX_BYTES:
        raise ChainError(
            "the sign log is too long",
            expected=f"at most {SIGN_LOG_MAX_BYTES >> 20} MiB",
            got="more",
            where=path,
            hint="check that this is a sign log; it has one line for each signature",
        )
    beside = _read_head(path)
    entries = verify_sign_log(
        content, heads=heads if beside is None else (beside, *heads), where=str(path)
    )
    # A kill before the first head was written leaves one line without; more are never without.
    if beside is None and len(entries) > 1:
        raise ChainError(
            "the head beside the sign log is missing",
            expected=head_path(path),
            where=path,
            hint="restore both from a backup; without it nobody sees that lines are missing",
        )
    return entries


def describe_signed(message: bytes) -> tuple[str, bytes]:
    """Return what the bytes to be signed say they are, and the content whose digest is logged.

    For our messages that is the payload, without the headers around it (RFC 9052 §4.4).
    """
    if message.startswith(b"{"):
        return _describe_json(message), message
    try:
        structure = parse_cbor(message, max_bytes=_STRUCTURE_MAX_BYTES)
    except CborError:
        return OCTETS, message
    match structure:
        case [str(context), bytes(body_header), *_, bytes(payload)] if context in _CONTEXTS:
            return _content_type_of(body_header) or _describe_detached(payload), payload
        case _:
            return OCTETS, message


def _content_type_of(header: bytes) -> str | None:
    try:
        fields = parse_cbor(header, max_bytes=_STRUCTURE_MAX_BYTES)
    except CborError:
        return OCTETS
    if not isinstance(fields, dict) or _CONTENT_TYPE not in fields:
        return None
    content_type = fields[_CONTENT_TYPE]
    return content_type if isinstance(content_type, str) else OCTETS


def _describe_detached(payload: bytes) -> str:
    """Tell a SUIT envelope: what it signs is the digest of its manifest (suit-export.md §3)."""
    try:
        match parse_cbor(payload, max_bytes=_STRUCTURE_MAX_BYTES):
            case [int(algorithm_id), bytes(digest)] if _SUIT_DIGEST_BYTES.get(algorithm_id) == len(
                digest
            ):
                return SUIT_ENVELOPE
    except CborError:
        pass
    return OCTETS


def _describe_json(message: bytes) -> str:
    # A list of a thousand releases takes longer to parse than to sign, and begins with its type.
    begins = _TUF_BEGIN.match(message)
    if begins is not None and message.count(b'"_type"') == 1:
        return f"application/vnd.tuf.{begins.group(1).decode('ascii')}+json"
    try:
        # TUF's canonical JSON leaves the line ends of PEM keys as they are.
        kind = json.loads(message, strict=False).get("_type")
    except (ValueError, AttributeError, RecursionError):
        return OCTETS
    return f"application/vnd.tuf.{kind}+json" if isinstance(kind, str) else "application/json"


@contextmanager
def _open_locked(path: Path) -> Iterator[int]:
    is_new = not is_present(path)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_new:
            flush_folder(path.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def _read_last(descriptor: int, path: Path) -> Head:
    """Returns the head to go on from, and cuts off a line that a power cut left unfinished."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - 2 * LINE_MAX_BYTES)
    tail = os.pread(descriptor, size - begin, begin)
    whole = tail[: tail.rfind(b"\n") + 1]
    head = before = EMPTY
    if whole:
        last = parse_entry(whole[:-1].rpartition(b"\n")[2], where=f"{path}, last line")
        head, before = last.head, Head(count=last.sequence - 1, hash=last.previous)
    elif begin:
        raise ChainError("a line of the sign log is too long", where=path)
    # A kill between a line and its head leaves the log one line ahead, and never behind.
    beside = _read_head(path) or EMPTY
    if beside not in (head, before):
        raise _shortened(str(beside), str(head), path)
    if len(whole) < len(tail):
        os.ftruncate(descriptor, begin + len(whole))
    return head


def _read_head(path: Path) -> Head | None:
    beside = head_path(path)
    if not is_present(beside):
        return None
    try:
        text = read_input(beside, _HEAD_MAX_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise _not_written(beside, error) from error
    return parse_head(text, where=str(beside))


def _shortened(expected: str, got: str, path: Path) -> ChainError:
    return ChainError(
        "the sign log does not end where its head says; nothing was signed",
        expected=expected,
        got=got,
        where=path,
        hint="lines were removed or changed: restore the log and its head from a backup",
    )


def _not_written(path: Path, error: OSError) -> DurableFileError:
    return DurableFileError(
        "the sign log cannot be written; nothing was signed",
        got=error.strerror or type(error).__name__,
        where=path,
        hint="check that the folder is writable and has space left",
    )
