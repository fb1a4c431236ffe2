"""A session pulse by pulse: which pulses it holds, and how much of each is played.

A device begins no pulse that it cannot end within the session, so the last one keeps its balance
like any other. In a soft start of N pulses, pulse k plays k parts of N; in a soft stop of M pulses,
the pulse that is j-th from the end plays j parts of M. A pulse is scaled as a whole: both phases
by one factor, each current to the nearest nanoamp, halves away from zero. Opposite currents stay
opposite, so what was balanced stays balanced; an envelope that rose inside a pulse would not.

Implements docs/spec/waveform-table.md §1.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_images.waveform import Segment
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.waveform import Level, Mode


class Share(NamedTuple):
    """How much of a pulse is played, as a fraction of at most 1.

    Args:
        parts: Above the line.
        whole: Below it.
    """

    parts: int
    whole: int


FULL: Final = Share(1, 1)


@dataclass(frozen=True, kw_only=True)  # not slotted, because it remembers its pulse count
class Session:
    """What a device plays from the start of a mode to its end.

    Args:
        mode: The mode.
        level: One of its levels.
        end_ticks: When the device stops: the session, or the hard stop if that comes first.
    """

    mode: Mode
    level: Level
    end_ticks: int

    @cached_property
    def pulse_count(self) -> int:
        """How many pulses are played; each of them to its end."""
        return self.mode.count_pulses(self.level, self.end_ticks)

    @property
    def played_ticks(self) -> int:
        """When the last pulse ends; from there the output rests at zero."""
        count = self.pulse_count
        return self.start_ticks(count - 1) + self.level.pulse_ticks if count else 0

    def start_ticks(self, pulse: int) -> int:
        """When a pulse begins, counted from 0."""
        burst, within = divmod(pulse, self.mode.pulses_per_burst)
        return burst * self.mode.burst_ticks(self.level) + within * self.level.pulse_ticks

    def sign(self, pulse: int) -> int:
        """1, or -1 for a pulse of a burst with the opposite polarity."""
        is_flipped = self.mode.flips_each_burst and pulse // self.mode.pulses_per_burst % 2
        return -1 if is_flipped else 1

    def share(self, pulse: int) -> Share:
        """How much of a pulse is played, counted from 0; the smaller of both ramps where they meet.

        They meet only where the hard stop comes before the session's own end.
        """
        rising = Share(pulse + 1, self.mode.soft_start_pulses)
        falling = Share(self.pulse_count - pulse, self.mode.soft_stop_pulses)
        share = FULL
        for ramp in (rising, falling):
            if ramp.parts < ramp.whole and ramp.parts * share.whole < share.parts * ramp.whole:
                share = ramp
        return share

    def ramp_pulses(self) -> Iterator[tuple[int, Share]]:
        """The pulses that are not played in full, counted from 0, in order of time."""
        count = self.pulse_count
        until = min(count, max(self.mode.soft_start_pulses - 1, 0))
        since = max(until, count - max(self.mode.soft_stop_pulses - 1, 0))
        for pulse in (*range(until), *range(since, count)):
            yield pulse, self.share(pulse)


def scale_na(current_na: int, share: Share) -> int:
    """A current's share to the nearest nanoamp; halves away from zero, so signs round alike."""
    magnitude = (2 * abs(current_na) * share.parts + share.whole) // (2 * share.whole)
    return magnitude if current_na >= 0 else -magnitude


def scale_segments(
    segments: tuple[Segment, ...], share: Share, sign: int = 1
) -> tuple[Segment, ...]:
    """A pulse's segments as they are played: scaled as a whole, in a polarity."""
    if share == FULL and sign == 1:
        return segments
    return tuple(
        Segment(
            duration_ticks=s.duration_ticks,
            start_na=sign * scale_na(s.start_na, share),
            end_na=sign * scale_na(s.end_na, share),
        )
        for s in segments
    )


def double_charge(segments: tuple[Segment, ...], share: Share = FULL) -> int:
    """Twice the net charge of a pulse, nA·ticks: a whole number, so that zero is zero."""
    return sum(
        s.duration_ticks * (scale_na(s.start_na, share) + scale_na(s.end_na, share))
        for s in segments
    )


def session_double_charge(session: Session) -> int:
    """Twice the net charge of a whole session, nA·ticks, ramps included."""
    count, per_burst = session.pulse_count, session.mode.pulses_per_burst
    signs = count
    if session.mode.flips_each_burst:
        whole, rest = divmod(count, 2 * per_burst)
        signs = min(rest, per_burst) - max(rest - per_burst, 0)
        assert whole * 2 * per_burst + rest == count
    full = double_charge(session.level.segments)
    return full * signs + sum(
        session.sign(pulse) * (double_charge(session.level.segments, share) - full)
        for pulse, share in session.ramp_pulses()
    )
