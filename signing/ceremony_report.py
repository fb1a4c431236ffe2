"""The transcript of a key ceremony for people: Markdown, made from the lines and nothing else.

Implements docs/spec/key-ceremony.md §6. The same lines give the same bytes, so that a witness can
compare it, and it can be signed on paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.ceremony_plan import StepKind, describe_thresholds
from signing.ceremony_transcript import format_check_value
from signing.roles import Role

if TYPE_CHECKING:
    from signing.ceremony_plan import Step
    from signing.ceremony_state import Ceremony

GROUP_CHARACTERS = 4


def format_key_id(key_id: bytes) -> str:
    """Return a key's whole id as people read it out: groups of four digits."""
    digits = key_id.hex()
    return " ".join(
        digits[start : start + GROUP_CHARACTERS]
        for start in range(0, len(digits), GROUP_CHARACTERS)
    )


def describe_step(ceremony: Ceremony, step: Step) -> str:
    """Return what a step did, in words."""
    name, plan = step.name, ceremony.plan
    match step.kind:
        case StepKind.BEGIN:
            return f"the plan is read; {len(ceremony.steps)} steps"
        case StepKind.KEY:
            key = plan.key(name)
            how = "brings the public key" if key.public else "proves possession of"
            return f"{key.holder} {how} {name} ({key.role})"
        case StepKind.RECORD:
            return "the keys are put together to trust record version 1"
        case StepKind.SIGN:
            return f"{plan.key(name).holder} signs the trust record with {name}"
        case StepKind.PUBLISH:
            return "the signed trust record is written and verified"
        case StepKind.CLOSE:
            return f"{plan.key(name).holder} signs this transcript with {name}"


def format_transcript(ceremony: Ceremony) -> str:
    """Return the transcript of a ceremony that is done."""
    plan = ceremony.plan
    begin, publish = (
        next(ceremony.confirmation(step) for step in ceremony.steps if step.kind is kind)
        for kind in (StepKind.BEGIN, StepKind.PUBLISH)
    )
    lines = [f"# Key ceremony of {plan.product}", ""]
    if plan.rehearsal:
        lines += ["**REHEARSAL: these are test keys, never for products.**", ""]
    lines += [
        f"- place: {plan.place}",
        f"- witnesses: {', '.join(plan.witnesses)}",
        (
            f"- begun: {begin.time:%Y-%m-%d %H:%M:%S} UTC, "
            f"ended: {ceremony.entries[-1].time:%Y-%m-%d %H:%M:%S} UTC"
        ),
        f"- tool: {_plain(begin.content['tool'])}",
        f"- SHA-256 of plan.toml: `{ceremony.plan_sha256.hex()}`",
        f"- SHA-256 of trust.cose: `{publish.content['sha256']}`",
        f"- last line of transcript.jsonl: {len(ceremony.entries)}, `{ceremony.head.hex()}`",
        "",
        "## Roles",
        "",
        "| role | needs |",
        "|---|---|",
        *(
            f"| {role} | {threshold} of {count} |"
            for role, (threshold, count) in describe_thresholds(plan).items()
        ),
        "",
        "## Keys",
        "",
        "| name | role | holder | algorithm | possession | key id |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {planned.name} | {planned.role} | {planned.holder} | {planned.algorithm} | "
        f"{'not proved here' if planned.public else 'proved'} | "
        f"`{format_key_id(ceremony.keys[planned.name].key_id)}` |"
        for planned in plan.keys
    ]
    lines += [
        "",
        "## Steps",
        "",
        "A witness wrote the check value down when the step was done, and compares it here.",
        "",
        "| step | time, UTC | what | check value |",
        "|---|---|---|---|",
    ]
    for step in ceremony.steps:
        entry = ceremony.confirmation(step)
        lines.append(
            f"| {step.number} | {entry.time:%H:%M:%S} | {describe_step(ceremony, step)} | "
            f"`{entry.check_value}` |"
        )
    holders = [(key.holder, f"root, {key.name}") for key in plan.keys_of(Role.ROOT)]
    lines += [
        "",
        (
            f"Root's signatures over lines 1 to {publish.sequence} "
            f"(`{format_check_value(publish.hash)}`) are in transcript.jsonl. On paper:"
        ),
        "",
        "| name | as | signature |",
        "|---|---|---|",
        *(
            f"| {name} | {part} | |"
            for name, part in (*((name, "witness") for name in plan.witnesses), *holders)
        ),
        "",
        "Check it on another machine: `ampforge key ceremony verify FOLDER`.",
        "",
    ]
    return "\n".join(lines)


def _plain(text: object) -> str:
    return "".join(letter for letter in str(text)[:200] if letter.isprintable() and letter != "|")
