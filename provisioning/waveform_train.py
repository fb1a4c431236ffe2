"""A steady train of pulses in closed form: what flows when, once a soft start is over.

`WaveformShape` is what a stored result keeps of a level, so that its captures can be judged again
without the table; `PulseTrain` gives the charge up to any instant. Implements
docs/spec/calibration.md §8. This module measures and judges nothing.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from firmware_images.waveform import CURRENT_NA_MAX, TICKS_MAX, UNROLLED_SEGMENTS_MAX

if TYPE_CHECKING:
    from firmware_images.waveform import Mode

Ticks = Annotated[int, Field(gt=0, le=TICKS_MAX)]
Current = Annotated[int, Field(ge=-CURRENT_NA_MAX, le=CURRENT_NA_MAX)]


class WaveformShape(BaseModel):
    """One level of one mode, as the table has it.

    Attributes:
        tick_us: Microseconds per tick.
        segments: Of one pulse period: duration in ticks, current at its start and end in nA.
        pulses_per_burst: Pulses of a burst.
        burst_off_ticks: Rest after a burst.
        flips_each_burst: Whether every second burst has the opposite polarity.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    tick_us: Annotated[int, Field(gt=0, le=1_000_000)]
    segments: Annotated[tuple[tuple[Ticks, Current, Current], ...], Field(min_length=1)]
    pulses_per_burst: Ticks
    burst_off_ticks: Annotated[int, Field(ge=0, le=TICKS_MAX)]
    flips_each_burst: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        unrolled = self.bursts * (self.pulses_per_burst * len(self.segments) + 1)
        if unrolled > UNROLLED_SEGMENTS_MAX:
            raise ValueError(f"more than {UNROLLED_SEGMENTS_MAX} segments in a repeat period")
        if self.peak_na == 0:
            raise ValueError("nothing but zero current")
        return self

    @classmethod
    def of(cls, mode: Mode, level_index: int, *, tick_us: int) -> Self:
        """Return the shape of a level, from 0, of a mode."""
        return cls(
            tick_us=tick_us,
            segments=tuple(
                (segment.duration_ticks, segment.start_na, segment.end_na)
                for segment in mode.levels[level_index].segments
            ),
            pulses_per_burst=mode.pulses_per_burst,
            burst_off_ticks=mode.burst_off_ticks,
            flips_each_burst=mode.flips_each_burst,
        )

    @property
    def bursts(self) -> int:
        """Bursts before everything repeats."""
        return 2 if self.flips_each_burst else 1

    @property
    def pulse_us(self) -> int:
        """One pulse period, µs."""
        return sum(duration for duration, _, _ in self.segments) * self.tick_us

    @property
    def train_us(self) -> int:
        """The pulses of a burst without the rest after it, µs."""
        return self.pulse_us * self.pulses_per_burst

    @property
    def burst_us(self) -> int:
        """One burst and the rest after it, µs."""
        return self.train_us + self.burst_off_ticks * self.tick_us

    @property
    def period_us(self) -> int:
        """Whole repeat period: bursts, rests and polarity cycle, µs."""
        return self.burst_us * self.bursts

    @property
    def peak_na(self) -> int:
        """The largest absolute current, nA."""
        return max(max(abs(start), abs(end)) for _, start, end in self.segments)


class PulseTrain:
    """The charge of a shape that repeats for ever.

    Args:
        shape: The level.
    """

    def __init__(self, shape: WaveformShape) -> None:
        self.shape = shape
        # (duration s, start nA, end nA) of a whole repeat period.
        tick_s = shape.tick_us * 1e-6
        pulse = [(ticks * tick_s, start, end) for ticks, start, end in shape.segments]
        self._pieces: list[tuple[float, int, int]] = []
        for burst in range(shape.bursts):
            sign = -1 if burst % 2 else 1
            train = [(duration, sign * a, sign * b) for duration, a, b in pulse]
            self._pieces += train * shape.pulses_per_burst
            if shape.burst_off_ticks:
                self._pieces.append((shape.burst_off_ticks * tick_s, 0, 0))
        charge = sum(duration * (a + b) / 2 for duration, a, b in self._pieces)
        self.mean_na = charge / (shape.period_us * 1e-6)

    def charge_na_s(self, np: Any, times_s: Any) -> Any:
        """Return the charge since the start, nA·s, at each time: exact on each linear piece.

        Args:
            np: The numpy module.
            times_s: An array of seconds since the start of a repeat period, zero or more.
        """
        durations = np.array([piece[0] for piece in self._pieces])
        start = np.array([float(piece[1]) for piece in self._pieces])
        slope = np.array([(b - a) / duration for duration, a, b in self._pieces])
        ends = np.cumsum(durations)
        begins = ends - durations
        before = np.array(
            [0.0, *accumulate(duration * (a + b) / 2 for duration, a, b in self._pieces)]
        )
        period_s = float(ends[-1])
        whole, local = np.divmod(times_s, period_s)
        index = np.minimum(np.searchsorted(ends, local, side="right"), len(self._pieces) - 1)
        t = local - begins[index]
        return whole * before[-1] + before[index] + start[index] * t + slope[index] * t * t / 2
