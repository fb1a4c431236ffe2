"""What changed while a unit was swept: the codes of the fit on the way out and on the way back.

A line through the differences is drift of gain and offset, in the unit or in the fixture; what is
left of a single code is hysteresis. Implements docs/spec/calibration.md §4.4.1. This module judges
nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from provisioning.calibration_result import WayBack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.calibration_result import CodeReading
    from provisioning.measurement_settings import MetrologySettings

PPM = 1_000_000


def compare_ways(
    outward: Sequence[CodeReading],
    inward: Sequence[CodeReading],
    *,
    repeatability_na: float,
    settings: MetrologySettings,
) -> WayBack:
    """Return what changed.

    Args:
        outward: The codes of the fit at the first load, none overloaded.
        inward: The same codes, later.
        repeatability_na: Standard deviation of one sample, nA.
        settings: Converter.
    """
    before = {reading.code: reading for reading in outward}
    steps = [float(reading.code - settings.mid_code) for reading in inward]
    changes = [reading.mean_na - before[reading.code].mean_na for reading in inward]
    middle = math.fsum(steps) / len(steps)
    level = math.fsum(changes) / len(changes)
    squares = math.fsum((step - middle) ** 2 for step in steps)
    slope = (
        math.fsum(
            (step - middle) * (change - level) for step, change in zip(steps, changes, strict=True)
        )
        / squares
    )
    sd_na = repeatability_na * math.sqrt(
        max(1 / reading.count + 1 / before[reading.code].count for reading in inward)
    )
    left = [
        change - level - slope * (step - middle)
        for step, change in zip(steps, changes, strict=True)
    ]
    worst = max(range(len(left)), key=lambda index: abs(left[index]))
    return WayBack(
        gain_drift_ppm=slope / settings.lsb_na * PPM,
        gain_drift_u_ppm=sd_na / math.sqrt(squares) / settings.lsb_na * PPM,
        offset_drift_na=level - slope * middle,
        offset_drift_u_na=sd_na * math.sqrt(1 / len(steps) + middle**2 / squares),
        hysteresis_lsb=left[worst] / settings.lsb_na,
        hysteresis_code=inward[worst].code,
    )
