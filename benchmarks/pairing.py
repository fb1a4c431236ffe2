"""Paired measurements: two ways of doing the same thing, alternately, in the same run.

A ratio of two times taken minutes apart says as much about the machine as about the programs. So
each round runs both, in an order that flips from round to round, and yields one ratio; the result
is the median of these, with the middle half of them as its spread. A first round warms caches and
is not counted.
"""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One round's two wall times, in seconds."""

    ours_s: float
    theirs_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is compared, the rounds, and the ratio that was promised.

    Attributes:
        ours: A short name of our way.
        theirs: A short name of the other.
        pairs: The rounds that count; at least two.
        target_ratio: The largest ratio ours/theirs that keeps the promise.
    """

    ours: str
    theirs: str
    pairs: tuple[Pair, ...]
    target_ratio: float

    @property
    def ratios(self) -> tuple[float, ...]:
        """Return ours/theirs of each round."""
        return tuple(pair.ours_s / pair.theirs_s for pair in self.pairs)

    @property
    def median_ratio(self) -> float:
        """Return the figure that counts."""
        return statistics.median(self.ratios)

    @property
    def is_kept(self) -> bool:
        """Return whether the median keeps the promise."""
        return self.median_ratio <= self.target_ratio


def measure_pairs(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int,
    prepare: Callable[[], object] = lambda: None,
    check: Callable[[], object] = lambda: None,
) -> tuple[Pair, ...]:
    """Time both, alternating, after one round that is thrown away.

    Args:
        ours: Does our way once; raises if it fails, so that a failure is never a fast result.
        theirs: Does the other way once.
        rounds: Rounds that count.
        prepare: Called before each of the two, untimed: puts back what they change.
        check: Called after each, untimed; raises if the work was not done.

    Returns:
        One pair per round.
    """
    pairs: list[Pair] = []
    for number in range(rounds + 1):
        if number % 2:
            theirs_s = _time_s(theirs, prepare, check)
            ours_s = _time_s(ours, prepare, check)
        else:
            ours_s = _time_s(ours, prepare, check)
            theirs_s = _time_s(theirs, prepare, check)
        if number:
            pairs.append(Pair(ours_s=ours_s, theirs_s=theirs_s))
    return tuple(pairs)


def _time_s(
    action: Callable[[], object], prepare: Callable[[], object], check: Callable[[], object]
) -> float:
    prepare()
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    check()
    return seconds


def middle_half(ratios: Sequence[float]) -> tuple[float, float]:
    """Return where the middle half of the rounds begins and ends; of one round, that round."""
    if len(ratios) == 1:
        return ratios[0], ratios[0]
    lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return lower, upper


def format_table(comparisons: Sequence[Comparison]) -> str:
    """Return a Markdown table, one row per comparison, and a line about the machine."""
    lines = [
        "| ours | against | ours, median | theirs, median | ratio (middle half) | target | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in comparisons:
        lower, upper = middle_half(row.ratios)
        ours_s = statistics.median(pair.ours_s for pair in row.pairs)
        theirs_s = statistics.median(pair.theirs_s for pair in row.pairs)
        lines.append(
            f"| {row.ours} | {row.theirs} | {ours_s:.3f} s | {theirs_s:.3f} s "
            f"| **{row.median_ratio:.3f}** ({lower:.3f}-{upper:.3f}, {len(row.pairs)} rounds) "
            f"| ≤ {row.target_ratio} | {'kept' if row.is_kept else 'MISSED'} |"
        )
    lines += ["", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}."]
    return "\n".join(lines)
