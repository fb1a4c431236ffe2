"""A witness's check of a whole ceremony, from its public files alone.

Implements docs/spec/key-ceremony.md §7. It does what the ceremony itself does after each step
(`signing.ceremony_replay`), and compares what the folder holds with what the steps made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.ceremony_folder import load_ceremony, published_files, refuse_other_file
from signing.errors import CeremonyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from signing.ceremony_state import Ceremony


def verify_ceremony(
    folder: Path, *, checks: Sequence[tuple[int, str]] = (), allow_unfinished: bool = False
) -> Ceremony:
    """Verify a ceremony, and return what it made.

    Args:
        folder: The ceremony's folder, or a copy of it.
        checks: Number of a step, and the check value that a witness wrote down for it.
        allow_unfinished: Whether steps may still be missing at the end.

    Raises:
        SigningError: Something was changed, is missing, or does not follow from the plan.
    """
    ceremony = load_ceremony(folder)
    step = ceremony.next_step
    if step is not None and not allow_unfinished:
        raise CeremonyError(
            "the ceremony is not finished",
            expected=f"{len(ceremony.steps)} steps",
            got=f"{step.number - 1} of them; next is {step}",
            where=folder,
            hint="go on with `ampforge key ceremony run`, or check what there is: --unfinished. "
            "If it was finished, lines were cut off",
        )
    for number, value in checks:
        _refuse_other_value(ceremony, number, value)
    for name, content in published_files(ceremony).items():
        refuse_other_file(folder / name, content)
    return ceremony


def _refuse_other_value(ceremony: Ceremony, number: int, value: str) -> None:
    done = len(ceremony.entries) // 2
    if not 1 <= number <= done:
        raise CeremonyError(
            "a check value is of a step that is not in the transcript",
            expected=f"1 to {done}",
            got=number,
            hint="lines were cut off, or the value is another ceremony's",
        )
    entry = ceremony.confirmation(ceremony.steps[number - 1])
    if entry.check_value != value:
        raise CeremonyError(
            "a check value is not the one that the witness wrote down",
            expected=value[:40],
            got=entry.check_value,
            where=f"step {number}, {entry.step}",
            hint="read it again; if it stays so, this is not the transcript of that ceremony: "
            "do not use its keys",
        )
