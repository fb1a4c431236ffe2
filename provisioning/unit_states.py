"""Where a unit stands, and what moves it: the whole state machine as one table.

docs/spec/provisioning.md §2 shows it as a picture, which a test compares with this table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from provisioning.errors import LedgerError
from provisioning.ledger_values import UnitState


class Cause(StrEnum):
    """What moves a unit."""

    RESERVE = "put on a fixture"
    AGAIN = "run again by the operator"
    PASS = "verified, within the guard band"  # noqa: S105 - a verdict, not a password
    CONDITIONAL_PASS = "verified, inside the limit"  # noqa: S105 - as above
    CONDITIONAL_FAIL = "verified, outside the limit within U"
    FAIL = "failed at any step"
    ORDER = "ordered by a supervisor"
    HOLD = "check standard failed after it"
    ADOPT = "adopted by order (§5.1)"


VERDICT_CAUSES: Final = {
    UnitState.PASS: Cause.PASS,
    UnitState.CONDITIONAL_PASS: Cause.CONDITIONAL_PASS,
    UnitState.CONDITIONAL_FAIL: Cause.CONDITIONAL_FAIL,
    UnitState.FAIL: Cause.FAIL,
}
_JUDGED: Final = tuple(VERDICT_CAUSES)

TRANSITIONS: Final[dict[tuple[UnitState | None, Cause], UnitState]] = {
    (None, Cause.RESERVE): UnitState.IN_WORK,
    (None, Cause.ADOPT): UnitState.REWORK,
    (UnitState.IN_WORK, Cause.RESERVE): UnitState.IN_WORK,
    **{(UnitState.IN_WORK, cause): state for state, cause in VERDICT_CAUSES.items()},
    **{
        (state, Cause.RESERVE): UnitState.IN_WORK
        for state in _JUDGED
        if state is not UnitState.PASS
    },
    (UnitState.PASS, Cause.AGAIN): UnitState.IN_WORK,
    **{(state, Cause.ORDER): UnitState.REWORK for state in (UnitState.IN_WORK, *_JUDGED)},
    **{(state, Cause.HOLD): UnitState.HOLD for state in (UnitState.IN_WORK, *_JUDGED)},
    (UnitState.HOLD, Cause.ORDER): UnitState.REWORK,
    (UnitState.REWORK, Cause.ORDER): UnitState.REWORK,
    (UnitState.REWORK, Cause.RESERVE): UnitState.IN_WORK,
}


def next_state(state: UnitState | None, cause: Cause, *, where: str) -> UnitState:
    """Return where a unit goes.

    Args:
        state: Where it stands; `None` for a chip that has no number yet.
        cause: What moves it.
        where: The unit, for the message.

    Raises:
        LedgerError: Nothing of that kind moves a unit in that state.
    """
    moved = TRANSITIONS.get((state, cause))
    if moved is None:
        possible = sorted(each.value for from_state, each in TRANSITIONS if from_state is state)
        raise LedgerError(
            "the unit cannot go there from where it stands",
            expected=" | ".join(possible),
            got=f"{cause.value}, of a unit that is {'new' if state is None else state.value}",
            where=where,
            hint="another station may have been faster: look at it with `ampforge unit history`",
        )
    return moved


def draw_states() -> str:
    """Return the state machine as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for (state, cause), moved in TRANSITIONS.items():
        begin = "[*]" if state is None else _name(state)
        lines.append(f"    {begin} --> {_name(moved)} : {cause.value}")
    return "\n".join(lines)


def _name(state: UnitState) -> str:
    return state.name
