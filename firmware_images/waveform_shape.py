"""A pulse's shape before quantisation: exact decimals, relative to a peak.

Both ways of writing a waveform, segments in TOML and rows in CSV, become a shape; a level is the
shape at one peak. Durations must fall on ticks as they are (rule TICK): they are never rounded.
Currents become the nearest whole nanoamp.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING

from firmware_images.errors import TickError, WaveformSourceError
from firmware_images.waveform import SEGMENT_COUNT_MAX, Level, Segment
from firmware_images.waveform_csv import quantise_na
from firmware_images.waveform_curve import CurveSegment, expand_curve
from signing.value_class import dataclass

if TYPE_CHECKING:
    from decimal import Decimal

    from firmware_images.waveform_csv import CsvWaveform


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeSegment:
    """A linear stretch.

    Args:
        duration_us: Exactly as written, µs.
        start: Current at its beginning, in the unit of the shape's peak.
        end: Current at its end.
        where: What errors call it, such as `segment 3` or `line 7`.
    """

    duration_us: Decimal
    start: Decimal
    end: Decimal
    where: str

    @property
    def largest(self) -> Decimal:
        """The largest absolute value."""
        return max(abs(self.start), abs(self.end))

    @property
    def piece_count(self) -> int:
        """How many segments of a level it becomes, at most."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One pulse period.

    Args:
        segments: At least one.
        peak: The largest absolute value of any segment; more than 0.
    """

    segments: tuple[ShapeSegment | CurveSegment, ...]
    peak: Decimal


def build_shape(segments: tuple[ShapeSegment | CurveSegment, ...], *, where: str) -> Shape:
    """Checks the count and finds the peak.

    Raises:
        WaveformSourceError: When there are no segments, too many, or no current at all.
    """
    count = sum(segment.piece_count for segment in segments)
    if not 1 <= count <= SEGMENT_COUNT_MAX:
        raise WaveformSourceError(
            "a pulse has too few or too many segments",
            expected=f"1 to {SEGMENT_COUNT_MAX}",
            got=count,
            where=where,
        )
    peak = max(segment.largest for segment in segments)
    if peak == 0:
        raise WaveformSourceError(
            "a pulse carries no current", expected="a segment that is not zero", where=where
        )
    return Shape(segments=segments, peak=peak)


def build_csv_shape(waveform: CsvWaveform) -> Shape:
    """The shape of a CSV period; its peak is that of the rows."""
    segments = tuple(
        ShapeSegment(
            duration_us=row.t_us - before.t_us,
            start=before.i_ua,
            end=row.i_ua,
            where=f"line {row.line}",
        )
        for before, row in pairwise(waveform.rows)
        if row.t_us > before.t_us
    )
    return build_shape(segments, where=waveform.where)


def build_level(shape: Shape, *, peak_ua: Decimal, tick_us: int, where: str) -> Level:
    """The shape at one peak, in ticks and nanoamps.

    Args:
        shape: The pulse.
        peak_ua: What its largest value becomes, µA.
        tick_us: Microseconds per tick.
        where: File, mode and level, for errors.

    Raises:
        TickError: When a duration is not a whole number of ticks, or the pulse ends above zero.
    """
    parts = (
        build_segments(s, peak_ua=peak_ua, shape=shape, tick_us=tick_us, where=where)
        for s in shape.segments
    )
    segments = tuple(chain.from_iterable(parts))
    last = shape.segments[-1]
    if last.end != 0:
        raise TickError(
            "TICK: the last sample of a pulse must be zero",
            expected="0 µA",
            got=f"{format_decimal(last.end * peak_ua / shape.peak)} µA",
            where=f"{where}, {last.where}",
            hint="end the pulse with a ramp to zero or with a rest",
        )
    return Level(
        peak_na=max(max(abs(s.start_na), abs(s.end_na)) for s in segments), segments=segments
    )


def build_segments(
    part: ShapeSegment | CurveSegment, *, peak_ua: Decimal, shape: Shape, tick_us: int, where: str
) -> tuple[Segment, ...]:
    """One part of a shape as `build_level` has it: a linear one is one segment, a curve several."""
    place = f"{where}, {part.where}"
    duration_ticks = count_ticks(part.duration_us, tick_us, where=place)
    if isinstance(part, CurveSegment):
        return expand_curve(
            part,
            crest_ua=part.amplitude * peak_ua / shape.peak,
            duration_ticks=duration_ticks,
            tick_us=tick_us,
            where=place,
        )
    return (
        Segment(
            duration_ticks=duration_ticks,
            start_na=quantise_na(part.start * peak_ua / shape.peak),
            end_na=quantise_na(part.end * peak_ua / shape.peak),
        ),
    )


def count_ticks(duration_us: Decimal, tick_us: int, *, where: str, least: int = 1) -> int:
    """A duration as ticks, if it is a whole number of them.

    Raises:
        TickError: When it is not; nothing is rounded.
    """
    ticks = duration_us / tick_us
    whole = int(ticks)
    if ticks != whole or whole < least:
        multiples = sorted({max(count, least) * tick_us for count in (whole, whole + 1)})
        raise TickError(
            "TICK: a duration is not a whole number of ticks",
            expected=f"a multiple of {tick_us} µs: {' or '.join(f'{m} µs' for m in multiples)}",
            got=f"{format_decimal(duration_us)} µs",
            where=where,
            hint="change the duration, or the tick if the hardware allows it",
        )
    return whole


def format_decimal(value: Decimal) -> str:
    """A decimal for a message: no exponent, no trailing zeros."""
    return format(value.normalize(), "f")
