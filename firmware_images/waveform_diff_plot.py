"""Draws what changed between two waveforms: each mode's pulse before and after, and the difference.

Of each mode that both sides have, the highest level that both have; the numbers of every level are
`waveform_diff`. Nothing is sampled: both pulses are linear between the corners that are drawn. What
only one side has, and what lies beyond the pulse (bursts, polarity, session), is in the numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_images.errors import WaveformError
from firmware_images.waveform_difference import find_largest_difference, trace_difference
from firmware_images.waveform_plot import render_figure
from firmware_images.waveform_plot_parts import (
    CLAIM,
    DASHED,
    GRID,
    HIGHEST,
    MEAN,
    NA_PER_UA,
    choose_unit,
    finish_axes,
    trace_corners,
)
from firmware_images.waveform_train import build_pulse
from firmware_images.waveform_words import measure_pulse_us
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.waveform import Level
    from firmware_images.waveform_plot import PictureFormat
    from firmware_images.waveform_sides import WaveformSide

_WIDTH_INCHES: Final = 10.4
_ROW_INCHES: Final = 2.9
_FRAME_INCHES: Final = 0.9
_LEFT: Final = 0.08
_RIGHT: Final = 0.985
_ROOM_FOR_LEGEND: Final = 1.45
_REST_SHOWN: Final = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    # One mode: the same level of both sides, each with its tick in microseconds.
    mode: str
    number: int
    before: Level
    before_tick_us: int
    after: Level
    after_tick_us: int


def plot_difference(
    before: WaveformSide,
    after: WaveformSide,
    *,
    names: tuple[str, str],
    picture_format: PictureFormat = "svg",
) -> bytes:
    """Both sides as a picture, one row for each mode that both have.

    Args:
        before: The first side.
        after: The second side.
        names: What to call them.
        picture_format: `svg`, or `png` for programs that take nothing else.

    Raises:
        WaveformError: No mode is on both sides.
    """
    pairs = _pair(before, after)
    if not pairs:
        raise WaveformError(
            "there is nothing to draw",
            expected="a mode that both sides have",
            got=f"{_list_modes(before)}; and {_list_modes(after)}",
            hint="leave --plot out: the modes that were added and removed are told in words",
        )
    height_inches = _FRAME_INCHES + _ROW_INCHES * len(pairs)

    def draw(figure: Any) -> None:
        rows = figure.subplots(len(pairs), 2, squeeze=False)
        figure.subplots_adjust(
            left=_LEFT,
            right=_RIGHT,
            top=1 - 0.65 / height_inches,
            bottom=0.55 / height_inches,
            wspace=0.17,
            hspace=0.48,
        )
        figure.suptitle(f"From {names[0]} to {names[1]}", fontweight="bold", fontsize=11)
        for (pulse_axes, difference_axes), pair in zip(rows, pairs, strict=True):
            _draw_pulses(pulse_axes, pair)
            _draw_difference(difference_axes, pair)

    return render_figure(
        draw,
        width_inches=_WIDTH_INCHES,
        height_inches=height_inches,
        salt="difference",
        picture_format=picture_format,
    )


def _pair(before: WaveformSide, after: WaveformSide) -> tuple[_Pair, ...]:
    others = {mode.name: mode for mode in after.modes}
    pairs = []
    for mode in before.modes:
        if (other := others.get(mode.name)) is None:
            continue
        index = min(len(mode.levels), len(other.levels)) - 1
        pairs.append(
            _Pair(
                mode=mode.name,
                number=before.first_level + index,
                before=mode.levels[index],
                before_tick_us=before.tick_us,
                after=other.levels[index],
                after_tick_us=after.tick_us,
            )
        )
    return tuple(pairs)


def _list_modes(side: WaveformSide) -> str:
    return ", ".join(mode.name for mode in side.modes)


def _shown_us(pair: _Pair) -> float:
    sides = ((pair.before, pair.before_tick_us), (pair.after, pair.after_tick_us))
    longest_us = max(level.pulse_ticks * tick_us for level, tick_us in sides)
    return min(longest_us, _REST_SHOWN * max(measure_pulse_us(*side) for side in sides))


def _draw_pulses(axes: Any, pair: _Pair) -> None:
    unit_us, unit = choose_unit(_shown_us(pair))
    lines: Sequence[tuple[str, Level, int, dict[str, Any]]] = (
        ("before", pair.before, pair.before_tick_us, {"color": CLAIM, "linestyle": DASHED}),
        ("after", pair.after, pair.after_tick_us, {"color": HIGHEST}),
    )
    # The dashed line lies above: where both are one, both are seen.
    for order, (word, level, tick_us, style) in zip((4, 3), lines, strict=True):
        times, currents = trace_corners(build_pulse(level, tick_us), unit_us)
        label = f"{word}: {level.peak_na / NA_PER_UA:g} µA"
        axes.plot(times, currents, linewidth=1.5, zorder=order, label=label, **style)
    finish_axes(
        axes, f"{pair.mode}, level {pair.number}: one pulse", f"time, {unit}", "current, µA"
    )
    _set_limits(axes, pair, unit_us)
    axes.legend(loc="lower center", ncols=2, edgecolor=GRID)


def _draw_difference(axes: Any, pair: _Pair) -> None:
    unit_us, unit = choose_unit(_shown_us(pair))
    sides = (pair.before, pair.before_tick_us, pair.after, pair.after_tick_us)
    times: list[float] = []
    currents: list[float] = []
    for time_us, left_na, right_na in trace_difference(*sides):
        times += [time_us / unit_us] * 2
        currents += [left_na / NA_PER_UA, right_na / NA_PER_UA]
    axes.plot(times, currents, color=MEAN, linewidth=1.5, zorder=3)
    largest = find_largest_difference(*sides)
    title = "after less before: no difference"
    if largest.current_na:
        at = f"{largest.time_us / unit_us:g} {unit}"
        title = f"after less before: largest {largest.current_na / NA_PER_UA:+.4g} µA, at {at}"
        axes.plot(
            [largest.time_us / unit_us],
            [largest.current_na / NA_PER_UA],
            color=MEAN,
            marker="D",
            markersize=4.5,
            zorder=4,
        )
    finish_axes(axes, title, f"time, {unit}", "difference, µA")
    _set_limits(axes, pair, unit_us)
    if not largest.current_na:
        axes.set_ylim(-1, 1)


def _set_limits(axes: Any, pair: _Pair, unit_us: float) -> None:
    shown = _shown_us(pair) / unit_us
    axes.set_xlim(-0.01 * shown, 1.01 * shown)
    low, high = axes.get_ylim()
    if axes.get_legend_handles_labels()[0]:
        axes.set_ylim(min(low, -high * (_ROOM_FOR_LEGEND - 1)) * _ROOM_FOR_LEGEND, high)
