"""What the panels of a mode's picture share: its figures, its colours and dashes, its limit lines.

Colours are the ones of Okabe and Ito, darkened where text or thin lines need it; each line also has
a dash of its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from firmware_images.waveform_session import Session
from firmware_images.waveform_train import build_pulse, build_repeat_period
from signing.value_class import dataclass

if TYPE_CHECKING:
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waveform import Level, Mode
    from firmware_images.waveform_train import PulseTrain

INK: Final = "#1f2933"
GRID: Final = "#d9dee3"
HIGHEST: Final = "#0072b2"
LOWER: Final = "#8fc3e0"
CEILING: Final = "#b03a00"
CLAIM: Final = "#9a6b00"
MEAN: Final = "#00664b"
DASHED: Final = (0, (5, 3))
DOTTED: Final = (0, (1.5, 2))
DASH_DOT: Final = (0, (6, 2, 1.5, 2))
DRAWN_PIECES_MAX: Final = 6000
NA_PER_UA: Final = 1e3
NA_US_PER_UC: Final = 1e9
US_PER_S: Final = 1e6

_US_PER_MS: Final = 1e3
_CURVE_POINTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedMode:
    """What the panels draw.

    Args:
        mode: The mode.
        policy: The limits.
        tick_us: Microseconds per tick.
        level: The highest level.
        pulse: One pulse of it.
        period: Its repeat period.
        session: Its session.
    """

    mode: Mode
    policy: LimitsPolicy
    tick_us: int
    level: Level
    pulse: PulseTrain
    period: PulseTrain
    session: Session

    @property
    def level_ua(self) -> float:
        """The highest level's peak."""
        return self.level.peak_na / NA_PER_UA

    @property
    def gain(self) -> float:
        """The largest factor by which a unit may exceed its nominal current."""
        return 1 + self.fact("GAIN_TOLERANCE") / 100

    def fact(self, key: str) -> float:
        """A fact of the policy."""
        return float(self.policy.facts[key])

    def limit(self, key: str) -> float:
        """A limit of the policy."""
        return float(self.policy.limits[key])


def build_plotted_mode(mode: Mode, policy: LimitsPolicy, tick_us: int) -> PlottedMode:
    """Everything that is drawn of the highest level."""
    level = mode.levels[-1]
    end_ticks = min(mode.session_ticks, policy.hard_stop_us // tick_us)
    return PlottedMode(
        mode=mode,
        policy=policy,
        tick_us=tick_us,
        level=level,
        pulse=build_pulse(level, tick_us),
        period=build_repeat_period(mode, level, tick_us),
        session=Session(mode=mode, level=level, end_ticks=end_ticks),
    )


def draw_peak_limits(axes: Any, plotted: PlottedMode, *, is_labelled: bool = True) -> float:
    """The ceiling and the claim with its tolerance; returns the highest of them, µA."""
    ceiling_ua = plotted.limit("PEAK")
    lines: list[tuple[float, str, Any, str]] = [
        (ceiling_ua, CEILING, DASHED, f"PEAK: ceiling {ceiling_ua:g} µA")
    ]
    limits = plotted.policy.modes.get(plotted.mode.name)
    if limits is not None:
        claim_ua = float(limits.claim) * plotted.gain
        tolerance = plotted.fact("GAIN_TOLERANCE")
        label = f"PEAK: claim +{tolerance:g} % = {claim_ua:g} µA"
        lines.append((claim_ua, CLAIM, DOTTED, label))
    for value_ua, color, style, label in lines:
        draw_both(axes, value_ua, color, style, label if is_labelled else None)
    return max(plotted.level_ua, *(value_ua for value_ua, *_ in lines))


def draw_slope_limit(axes: Any, plotted: PlottedMode, unit_us: float) -> None:
    """The steepest rise that SLOPE allows, from the pulse's beginning to its peak."""
    limits = plotted.policy.modes.get(plotted.mode.name)
    slope = plotted.limit("SLOPE")
    if slope == 0 or (limits is not None and not limits.is_slope_limited):
        return
    rise_us = plotted.level_ua / slope * _US_PER_MS
    axes.plot(
        [0, rise_us / unit_us],
        [0, plotted.level_ua],
        color=CEILING,
        linewidth=1.1,
        linestyle=DASH_DOT,
        zorder=4,
        label=f"SLOPE: steepest {slope:g} µA/ms",
    )


def draw_both(axes: Any, value: float, color: str, style: Any, label: str | None) -> None:
    """A limit on either side of zero, named once."""
    axes.axhline(value, color=color, linewidth=1.1, linestyle=style, label=label)
    axes.axhline(-value, color=color, linewidth=1.1, linestyle=style)


def shade_reversal(axes: Any, plotted: PlottedMode, unit_us: float) -> None:
    """Shades the half of the repeat period in which the polarity is reversed, and names both."""
    if not plotted.mode.flips_each_burst:
        return
    half = plotted.period.period_us / unit_us / 2
    axes.axvspan(half, 2 * half, color=LOWER, alpha=0.16, linewidth=0)
    for start, label in ((0.0, "first polarity"), (half, "reversed")):
        axes.annotate(
            label,
            (start, 0.13),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7.5,
        )


def finish_axes(axes: Any, title: str, x_label: str, y_label: str) -> None:
    """Title, labels with their units, the line at zero, and a grid that stays behind."""
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.grid(visible=True, color=GRID, linewidth=0.5)
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def choose_unit(duration_us: float) -> tuple[float, str]:
    """Seconds or milliseconds for a time axis: microseconds in one, and its name."""
    return (US_PER_S, "s") if duration_us >= US_PER_S else (_US_PER_MS, "ms")


def trace_corners(train: PulseTrain, unit_us: float) -> tuple[list[float], list[float]]:
    """The corners of the waveform; a step is two points at one time."""
    times: list[float] = []
    currents: list[float] = []
    for (start_us, end_us), piece in zip(pairwise(train.starts_us()), train.pieces, strict=True):
        times += [start_us / unit_us, end_us / unit_us]
        currents += [piece.start_na / NA_PER_UA, piece.end_na / NA_PER_UA]
    return times, currents


def integrate_charge(train: PulseTrain, unit_us: float) -> tuple[list[float], list[float]]:
    """The charge at the corners, exact; between them a few points where it is a parabola."""
    times, charges = [0.0], [0.0]
    total = start_us = 0.0
    points = _CURVE_POINTS if len(train.pieces) <= DRAWN_PIECES_MAX // _CURVE_POINTS else 1
    for piece in train.pieces:
        steps = 1 if piece.start_na == piece.end_na else points
        for step in range(1, steps + 1):
            within_us = piece.duration_us * step / steps
            flown = within_us * (piece.start_na + piece.value_at(within_us)) / 2
            times.append((start_us + within_us) / unit_us)
            charges.append((total + flown) / NA_US_PER_UC)
        total += piece.charge_na_us
        start_us += piece.duration_us
    return times, charges
