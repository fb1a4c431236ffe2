"""What came of playing a mode: the capture of a whole repeat period, or windows around its events.

A part of `verification_result`, to and from JSON with it; every judged figure stands beside the
samples it came from. Normative text: docs/spec/calibration.md §6.4 and §8. This module judges
nothing.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from provisioning.bounded_figures import (
    Count,
    Finite,
    NotNegative,
    PositiveInt,
    ReadCurrent,
    ReadScatter,
    Whole,
)
from provisioning.uncertainty import Outcome
from provisioning.waveform_train import WaveformShape
from provisioning.waveform_windows import WINDOW_SAMPLES_MAX, WindowName

SAMPLE_NA_MAX: Final = 10**12
SAMPLE_APERTURE_MIN_US: Final = 10
Sample = Annotated[int, Field(ge=-SAMPLE_NA_MAX, le=SAMPLE_NA_MAX)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class StretchResult(_Document):
    """The mean over whole pulses, or over a rest, inside a window.

    Attributes:
        burst: Which burst of the repeat period, from 0.
        is_rest: Whether it is the rest after that burst.
        aperture_s: Integration time of the mean, s.
        expected_mean_na: The same from the table, nA.
        mean_na: Measured mean, nA.
        expanded_uncertainty_na: Its U, nA.
        limit_na: Limit of its error, nA.
        outcome: The decision.
    """

    burst: Count
    is_rest: bool
    aperture_s: NotNegative
    expected_mean_na: Finite
    mean_na: Finite
    expanded_uncertainty_na: NotNegative
    limit_na: NotNegative
    outcome: Outcome


class WindowResult(_Document):
    """A short look at a playing mode, around one event of its repeat period.

    Attributes:
        name: What it shows.
        event_us: When that happens in the repeat period, µs.
        start_us: How far into the session the board began, µs.
        samples_na: The capture, whole nA.
        is_overload: The current left the range; nothing else of this entry was measured.
        delay_s: From the board's start to the first sample, as matched, s.
        shape_rms_na: Measured minus expected capture, root mean square, nA.
        shape_limit_na: Its limit, nA.
        is_inverted: The capture fits better upside down.
        size: Size of the current, 1 for the table's; `None` where the window does not show it.
        size_limit: How far it may be from 1.
        stretches: Means over whole pulses and rests.
        outcome: Worst of shape, polarity, size and means.
    """

    name: WindowName
    event_us: Annotated[int, Field(ge=0, le=2**53)]
    start_us: Annotated[int, Field(ge=0, le=2**53)]
    samples_na: Annotated[tuple[Sample, ...], Field(max_length=WINDOW_SAMPLES_MAX)]
    is_overload: bool
    delay_s: NotNegative
    shape_rms_na: NotNegative
    shape_limit_na: NotNegative
    is_inverted: bool
    size: Finite | None
    size_limit: NotNegative
    stretches: tuple[StretchResult, ...]
    outcome: Outcome


class WaveformResult(_Document):
    """One mode, played by the board's own engine, in a whole repeat period or in windows of it.

    Attributes:
        mode: Name of the mode.
        level_index: Level, from 0.
        peak_na: Peak of that level, nA.
        load_ohm: Load, Ω.
        range_ua: Range, µA.
        period_us: Whole repeat period as the board reports it, µs.
        expected_period_us: The same from the table, µs.
        aperture_s: Integration time of the mean, s: one whole repeat period, or all stretches of
            the windows.
        expected_mean_na: Mean over the whole period from the table, nA.
        mean_na: Measured mean, nA; of windows the one that they imply.
        expanded_uncertainty_na: Its U, nA.
        limit_na: Limit of its error, nA.
        sample_aperture_s: Integration time of one sample of the capture, s.
        samples_na: The capture, whole nA; empty when there are windows.
        delay_s: From the start of the mode to the first sample, as matched, s.
        shape_rms_na: Measured minus expected capture, root mean square, nA.
        shape_limit_na: Its limit, nA.
        is_inverted: The capture fits better upside down.
        is_overload: The current left the range; nothing else of this entry was measured.
        outcome: Worst of mean, period, shape and polarity, and of all windows.
        shape: What the table asks for, so that windows can be judged again.
        windows: In the order of their starts; empty when the whole period was captured.
        delay_spread_s: How far the windows are apart in their timing, s.
    """

    mode: str
    level_index: Whole
    peak_na: Annotated[int, Field(gt=0, le=SAMPLE_NA_MAX)]
    load_ohm: PositiveInt
    range_ua: PositiveInt
    period_us: Annotated[int, Field(ge=0, le=2**53)]
    expected_period_us: Annotated[int, Field(gt=0, le=2**53)]
    aperture_s: NotNegative
    expected_mean_na: ReadCurrent
    mean_na: ReadCurrent
    expanded_uncertainty_na: NotNegative
    limit_na: NotNegative
    sample_aperture_s: NotNegative
    samples_na: tuple[Sample, ...]
    delay_s: NotNegative
    shape_rms_na: ReadScatter
    shape_limit_na: NotNegative
    is_inverted: bool
    is_overload: bool
    outcome: Outcome
    shape: WaveformShape | None = None
    windows: tuple[WindowResult, ...] = ()
    delay_spread_s: NotNegative = 0.0

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if not self.windows:
            return self
        if self.shape is None:
            raise ValueError("windows without the shape that they were compared with")
        if self.sample_aperture_s * 1e6 < SAMPLE_APERTURE_MIN_US:
            raise ValueError("a sample of no duration")
        longest = max(len(window.samples_na) for window in self.windows)
        if longest * self.sample_aperture_s * 1e6 > self.shape.period_us:
            raise ValueError("a window longer than the repeat period")
        if any(not window.samples_na and not window.is_overload for window in self.windows):
            raise ValueError("a window without samples")
        return self

    @property
    def pictured_samples_na(self) -> tuple[int, ...]:
        """The capture to show: the whole one, or the first window that is not the mode's start."""
        shown = (*self.windows[1:], *self.windows[:1])
        return shown[0].samples_na if shown else self.samples_na
