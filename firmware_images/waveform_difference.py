"""How far two pulses lie apart at most, and when: exact, from the ends of their segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.waveform import Level


class Difference(NamedTuple):
    """The largest distance between two pulses.

    Args:
        current_na: After less before, at the moment where its size is greatest, nanoamps.
        time_us: That moment; the first one, where there are several.
    """

    current_na: float
    time_us: int


def find_largest_difference(
    before: Level, before_tick_us: int, after: Level, after_tick_us: int
) -> Difference:
    """Compares two pulses from their beginning; one that has ended counts as zero."""
    largest = Difference(0.0, 0)
    for time_us, *sides in trace_difference(before, before_tick_us, after, after_tick_us):
        for current_na in sides:
            if abs(current_na) > abs(largest.current_na):
                largest = Difference(current_na, time_us)
    return largest


def trace_difference(
    before: Level, before_tick_us: int, after: Level, after_tick_us: int
) -> Iterator[tuple[int, float, float]]:
    """After less before, nanoamps: at each moment, µs, just before it and just after it.

    Both are linear between the ends of their segments, so these moments are all there is to see.
    """
    moments = sorted(
        {
            time_us
            for level, tick_us in ((before, before_tick_us), (after, after_tick_us))
            for time_us in _ends_us(level, tick_us)
        }
    )
    walks = (_walk(before, before_tick_us, moments), _walk(after, after_tick_us, moments))
    for (time_us, *one), (_, *other) in zip(*walks, strict=True):
        yield time_us, other[0] - one[0], other[1] - one[1]


def _ends_us(level: Level, tick_us: int) -> Iterator[int]:
    time_us = 0
    yield time_us
    for segment in level.segments:
        time_us += segment.duration_ticks * tick_us
        yield time_us


def _walk(level: Level, tick_us: int, moments: list[int]) -> Iterator[tuple[int, float, float]]:
    """Each moment with the current just before it and just after it."""
    segments = iter(level.segments)
    segment = next(segments, None)
    start_us, before_na = 0, 0.0
    for moment_us in moments:
        while segment is not None and moment_us - start_us >= segment.duration_ticks * tick_us:
            start_us += segment.duration_ticks * tick_us
            before_na = float(segment.end_na)
            segment = next(segments, None)
        elapsed_us = moment_us - start_us
        after_na = 0.0
        if segment is not None:
            slope = (segment.end_na - segment.start_na) / (segment.duration_ticks * tick_us)
            after_na = segment.start_na + slope * elapsed_us
        if elapsed_us:
            before_na = after_na
        yield moment_us, before_na, after_na
