"""The waveform engine of the simulated firmware: which DAC code is driven when.

It plays one level of one mode: soft start, pulses, bursts, rests, polarity flips, soft stop, until
the session or the hard stop ends it; a pulse that would not end before is not begun, and the output
rests at zero instead (docs/spec/waveform-table.md §1). Currents become DAC codes through the unit's
calibration, as on the device. A segment that rises or falls is driven tick by tick on the device;
here it is summed in pieces of about one DAC code, whose mean is the same.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING, Final

from firmware_images.waveform_session import Session, Share, scale_segments
from provisioning.simulator.analog import LSB_NA

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_images.waveform import Level, Mode, Segment, WaveformTable

_PIECE_NA: Final = LSB_NA
_SEGMENT_PIECES_MIN: Final = 8


class WaveformEngine:
    """One running mode.

    Args:
        table: The table it is from.
        mode: The mode.
        level: One of its levels.
        start_s: Virtual time at which it began.
        code_for_na: The unit's calibration: current in nanoamps to DAC code.
    """

    def __init__(
        self,
        table: WaveformTable,
        mode: Mode,
        level: Level,
        *,
        start_s: float,
        code_for_na: Callable[[int], int],
    ) -> None:
        self._tick_s = table.tick_us * 1e-6
        self._start_s = start_s
        self._end_ticks = min(mode.session_ticks, table.hard_stop_ticks)
        self._session = Session(mode=mode, level=level, end_ticks=self._end_ticks)
        self._pulse_count = self._session.pulse_count
        self._pulses_per_burst = mode.pulses_per_burst
        self._pulse_ticks = level.pulse_ticks
        self._burst_ticks = mode.burst_ticks(level)
        self._clamp_na = table.clamp_na
        self._code_for_na = code_for_na
        self._rest_code = code_for_na(0)
        self.period_us = mode.repeat_ticks(level) * table.tick_us
        self._pulses: dict[tuple[Share, int], list[tuple[float, float, int]]] = {}
        # Both polarities in full, before anything is driven: a current outside of what this unit
        # may drive is refused at the start, not at the first reversal.
        self._drive(Share(1, 1), 1)
        self._drive(Share(1, 1), -1)

    def is_running(self, time_s: float) -> bool:
        """Whether the session is still going on."""
        return (time_s - self._start_s) / self._tick_s < self._end_ticks

    def pieces(self, start_s: float, end_s: float) -> list[tuple[int, float]]:
        """Return how long each DAC code is driven between two virtual times.

        Returns:
            Pairs of code and seconds; after the end of the session there are none.
        """
        first = max(0.0, (start_s - self._start_s) / self._tick_s)
        last = min(float(self._end_ticks), (end_s - self._start_s) / self._tick_s)
        ticks: dict[int, float] = {}
        burst = int(first // self._burst_ticks)
        while burst * self._burst_ticks < last:
            self._add_burst(burst, first, last, ticks)
            burst += 1
        return [(code, spent * self._tick_s) for code, spent in ticks.items()]

    def _add_burst(self, burst: int, first: float, last: float, ticks: dict[int, float]) -> None:
        begin = burst * self._burst_ticks
        played = self._pulse_count - burst * self._pulses_per_burst
        played = max(0, min(self._pulses_per_burst, played))
        pulse = max(0, int((first - begin) // self._pulse_ticks))
        while pulse < played and begin + pulse * self._pulse_ticks < last:
            pulse_begin = begin + pulse * self._pulse_ticks
            number = burst * self._pulses_per_burst + pulse
            pieces = self._drive(self._session.share(number), self._session.sign(number))
            begun = bisect_right(pieces, first - pulse_begin, key=_end_of)
            for start, end, code in islice(pieces, begun, None):
                spent = min(last, pulse_begin + end) - max(first, pulse_begin + start)
                if spent <= 0:
                    break
                ticks[code] = ticks.get(code, 0.0) + spent
            pulse += 1
        rest_begin = begin + played * self._pulse_ticks
        spent = min(last, begin + self._burst_ticks) - max(first, rest_begin)
        if spent > 0:
            ticks[self._rest_code] = ticks.get(self._rest_code, 0.0) + spent

    def _drive(self, share: Share, sign: int) -> list[tuple[float, float, int]]:
        """A pulse at a share and a polarity: from and to, in ticks, and the code."""
        known = self._pulses.get((share, sign))
        if known is not None:
            return known
        pieces: list[tuple[float, float, int]] = []
        position = 0.0
        for segment in scale_segments(self._session.level.segments, share, sign):
            for duration_ticks, current_na in _split_segment(segment):
                clamped_na = max(-self._clamp_na, min(self._clamp_na, current_na))
                code = self._code_for_na(clamped_na)
                pieces.append((position, position + duration_ticks, code))
                position += duration_ticks
        self._pulses[share, sign] = pieces
        return pieces


def _end_of(piece: tuple[float, float, int]) -> float:
    return piece[1]


def _split_segment(segment: Segment) -> list[tuple[float, int]]:
    if segment.start_na == segment.end_na:
        return [(float(segment.duration_ticks), segment.start_na)]
    rise_na = segment.end_na - segment.start_na
    codes = math.ceil(abs(rise_na) / _PIECE_NA)
    count = min(segment.duration_ticks, max(_SEGMENT_PIECES_MIN, codes))
    return [
        (
            segment.duration_ticks / count,
            segment.start_na + round(rise_na * (index + 0.5) / count),
        )
        for index in range(count)
    ]
