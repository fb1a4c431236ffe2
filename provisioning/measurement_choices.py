"""What section `[station.metrology]` chooses from: ways to calibrate, to verify and to decide.

Each choice is a word of the configuration and of every stored result. What follows from one stands
where it is followed; this module only names them.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final


@unique
class DecisionRule(StrEnum):
    """How wide the guard band w between a limit and its acceptance limit is."""

    SIMPLE = "simple"
    """w = 0: simple acceptance (ILAC-G8:09/2019 §4.2.1). The reading is trusted."""
    ILAC_G8 = "ilac-g8"
    """w = r·U with r = `guard_factor`, normally 1 (ILAC-G8:09/2019 §4.2.3)."""
    ONE_SIDED_95 = "one-sided-95"
    """w = 1.645·u: at most 5 % false accepts on one side (JCGM 106 §8.3.2)."""


@unique
class CoverageRule(StrEnum):
    """Where the coverage factor k in U = k·u comes from."""

    STUDENT = "student-95.45"
    """Student's t for 95.45 % and the effective degrees of freedom (JCGM 100 §G.4)."""
    TWO = "k-2"
    """2 whatever the degrees of freedom."""


@unique
class SweepPlan(StrEnum):
    """In which directions the codes of the fit are visited."""

    BOTH_WAYS = "both-ways"
    """From the middle outward, and back inward at the first load."""
    OUTWARD = "outward"
    """Outward only, with a fixed number of samples: drift and hysteresis are not seen."""


ONE_SIDED_95_SIGMAS: Final = 1.645
"""Standard normal quantile of 95 %, as the rule is published."""


@unique
class LevelChoice(StrEnum):
    """Which levels of a mode are verified as static currents."""

    THREE = "three"
    ALL = "all"


@unique
class WaveformCheck(StrEnum):
    """How much of a mode's repeat period is played and captured."""

    WINDOWS = "windows"
    WHOLE = "whole"
