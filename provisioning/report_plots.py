"""Draws what a report shows: errors with limits and guard bands, linearity, captured waveforms.

Every function returns SVG text, the same for the same results. Colours are those of `inline_svg`.
matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any, Final

from provisioning.inline_svg import ACCENT, CLAIM, GRID, INK, LIMIT
from provisioning.report_figures import worst_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from provisioning.calibration_result import CalibrationFit
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.verification_result import PointResult, VerificationResult

# Readable on white and on black; neighbours differ in lightness, too.
CATEGORIES: Final = (
    "#2f7fc1", "#c2571a", "#2a9d6f", "#9a5fc4", "#b8860b", "#d1477a", "#4a8f9c", "#7a8b2f",
)  # fmt: skip
LEGEND_MAX: Final = 8
BARS_MAX: Final = 24
RANKED_MAX: Final = 60
"""A report shows this many units as pictures: the worst ones; the table has all."""
_MARKERS: Final = {0: "o", 1: "v", 2: "^", 3: "D", 4: "s", 5: "P"}
_NA_PER_UA: Final = 1_000
_CURVE_POINTS: Final = 240
_HEADROOM: Final = 1.12
_LOCK = threading.Lock()
_RC: Final[Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


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


def rank_units(
    units: Sequence[tuple[str, VerificationResult]],
) -> list[tuple[str, VerificationResult]]:
    """Return the units closest to a limit, or furthest beyond it, at most `RANKED_MAX`."""
    return sorted(units, key=lambda entry: -_worst(entry[1]).share_of_limit)[:RANKED_MAX]


def plot_line_errors(units: Sequence[tuple[str, VerificationResult]]) -> str:
    """Draw the errors of units over targets, one colour for each; of many, the worst."""
    chosen = {serial for serial, _ in rank_units(units)}
    series = [
        Series(label=serial, points=result.points) for serial, result in units if serial in chosen
    ]
    return _plot_errors(series, units[0][1].settings, salt="line")


def plot_ranking(units: Sequence[tuple[str, VerificationResult]]) -> str:
    """Draw each unit's worst error in percent of its limit, with U, the worst unit first."""
    ranked = [(serial, _worst(result)) for serial, result in rank_units(units)]
    settings = units[0][1].settings

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        rows = range(len(ranked))
        shares = [100 * point.share_of_limit for _, point in ranked]
        bars = [
            100 * point.expanded_uncertainty_na / point.deciding_limit_na for _, point in ranked
        ]
        guard = settings.guard_factor * max(bars)
        axes.axvspan(100 - guard, 100, color=CLAIM, alpha=0.22, linewidth=0)
        axes.axvline(100, color=LIMIT, linewidth=1.2)
        axes.barh(rows, shares, height=0.46, color=ACCENT, alpha=0.55, linewidth=0)
        axes.errorbar(
            shares, rows, xerr=bars, fmt="none", ecolor=INK, elinewidth=1, capsize=3, zorder=4
        )
        axes.set_yticks(
            rows,
            [
                f"{serial}  {point.mode or 'idle'} {_format_signed(point.target_na)} µA"
                for serial, point in ranked
            ],
        )
        axes.invert_yaxis()
        axes.set_xlim(0, max(108.0, 1.05 * (max(shares) + max(bars))))
        axes.set_xlabel("worst error, % of its limit; bars are U; shaded is the guard band")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)

    return _render(draw, width=7.6, height=0.9 + 0.3 * len(ranked), salt="ranking")


def _worst(result: VerificationResult) -> PointResult:
    return worst_point((*result.points, *result.idle))


def plot_linearity(fit: CalibrationFit, settings: MetrologySettings) -> str:
    """Draw every code's distance from the best line, in LSB."""

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        codes = [entry.code for entry in fit.deviations]
        values = [entry.deviation_lsb for entry in fit.deviations]
        for sign in (1, -1):
            axes.axhline(sign * settings.inl_limit_lsb, color=LIMIT, linewidth=1.2)
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.plot(codes, values, color=ACCENT, linewidth=0.8, alpha=0.6)
        axes.plot(codes, values, "o", color=ACCENT, markersize=3)
        span = max(settings.inl_limit_lsb, *(abs(value) for value in values))
        axes.set_ylim(-span * _HEADROOM, span * _HEADROOM)
        axes.set_xlim(0, settings.max_code)
        axes.set_xticks([*range(0, settings.max_code + 1, settings.mid_code // 4)])
        axes.set_xlabel("DAC code")
        axes.set_ylabel("from best line, LSB")
        _finish(axes)

    return _render(draw, width=7.6, height=2.4, salt="linearity")


def plot_captures(result: VerificationResult) -> str:
    """Draw the captured samples of each mode as the meter saw them, one panel for each."""
    played = [waveform for waveform in result.waveforms if waveform.samples_na]

    def draw(figure: Any) -> None:
        for axes, waveform in zip(
            figure.subplots(1, len(played), squeeze=False)[0], played, strict=True
        ):
            unit, factor = ("s", 1.0) if waveform.sample_aperture_s > 0.1 else ("ms", 1e3)  # noqa: PLR2004 - only chooses the axis' unit
            edges = [
                index * waveform.sample_aperture_s * factor
                for index in range(len(waveform.samples_na) + 1)
            ]
            axes.stairs(
                [sample / _NA_PER_UA for sample in waveform.samples_na],
                edges,
                baseline=None,
                color=ACCENT,
                linewidth=1,
            )
            axes.axhline(0, color=INK, linewidth=0.6)
            axes.set_xlim(0, edges[-1])
            axes.set_title(f"{waveform.mode}, level {waveform.level_index + 1}")
            axes.set_xlabel(f"time, {unit}")
            axes.set_ylabel("current, µA")
            _finish(axes)

    return _render(draw, width=7.6, height=2.2, salt="captures")


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
            axes.set_xlim(-largest / _NA_PER_UA * 1.08, largest / _NA_PER_UA * 1.08)
            _finish(axes)
        _add_legend(figure, series, loads, markers)

    return _render(draw, width=7.6, height=5.6, salt=f"errors {salt}")


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
    reach = round(largest * 1.08)
    targets = [
        round(-reach + 2 * reach * index / _CURVE_POINTS) for index in range(_CURVE_POINTS + 1)
    ]
    x = [target / _NA_PER_UA for target in targets]
    limit = [limit_at(target) / _NA_PER_UA for target in targets]
    accept = [
        (limit_at(target) - settings.guard_factor * _interpolate(known, abs(target))) / _NA_PER_UA
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
        (abs(point.error_na) + point.expanded_uncertainty_na) / _NA_PER_UA for point in points
    )
    top = max(*limit, min(reached, 2 * max(limit)))
    axes.set_ylim(-top * _HEADROOM, top * _HEADROOM)


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
        [point.target_na / _NA_PER_UA + shift for point in points],
        [point.error_na / _NA_PER_UA for point in points],
        yerr=[point.expanded_uncertainty_na / _NA_PER_UA for point in points] if has_bars else None,
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
        Patch(color=CLAIM, alpha=0.22, linewidth=0, label="guard band w = r·U"),
    ]
    if len(series) <= LEGEND_MAX:
        handles += [
            dot("o", color, entry.label)
            for entry, color in zip(series, cycle(CATEGORIES), strict=False)
        ]
    handles += [dot(markers[load], INK, _format_load(load)) for load in loads]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)


def _format_signed(current_na: int) -> str:
    return f"{current_na / _NA_PER_UA:+g}".replace("-", "\N{MINUS SIGN}")


def _format_load(load_ohm: int) -> str:
    return f"{load_ohm / 1_000:g} kΩ" if load_ohm >= 1_000 else f"{load_ohm} Ω"  # noqa: PLR2004 - Ω in a kΩ


def _finish(axes: Any) -> None:
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _render(draw: Callable[[Any], None], *, width: float, height: float, salt: str) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # matplotlib's settings are process-wide, and slots may finish at once.
    with _LOCK, mpl.rc_context(_RC | {"svg.hashsalt": f"ampforge {salt}"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    # The reader's own sans serif replaces matplotlib's font where that is not installed.
    return buffer.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
