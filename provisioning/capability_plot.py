"""Draws a process: its values between the limits, and control charts.

Drawing the same values twice gives the same bytes. matplotlib is imported only when something is
drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from provisioning.inline_svg import ACCENT, CLAIM, INK, LIMIT, SOFT
from provisioning.report_canvas import draw_picture, finish_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.control_charts import ControlChart
    from provisioning.process_capability import Capability, Limits
    from provisioning.report_canvas import PictureFormat

_WIDTH_INCHES: Final = 10.4
_PANEL_INCHES: Final = 2.9
_BINS_MAX: Final = 60
_CURVE_POINTS: Final = 200
_DRAWN_MAX: Final = 2000
_MARKED_MAX: Final = 120


def plot_capability(
    values: Sequence[float],
    limits: Limits,
    capability: Capability,
    *,
    picture_format: PictureFormat,
) -> bytes:
    """Return a histogram with limits and the two normal curves.

    Args:
        values: The values.
        limits: Tolerance limits.
        capability: What the values say.
        picture_format: `svg` or `png`.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        bins = min(_BINS_MAX, max(5, math.isqrt(len(values)) + 1))
        low, high = min(values), max(values)
        width = (high - low) / bins
        axes.hist(values, bins=bins, range=(low, high), color=SOFT, edgecolor="white")
        spread = 4 * capability.sd_overall
        start, end = capability.mean - spread, capability.mean + spread
        x = [start + (end - start) * n / (_CURVE_POINTS - 1) for n in range(_CURVE_POINTS)]
        for name, sd, color, style in (
            ("overall", capability.sd_overall, INK, "-"),
            ("within", capability.sd_within, ACCENT, "--"),
        ):
            height = len(values) * width / (sd * math.sqrt(2 * math.pi))
            bell = [height * math.exp(-(((v - capability.mean) / sd) ** 2) / 2) for v in x]
            axes.plot(
                x, bell, color=color, linestyle=style, linewidth=1.2, label=f"{name} sd {sd:.4g}"
            )
        for name, limit in (("lower", limits.lower), ("upper", limits.upper)):
            if limit is not None:
                axes.axvline(limit, color=LIMIT, linewidth=1.4, label=f"{name} limit {limit:g}")
        axes.axvline(
            capability.mean,
            color=CLAIM,
            linewidth=1,
            linestyle=":",
            label=f"mean {capability.mean:.4g}",
        )
        axes.set(xlabel="value", ylabel="count")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        finish_axes(axes)
        cpk, ppk = capability.cpk, capability.ppk
        figure.suptitle(
            f"{capability.count} values: Cpk {cpk.estimate:.2f} ({cpk.low:.2f} to {cpk.high:.2f}), "
            f"Ppk {ppk.estimate:.2f} ({ppk.low:.2f} to {ppk.high:.2f}), "
            f"{capability.outside_count} outside",
            fontweight="bold", fontsize=10.5,
        )  # fmt: skip

    return draw_picture(
        draw, width=_WIDTH_INCHES, height=4.2, salt="capability", picture_format=picture_format
    )


def plot_charts(
    charts: Sequence[ControlChart],
    *,
    picture_format: PictureFormat,
    panel_inches: float = _PANEL_INCHES,
) -> bytes:
    """Return control charts, one below the other; of very many points the last.

    Args:
        charts: The charts, with the same values along them.
        picture_format: `svg` or `png`.
        panel_inches: Height of each, inches.
    """

    def draw(figure: Any) -> None:
        panels = figure.subplots(len(charts), 1, sharex=True, squeeze=False)[:, 0]
        for axes, chart in zip(panels, charts, strict=True):
            _draw_chart(axes, chart)
        panels[-1].set_xlabel("number of the value, in the order of making")

    return draw_picture(
        draw, width=_WIDTH_INCHES, height=panel_inches * len(charts), salt="charts",
        picture_format=picture_format,
    )  # fmt: skip


def _draw_chart(axes: Any, chart: ControlChart) -> None:
    skipped = max(0, len(chart.points) - _DRAWN_MAX)
    numbers = range(chart.first_value + skipped, chart.first_value + len(chart.points))
    points = chart.points[skipped:]
    marker = "o" if len(points) <= _MARKED_MAX else ""
    axes.plot(numbers, points, color=ACCENT, linewidth=0.8, marker=marker, markersize=3)
    for limit in (chart.lower, chart.upper):
        axes.step(numbers, limit[skipped:], where="mid", color=LIMIT, linewidth=1, linestyle="--")
    axes.axhline(chart.center, color=INK, linewidth=0.8)
    signals = [number for number in chart.signals if number in numbers]
    axes.plot(
        signals, [chart.points[number - chart.first_value] for number in signals],
        linestyle="", marker="X", markersize=8, color=LIMIT,
    )  # fmt: skip
    count = len(chart.signals)
    figures = (
        f"center {chart.center:.5g}, limits at the end {chart.lower[-1]:.5g} and "
        f"{chart.upper[-1]:.5g}"
    ).replace("-", "\N{MINUS SIGN}")
    axes.set_title(
        f"{chart.name}: {figures}; {count} of {len(chart.points)} outside"
        + (f" (drawn: the last {_DRAWN_MAX})" if skipped else "")
    )
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    finish_axes(axes)
