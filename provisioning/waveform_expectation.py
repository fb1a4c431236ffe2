"""What a meter should see of one playing mode: period, mean, and a train of samples.

A capture is compared with the table by sliding the expected train in time, because nobody knows the
instant at which the meter started; timing, shape and polarity then show in one residual.
Implements docs/spec/calibration.md §8. This module measures and judges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.waveform_session import Session
from provisioning.numpy_threads import keep_numpy_in_one_thread
from provisioning.waveform_train import PulseTrain, WaveformShape
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.waveform import Mode

CAPTURE_SAMPLES_MAX: Final = 400
CAPTURE_APERTURE_MIN_S: Final = 0.5e-3
_SAMPLES_PER_PULSE: Final = 100
_DELAY_STEPS_PER_SAMPLE: Final = 4
_EQUALLY_WELL: Final = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How well a capture fits the table.

    Attributes:
        delay_s: From the start of the mode to the first sample.
        rms_error_na: Root mean square of measured minus expected samples, nA.
        is_inverted: The capture fits better upside down: the polarity is wrong.
    """

    delay_s: float
    rms_error_na: float
    is_inverted: bool


class WaveformExpectation:
    """One level of one mode as the table describes it, once a soft start is over.

    Args:
        mode: The mode.
        level_index: The level, from 0.
        tick_us: Microseconds per tick.
    """

    def __init__(self, mode: Mode, level_index: int, *, tick_us: int) -> None:
        level = mode.levels[level_index]
        self.period_us = mode.repeat_ticks(level) * tick_us
        session = Session(mode=mode, level=level, end_ticks=mode.session_ticks)
        ramp_ticks = session.start_ticks(max(mode.soft_start_pulses - 1, 0))
        self.settling_periods = -(-ramp_ticks // mode.repeat_ticks(level))
        self.peak_na = level.peak_na
        pulse_s = level.pulse_ticks * tick_us * 1e-6
        self.sample_aperture_s = max(pulse_s / _SAMPLES_PER_PULSE, CAPTURE_APERTURE_MIN_S)
        whole = round(self.period_us * 1e-6 / self.sample_aperture_s)
        self.is_capture_whole = whole <= CAPTURE_SAMPLES_MAX
        self.sample_count = whole if self.is_capture_whole else CAPTURE_SAMPLES_MAX
        if self.is_capture_whole:
            self.sample_aperture_s = self.period_us * 1e-6 / whole
        self._train = PulseTrain(WaveformShape.of(mode, level_index, tick_us=tick_us))
        self.mean_na = self._train.mean_na

    def match(self, samples_na: Sequence[float], *, aperture_s: float, delay_max_s: float) -> Match:
        """Return the delay at which a capture fits best, and how well.

        Args:
            samples_na: Samples taken back to back, nA.
            aperture_s: Integration time of each.
            delay_max_s: How late after the start of the mode the first sample may be.
        """
        keep_numpy_in_one_thread()
        import numpy as np

        step_s = aperture_s / _DELAY_STEPS_PER_SAMPLE
        delays = np.arange(0.0, max(delay_max_s, step_s), step_s)
        edges = delays[:, None] + np.arange(len(samples_na) + 1)[None, :] * aperture_s
        expected = np.diff(self._train.charge_na_s(np, edges), axis=1) / aperture_s
        measured = np.asarray(samples_na)
        upright = np.sqrt(np.mean((measured - expected) ** 2, axis=1))
        inverted = np.sqrt(np.mean((measured + expected) ** 2, axis=1))
        # A train repeats: of delays that fit equally well within the noise, the earliest is meant.
        best = int((upright <= _EQUALLY_WELL * upright.min()).argmax())
        return Match(
            delay_s=float(delays[best]),
            rms_error_na=float(upright[best]),
            # A train that is its own mirror image half a pulse later fits both ways.
            is_inverted=bool(_EQUALLY_WELL * inverted.min() < upright.min()),
        )
