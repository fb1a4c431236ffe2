"""The figures of a waveform, each from a closed form over its linear pieces; nothing is sampled.

Implements docs/spec/waveform-table.md §8. The names of `Analysis.to_json` are what scripts rely on.
What this module does not do: compare a figure with a limit (`limits_judging`).
"""

from __future__ import annotations

from math import fsum, log10, sqrt
from typing import TYPE_CHECKING, Final

from firmware_images.errors import WaveformError
from firmware_images.waveform_phases import find_phases
from firmware_images.waveform_window import find_largest_window_mean
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.waveform_phases import Phase
    from firmware_images.waveform_train import PulseTrain
    from firmware_images.waveform_window import WindowMean

WINDOW_US: Final = 1_000_000.0
LOAD_OHM: Final = 500.0
AREA_CM2_MIN: Final = 1e-6
AREA_CM2_MAX: Final = 1e6
"""An electrode outside of this is an error of unit."""
SHANNON_PHASE_US_MAX: Final = 1000.0
"""Shannon's k was found with pulses of 400 µs; it is judged up to 1 ms, and information above."""

_NA_US_PER_UC: Final = 1e9
_NA_PER_UA: Final = 1e3
_US_PER_S: Final = 1e6
_RELATIVE_SLACK: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The figures of one repeat period.

    Args:
        phase_charge_uc: Greatest charge of a phase, µC.
        net_charge_uc: Signed charge of the whole period, µC.
        idc_ua: Signed mean current of the period, µA.
        idc_window_ua: Largest absolute mean over any sliding second, µA.
        iavg_ua: Mean absolute current, µA.
        irms_ua: Root mean square over the period, µA.
        irms_burst_ua: Root mean square inside bursts, µA.
        ipeak_ua: Largest absolute current, µA.
        jrms_ma_cm2: `irms_ua` over the area, mA/cm².
        power_density_w_cm2: Power of `irms_ua` in 500 Ω over the area, W/cm².
        shannon_k: log10(Q·Q/A) of the phase charge; `None` for a waveform without charge.
        shannon_k_applies: Whether that phase is short enough for k to be judged.
        period_s: The repeat period, seconds.
        iavg_burst_ua: Mean absolute current inside bursts, µA.
        jpeak_ma_cm2: `ipeak_ua` over the area, mA/cm².
        jrms_burst_ma_cm2: `irms_burst_ua` over the area, mA/cm².
        power_density_burst_w_cm2: Power of `irms_burst_ua` in 500 Ω over the area, W/cm².
    """

    phase_charge_uc: float
    net_charge_uc: float
    idc_ua: float
    idc_window_ua: float
    iavg_ua: float
    irms_ua: float
    irms_burst_ua: float
    ipeak_ua: float
    jrms_ma_cm2: float
    power_density_w_cm2: float
    shannon_k: float | None
    shannon_k_applies: bool
    period_s: float
    iavg_burst_ua: float
    jpeak_ma_cm2: float
    jrms_burst_ma_cm2: float
    power_density_burst_w_cm2: float

    def to_json(self) -> dict[str, object]:
        """The figures under the names that scripts rely on."""
        return {name: getattr(self, name) for name in self.__slots__}


def analyze_train(train: PulseTrain, *, area_cm2: float, dead_band_ua: float = 0.0) -> Analysis:
    """Computes the figures of one repeat period.

    Args:
        train: The period; for a file without bursts all of it is the burst.
        area_cm2: Electrode area, cm², from 1e-6 to 1e6.
        dead_band_ua: Currents of this size or less belong to no phase, µA, 0 or more.

    Raises:
        WaveformError: When the area or the dead band is out of range.
    """
    if not AREA_CM2_MIN <= area_cm2 <= AREA_CM2_MAX:
        raise WaveformError(
            "the electrode area is out of range",
            expected=f"{AREA_CM2_MIN:g} to {AREA_CM2_MAX:g} cm²",
            got=area_cm2,
            hint="give the area of the smallest electrode in cm²",
        )
    if not 0 <= dead_band_ua < float("inf"):
        raise WaveformError(
            "the dead band is out of range",
            expected="0 µA or more",
            got=dead_band_ua,
            hint="give the largest current that counts as none, in µA",
        )
    return summarize_train(
        train,
        find_phases(train, dead_band_ua * _NA_PER_UA),
        find_largest_window_mean(train, WINDOW_US),
        area_cm2=area_cm2,
    )


def summarize_train(
    train: PulseTrain, phases: Sequence[Phase], window: WindowMean, *, area_cm2: float
) -> Analysis:
    """The figures of a period whose phases and worst second are known already.

    Args:
        train: The period.
        phases: All of its phases.
        window: The largest mean over `WINDOW_US`.
        area_cm2: Electrode area, cm², in range.
    """
    period_us = train.period_us
    net_na_us = fsum(train.charges_na_us)
    squared_na2_us = train.squared_na2_us
    irms_ua = sqrt(squared_na2_us / period_us) / _NA_PER_UA
    irms_burst_ua = sqrt(squared_na2_us / train.on_us) / _NA_PER_UA
    rectified_na_us = train.rectified_na_us
    ipeak_ua = max(abs(value) for _, *ends in train.pieces for value in ends) / _NA_PER_UA
    longest = max(phases, key=lambda p: (p.charge_na_us, p.duration_us), default=None)
    phase_charge_uc = 0.0 if longest is None else longest.charge_na_us / _NA_US_PER_UC
    return Analysis(
        phase_charge_uc=phase_charge_uc,
        net_charge_uc=net_na_us / _NA_US_PER_UC,
        idc_ua=net_na_us / period_us / _NA_PER_UA,
        idc_window_ua=abs(window.mean_na) / _NA_PER_UA,
        iavg_ua=rectified_na_us / period_us / _NA_PER_UA,
        irms_ua=irms_ua,
        irms_burst_ua=irms_burst_ua,
        ipeak_ua=ipeak_ua,
        jrms_ma_cm2=rms_density_ma_cm2(irms_ua, area_cm2),
        power_density_w_cm2=power_density_w_cm2(irms_ua, area_cm2),
        shannon_k=shannon_k(phase_charge_uc, area_cm2),
        shannon_k_applies=longest is not None and is_short_phase(longest.duration_us),
        period_s=period_us / _US_PER_S,
        iavg_burst_ua=rectified_na_us / train.on_us / _NA_PER_UA,
        jpeak_ma_cm2=ipeak_ua / (1000 * area_cm2),
        jrms_burst_ma_cm2=rms_density_ma_cm2(irms_burst_ua, area_cm2),
        power_density_burst_w_cm2=power_density_w_cm2(irms_burst_ua, area_cm2),
    )


def rms_density_ma_cm2(irms_ua: float, area_cm2: float) -> float:
    """J = Irms/(1000·A), mA/cm²."""
    return irms_ua / (1000 * area_cm2)


def power_density_w_cm2(irms_ua: float, area_cm2: float) -> float:
    """P = (Irms·1e-6)²·500/A, W/cm²."""
    return (irms_ua * 1e-6) ** 2 * LOAD_OHM / area_cm2


def shannon_k(phase_charge_uc: float, area_cm2: float) -> float | None:
    """Shannon's k = log10(Q·Q/A), Q in µC per phase; `None` without charge."""
    if phase_charge_uc <= 0:
        return None
    return 2 * log10(phase_charge_uc) - log10(area_cm2)


def is_short_phase(duration_us: float) -> bool:
    """Whether Shannon's k is judged for a phase of this length."""
    return duration_us <= SHANNON_PHASE_US_MAX * (1 + _RELATIVE_SLACK)
