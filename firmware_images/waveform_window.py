"""The largest mean over any sliding window of a periodic, piecewise linear current, exactly.

With F the integral of the current, the charge in a window of width W that begins at t is
G(t) = F(t+W) - F(t). Its derivative i(t+W) - i(t) is linear between the moments at which either
edge of the window passes the end of a piece, so G is a parabola there and its extremes lie at
those moments or where the derivative crosses zero. All of them are looked at once: the work grows
linearly with the number of pieces. Nothing is sampled.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import floor
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from firmware_images.waveform_train import PulseTrain


class WindowMean(NamedTuple):
    """A mean over one position of the window.

    Args:
        mean_na: Signed mean current.
        start_us: Where that window begins in the repeat period.
    """

    mean_na: float
    start_us: float


def find_largest_window_mean(train: PulseTrain, window_us: float) -> WindowMean:
    """The window position with the largest absolute mean current.

    Args:
        train: One repeat period; the current goes on periodically before and after it.
        window_us: Width of the window, more than 0; it may be longer than the period.
    """
    period_us = train.period_us
    whole_periods = floor(window_us / period_us)
    rest_us = min(max(window_us - whole_periods * period_us, 0.0), period_us)
    edges = _Edges(train)
    base = whole_periods * edges.charges[-1]
    best_charge, best_start_us = base, 0.0
    moments = _find_moments(edges.starts_us, period_us, rest_us)
    stretches = [(begin, end - begin) for begin, end in pairwise(moments) if end > begin]
    views = zip(stretches, edges.view(stretches, 0.0), edges.view(stretches, rest_us), strict=True)
    for (begin_us, width_us), trailing, leading in views:
        current, slope, charge = trailing
        next_current, next_slope, next_charge = leading
        window_charge = base + next_charge - charge
        if abs(window_charge) > abs(best_charge):
            best_charge, best_start_us = window_charge, begin_us
        # The derivative of the window's charge, at the beginning and at the end of this stretch.
        change = next_current - current
        change_at_end = change + (next_slope - slope) * width_us
        if change * change_at_end < 0:
            turn_us = width_us * change / (change - change_at_end)
            window_charge += turn_us * change / 2
            if abs(window_charge) > abs(best_charge):
                best_charge, best_start_us = window_charge, begin_us + turn_us
    return WindowMean(best_charge / window_us, best_start_us)


def _find_moments(starts_us: list[float], period_us: float, rest_us: float) -> list[float]:
    """When the trailing or the leading edge passes the end of a piece, within one period."""
    shifted = [start - rest_us for start in starts_us]
    wrapped = [moment + period_us for moment in shifted if moment < 0]
    # Each part is in order, so sorting them together is a merge and takes linear time.
    merged = sorted(starts_us + [moment for moment in shifted if moment >= 0] + wrapped)
    return [min(moment, period_us) for moment in merged]


class _Edges:
    """The edges of the window: each only moves forward, and knows the piece that it is in."""

    def __init__(self, train: PulseTrain) -> None:
        self.starts_us = train.starts_us()
        self.charges = list(accumulate(train.charges_na_us, initial=0.0))
        self._pieces = [
            (start_us, duration_us, start_na, (end_na - start_na) / duration_us, charge)
            for (duration_us, start_na, end_na), start_us, charge in zip(
                train.pieces, self.starts_us[:-1], self.charges[:-1], strict=True
            )
        ]

    def view(
        self, stretches: Iterable[tuple[float, float]], ahead_us: float
    ) -> Iterator[tuple[float, float, float]]:
        """What an edge sees at the beginning of each stretch.

        Args:
            stretches: Where each begins and how wide it is, in order; none reaches over the end of
                a piece as this edge passes it.
            ahead_us: How far the edge is ahead of them.

        Yields:
            The current, its slope, and the charge since the beginning of the first period.
        """
        ends_us = self.starts_us[1:]
        lap_us = lap_charge = 0.0
        index = 0
        start_us, duration_us, start_na, slope, charge = self._pieces[0]
        for begin_us, width_us in stretches:
            within_us = begin_us + width_us / 2 + ahead_us
            while ends_us[index] + lap_us <= within_us:
                index += 1
                if index == len(ends_us):
                    index = 0
                    lap_us += self.starts_us[-1]
                    lap_charge += self.charges[-1]
                start_us, duration_us, start_na, slope, charge = self._pieces[index]
            elapsed_us = begin_us + ahead_us - lap_us - start_us
            if elapsed_us < 0.0:  # by rounding only
                elapsed_us = 0.0
            elif elapsed_us > duration_us:
                elapsed_us = duration_us
            current = start_na + slope * elapsed_us
            yield current, slope, lap_charge + (charge + elapsed_us * (start_na + current) / 2)
