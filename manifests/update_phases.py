"""The updater's states as they lie in flash, and every way from one to another.

What a device remembers over a reboot is in two places: the update state of its device record, and
otadata. `read_phase` names what the two say together. `STEPS` is the whole state machine; a test
looks at the flash after every write and after every cut of every kind of update, and finds these
steps and no others. docs/spec/updater.md shows the same table as a picture (`draw_phases`).

Nothing is decided here: `updater` and `update_settlement` act, and keep to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from firmware_images.otadata import OtaState, read_otadata, select_boot
from manifests.update_outcome import Remembered, noted_verdict, remembered_word

if TYPE_CHECKING:
    from manifests.update_device import UpdateDevice

_REPORT_DUE: Final = frozenset({Remembered.INSTALLED_REPORT_DUE, Remembered.REVERTED_REPORT_DUE})


@unique
class Phase(StrEnum):
    """What the flash says of an update."""

    IDLE = "idle"
    WRITING = "writing"
    NOTED = "noted"
    SWITCHED = "switched"
    TRYING = "trying"
    PROVEN = "proven"
    REJECTED = "rejected"
    UNCONFIRMED = "unconfirmed"
    REPORT_DUE = "report due"


PHASES: Final[dict[Phase, str]] = {
    Phase.IDLE: "nothing pending; the last update, if any, is reported",
    Phase.WRITING: "`downloading`: the slots that do not run are being written, or are whole",
    Phase.NOTED: "pending is set; the old slot boots next",
    Phase.SWITCHED: "pending is set; otadata: its slot, NEW",
    Phase.TRYING: "pending is set; otadata: its slot, PENDING_VERIFY; or VALID without `passed`",
    Phase.PROVEN: "pending is set, `passed`; otadata: its slot, VALID; counters not raised yet",
    Phase.REJECTED: "pending is set, `reverted`; the old slot boots",
    Phase.UNCONFIRMED: "pending is set; otadata: its slot, ABORTED; the old slot boots",
    Phase.REPORT_DUE: "nothing pending; `installed` or `reverted`, report due",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One way from a phase to another.

    Attributes:
        before: The phase.
        after: The next one.
        act: What writes to flash, or where the power failed.
        is_cut: Whether only a power cut goes this way.
    """

    before: Phase
    after: Phase
    act: str
    is_cut: bool = False


STEPS: Final = (
    Step(before=Phase.IDLE, after=Phase.WRITING, act="note the manifest"),
    Step(before=Phase.REPORT_DUE, after=Phase.WRITING, act="note the manifest"),
    Step(before=Phase.IDLE, after=Phase.NOTED, act="slot holds it: note pending"),
    Step(before=Phase.REPORT_DUE, after=Phase.NOTED, act="slot holds it: note pending"),
    Step(before=Phase.WRITING, after=Phase.NOTED, act="read back: note pending"),
    Step(before=Phase.NOTED, after=Phase.SWITCHED, act="electrodes off, otadata NEW"),
    Step(before=Phase.NOTED, after=Phase.WRITING, act="next session: not switched"),
    Step(before=Phase.SWITCHED, after=Phase.TRYING, act="boot: PENDING_VERIFY"),
    Step(before=Phase.TRYING, after=Phase.PROVEN, act="self-test passed: VALID"),
    Step(before=Phase.PROVEN, after=Phase.REPORT_DUE, act="raise the counters"),
    Step(before=Phase.TRYING, after=Phase.REJECTED, act="self-test failed: INVALID"),
    Step(before=Phase.REJECTED, after=Phase.REPORT_DUE, act="remember the failure"),
    Step(before=Phase.TRYING, after=Phase.UNCONFIRMED, act="boot: ABORTED"),
    Step(before=Phase.UNCONFIRMED, after=Phase.WRITING, act="first or second boot: try again"),
    Step(before=Phase.UNCONFIRMED, after=Phase.REPORT_DUE, act="third boot: give up"),
    Step(before=Phase.REPORT_DUE, after=Phase.IDLE, act="report delivered"),
    Step(before=Phase.SWITCHED, after=Phase.NOTED, act="cut in the boot's write", is_cut=True),
    Step(before=Phase.TRYING, after=Phase.NOTED, act="cut in writing the verdict", is_cut=True),
)


def read_phase(device: UpdateDevice) -> Phase:
    """Return the phase that a device's flash shows.

    Raises:
        RecordError: The update state is damaged beyond what a cut can do.
    """
    state = device.record.load_update_state()
    otadata = read_otadata(device.medium, device.otadata)
    choice = select_boot(otadata)
    pending = state.pending
    if pending is None:
        word = remembered_word(state)
        if word is Remembered.DOWNLOADING:
            return Phase.WRITING
        return Phase.REPORT_DUE if word in _REPORT_DUE else Phase.IDLE
    verdict = noted_verdict(state)
    if choice.entry_index is not None and choice.slot == pending.slot:
        if choice.state is OtaState.NEW:
            return Phase.SWITCHED
        is_proven = choice.state is OtaState.VALID and verdict is Remembered.PASSED
        return Phase.PROVEN if is_proven else Phase.TRYING
    if verdict is Remembered.REVERTED_REPORT_DUE:
        return Phase.REJECTED
    is_aborted = device.has_state(pending.slot, OtaState.ABORTED)
    return Phase.UNCONFIRMED if is_aborted else Phase.NOTED


def draw_phases() -> str:
    """Return the state machine as a Mermaid diagram."""
    lines = ["stateDiagram-v2", "    [*] --> idle: factory"]
    lines.extend(
        f"    {_name(step.before)} --> {_name(step.after)}: {step.act.replace(':', ',')}"
        for step in STEPS
    )
    return "\n".join(lines) + "\n"


def tabulate_phases() -> str:
    """Return the phases as a Markdown table."""
    rows = [f"| {phase} | {text} |" for phase, text in PHASES.items()]
    return "\n".join(["| phase | what the flash says |", "|---|---|", *rows]) + "\n"


def _name(phase: Phase) -> str:
    return phase.replace(" ", "_")
