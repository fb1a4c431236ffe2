"""How a slot ended, in words for a person: one word, one line, and what to do next.

Texts come from boards and instruments, too: what could move a terminal's cursor is shown as its
code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.failures import printable
from provisioning.ledger_values import UnitState

if TYPE_CHECKING:
    from provisioning.station_values import SlotResult, UnitReport

ERROR_WORD = "error"


def summarize(result: SlotResult) -> tuple[str, str]:
    """Return how a slot ended: one word, and one line."""
    if result.error is not None:
        return ERROR_WORD, printable(f"error: {result.error}")
    report = result.report
    assert report is not None, "a slot ends with a report or an error"
    state = report.state.value
    if report.job is None:
        return state, f"{report.serial} {state} before; left alone (--again does it again)"
    if report.is_passed:
        return state, f"{report.serial} {state} in {report.duration_s:.1f} s"
    step = "" if report.failed_step is None else f" at {report.failed_step.value}"
    more = "" if len(report.reasons) < 2 else f" (and {len(report.reasons) - 1} more)"  # noqa: PLR2004 - plural
    reason = report.reasons[0] if report.reasons else "no reason given"
    return state, printable(f"{report.serial} {state}{step}: {reason}{more}")


def next_action(result: SlotResult) -> str:
    """Return what the operator does with the board in this slot."""
    if result.error is not None:
        return printable(result.error.hint or "start the slot again: it goes on where it stopped")
    assert result.report is not None, "a slot ends with a report or an error"
    if result.awaits_check:
        return (
            "take it out and keep it: the next good reading of the check standard releases it "
            "(`ampforge instrument check` at the end of the work)"
        )
    return _ACTIONS[_key(result.report)]


def _key(report: UnitReport) -> UnitState | None:
    return None if report.job is None else report.state


_CONDITIONAL = "set it aside: too close to its limit; start the slot again to measure it again"
_ACTIONS: dict[UnitState | None, str] = {
    None: "take it out: it was finished before",
    UnitState.PASS: "take it out: it may be released",
    UnitState.CONDITIONAL_PASS: _CONDITIONAL,
    UnitState.CONDITIONAL_FAIL: _CONDITIONAL,
    UnitState.FAIL: "set it aside with its reason; repaired, it goes into a slot again",
    UnitState.IN_WORK: "start the slot again: it goes on where it stopped",
    UnitState.HOLD: "set it aside: the check standard failed; a supervisor decides",
    UnitState.REWORK: "start the slot again: it was sent to rework",
}
