"""Values of the station's workflow: steps, progress, verdicts and what came of a slot."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from provisioning.ledger_values import UnitState
from signing.value_class import dataclass

if TYPE_CHECKING:
    from provisioning.calibration_result import CalibrationResult
    from provisioning.udi import Udi
    from provisioning.verification_result import VerificationResult
    from signing.refusal import Refusal


class Step(StrEnum):
    """The workflow, in order (docs/decisions/0052)."""

    DETECT = "detect"
    RESERVE = "reserve"
    NVS = "nvs"
    FLASH = "flash"
    KEY_STORAGE = "key-storage"
    IDENTITY = "identity"
    CALIBRATE = "calibrate"
    RECORD = "record"
    POWER_CYCLE = "power-cycle"
    VERIFY = "verify"
    EFUSES = "efuses"
    LOCK = "lock"
    RECHECK = "recheck"
    FINAL = "final"


PLANNED_STEPS: Final = frozenset({Step.NVS, Step.EFUSES, Step.LOCK, Step.RECHECK})
"""Done only where the station has a plan for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotConfig:
    """One place of the fixture.

    Attributes:
        name: What the operator calls it.
        port: Serial port or RFC 2217 URL of the board.
        meter: VISA address of the meter that measures this place.
        switch: VISA address of what switches its loads; `None`: the meter does.
    """

    name: str
    port: str
    meter: str
    switch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One piece of news from a slot.

    Attributes:
        slot: Name of the slot.
        step: What it is doing.
        fraction: How much of the step is done, 0 to 1.
        text: The same for a person.
    """

    slot: str
    step: Step
    fraction: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the station says about a unit.

    Attributes:
        state: Where the unit stands.
        failed_step: Step at which it failed, or `None`.
        reasons: Why it did not pass, one sentence each.
    """

    state: UnitState
    failed_step: Step | None
    reasons: tuple[str, ...]


class UnitRejection(Exception):  # noqa: N818 - a verdict on its way, never an error
    """Carries the verdict of a step to the end of the run; never leaves `unit_run`."""

    def __init__(self, step: Step, reasons: tuple[str, ...]) -> None:
        super().__init__(step, reasons)
        self.verdict = Verdict(state=UnitState.FAIL, failed_step=step, reasons=reasons)


def reject_for(step: Step, reasons: tuple[str, ...]) -> None:
    """Fail the unit at a step for these reasons; for none, go on.

    Raises:
        UnitRejection: There are reasons.
    """
    if reasons:
        raise UnitRejection(step, reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitReport:
    """What came of one board.

    Attributes:
        slot: Name of the slot.
        serial: Serial number.
        mac: Chip MAC, 6 bytes.
        job: Name of the job; `None` when the unit had passed before and was left alone.
        state: Where the unit stands now.
        failed_step: Step at which it failed, or `None`.
        reasons: Why it did not pass, one sentence each.
        udi: Its identification; `None` for a unit that never passed, or without a GTIN.
        firmware_version: Version that runs on it, or `None` if nothing answered.
        calibration: Result of the calibration, as far as it came.
        verification: Result of the verification, as far as it came.
        duration_s: How long the station worked on it, in seconds.
        notes: What is worth a look though it decides nothing, such as a rate that failed.
    """

    slot: str
    serial: str
    mac: bytes
    job: str | None
    state: UnitState
    failed_step: Step | None
    reasons: tuple[str, ...]
    firmware_version: str | None
    calibration: CalibrationResult | None
    verification: VerificationResult | None
    duration_s: float
    notes: tuple[str, ...] = ()
    udi: Udi | None = None

    @property
    def is_passed(self) -> bool:
        """Whether the unit may be released."""
        return self.state is UnitState.PASS


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotResult:
    """What came of one slot: a report about a unit, or an error of the station.

    Attributes:
        slot: The slot.
        report: The unit's report, if there is one.
        error: What stopped the slot, if something did.
        awaits_check: The unit passed, and waits for a good reading of the check standard.
    """

    slot: SlotConfig
    report: UnitReport | None
    error: Refusal | None
    awaits_check: bool = False
