"""A level as the segments that leave the output: a pulse, a burst, a repeat period, a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.errors import WaveformError
from firmware_images.waveform import Segment
from firmware_images.waveform_csv import ROW_COUNT_MAX
from firmware_images.waveform_session import Session, scale_segments

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


def build_session_segments(mode: Mode, level: Level) -> tuple[Segment, ...]:
    """A whole session: soft start, every whole pulse, rests, reversals, soft stop, and silence.

    Raises:
        WaveformError: When a CSV file could not hold it; nothing is built then.
    """
    session = Session(mode=mode, level=level, end_ticks=mode.session_ticks)
    count = session.pulse_count
    largest = count * (len(level.segments) + 1) + 1
    if largest > ROW_COUNT_MAX:
        raise WaveformError(
            "the session has too many segments to be written out",
            expected=f"at most {ROW_COUNT_MAX}",
            got=f"{count} pulses of {len(level.segments)} segments",
            where=f"mode {mode.name}",
            hint="export the repeat period instead",
        )
    segments: list[Segment] = []
    for pulse in range(count):
        segments += scale_segments(level.segments, session.share(pulse), session.sign(pulse))
        following = session.start_ticks(pulse + 1) if pulse + 1 < count else mode.session_ticks
        silent_ticks = following - session.start_ticks(pulse) - level.pulse_ticks
        if silent_ticks:
            segments.append(Segment(duration_ticks=silent_ticks, start_na=0, end_na=0))
    return tuple(segments)
