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

    def consider(start_us: float) -> None:
        nonlocal best_charge, best_start_us
        charge = base + leading.charge_until(start_us + rest_us) - trailing.charge_until(start_us)
        if abs(charge) > abs(best_charge):
            best_charge, best_start_us = charge, start_us

    for begin_us, end_us in pairwise(_find_moments(starts_us, period_us, rest_us)):
        if end_us <= begin_us:
            continue
        middle_us = (begin_us + end_us) / 2
        trailing.advance_to(middle_us)
        leading.advance_to(middle_us + rest_us)
        consider(begin_us)
        slope_begin = leading.current_at(begin_us + rest_us) - trailing.current_at(begin_us)
        slope_end = leading.current_at(end_us + rest_us) - trailing.current_at(end_us)
        if slope_begin * slope_end < 0:
            consider(begin_us + (end_us - begin_us) * slope_begin / (slope_begin - slope_end))
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

    def advance_to(self, moment_us: float) -> None:
        """Moves to the piece that holds `moment_us`, over the end of the period if need be."""
        while self._starts_us[self._index + 1] + self._lap_us <= moment_us:
            self._index += 1
            if self._index == len(self._pieces):
                self._index = 0
                self._lap_us += self._starts_us[-1]
                self._lap_charge += self._charges[-1]

    def current_at(self, moment_us: float) -> float:
        """The current at a moment within, or at an end of, the present piece."""
        return self._pieces[self._index].value_at(self._elapsed_us(moment_us))

    def charge_until(self, moment_us: float) -> float:
        """The charge from the beginning of the period to a moment in the present piece."""
        elapsed_us = self._elapsed_us(moment_us)
        piece = self._pieces[self._index]
        part = elapsed_us * (piece.start_na + piece.value_at(elapsed_us)) / 2
        return self._lap_charge + self._charges[self._index] + part

    def _elapsed_us(self, moment_us: float) -> float:
        elapsed_us = moment_us - self._lap_us - self._starts_us[self._index]
        return min(max(elapsed_us, 0.0), self._pieces[self._index].duration_us)
