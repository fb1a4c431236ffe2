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
    from collections.abc import Sequence

    from firmware_images.waveform_train import Piece, PulseTrain


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
    charges = list(accumulate((p.charge_na_us for p in train.pieces), initial=0.0))
    base = whole_periods * charges[-1]
    starts_us = train.starts_us()
    best_charge, best_start_us = base, 0.0
    trailing = _Edge(train.pieces, starts_us, charges)
    leading = _Edge(train.pieces, starts_us, charges)
    for begin_us, end_us in pairwise(_find_moments(starts_us, period_us, rest_us)):
        width_us = end_us - begin_us
        if width_us <= 0:
            continue
        middle_us = begin_us + width_us / 2
        current, slope, charge = trailing.look(begin_us, middle_us)
        next_current, next_slope, next_charge = leading.look(
            begin_us + rest_us, middle_us + rest_us
        )
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


class _Edge:
    """One edge of the window: it only moves forward, and knows the piece that it is in."""

    def __init__(
        self, pieces: Sequence[Piece], starts_us: Sequence[float], charges: Sequence[float]
    ) -> None:
        self._pieces = pieces
        self._starts_us = starts_us
        self._charges = charges
        self._index = 0
        self._lap_us = 0.0
        self._lap_charge = 0.0

    def look(self, moment_us: float, within_us: float) -> tuple[float, float, float]:
        """What the edge sees at a moment.

        Args:
            moment_us: The moment, in the piece of `within_us` or at one of its ends.
            within_us: A moment inside that piece; it never falls from one call to the next.

        Returns:
            The current, its slope, and the charge since the beginning of the first period.
        """
        while self._starts_us[self._index + 1] + self._lap_us <= within_us:
            self._index += 1
            if self._index == len(self._pieces):
                self._index = 0
                self._lap_us += self._starts_us[-1]
                self._lap_charge += self._charges[-1]
        duration_us, start_na, end_na = self._pieces[self._index]
        elapsed_us = moment_us - self._lap_us - self._starts_us[self._index]
        if elapsed_us < 0.0:  # by rounding only
            elapsed_us = 0.0
        elif elapsed_us > duration_us:
            elapsed_us = duration_us
        slope = (end_na - start_na) / duration_us
        current = start_na + slope * elapsed_us
        charge = self._charges[self._index] + elapsed_us * (start_na + current) / 2
        return current, slope, self._lap_charge + charge
