"""A level as the segments that leave the output: a pulse, a burst, or the whole repeat period."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.waveform import Segment

if TYPE_CHECKING:
    from firmware_images.waveform import Level, Mode


def build_segments(
    mode: Mode, level: Level, *, with_rest: bool, with_reversal: bool
) -> tuple[Segment, ...]:
    """The segments of one pulse, or of more.

    Args:
        mode: The mode.
        level: One of its levels.
        with_rest: All pulses of a burst and the rest after it, instead of one pulse.
        with_reversal: The burst of the other polarity, too, where the mode has one.
    """
    if not with_rest:
        return level.segments
    segments = level.segments * mode.pulses_per_burst
    if mode.burst_off_ticks:
        rest = Segment(duration_ticks=mode.burst_off_ticks, start_na=0, end_na=0)
        segments = (*segments, rest)
    if with_reversal and mode.flips_each_burst:
        segments += tuple(
            Segment(duration_ticks=s.duration_ticks, start_na=-s.start_na, end_na=-s.end_na)
            for s in segments
        )
    return segments
