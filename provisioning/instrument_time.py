"""How long an instrument is busy with a unit, from what was measured: samples times aperture.

Neither flashing nor the time in which relays and answers travel is in it, so it is the same for a
simulated and a real instrument, and bounds what a line of stations can do: each slot has a meter of
its own, so slots add up. Implements docs/spec/calibration.md §8.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.calibration_result import CalibrationResult
    from provisioning.verification_result import VerificationResult
    from provisioning.waveform_result import WaveformResult

SECONDS_PER_HOUR: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringPace:
    """What a line measures in an hour.

    Attributes:
        unit_s: Instrument time of a unit, s.
        slots: Slots, each with a meter.
    """

    unit_s: float
    slots: int

    @property
    def units_per_hour(self) -> float:
        """Units that the instruments can measure in an hour."""
        return self.slots * SECONDS_PER_HOUR / self.unit_s

    def to_json(self) -> dict[str, float]:
        """Return the figures as a JSON object."""
        return {
            "unit_s": round(self.unit_s, 3),
            "slots": self.slots,
            "units_per_hour": round(self.units_per_hour, 1),
        }

    def __str__(self) -> str:
        slots = f"{self.slots} slots" if self.slots > 1 else "1 slot"
        return (
            f"instrument time {self.unit_s:.1f} s a unit: {slots} with a meter each measure "
            f"{self.units_per_hour:.0f} units per hour"
        )


def calibration_time_s(result: CalibrationResult) -> float:
    """Return how long the instrument sampled for a calibration, s."""
    return sum(reading.count for reading in result.readings) * result.settings.sample_aperture_s


def verification_time_s(result: VerificationResult) -> float:
    """Return how long it sampled for a verification, s; soft starts let pass are not counted."""
    samples = sum(point.count for point in (*result.points, *result.idle))
    return samples * result.settings.sample_aperture_s + math.fsum(
        _waveform_time_s(waveform) for waveform in result.waveforms
    )


def measuring_pace(
    measured: Sequence[tuple[CalibrationResult, VerificationResult]], *, slots: int
) -> MeasuringPace | None:
    """Return the pace of a line from its units; `None` without one that was measured to the end.

    Args:
        measured: Calibration and verification of each unit.
        slots: Slots of the line.
    """
    if not measured:
        return None
    total_s = math.fsum(
        calibration_time_s(calibration) + verification_time_s(verification)
        for calibration, verification in measured
    )
    return MeasuringPace(unit_s=total_s / len(measured), slots=slots)


def _waveform_time_s(waveform: WaveformResult) -> float:
    if waveform.windows:
        samples = sum(len(window.samples_na) for window in waveform.windows)
        return samples * waveform.sample_aperture_s
    capture_s = len(waveform.samples_na) * waveform.sample_aperture_s
    # A capture that covers the whole period is the mean, too.
    is_mean = math.isclose(capture_s, waveform.aperture_s, rel_tol=1e-6)
    return capture_s if is_mean else capture_s + waveform.aperture_s
