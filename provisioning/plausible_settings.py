"""Refuses settings of `[station.metrology]` that no line has, before anything is measured.

What was measured with such settings stays readable: stored results are judged by what they were
measured with, and are not asked here. This module measures nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from provisioning.measurement_settings import MetrologySettings

_BOUNDS: Final = {
    "compliance_shortfall_percent": (1e-3, 50.0),
    "calibration_limit_percent": (1e-3, 100.0),
    "claim_limit_percent": (1e-3, 100.0),
    "shape_limit_percent": (1e-3, 100.0),
    "timing_limit_percent": (1e-3, 100.0),
    "gain_limit_percent": (1e-3, 50.0),
    "inl_allowance_lsb": (1e-3, 16.0),
    "repeatability_share_max": (0.01, 1.0),
    "nplc": (1e-4, 1_000.0),
    "aperture_max_s": (1e-5, 10_000.0),
}
"""Least and most that is meant seriously; beyond it is another unit, or a slip of the keyboard."""
_LIMITS_NA: Final = (
    "calibration_limit_na", "claim_limit_na", "idle_limit_na", "offset_limit_na"
)  # fmt: skip
_FIT_STEPS_MIN: Final = 6


def refuse_implausible(settings: MetrologySettings) -> None:
    """Refuse settings that no line has.

    Args:
        settings: As they were configured.

    Raises:
        ValueError: With the name of the setting, as the configuration wants it.
    """
    for name, (least, most) in _BOUNDS.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"metrology.{name}: {value:g} is not from {least:g} to {most:g}")
    for name in _LIMITS_NA:
        if getattr(settings, name) > settings.full_scale_na:
            raise ValueError(f"metrology.{name}: above full_scale_na, so that it refuses nothing")
    # Thirteen codes of the fit, six on either side, must be thirteen.
    if settings.working_span_na < _FIT_STEPS_MIN * settings.lsb_na:
        raise ValueError(
            f"metrology.working_span_na: below {_FIT_STEPS_MIN} steps of {settings.lsb_na:g} nA"
        )
