"""What a yield is worth: its interval, and which passes came from measuring again.

Implements docs/spec/capability.md §5. Pure functions of the outcomes of each unit's jobs; reading
them from the ledger is `capability_report`. Why units of a release did not pass is `line_yield`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One finished job of a unit.

    Attributes:
        is_passed: It passed, without a condition.
        was_sent_back: A supervisor had sent the unit back before it, for rework.
    """

    is_passed: bool
    was_sent_back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of how many, with a confidence interval for the share behind it."""

    count: int
    total: int
    low: float
    high: float

    @property
    def fraction(self) -> float | None:
        """The share; `None` of nothing."""
        return self.count / self.total if self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetestTruth:
    """What became of the units that have at least one finished job.

    Attributes:
        first_pass: Passed at the first job.
        final: Passed at the last job so far.
        retest_passed: Failed at first and passed later without rework: the same unit, measured
            again. A false reject or a false accept, and nobody knows which.
        rework_passed: Failed at first and passed after a supervisor had sent it back.
        passed_then_failed: Passed once and failed later.
        retest_count: Jobs beyond the first of each unit that no supervisor had ordered.
    """

    first_pass: Share
    final: Share
    retest_passed: int
    rework_passed: int
    passed_then_failed: int
    retest_count: int


def tell_retests(units: Iterable[Sequence[Attempt]], *, confidence: float = 0.95) -> RetestTruth:
    """Tell what became of units.

    Args:
        units: For each unit its finished jobs, oldest first; units without any are left out.
        confidence: Of the intervals.
    """
    total = first = final = retested = reworked = relapsed = retests = 0
    for attempts in units:
        if not attempts:
            continue
        total += 1
        passed = [attempt.is_passed for attempt in attempts]
        first += passed[0]
        final += passed[-1]
        relapsed += any(passed) and not all(passed[passed.index(True) :])
        retests += sum(not attempt.was_sent_back for attempt in attempts[1:])
        if not passed[0] and passed[-1]:
            until = attempts[1 : passed.index(True) + 1]
            is_reworked = any(attempt.was_sent_back for attempt in until)
            reworked += is_reworked
            retested += not is_reworked
    return RetestTruth(
        first_pass=_share(first, total, confidence),
        final=_share(final, total, confidence),
        retest_passed=retested,
        rework_passed=reworked,
        passed_then_failed=relapsed,
        retest_count=retests,
    )


def _share(count: int, total: int, confidence: float) -> Share:
    # Wilson's score interval (E. B. Wilson, JASA 22 (1927) 209): right at 0 and at 100 %, too.
    if not total:
        return Share(count=0, total=0, low=0.0, high=1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    fraction, shrink = count / total, 1 + z * z / total
    middle = (fraction + z * z / (2 * total)) / shrink
    reach = z / shrink * math.sqrt(fraction * (1 - fraction) / total + (z / (2 * total)) ** 2)
    return Share(
        count=count,
        total=total,
        low=0.0 if count == 0 else middle - reach,
        high=1.0 if count == total else middle + reach,
    )
