"""What became of the units of a simulation study, counted.

One trial is told by `simulation_study`; here trials become the figures of a population and of each
fault. This module simulates and judges nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.uncertainty import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTrial:
    """What became of one unit.

    Attributes:
        name: What it was drawn from.
        is_good: Whether it should pass.
        verdict: `PASS` and so on, or `refused: ` and the findings of its calibration.
        wrong_points: Verified points whose true error is beyond a limit; `None` if not verified.
        stated_risk: The bound of a false accept that its report states; `None` if it did not pass.
        verdict_without_record: What it got while it worked without its own record.
        claim_without_record: Whether its readings were then within the claim limit.
        calibration_without_record: Whether they were within the calibration limit, too.
    """

    name: str
    is_good: bool
    verdict: str
    wrong_points: int | None = None
    stated_risk: float | None = None
    verdict_without_record: str | None = None
    claim_without_record: bool = False
    calibration_without_record: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """What became of all units.

    Attributes:
        good_count: Units that should pass.
        good_pass_count: How many of them did.
        bad_count: Units with too much nonlinearity.
        bad_pass_count: How many of them passed.
        verdicts: How often each verdict was given.
        wrong_pass_count: Units that passed with a point whose true error is beyond a limit.
        stated_risk_sum: The sum of the bounds that the reports of passed units state: at most so
            many of them should be wrong.
        uncalibrated_count: Units that were tried without their own record.
        uncalibrated_pass_count: How many of them passed.
        uncalibrated_claim_count: How many of them were within the claim limit all the same.
        uncalibrated_limit_count: How many were within the calibration limit, too.
    """

    good_count: int
    good_pass_count: int
    bad_count: int
    bad_pass_count: int
    verdicts: dict[str, int]
    wrong_pass_count: int
    stated_risk_sum: float
    uncalibrated_count: int
    uncalibrated_pass_count: int
    uncalibrated_claim_count: int
    uncalibrated_limit_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTrial:
    """How one fault was found.

    Attributes:
        fault: What was wrong.
        expected: The name it must be found by.
        count: Units that had it.
        named: How many were refused by that name, first.
        others: What the others got.
    """

    fault: str
    expected: str
    count: int
    named: int
    others: dict[str, int]


def summarise_population(trials: Iterable[UnitTrial]) -> Population:
    """Count what became of all units."""
    units = list(trials)
    good = [unit for unit in units if unit.is_good]
    bad = [unit for unit in units if not unit.is_good]
    passed = [unit for unit in units if unit.verdict == Outcome.PASS]
    tried = [unit for unit in units if unit.verdict_without_record is not None]
    return Population(
        good_count=len(good),
        good_pass_count=sum(unit.verdict == Outcome.PASS for unit in good),
        bad_count=len(bad),
        bad_pass_count=sum(unit.verdict == Outcome.PASS for unit in bad),
        verdicts=dict(Counter(unit.verdict for unit in units).most_common()),
        wrong_pass_count=sum(bool(unit.wrong_points) for unit in passed),
        stated_risk_sum=sum(unit.stated_risk or 0.0 for unit in passed),
        uncalibrated_count=len(tried),
        uncalibrated_pass_count=sum(unit.verdict_without_record == Outcome.PASS for unit in tried),
        uncalibrated_claim_count=sum(unit.claim_without_record for unit in tried),
        uncalibrated_limit_count=sum(unit.calibration_without_record for unit in tried),
    )


def summarise_fault(fault: str, expected: str, found: Sequence[str]) -> FaultTrial:
    """Count how a fault was found."""
    others = Counter(name for name in found if name != expected)
    return FaultTrial(
        fault=fault,
        expected=expected,
        count=len(found),
        named=len(found) - others.total(),
        others=dict(others.most_common()),
    )
