"""Runs a key ceremony, one step after the other: INTENT, act, read back, CONFIRM.

Implements docs/spec/key-ceremony.md §3. A kill at any moment leaves a folder that the next run goes
on from: an INTENT without its CONFIRM is acted on again, and each act either finds what it made
before or makes it now. Private keys and passphrases are never written here, and a key file is never
written over.

Not here: making keys in tokens, which is their makers' tools' business; the holder of a token
proves possession of a key that lies in it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from signing.ceremony_folder import append_entry, load_ceremony, published_files, save_files
from signing.ceremony_plan import Step, StepKind
from signing.ceremony_state import (
    begin_content,
    intent_content,
    key_content,
    publish_content,
    record_content,
    signature_content,
)
from signing.ceremony_statements import (
    CLOSING_CONTENT_TYPE,
    POSSESSION_CONTENT_TYPE,
    sign_statement,
)
from signing.ceremony_transcript import Entry, Phase, next_entry
from signing.cose import sign_many
from signing.durable_file import create_durably
from signing.errors import CeremonyError
from signing.input_file import is_present
from signing.key_files import (
    TEST_KEY_MARK,
    generate_key,
    is_test_key,
    load_public_key,
    public_key_path,
    refuse_key_path,
)
from signing.key_uris import load_signer
from signing.pkcs11_variables import PIN_VARIABLE
from signing.trust import TRUST_RECORD_CONTENT_TYPE, serialize_trust_record
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from signing.ceremony_plan import PlannedKey
    from signing.ceremony_state import Ceremony
    from signing.keys import PublicKey
    from signing.logged_signer import SignLog
    from signing.signers import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyRoom:
    """What a ceremony needs from where it is held.

    Attributes:
        passphrase: Asks the holder of a key for its passphrase or PIN; the flag says whether the
            passphrase is chosen now.
        clock: Gives the time, aware.
        log: Where each signature is written down.
        tool: Name and version of the program.
        environment: Where a token's module may be named.
    """

    passphrase: Callable[[PlannedKey, bool], bytes]
    clock: Callable[[], datetime]
    log: SignLog
    tool: str
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step that was just confirmed.

    Attributes:
        step: The step.
        entry: Its CONFIRM.
        ceremony: The ceremony as it is now.
    """

    step: Step
    entry: Entry
    ceremony: Ceremony


def run_next_step(folder: Path, room: CeremonyRoom) -> StepDone | None:
    """Do the first step that is not done; the caller holds the folder (`hold_folder`).

    Args:
        folder: The ceremony's folder, with its plan.
        room: Holders, clock and log.

    Returns:
        The step, or `None` if all were done; the transcript for people is then there, too.

    Raises:
        SigningError: The step is refused; it is done again by the next call.
    """
    ceremony = load_ceremony(folder)
    step = ceremony.next_step
    if step is None:
        save_files(folder, published_files(ceremony))
        return None
    if not ceremony.is_begun:
        _refuse_early(folder, ceremony, step)
        content = intent_content(ceremony, step)
        ceremony = _append(folder, ceremony, step, Phase.INTENT, content, now=room.clock())
    content = _act(folder, ceremony, step, room)
    ceremony = _append(folder, ceremony, step, Phase.CONFIRM, content, now=room.clock())
    if ceremony.next_step is None:
        save_files(folder, published_files(ceremony))
    return StepDone(step=step, entry=ceremony.confirmation(step), ceremony=ceremony)


def _append(
    folder: Path,
    ceremony: Ceremony,
    step: Step,
    phase: Phase,
    content: Mapping[str, object],
    *,
    now: datetime,
) -> Ceremony:
    entry = next_entry(ceremony.entries, step, phase, content, now=now)
    if ceremony.entries and entry.time < ceremony.entries[-1].time:
        raise CeremonyError(
            "the clock of this machine has gone back since the last step",
            expected=f"{ceremony.entries[-1].time:%Y-%m-%d %H:%M:%S} UTC or later",
            got=f"{entry.time:%Y-%m-%d %H:%M:%S} UTC",
            hint="set the clock right and run the ceremony again",
        )
    return append_entry(folder, ceremony, entry)


def _refuse_early(folder: Path, ceremony: Ceremony, step: Step) -> None:
    """Refuse what would be refused later, before the step is written down as begun."""
    if step.kind is StepKind.BEGIN:
        # Every file is looked for before the first holder sits down.
        for planned in ceremony.plan.keys:
            _refuse_taken(folder, planned)
    elif step.kind is StepKind.KEY:
        _refuse_taken(folder, ceremony.plan.key(step.name))


def _refuse_taken(folder: Path, planned: PlannedKey) -> None:
    path = key_path(folder, planned)
    if path is None:
        return
    if planned.public is not None:
        load_public_key(path)
        return
    refuse_key_path(path)


def key_path(folder: Path, planned: PlannedKey) -> Path | None:
    """Return the file that a key is made in or read from; `None` if it lies in a token."""
    if planned.is_in_token:
        return None
    return folder / planned.source.removeprefix("file:").removeprefix("//")


def _act(folder: Path, ceremony: Ceremony, step: Step, room: CeremonyRoom) -> dict[str, object]:
    match step.kind:
        case StepKind.BEGIN:
            return {**begin_content(ceremony), "tool": room.tool}
        case StepKind.KEY:
            return _make_key(folder, ceremony, ceremony.plan.key(step.name), room)
        case StepKind.RECORD:
            return record_content(ceremony)
        case StepKind.SIGN:
            payload = serialize_trust_record(ceremony.record)
            signer = _open(folder, ceremony, step.name, room)
            message = sign_many(payload, [signer], content_type=TRUST_RECORD_CONTENT_TYPE)
            return signature_content(signer.public_key, message)
        case StepKind.PUBLISH:
            save_files(folder, published_files(ceremony, is_publishing=True))
            return publish_content(ceremony)
        case StepKind.CLOSE:
            signer = _open(folder, ceremony, step.name, room)
            message = sign_statement(
                ceremony.closing_statement, signer, content_type=CLOSING_CONTENT_TYPE
            )
            return signature_content(signer.public_key, message)


def _make_key(
    folder: Path, ceremony: Ceremony, planned: PlannedKey, room: CeremonyRoom
) -> dict[str, object]:
    path = key_path(folder, planned)
    if planned.public is not None:
        assert path is not None
        if is_test_key(path) and not ceremony.plan.rehearsal:
            raise _test_key(path)
        return key_content(planned, load_public_key(path), b"")
    passphrase = _once(room, planned, is_new=path is not None and not is_present(path))
    if path is not None:
        _make_key_file(path, ceremony, planned, passphrase)
    signer = _open_key(folder, planned, room, passphrase)
    if path is not None and not is_present(public_key_path(path)):
        # A kill came between the two files of the pair.
        mark = TEST_KEY_MARK if ceremony.plan.rehearsal else b""
        create_durably(public_key_path(path), mark + signer.public_key.pem(), mode=0o644)
    if path is not None:
        _refuse_foreign_public(path, signer.public_key)
    statement = ceremony.possession_statement(planned, signer.public_key, ceremony.head)
    proof = sign_statement(statement, signer, content_type=POSSESSION_CONTENT_TYPE)
    return key_content(planned, signer.public_key, proof)


def _make_key_file(
    path: Path, ceremony: Ceremony, planned: PlannedKey, passphrase: Callable[[], bytes]
) -> None:
    # What a killed run left of this key is nobody's key, and may be one without a passphrase.
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        partial.unlink()
    if is_present(path):
        return
    if not path.parent.is_dir():
        raise CeremonyError(
            "the place for a private key is not there",
            expected="a folder, on the holder's own medium",
            got="nothing",
            where=path.parent,
            hint=f"put in {planned.holder}'s medium, or make the folder, and run again",
        )
    generate_key(
        path,
        planned.algorithm,
        passphrase=None if planned.no_passphrase else passphrase(),
        is_test_key=ceremony.plan.rehearsal,
    )


def _open(folder: Path, ceremony: Ceremony, name: str, room: CeremonyRoom) -> Signer:
    planned = ceremony.plan.key(name)
    signer = _open_key(folder, planned, room, _once(room, planned, is_new=False))
    if signer.public_key != ceremony.keys[name]:
        raise CeremonyError(
            "this is not the key that was made in the ceremony",
            expected=f"key {ceremony.keys[name].key_id.hex()}",
            got=f"key {signer.public_key.key_id.hex()}",
            where=f"key {name}, {planned.source}",
            hint=f"use {planned.holder}'s own medium",
        )
    return signer


def _open_key(
    folder: Path, planned: PlannedKey, room: CeremonyRoom, passphrase: Callable[[], bytes]
) -> Signer:
    path = key_path(folder, planned)
    uri = planned.source if path is None else f"file:{path}"
    # One PIN for all tokens would be one holder for all of them: each is asked for their own.
    environment = {name: text for name, text in room.environment.items() if name != PIN_VARIABLE}
    signer = load_signer(uri, passphrase=passphrase, environment=environment)
    return room.log.wrap(signer, str(planned.role))


def _once(room: CeremonyRoom, planned: PlannedKey, *, is_new: bool) -> Callable[[], bytes]:
    return cache(lambda: room.passphrase(planned, is_new))


def _refuse_foreign_public(path: Path, key: PublicKey) -> None:
    if load_public_key(public_key_path(path)) != key:
        raise CeremonyError(
            "the public key file belongs to another private key",
            expected=f"key {key.key_id.hex()}",
            where=public_key_path(path),
            hint="somebody changed it: end this ceremony and begin a new one",
        )


def _test_key(path: Path) -> CeremonyError:
    return CeremonyError(
        "a test key was brought to a ceremony that is no rehearsal",
        expected="a key that is not marked",
        got="a test key",
        where=path,
        hint="make a real key on the machine where it will live, and bring its .pub.pem",
    )
