"""What was read during a verification, before anything is judged.

A stored result holds the readings beside the judgement; `from_result` takes them out again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from provisioning.waveform_windows import Window
from signing.value_class import dataclass

if TYPE_CHECKING:
    from datetime import datetime

    from provisioning.verification_result import PointResult
    from provisioning.waveform_result import WaveformResult
    from provisioning.waveform_train import WaveformShape


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPoint:
    """One point before it is judged; without a reading it is a plan.

    Attributes:
        mode: Name of the mode; empty for the idle current.
        level_index: Level, from 0; -1 for the idle current.
        target_na: What is asked for, nA.
        load_ohm: Load, Ω.
        range_ua: Range, µA.
        code: The code that the board chose.
        mean_na: Mean of the samples, nA.
        sd_na: Standard deviation of a sample, nA.
        count: Samples.
        is_overload: The current was larger than every range.
        at: When the meter answered, UTC; `None` for an overload.
        samples_na: The samples, nA; `None` for an overload, and before the third format.
    """

    mode: str
    level_index: int
    target_na: int
    load_ohm: int
    range_ua: int
    code: int = 0
    mean_na: float = 0.0
    sd_na: float = 0.0
    count: int = 1
    is_overload: bool = False
    at: datetime | None = None
    samples_na: tuple[float, ...] | None = None

    def measured(
        self,
        *,
        code: int,
        range_ua: int,
        mean_na: float,
        sd_na: float,
        count: int,
        is_overload: bool = False,
        at: datetime | None = None,
        samples_na: tuple[float, ...] | None = None,
    ) -> Self:
        """Return the planned point with its reading."""
        return replace(
            self,
            code=code,
            range_ua=range_ua,
            mean_na=mean_na,
            sd_na=sd_na,
            count=count,
            is_overload=is_overload,
            at=at,
            samples_na=samples_na,
        )

    @classmethod
    def from_result(cls, point: PointResult) -> Self:
        """Return what was read for a stored point."""
        return cls(
            mode=point.mode,
            level_index=point.level_index,
            target_na=point.target_na,
            load_ohm=point.load_ohm,
            range_ua=point.range_ua,
            code=point.code,
            mean_na=point.measured_na,
            sd_na=point.sd_na,
            count=point.count,
            is_overload=point.is_overload,
            at=point.at,
            samples_na=point.samples_na,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RawWindow:
    """One captured window before it is judged.

    Attributes:
        window: Which.
        samples_na: The capture, whole nA.
        is_overload: The current left the range.
    """

    window: Window
    samples_na: tuple[int, ...] = ()
    is_overload: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RawWaveform:
    """One played mode before it is judged; attributes as in `WaveformResult`.

    Attributes:
        peak_na: Peak of the level, nA.
        shape: What the table asks for; `None` when the whole period was captured.
        windows: What was captured instead of the whole period.
    """

    mode: str
    level_index: int
    peak_na: int
    load_ohm: int
    range_ua: int
    period_us: int
    expected_period_us: int
    aperture_s: float
    expected_mean_na: float
    mean_na: float
    sample_aperture_s: float
    samples_na: tuple[int, ...]
    delay_s: float
    shape_rms_na: float
    is_inverted: bool
    is_overload: bool = False
    shape: WaveformShape | None = None
    windows: tuple[RawWindow, ...] = ()

    @classmethod
    def from_result(cls, waveform: WaveformResult) -> Self:
        """Return what was read for a stored mode."""
        return cls(
            mode=waveform.mode,
            level_index=waveform.level_index,
            peak_na=waveform.peak_na,
            load_ohm=waveform.load_ohm,
            range_ua=waveform.range_ua,
            period_us=waveform.period_us,
            expected_period_us=waveform.expected_period_us,
            aperture_s=waveform.aperture_s,
            expected_mean_na=waveform.expected_mean_na,
            mean_na=waveform.mean_na,
            sample_aperture_s=waveform.sample_aperture_s,
            samples_na=waveform.samples_na,
            delay_s=waveform.delay_s,
            shape_rms_na=waveform.shape_rms_na,
            is_inverted=waveform.is_inverted,
            is_overload=waveform.is_overload,
            shape=waveform.shape,
            windows=tuple(
                RawWindow(
                    window=Window(
                        name=entry.name, event_us=entry.event_us, start_us=entry.start_us
                    ),
                    samples_na=entry.samples_na,
                    is_overload=entry.is_overload,
                )
                for entry in waveform.windows
            ),
        )
