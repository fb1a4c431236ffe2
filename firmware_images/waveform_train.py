"""One full repeat period as linear pieces: what every closed form works on.

Times are microseconds and currents nanoamps, as floats. Both are whole numbers when the period
comes from a table, and then every charge below 2^52 nA·µs is exact: a balanced pulse has a net
charge of zero, not of 1e-17. A step between two pieces takes no time.
"""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from firmware_images.errors import WaveformError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from firmware_images.waveform import Level, Mode, Segment


class Piece(NamedTuple):
    """A stretch of linear current; a tuple, because a file may hold a hundred thousand.

    Args:
        duration_us: Its length, more than 0.
        start_na: Current at its beginning.
        end_na: Current at its end.
    """

    duration_us: float
    start_na: float
    end_na: float

    @property
    def charge_na_us(self) -> float:
        """The signed integral of the current: d(a+b)/2."""
        return self.duration_us * (self.start_na + self.end_na) / 2

    @property
    def rectified_na_us(self) -> float:
        """The integral of the absolute current, split where the sign changes."""
        _, start, end = self
        if start * end >= 0:
            return abs(self.charge_na_us)
        return self.duration_us * (start * start + end * end) / (2 * (abs(start) + abs(end)))

    @property
    def squared_na2_us(self) -> float:
        """The integral of the squared current: d(a²+ab+b²)/3."""
        _, start, end = self
        return self.duration_us * (start * start + start * end + end * end) / 3

    def value_at(self, elapsed_us: float) -> float:
        """The current `elapsed_us` after the beginning, nanoamps."""
        return self.start_na + (self.end_na - self.start_na) * (elapsed_us / self.duration_us)

    def cut(self, from_us: float, to_us: float) -> Piece:
        """The part between two moments, both counted from the beginning."""
        return Piece(to_us - from_us, self.value_at(from_us), self.value_at(to_us))


@dataclass(frozen=True, kw_only=True)  # not slotted, because it remembers its sums
class PulseTrain:
    """One full repeat period: bursts, their rests, and the polarity cycle.

    Args:
        pieces: In order of time, at least one.
        on_us: How much of the period lies inside bursts; all of it without a rest.
    """

    pieces: tuple[Piece, ...]
    on_us: float

    def __post_init__(self) -> None:
        if not self.pieces or not 0 < self.on_us <= self.period_us:
            raise WaveformError(
                "a repeat period must take time",
                expected="one piece or more, and a burst within the period",
                got=f"{len(self.pieces)} pieces, burst of {self.on_us} µs",
            )

    @cached_property
    def period_us(self) -> float:
        """The length of the repeat period."""
        return fsum(duration_us for duration_us, _, _ in self.pieces)

    @cached_property
    def charges_na_us(self) -> tuple[float, ...]:
        """The signed charge of each piece."""
        return tuple(piece.charge_na_us for piece in self.pieces)

    @cached_property
    def squared_na2_us(self) -> float:
        """The integral of the squared current over the period."""
        return fsum(piece.squared_na2_us for piece in self.pieces)

    @cached_property
    def rectified_na_us(self) -> float:
        """The integral of the absolute current over the period."""
        return fsum(piece.rectified_na_us for piece in self.pieces)

    def starts_us(self) -> list[float]:
        """When each piece begins, and at last the end of the period."""
        return list(accumulate((duration_us for duration_us, _, _ in self.pieces), initial=0.0))


def build_pulse(level: Level, tick_us: int) -> PulseTrain:
    """One pulse of a level by itself, rest included."""
    pieces = build_pieces(level.segments, tick_us)
    return PulseTrain(pieces=pieces, on_us=_duration_us(pieces))


def build_burst(mode: Mode, level: Level, tick_us: int) -> PulseTrain:
    """One burst of a level with its rest, in the first polarity."""
    pieces = build_pieces(level.segments, tick_us) * mode.pulses_per_burst
    return PulseTrain(pieces=_with_rest(pieces, mode, tick_us), on_us=_duration_us(pieces))


def build_repeat_period(mode: Mode, level: Level, tick_us: int) -> PulseTrain:
    """The full repeat period of a mode at one level, unrolled.

    The model bounds how many segments that is, so this is bounded too.
    """
    burst = build_burst(mode, level, tick_us)
    pieces = burst.pieces
    if mode.flips_each_burst:
        pieces += tuple(Piece(p.duration_us, -p.start_na, -p.end_na) for p in pieces)
    return PulseTrain(pieces=pieces, on_us=burst.on_us * mode.bursts_per_repeat)


def build_pieces(segments: Iterable[Segment], tick_us: int) -> tuple[Piece, ...]:
    """Segments in ticks and nanoamps as pieces."""
    return tuple(
        Piece(float(s.duration_ticks * tick_us), float(s.start_na), float(s.end_na))
        for s in segments
    )


def _with_rest(pieces: tuple[Piece, ...], mode: Mode, tick_us: int) -> tuple[Piece, ...]:
    if mode.burst_off_ticks == 0:
        return pieces
    return (*pieces, Piece(float(mode.burst_off_ticks * tick_us), 0.0, 0.0))


def _duration_us(pieces: Iterable[Piece]) -> float:
    return fsum(piece.duration_us for piece in pieces)
