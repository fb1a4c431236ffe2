"""What a transcript amounts to: each line judged against the plan and everything before it.

Implements docs/spec/key-ceremony.md §3 and §5. The one place that decides whether a step is right:
`signing.ceremony_run` replays after each line that it wrote, to know where to go on, and a witness
replays the whole. Only public material is used.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from signing.ceremony_plan import PlannedKey, StepKind, parse_plan, steps_of
from signing.ceremony_state import (
    Ceremony,
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
    verify_statement,
)
from signing.ceremony_transcript import Entry, Phase
from signing.cose import verify_many
from signing.cose_message import parse_message
from signing.errors import CeremonyError
from signing.keys import parse_public_key
from signing.refusal import refusing_in
from signing.trust import (
    MAX_TRUST_RECORD_BYTES,
    TRUST_RECORD_CONTENT_TYPE,
    serialize_trust_record,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def replay(
    plan_bytes: bytes,
    entries: Sequence[Entry],
    *,
    where: str = "transcript",
    plan_where: object = "plan",
) -> Ceremony:
    """Judge a transcript whose chain was verified.

    Args:
        plan_bytes: The plan's file.
        entries: The lines.
        where: The transcript's name, for errors.
        plan_where: The plan's name, for errors.

    Raises:
        SigningError: The plan is refused, or a line is not what its step asks for.
    """
    plan = parse_plan(plan_bytes, where=plan_where)
    ceremony = Ceremony(
        plan=plan, plan_sha256=hashlib.sha256(plan_bytes).digest(), steps=steps_of(plan)
    )
    for entry in entries:
        with refusing_in(f"{where}, line {entry.sequence}"):
            judge_entry(ceremony, entry)
        ceremony.entries = (*ceremony.entries, entry)
    return ceremony


def judge_entry(ceremony: Ceremony, entry: Entry) -> None:
    """Refuse a line that is not the next one, or says what its step does not.

    Raises:
        SigningError: It is refused.
    """
    step = ceremony.next_step
    phase = Phase.CONFIRM if ceremony.is_begun else Phase.INTENT
    got = f"{entry.phase} {entry.step}"
    if step is None or (entry.step, entry.phase) != (str(step), phase):
        raise CeremonyError(
            "a line of the transcript is not the plan's next step",
            expected=f"{phase} {step}" if step else "the end",
            got=ascii(got),
            hint="the transcript belongs to another plan, or steps were left out",
        )
    if phase is Phase.INTENT:
        _refuse_other(entry, intent_content(ceremony, step))
        return
    match step.kind:
        case StepKind.BEGIN:
            _refuse_other_plan(ceremony, entry)
            tool = entry.content.get("tool")
            _refuse_other(entry, {**begin_content(ceremony), "tool": tool or "a tool"})
        case StepKind.KEY:
            _judge_key(ceremony, ceremony.plan.key(step.name), entry)
        case StepKind.RECORD:
            _refuse_other(entry, record_content(ceremony))
        case StepKind.SIGN:
            _judge_signature(ceremony, step.name, entry)
        case StepKind.PUBLISH:
            _refuse_other(entry, publish_content(ceremony))
        case StepKind.CLOSE:
            _judge_closing(ceremony, step.name, entry)


def _refuse_other_plan(ceremony: Ceremony, entry: Entry) -> None:
    begun_with, now = entry.content.get("plan_sha256"), ceremony.plan_sha256.hex()
    if begun_with != now:
        raise CeremonyError(
            "the plan is not the one that the ceremony began with",
            expected=f"SHA-256 {ascii(begun_with)[1:-1][:64]}",
            got=now,
            hint="put the plan back as it was, or begin a new ceremony in another folder",
        )


def _judge_key(ceremony: Ceremony, planned: PlannedKey, entry: Entry) -> None:
    spki, proof = _bytes_of(entry, "spki"), _bytes_of(entry, "proof")
    key = parse_public_key(spki, where=f"key {planned.name}")
    if key.algorithm is not planned.algorithm:
        raise CeremonyError(
            "a key has another algorithm than its plan says",
            expected=planned.algorithm,
            got=key.algorithm,
            where=f"key {planned.name}",
            hint="correct algorithm in the plan, or use the key that was planned",
        )
    _refuse_other(entry, key_content(planned, key, proof))
    for name, other in ceremony.keys.items():
        if other == key:
            raise CeremonyError(
                "one key stands under two names",
                got=f"{name} and {planned.name}",
                where=f"key {planned.name}",
                hint="each name of the plan needs a key of its own",
            )
    if planned.public is None:
        verify_statement(
            proof,
            key,
            ceremony.possession_statement(planned, key, ceremony.head),
            content_type=POSSESSION_CONTENT_TYPE,
            where=f"key {planned.name}",
        )
    elif proof:
        raise CeremonyError(
            "a key that was brought carries a proof that nobody asked for",
            where=f"key {planned.name}",
        )
    ceremony.keys[planned.name] = key


def _judge_signature(ceremony: Ceremony, name: str, entry: Entry) -> None:
    key = ceremony.keys[name]
    message = _bytes_of(entry, "message")
    _refuse_other(entry, signature_content(key, message))
    verified = verify_many(
        message,
        [key],
        threshold=1,
        content_type=TRUST_RECORD_CONTENT_TYPE,
        max_bytes=MAX_TRUST_RECORD_BYTES,
    )
    payload = serialize_trust_record(ceremony.record)
    if verified.payload != payload or len(parse_message(message).signatures) != 1:
        raise CeremonyError(
            "a root holder signed another record than the ceremony's",
            expected=f"SHA-256 {hashlib.sha256(payload).hexdigest()}",
            got=hashlib.sha256(verified.payload).hexdigest(),
            where=f"sign {name}",
        )
    ceremony.signatures[name] = message


def _judge_closing(ceremony: Ceremony, name: str, entry: Entry) -> None:
    key = ceremony.keys[name]
    message = _bytes_of(entry, "message")
    _refuse_other(entry, signature_content(key, message))
    verify_statement(
        message,
        key,
        ceremony.closing_statement,
        content_type=CLOSING_CONTENT_TYPE,
        where=f"close {name}",
    )
    ceremony.closed.append(name)


def _bytes_of(entry: Entry, name: str) -> bytes:
    value = entry.content.get(name)
    try:
        return bytes.fromhex(value if isinstance(value, str) else "?")
    except ValueError as error:
        raise CeremonyError(
            f"a line of the transcript has no {name}", expected="hexadecimal digits", where=name
        ) from error


def _refuse_other(entry: Entry, expected: Mapping[str, object]) -> None:
    if dict(entry.content) == expected:
        return
    names = sorted(
        name
        for name in {*entry.content, *expected}
        if entry.content.get(name) != expected.get(name)
    )
    first = names[0]
    raise CeremonyError(
        f"a step says something else than the plan and the steps before it: {first[:40]!a}",
        expected=str(expected.get(first, "nothing"))[:200],
        got=ascii(entry.content.get(first, "nothing"))[:200],
        where=f"{entry.phase} {entry.step}",
        hint="the transcript belongs to another plan, or was changed",
    )
