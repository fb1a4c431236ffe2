"""Half sines and sine bursts as linear pieces between moments that lie on ticks.

The ends of the pieces lie on the curve, apart from rounding to a nanoamp, and are the same in every
quarter of a wave: a positive and a negative half carry the same charge to the nanoamp. Sines are
computed in decimal, so that one file becomes the same bytes on every machine. How far a piece lies
from its curve is computed, not estimated.

Implements docs/spec/waveform-table.md §10.1.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import pairwise
from math import acos, pi, sin
from typing import TYPE_CHECKING, Final

from firmware_images.errors import TickError
from firmware_images.waveform import Segment
from firmware_images.waveform_csv import quantise_na
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECES_DEFAULT: Final = 16
"""Per half wave; where they are of one length, none is further than 0.5 % of the crest away."""

PIECES_MAX: Final = 256
HALF_WAVES_MAX: Final = 4096

_QUARTER_TURN: Final = Decimal("1.57079632679489661923132169163975144209858469968755")
_PRECISION: Final = 40
_TERMS: Final = 20
_VALUE: Final = Decimal(1).scaleb(-24)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveSegment:
    """Half waves of a sine, one after the other, beginning and ending at zero.

    Args:
        duration_us: Of all of them, exactly as written, µs.
        amplitude: The first crest, in the unit of the shape's peak; may be negative, not zero.
        half_waves: 1 for a half sine, 2 for each cycle of a burst.
        pieces: Linear pieces for each half wave, an even number from 2.
        where: What errors call it, such as `segment 3`.
    """

    duration_us: Decimal
    amplitude: Decimal
    half_waves: int
    pieces: int
    where: str

    @property
    def largest(self) -> Decimal:
        """The largest absolute value, which a tick hits exactly."""
        return abs(self.amplitude)

    @property
    def piece_count(self) -> int:
        """How many segments of a level it becomes, at most."""
        return self.half_waves * self.pieces

    @property
    def end(self) -> Decimal:
        """The last value."""
        return Decimal(0)


def expand_curve(
    curve: CurveSegment, *, crest_ua: Decimal, duration_ticks: int, tick_us: int, where: str
) -> tuple[Segment, ...]:
    """The linear pieces.

    Args:
        curve: What was written.
        crest_ua: The first crest in µA, with its sign.
        duration_ticks: Of all half waves.
        tick_us: Microseconds per tick.
        where: File, mode, level and segment, for errors.

    Raises:
        TickError: When a half wave is not an even number of ticks: its crest would be missed, or
            its two halves would differ.
    """
    quarter_ticks, rest_ticks = divmod(duration_ticks, 2 * curve.half_waves)
    if rest_ticks or not quarter_ticks:
        unit_us = 2 * curve.half_waves * tick_us
        multiples = sorted({max(n, 1) * unit_us for n in (quarter_ticks, quarter_ticks + 1)})
        raise TickError(
            "TICK: a half wave is not an even number of ticks, so its crest lies on none",
            expected=f"a multiple of {unit_us} µs: {' or '.join(f'{m} µs' for m in multiples)}",
            got=f"{duration_ticks * tick_us} µs",
            where=where,
            hint="change the duration, or the tick if the hardware allows it",
        )
    rising = _find_knots(quarter_ticks, min(curve.pieces // 2, quarter_ticks))
    half = [*rising, *((2 * quarter_ticks - at, value) for at, value in rising[-2::-1])]
    segments = []
    for index in range(curve.half_waves):
        crest = crest_ua if index % 2 == 0 else -crest_ua
        segments += [
            Segment(
                duration_ticks=end - start,
                start_na=quantise_na(crest * low),
                end_na=quantise_na(crest * high),
            )
            for (start, low), (end, high) in pairwise(half)
        ]
    return tuple(segments)


def find_largest_deviation_na(segments: tuple[Segment, ...], half_waves: int) -> float:
    """How far the pieces of a curve lie from it at most, nanoamps, rounding included.

    Args:
        segments: As `expand_curve` made them.
        half_waves: Of the curve.
    """
    half = segments[: len(segments) // half_waves]
    half_ticks = sum(segment.duration_ticks for segment in half)
    crest_na = max((s.start_na for s in half), key=abs)
    return max(
        abs(deviation)
        for start_ticks, segment in _place(half)
        for deviation in _list_extremes(segment, start_ticks, half_ticks, crest_na)
    )


def _place(segments: tuple[Segment, ...]) -> Iterator[tuple[int, Segment]]:
    start_ticks = 0
    for segment in segments:
        yield start_ticks, segment
        start_ticks += segment.duration_ticks


def _list_extremes(
    segment: Segment, start_ticks: int, half_ticks: int, crest_na: int
) -> Iterator[float]:
    """Curve less chord at both ends, and where the curve is as steep as the chord."""
    slope = (segment.end_na - segment.start_na) / segment.duration_ticks
    moments = [float(start_ticks), float(start_ticks + segment.duration_ticks)]
    cosine = slope * half_ticks / (pi * crest_na)
    if abs(cosine) <= 1:
        moments.append(acos(cosine) * half_ticks / pi)
    for moment in moments:
        if moments[0] <= moment <= moments[1]:
            chord_na = segment.start_na + slope * (moment - start_ticks)
            yield crest_na * sin(pi * moment / half_ticks) - chord_na


@lru_cache(maxsize=256)
def _find_knots(quarter_ticks: int, pieces: int) -> tuple[tuple[int, Decimal], ...]:
    """Moments in ticks and values from zero to the crest, as evenly spaced as ticks allow."""
    ticks = [(2 * index * quarter_ticks + pieces) // (2 * pieces) for index in range(pieces + 1)]
    return tuple((at, _sine_of_quarter(at, quarter_ticks)) for at in ticks)


def _sine_of_quarter(part: int, whole: int) -> Decimal:
    """The sine of `part/whole` of a quarter turn, to 24 decimals."""
    if part == whole:
        return Decimal(1)
    with localcontext() as context:
        context.prec = _PRECISION
        angle = _QUARTER_TURN * part / whole
        term = total = angle
        for index in range(1, _TERMS):
            term = -term * angle * angle / ((2 * index) * (2 * index + 1))
            total += term
        return total.quantize(_VALUE)
