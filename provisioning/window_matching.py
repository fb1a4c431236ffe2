"""Finds when in a mode a window was captured, and what the table has there.

The captured samples are compared with those of the shape at every delay that the meter may have
had; timing, shape, polarity and size then show in the best one. Implements
docs/spec/calibration.md §8.3.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from provisioning.numpy_threads import keep_numpy_in_one_thread
from provisioning.waveform_train import PulseTrain
from provisioning.waveform_windows import WindowName, is_fast
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.waveform_train import WaveformShape
    from provisioning.waveform_windows import Window

_STEPS_PER_FAST_SAMPLE: Final = 4
_STEPS_PER_SLOW_SAMPLE: Final = 20
_EQUALLY_WELL: Final = 1.2
_EDGE_SAMPLES: Final = 1
_BLOCK_VALUES: Final = 1_000_000
"""So many differences at a time, however long the delay may be."""
_SIZE_SHARE_MIN: Final = 0.5
"""Below this share of the peak a window does not show the size of the current."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Samples of a window that lie in one burst or in one rest.

    Attributes:
        burst: Which burst of the repeat period, from 0.
        is_rest: Whether it is the rest after that burst.
        begin: First sample.
        count: Samples; in a train of fast pulses as many as whole pulses have.
    """

    burst: int
    is_rest: bool
    begin: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowMatch:
    """A window at its best delay.

    Attributes:
        delay_s: From the board's start to the first sample.
        delay_step_s: How finely delays were tried.
        expected_na: What the table has, one figure for each sample.
        rms_error_na: Root mean square of measured minus expected.
        is_inverted: The capture fits clearly better upside down.
        size: Size of the current, 1 for the table's; `None` where the window does not show it.
        steepest_na_per_s: Largest change between neighbouring expected samples.
        stretches: What means are taken over.
        is_fast: The window holds whole pulses.
    """

    delay_s: float
    delay_step_s: float
    expected_na: tuple[float, ...]
    rms_error_na: float
    is_inverted: bool
    size: float | None
    steepest_na_per_s: float
    stretches: tuple[Stretch, ...]
    is_fast: bool


class WindowMatcher:
    """Compares the windows of one level.

    Args:
        shape: The level as the table has it.
        sample_aperture_s: Integration time of a sample.
        delay_max_s: How late the meter may start.
    """

    def __init__(
        self, shape: WaveformShape, *, sample_aperture_s: float, delay_max_s: float
    ) -> None:
        self._shape = shape
        self._train = PulseTrain(shape)
        self._aperture_s = sample_aperture_s
        self._steps = _STEPS_PER_FAST_SAMPLE if is_fast(shape) else _STEPS_PER_SLOW_SAMPLE
        self._delay_count = max(1, math.ceil(delay_max_s / sample_aperture_s * self._steps)) + 1

    def match(self, window: Window, samples_na: Sequence[int]) -> WindowMatch:
        """Return the best delay of a captured window, and what it says."""
        keep_numpy_in_one_thread()
        import numpy as np

        count, steps = len(samples_na), self._steps
        step_s = self._aperture_s / steps
        start_s = window.start_us * 1e-6 % (self._shape.period_us * 1e-6)
        # Every edge of every sample at every delay lies on one grid, so the charge is taken once.
        grid = start_s + np.arange(self._delay_count + count * steps) * step_s
        charge = self._train.charge_na_s(np, grid)
        mean = (charge[steps:] - charge[:-steps]) / self._aperture_s
        measured = np.asarray(samples_na, dtype=float)
        upright, inverted, scatter = (np.empty(self._delay_count) for _ in range(3))
        span = (count - 1) * steps + 1
        trains = np.lib.stride_tricks.sliding_window_view(mean, span)[:, ::steps]
        block = max(1, _BLOCK_VALUES // count)
        for first in range(0, self._delay_count, block):
            delays = slice(first, min(first + block, self._delay_count))
            expected = trains[delays]
            # Sums of squares of sum and difference, from products that are taken once.
            power = np.einsum("ij,ij->i", expected, expected) + measured @ measured
            product = np.einsum("ij,j->i", expected, measured)
            upright[delays] = np.sqrt(np.maximum(power - 2 * product, 0) / count)
            inverted[delays] = np.sqrt(np.maximum(power + 2 * product, 0) / count)
            shift = measured.mean() - expected.mean(axis=1)
            scatter[delays] = np.maximum(upright[delays] ** 2 - shift**2, 0)
        best = int(upright.argmin())
        if not is_fast(self._shape) and self._shows_size(mean):
            # A wrong level must not pass for a delay: the bend says when, whatever the level.
            best = int(scatter.argmin())
        if window.name is WindowName.START:
            # Mere repetition: of delays that fit equally well the earliest is meant.
            best = int((upright <= _EQUALLY_WELL * upright.min()).argmax())
        expected_na = tuple(float(value) for value in mean[best + np.arange(count) * steps])
        return WindowMatch(
            delay_s=best * step_s,
            delay_step_s=step_s,
            expected_na=expected_na,
            rms_error_na=_rms_difference(samples_na, expected_na),
            # A train that is its own mirror image half a pulse later fits both ways.
            is_inverted=bool(_EQUALLY_WELL * inverted.min() < upright.min()),
            size=self._size(samples_na, expected_na),
            steepest_na_per_s=max(
                (abs(b - a) for a, b in pairwise(expected_na)),
                default=0.0,
            )
            / self._aperture_s,
            stretches=self._stretches(start_s + best * step_s, count),
            is_fast=is_fast(self._shape),
        )

    def _shows_size(self, expected_na: Iterable[float]) -> bool:
        return max(abs(value) for value in expected_na) >= _SIZE_SHARE_MIN * self._shape.peak_na

    def _size(self, samples_na: Sequence[int], expected_na: Sequence[float]) -> float | None:
        if not self._shows_size(expected_na):
            return None
        return math.fsum(a * b for a, b in zip(samples_na, expected_na, strict=True)) / math.fsum(
            value * value for value in expected_na
        )

    def _stretches(self, begin_s: float, count: int) -> tuple[Stretch, ...]:
        """Cuts the samples where bursts begin and end, without those at a cut."""
        shape = self._shape
        burst_s, train_s = shape.burst_us * 1e-6, shape.train_us * 1e-6
        per_pulse = 1
        if is_fast(shape):
            per_pulse = max(1, round(shape.pulse_us * 1e-6 / self._aperture_s))
        stretches = []
        first = int(begin_s // burst_s)
        last = int((begin_s + count * self._aperture_s) // burst_s)
        for burst in range(first, last + 1):
            bounds_s = (burst * burst_s, burst * burst_s + train_s, (burst + 1) * burst_s)
            for is_rest, low_s, high_s in (
                (False, bounds_s[0], bounds_s[1]),
                (True, bounds_s[1], bounds_s[2]),
            ):
                begin = max(0, math.ceil((low_s - begin_s) / self._aperture_s) + _EDGE_SAMPLES)
                if begin_s >= low_s:
                    begin = 0
                end = math.floor((high_s - begin_s) / self._aperture_s) - _EDGE_SAMPLES
                samples = (min(end, count) - begin) // per_pulse * per_pulse
                if samples > 0:
                    stretches.append(
                        Stretch(
                            burst=burst % shape.bursts, is_rest=is_rest, begin=begin, count=samples
                        )
                    )
        return tuple(stretches)


def _rms_difference(samples_na: Sequence[float], expected_na: Sequence[float]) -> float:
    squares = ((a - b) ** 2 for a, b in zip(samples_na, expected_na, strict=True))
    return math.sqrt(math.fsum(squares) / len(expected_na))
