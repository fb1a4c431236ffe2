"""The folder of a key ceremony: the plan, the transcript, and what came of it. All of it public.

| file | content |
|---|---|
| `plan.toml` | the plan |
| `transcript.jsonl` | the transcript, replaced in one step with each line |
| `trust.cose` | the signed trust record |
| `public/NAME.pub.pem` | the public keys |
| `transcript.md` | the transcript for people, made from the one for machines |

Private keys lie where the plan says; a folder `keys` beside the plan is for rehearsals. Implements
docs/spec/key-ceremony.md §6.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from signing.ceremony_plan import PLAN_MAX_BYTES, StepKind
from signing.ceremony_replay import replay
from signing.ceremony_report import format_transcript
from signing.ceremony_transcript import (
    TRANSCRIPT_MAX_BYTES,
    Entry,
    parse_transcript,
    serialize_entry,
)
from signing.durable_file import save_durably
from signing.errors import CeremonyError
from signing.input_file import is_present, read_input
from signing.key_files import TEST_KEY_MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from signing.ceremony_state import Ceremony

PLAN_NAME: Final = "plan.toml"
TRANSCRIPT_NAME: Final = "transcript.jsonl"
REPORT_NAME: Final = "transcript.md"
TRUST_NAME: Final = "trust.cose"
PUBLIC_NAME: Final = "public"
LOCK_NAME: Final = ".ceremony.lock"

_FILE_MAX_BYTES: Final = 4 << 20


def load_ceremony(folder: Path) -> Ceremony:
    """Read a ceremony's plan and transcript, and judge every line.

    Raises:
        SigningError: Something is missing, was changed, or is not what its step asks for.
    """
    plan_path, path = folder / PLAN_NAME, folder / TRANSCRIPT_NAME
    plan_bytes = _read(plan_path, PLAN_MAX_BYTES, "write one with `ampforge key ceremony plan`")
    entries: tuple[Entry, ...] = ()
    if is_present(path):
        entries = parse_transcript(_read(path, TRANSCRIPT_MAX_BYTES), where=str(path))
    return replay(plan_bytes, entries, where=str(path), plan_where=plan_path)


def append_entry(folder: Path, ceremony: Ceremony, entry: Entry) -> Ceremony:
    """Write one more line durably, and return the ceremony as it is read back.

    Raises:
        DurableFileError: It cannot be written.
        SigningError: What is read back is not right.
    """
    entries = (*ceremony.entries, entry)
    save_durably(folder / TRANSCRIPT_NAME, b"".join(map(serialize_entry, entries)))
    return load_ceremony(folder)


def published_files(ceremony: Ceremony, *, is_publishing: bool = False) -> dict[str, bytes]:
    """Return the files that a ceremony's confirmed steps have produced, by name in the folder.

    Args:
        ceremony: The ceremony.
        is_publishing: Whether its publishing step is being done, and counts already.
    """
    mark = TEST_KEY_MARK if ceremony.plan.rehearsal else b""
    done = {step.kind for step in ceremony.steps[: len(ceremony.entries) // 2]}
    is_published = is_publishing or StepKind.PUBLISH in done
    files: dict[str, bytes] = {}
    if is_published:
        files = {
            f"{PUBLIC_NAME}/{name}.pub.pem": mark + key.pem() for name, key in ceremony.keys.items()
        }
        files[TRUST_NAME] = ceremony.signed_record
    if ceremony.next_step is None:
        files[REPORT_NAME] = format_transcript(ceremony).encode()
    return files


def save_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write published files that are not there yet, and refuse those that are there and differ.

    Raises:
        CeremonyError: A file of that name holds something else.
        DurableFileError: A file cannot be written.
    """
    for name, content in files.items():
        path = folder / name
        if is_present(path):
            refuse_other_file(path, content)
            continue
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise _unusable(path.parent, error) from error
        save_durably(path, content)
        refuse_other_file(path, content)


def refuse_other_file(path: Path, expected: bytes) -> None:
    """Refuse a file that is not exactly what the ceremony's steps produced.

    Raises:
        CeremonyError: It is missing, or holds something else.
    """
    if _read(path, _FILE_MAX_BYTES) != expected:
        raise CeremonyError(
            "a file is not what the ceremony's steps produced",
            expected=f"{len(expected)} bytes that follow from {TRANSCRIPT_NAME}",
            got="other content",
            where=path,
            hint="it was changed after the ceremony, or is another ceremony's: do not use it",
        )


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold a ceremony's folder for one process.

    Raises:
        CeremonyError: Another process runs the ceremony, or the folder cannot be written.
    """
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CeremonyError(
                "this ceremony is run by another process right now",
                where=folder,
                hint="go on in the terminal where it runs, or end it there first",
            ) from error
        yield
    finally:
        os.close(descriptor)


def _read(path: Path, bytes_max: int, hint: str | None = None) -> bytes:
    try:
        content = read_input(path, bytes_max)
    except OSError as error:
        raise CeremonyError(
            "a file of the ceremony cannot be read",
            got=error.strerror,
            where=path,
            hint=hint or "copy the ceremony's folder as a whole, or run the ceremony once more",
        ) from error
    if len(content) > bytes_max:
        raise CeremonyError(
            "a file of the ceremony is too long",
            expected=f"at most {bytes_max} bytes",
            got="more",
            where=path,
        )
    return content


def _unusable(folder: Path, error: OSError) -> CeremonyError:
    return CeremonyError(
        "the ceremony's folder cannot be used",
        got=error.strerror,
        where=folder,
        hint="make one with `ampforge key ceremony plan FOLDER`",
    )
