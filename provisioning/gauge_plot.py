"""Draws a gauge study: where the variation comes from, and who measured what.

Drawing the same study twice gives the same bytes. matplotlib is imported only when something is
drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioning.gauge_study import range_limit, ranges_of
from provisioning.inline_svg import ACCENT, LIMIT, SOFT
from provisioning.report_canvas import draw_picture, finish_axes
from provisioning.report_error_plot import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.gauge_data import GaugeData
    from provisioning.gauge_study import GaugeStudy
    from provisioning.report_canvas import PictureFormat

_SIZE_INCHES: Final = {"width": 10.4, "height": 6.8}
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_LABELLED_MAX: Final = 30
_LEGEND_MAX: Final = 8
_SPREAD: Final = 0.5


def plot_gauge(data: GaugeData, study: GaugeStudy, *, picture_format: PictureFormat) -> bytes:
    """Return a picture of four panels: components, averages, ranges and all readings.

    Args:
        data: The readings.
        study: What they say.
        picture_format: `svg` or `png`.
    """

    def draw(figure: Any) -> None:
        (components, averages), (ranges, readings) = figure.subplots(2, 2, width_ratios=(1, 1.35))
        _draw_components(components, study)
        _draw_averages(averages, data)
        _draw_ranges(ranges, data)
        _draw_readings(readings, data)
        figure.suptitle(
            f"Gauge study ({study.method}): GRR is {study.percent_grr:.1f} % of the total "
            f"variation, {study.ndc} distinct categories; {data.shape()}",
            fontweight="bold",
            fontsize=10.5,
        )

    return draw_picture(draw, **_SIZE_INCHES, salt="gauge", picture_format=picture_format)


def _draw_components(axes: Any, study: GaugeStudy) -> None:
    shares = [("EV\nequipment", study.ev), ("AV\nappraisers", study.av)]
    if study.anova is not None:
        shares.append(("INT\ninteraction", study.interaction))
    shares += [("GRR\ngauge", study.grr), ("PV\nparts", study.pv)]
    heights = [100 * value / study.tv for _, value in shares]
    colors = [ACCENT if label.startswith("GRR") else SOFT for label, _ in shares]
    bars = axes.bar(range(len(shares)), heights, color=colors, width=0.65)
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    axes.set_xticks(range(len(shares)), [label for label, _ in shares], fontsize=8)
    axes.set_ylim(0, max(heights) * 1.12)
    axes.set(title="Share of the total variation (sd, not additive)", ylabel="% of TV")
    finish_axes(axes)
    axes.grid(visible=False, axis="x")


def _draw_averages(axes: Any, data: GaugeData) -> None:
    for index, who in enumerate(data.appraisers):
        means = [float(sum(row[index]) / len(row[index])) for row in data.values]
        # A label that begins with an underscore would be left out of the legend.
        axes.plot(means, label=f" {who}", markersize=4.5, linewidth=1, **_look(index))
    axes.set(title="Average of each part, by appraiser (parallel: no interaction)", xlabel="part")
    if len(data.appraisers) <= _LEGEND_MAX:
        axes.legend(ncols=min(4, len(data.appraisers)))
    _name_parts(axes, data.parts)


def _draw_ranges(axes: Any, data: GaugeData) -> None:
    ranges, count = ranges_of(data), len(data.parts)
    for index in range(len(data.appraisers)):
        places = [index * (count + 1) + part for part in range(count)]
        heights = [float(row[index]) for row in ranges]
        axes.plot(places, heights, markersize=4, linewidth=1, **_look(index))
    limit = range_limit(data)
    if limit is not None:
        axes.axhline(float(limit), color=LIMIT, linewidth=1, linestyle="--")
        axes.annotate(
            "D4·mean range", (1, float(limit)), xycoords=("axes fraction", "data"), color=LIMIT,
            fontsize=7.5, ha="right", va="bottom",
        )  # fmt: skip
    middles = [index * (count + 1) + (count - 1) / 2 for index in range(len(data.appraisers))]
    if len(middles) <= _LABELLED_MAX:
        axes.set_xticks(middles, data.appraisers)
    axes.set_ylim(bottom=0)
    axes.set(title="Range of the trials, part after part", xlabel="appraiser")
    finish_axes(axes)


def _draw_readings(axes: Any, data: GaugeData) -> None:
    who_count, trial_count = len(data.appraisers), len(data.trials)
    for index in range(who_count):
        shift = _SPREAD * (index / max(1, who_count - 1) - 0.5)
        places = [part + shift for part in range(len(data.parts)) for _ in range(trial_count)]
        values = [float(value) for row in data.values for value in row[index]]
        axes.plot(places, values, linestyle="", markersize=3.5, alpha=0.75, **_look(index))
    axes.set(title="All readings of each part", xlabel="part")
    _name_parts(axes, data.parts)


def _look(index: int) -> dict[str, str]:
    return {
        "color": CATEGORIES[index % len(CATEGORIES)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def _name_parts(axes: Any, parts: Sequence[str]) -> None:
    if len(parts) <= _LABELLED_MAX:
        is_long = max(map(len, parts)) * len(parts) > 60  # noqa: PLR2004 - what fits side by side
        axes.set_xticks(
            range(len(parts)), parts, **({"rotation": 30, "ha": "right"} if is_long else {})
        )
    finish_axes(axes)
