"""What `ampforge key ceremony` prints: steps, check values, where it stands, what it proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from signing.ceremony_run import StepDone
    from signing.ceremony_state import Ceremony


def format_step(done: StepDone) -> str:
    """Return a step that was just done, with what a witness writes down."""
    from signing.ceremony_report import describe_step, format_key_id

    step, ceremony = done.step, done.ceremony
    lines = [f"step {step.number} of {len(ceremony.steps)}: {describe_step(ceremony, step)}"]
    if key_id := done.entry.content.get("key_id"):
        lines.append(f"  key id   {format_key_id(bytes.fromhex(str(key_id)))}")
    if digest := done.entry.content.get("sha256"):
        lines.append(f"  SHA-256  {digest}")
    lines.append(f"  check    {done.entry.check_value}    <- a witness writes this down")
    return "\n".join(lines)


def describe_run(folder: Path, done: list[StepDone]) -> dict[str, object]:
    """Return what a run did as a document for scripts."""
    from signing.ceremony_folder import load_ceremony

    now = load_ceremony(folder)
    return {
        "schema": "ampforge.ceremony-run/1",
        "folder": str(folder),
        "steps": len(now.steps),
        "next_step": None if now.next_step is None else now.next_step.number,
        "head": f"{len(now.entries)}:{now.head.hex()}",
        "done": [
            {
                "step": step.step.number,
                "name": str(step.step),
                "check_value": step.entry.check_value,
                "hash": step.entry.hash.hex(),
                "content": dict(step.entry.content),
            }
            for step in done
        ],
    }


def format_run(folder: Path, document: dict[str, object]) -> str:
    """Return where a ceremony stands, and what comes next."""
    from signing.ceremony_folder import PUBLIC_NAME, REPORT_NAME, TRUST_NAME

    if document["next_step"] is not None:
        return f"step {document['next_step']} is next: ampforge key ceremony run {folder}"
    return (
        f"all {document['steps']} steps are done; transcript head {document['head']}\n"
        f"  {folder / TRUST_NAME}  the trust record, version 1\n"
        f"  {folder / PUBLIC_NAME}  the public keys, for [signing] in ampforge.toml\n"
        f"  {folder / REPORT_NAME}  the transcript: print it, and have everybody sign it\n"
        f"a witness checks it on another machine: ampforge key ceremony verify {folder.name}"
    )


def describe_verified(folder: Path, verified: Ceremony, *, check_count: int) -> dict[str, object]:
    """Return what a witness verified as a document for scripts."""
    from signing.ceremony_folder import TRUST_NAME

    done = verified.steps[: len(verified.entries) // 2]
    is_finished = verified.next_step is None
    return {
        "schema": "ampforge.ceremony-verification/1",
        "folder": str(folder),
        "product": verified.plan.product,
        "rehearsal": verified.plan.rehearsal,
        "finished": is_finished,
        "steps_done": len(done),
        "steps": len(verified.steps),
        "head": f"{len(verified.entries)}:{verified.head.hex()}" if verified.entries else None,
        "checked_values": check_count,
        "check_values": {
            str(step.number): verified.confirmation(step).check_value for step in done
        },
        "keys": {name: key.key_id.hex() for name, key in verified.keys.items()},
        "trust_record": str(folder / TRUST_NAME) if is_finished else None,
    }


def format_verified(folder: Path, verified: Ceremony, *, check_count: int) -> str:
    """Return the same for a person: each step with its check value, then what was proved."""
    from signing.ceremony_folder import TRUST_NAME
    from signing.ceremony_report import describe_step

    done = verified.steps[: len(verified.entries) // 2]
    lines = [
        f"step {step.number:>2}  {verified.confirmation(step).check_value}  "
        f"{describe_step(verified, step)}"
        for step in done
    ]
    if verified.next_step is None:
        lines.append(
            f"verified: all {len(done)} steps, {len(verified.closed)} root keys signed the "
            f"transcript, {folder / TRUST_NAME} is what they made"
        )
    else:
        lines.append(f"verified so far; step {verified.next_step.number} is next")
    if check_count:
        lines.append(f"{check_count} of {check_count} check values are as the witness wrote them")
    else:
        lines.append("compare the check values with those that the witness wrote down (--check)")
    if verified.plan.rehearsal:
        lines.append("REHEARSAL: these are test keys, never for products")
    return "\n".join(lines)
