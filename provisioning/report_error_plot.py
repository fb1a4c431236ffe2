"""Draws errors over targets against both limits, with guard bands and uncertainty bars.

The upper panel holds the points at the reference load and the calibration limit, the lower one all
points and the claim limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any, Final

from provisioning.inline_svg import CLAIM, INK, LIMIT
from provisioning.report_canvas import HEADROOM, NA_PER_UA, draw_svg, finish_axes
from provisioning.report_figures import rank_units
from provisioning.uncertainty import COVERAGE_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from provisioning.measurement_settings import MetrologySettings
    from provisioning.verification_result import PointResult, VerificationResult

# Readable on white and on black; neighbours differ in lightness, too.
CATEGORIES: Final = (
    "#2f7fc1", "#c2571a", "#2a9d6f", "#9a5fc4", "#b8860b", "#d1477a", "#4a8f9c", "#7a8b2f",
)  # fmt: skip
LEGEND_MAX: Final = 8
BARS_MAX: Final = 24
_MARKERS: Final = ("o", "v", "^", "D", "s", "P")
_CURVE_POINTS: Final = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of one colour.

    Attributes:
        label: What the legend says.
        points: The points.
    """

    label: str
    points: tuple[PointResult, ...]


def plot_unit_errors(result: VerificationResult) -> str:
    """Draw one unit's errors over targets, one colour for each mode, against both limits."""
    modes = dict.fromkeys(point.mode for point in result.points)
    series = [
        Series(label=mode, points=tuple(p for p in result.points if p.mode == mode))
        for mode in modes
    ]
    return _plot_errors(series, result.settings, salt="unit")


def plot_certificate_errors(result: VerificationResult) -> str:
    """Draw one unit's errors against both limits side by side, for a part of a page."""
    reference = [point for point in result.points if point.calibration_limit_na is not None]
    largest = max(abs(point.target_na) for point in result.points)
    settings = result.settings
    modes = tuple(dict.fromkeys(point.mode for point in result.points))

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _draw_limit(left, settings.calibration_limit_at, reference, largest, settings)
        _draw_limit(right, settings.claim_limit_at, result.points, largest, settings)
        left.set_title(f"calibration limit, {settings.reference_load_ohm / 1_000:g} kΩ; bars are U")
        right.set_title("claim limit, all loads")
        for axes, points in ((left, reference), (right, result.points)):
            for index, (mode, color) in enumerate(zip(modes, cycle(CATEGORIES), strict=False)):
                _draw_points(
                    axes,
                    [point for point in points if point.mode == mode],
                    (index - (len(modes) - 1) / 2) * min(4.0, 28.0 / len(modes)),
                    color=color,
                    marker=_MARKERS[0],
                    has_bars=True,
                )
            axes.set_xlabel("target, µA")
            axes.set_ylabel("error, µA")
            finish_axes(axes)
        _add_legend(figure, [Series(label=mode, points=()) for mode in modes], (), {})

    return draw_svg(draw, width=7.6, height=1.85, salt="errors certificate")


def plot_line_errors(units: Sequence[tuple[str, VerificationResult]]) -> str:
    """Draw the errors of units over targets, one colour for each; of many, the worst."""
    chosen = {serial for serial, _ in rank_units(units)}
    series = [
        Series(label=serial, points=result.points) for serial, result in units if serial in chosen
    ]
    return _plot_errors(series, units[0][1].settings, salt="line")


def _plot_errors(series: Sequence[Series], settings: MetrologySettings, *, salt: str) -> str:
    points = [point for entry in series for point in entry.points]
    reference = [point for point in points if point.calibration_limit_na is not None]
    largest = max(abs(point.target_na) for point in points)
    loads = sorted({point.load_ohm for point in points})
    markers = {load: _MARKERS[index % len(_MARKERS)] for index, load in enumerate(loads)}

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.15, 1))
        _draw_limit(upper, settings.calibration_limit_at, reference, largest, settings)
        _draw_limit(lower, settings.claim_limit_at, points, largest, settings)
        upper.set_title(
            f"calibration limit, at the reference load of {settings.reference_load_ohm / 1_000:g} "
            "kΩ; bars are U"
        )
        lower.set_title("claim limit, at " + ", ".join(_format_load(load) for load in loads))
        for index, (entry, color) in enumerate(zip(series, cycle(CATEGORIES), strict=False)):
            # Units share their targets: set side by side, their bars stay readable.
            shift = (index - (len(series) - 1) / 2) * min(4.0, 28.0 / len(series))
            for axes, load in [(upper, settings.reference_load_ohm), *((lower, n) for n in loads)]:
                chosen = [
                    point
                    for point in entry.points
                    if point.load_ohm == load
                    and (axes is lower or point.calibration_limit_na is not None)
                ]
                has_bars = len(series) <= BARS_MAX
                _draw_points(
                    axes, chosen, shift, color=color, marker=markers[load], has_bars=has_bars
                )
        lower.set_xlabel("target, µA")
        for axes in (upper, lower):
            axes.set_ylabel("error, µA")
            axes.set_xlim(-largest / NA_PER_UA * 1.08, largest / NA_PER_UA * 1.08)
            finish_axes(axes)
        _add_legend(figure, series, loads, markers)

    return draw_svg(draw, width=7.6, height=5.6, salt=f"errors {salt}")


def _draw_limit(
    axes: Any,
    limit_at: Callable[[int], float],
    points: Sequence[PointResult],
    largest: int,
    settings: MetrologySettings,
) -> None:
    # The guard band is as wide as U, which grows with the range: U is taken from the points and
    # interpolated, the largest of those that share a target.
    widest: dict[int, float] = {}
    for point in points:
        size = abs(point.target_na)
        widest[size] = max(widest.get(size, 0.0), point.expanded_uncertainty_na)
    known = sorted(widest.items())
    guard_share = settings.guard_share(COVERAGE_FACTOR)
    reach = round(largest * 1.08)
    targets = [
        round(-reach + 2 * reach * index / _CURVE_POINTS) for index in range(_CURVE_POINTS + 1)
    ]
    x = [target / NA_PER_UA for target in targets]
    limit = [limit_at(target) / NA_PER_UA for target in targets]
    accept = [
        (limit_at(target) - guard_share * _interpolate(known, abs(target))) / NA_PER_UA
        for target in targets
    ]
    for sign in (1, -1):
        axes.fill_between(
            x,
            [sign * value for value in accept],
            [sign * value for value in limit],
            color=CLAIM,
            alpha=0.22,
            linewidth=0,
        )
        axes.plot(x, [sign * value for value in limit], color=LIMIT, linewidth=1.2)
    axes.axhline(0, color=INK, linewidth=0.6)
    reached = max(
        (abs(point.error_na) + point.expanded_uncertainty_na) / NA_PER_UA for point in points
    )
    top = max(*limit, min(reached, 2 * max(limit)))
    axes.set_ylim(-top * HEADROOM, top * HEADROOM)


def _interpolate(known: Sequence[tuple[int, float]], at: int) -> float:
    if at <= known[0][0]:
        return known[0][1]
    for (left, low), (right, high) in pairwise(known):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return known[-1][1]


def _draw_points(
    axes: Any,
    points: Sequence[PointResult],
    shift: float,
    *,
    color: str,
    marker: str,
    has_bars: bool,
) -> None:
    if not points:
        return
    axes.errorbar(
        [point.target_na / NA_PER_UA + shift for point in points],
        [point.error_na / NA_PER_UA for point in points],
        yerr=[point.expanded_uncertainty_na / NA_PER_UA for point in points] if has_bars else None,
        fmt=marker,
        color=color,
        markersize=3.6,
        markeredgewidth=0,
        elinewidth=0.9,
        capsize=1.8,
        zorder=4,
    )


def _add_legend(
    figure: Any, series: Sequence[Series], loads: Iterable[int], markers: dict[int, str]
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(marker: str, color: str, label: str) -> Any:
        return Line2D([], [], marker=marker, color=color, linestyle="", markersize=4, label=label)

    handles: list[Any] = [
        Line2D([], [], color=LIMIT, linewidth=1.2, label="limit"),
        Patch(color=CLAIM, alpha=0.22, linewidth=0, label="guard band w"),
    ]
    if len(series) <= LEGEND_MAX:
        handles += [
            dot("o", color, entry.label)
            for entry, color in zip(series, cycle(CATEGORIES), strict=False)
        ]
    handles += [dot(markers[load], INK, _format_load(load)) for load in loads]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)


def _format_load(load_ohm: int) -> str:
    return f"{load_ohm / 1_000:g} kΩ" if load_ohm >= 1_000 else f"{load_ohm} Ω"  # noqa: PLR2004 - Ω in a kΩ
