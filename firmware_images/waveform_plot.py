"""Draws a mode: one pulse at every level, and the whole repeat period at the highest.

The picture is made from the same linear pieces as the figures, so its corners are the waveform's
corners. Drawing the same mode twice gives the same bytes. matplotlib is imported only here, and
only when something is drawn.
"""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from firmware_images.waveform_train import build_pulse, build_repeat_period

if TYPE_CHECKING:
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waveform import Mode
    from firmware_images.waveform_train import PulseTrain

_INK: Final = "#1f2933"
_GRID: Final = "#d9dee3"
_LIMIT: Final = "#b3261e"
_CLAIM: Final = "#b7791f"
_HIGHEST: Final = "#0b5fa5"
_LOWER: Final = "#9cc3e6"
_WIDTH_INCHES: Final = 9.6
_HEIGHT_INCHES: Final = 3.4
_DRAWN_PIECES_MAX: Final = 6000
_HEADROOM: Final = 1.3
_US_PER_MS: Final = 1e3
_US_PER_S: Final = 1e6
_NA_PER_UA: Final = 1e3


def plot_mode(mode: Mode, policy: LimitsPolicy, *, tick_us: int) -> bytes:
    """A mode as an SVG picture with the limits that apply to its peak.

    Args:
        mode: As the table has it.
        policy: Where the claim and the ceiling come from.
        tick_us: Microseconds per tick, as in the table.

    Returns:
        SVG in UTF-8, the same bytes every time.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": f"ampforge {mode.name}",
        "svg.fonttype": "none",
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _INK,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES), layout="constrained")
        FigureCanvasSVG(figure)
        pulse_axes, period_axes = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.25])
        _draw_pulses(pulse_axes, mode, tick_us)
        _draw_period(period_axes, mode, tick_us)
        _draw_limits((pulse_axes, period_axes), mode, policy)
        levels = ", ".join(f"{level.peak_na / _NA_PER_UA:g}" for level in mode.levels)
        figure.suptitle(f"{mode.name}: {mode.balance}, levels {levels} µA", fontweight="bold")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "Ampforge"})
    # Text stays text: a third of the size, and it can be searched and read aloud. The reader's own
    # sans serif replaces matplotlib's font where that is not installed.
    return buffer.getvalue().replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def _draw_pulses(axes: Any, mode: Mode, tick_us: int) -> None:
    highest = mode.levels[-1]
    for level in mode.levels:
        train = build_pulse(level, tick_us)
        unit_us, unit = _choose_unit(train)
        times, currents = _trace(train, unit_us)
        is_highest = level is highest
        axes.plot(
            times,
            currents,
            color=_HIGHEST if is_highest else _LOWER,
            linewidth=1.6 if is_highest else 1.0,
            zorder=3 if is_highest else 2,
        )
        axes.set_xlabel(f"one pulse, {unit}")
    axes.set_ylabel("current, µA")


def _draw_period(axes: Any, mode: Mode, tick_us: int) -> None:
    level = mode.levels[-1]
    train = build_repeat_period(mode, level, tick_us)
    unit_us, unit = _choose_unit(train)
    if len(train.pieces) <= _DRAWN_PIECES_MAX:
        times, currents = _trace(train, unit_us)
        axes.plot(times, currents, color=_HIGHEST, linewidth=0.8)
    else:
        _draw_envelope(axes, mode, tick_us, unit_us)
    axes.set_xlabel(f"repeat period, {unit}")
    if mode.flips_each_burst:
        half = train.period_us / unit_us / 2
        axes.axvspan(half, 2 * half, color=_LOWER, alpha=0.14, linewidth=0)
        for start, label in ((0.0, "first polarity"), (half, "reversed")):
            axes.annotate(
                label,
                (start, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(4, -4),
                textcoords="offset points",
                verticalalignment="top",
                fontsize=7.5,
            )


def _draw_envelope(axes: Any, mode: Mode, tick_us: int, unit_us: float) -> None:
    """Bursts as blocks, where single pulses would be too many to see."""
    level = mode.levels[-1]
    lowest = min(min(s.start_na, s.end_na) for s in level.segments) / _NA_PER_UA
    highest = max(max(s.start_na, s.end_na) for s in level.segments) / _NA_PER_UA
    on = level.pulse_ticks * mode.pulses_per_burst * tick_us / unit_us
    burst = mode.burst_ticks(level) * tick_us / unit_us
    for index in range(mode.bursts_per_repeat):
        sign = -1 if index % 2 else 1
        axes.fill_between(
            [index * burst, index * burst + on],
            sign * lowest,
            sign * highest,
            color=_LOWER,
            edgecolor=_HIGHEST,
        )


def _draw_limits(all_axes: tuple[Any, ...], mode: Mode, policy: LimitsPolicy) -> None:
    ceiling_ua = float(policy.limits["PEAK"])
    lines = [(ceiling_ua, _LIMIT, f"ceiling {ceiling_ua:g} µA")]
    limits = policy.modes.get(mode.name)
    if limits is not None:
        tolerance = policy.facts["GAIN_TOLERANCE"].value
        claim_ua = float(limits.claim.value * (1 + tolerance / 100))
        lines.append((claim_ua, _CLAIM, f"claim +{tolerance:g} %: {claim_ua:g} µA"))
    top_ua = max(value for value, _, _ in lines) * _HEADROOM
    for axes in all_axes:
        for value_ua, color, label in lines:
            axes.axhline(value_ua, color=color, linewidth=1, linestyle=(0, (4, 3)), label=label)
            axes.axhline(-value_ua, color=color, linewidth=1, linestyle=(0, (4, 3)))
        axes.axhline(0, color=_INK, linewidth=0.6)
        axes.grid(visible=True, color=_GRID, linewidth=0.5)
        axes.set_ylim(-top_ua, top_ua)
        axes.margins(x=0.01)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    all_axes[-1].legend(loc="lower right", fontsize=7.5, framealpha=0.95, edgecolor=_GRID)


def _choose_unit(train: PulseTrain) -> tuple[float, str]:
    return (_US_PER_S, "s") if train.period_us >= _US_PER_S else (_US_PER_MS, "ms")


def _trace(train: PulseTrain, unit_us: float) -> tuple[list[float], list[float]]:
    """The corners of the waveform; a step is two points at one time."""
    times: list[float] = []
    currents: list[float] = []
    for (start_us, end_us), piece in zip(pairwise(train.starts_us()), train.pieces, strict=True):
        times += [start_us / unit_us, end_us / unit_us]
        currents += [piece.start_na / _NA_PER_UA, piece.end_na / _NA_PER_UA]
    return times, currents
