"""Draws the smaller pictures of a report: ranking, linearity and captured waveforms.

Every function returns SVG text, the same for the same results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.inline_svg import ACCENT, CLAIM, INK, LIMIT
from provisioning.report_canvas import (
    HEADROOM,
    NA_PER_UA,
    draw_svg,
    finish_axes,
    format_signed_ua,
)
from provisioning.report_figures import rank_units, worst_of_unit
from provisioning.uncertainty import COVERAGE_FACTOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.calibration_result import CalibrationFit
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.verification_result import VerificationResult


def plot_ranking(units: Sequence[tuple[str, VerificationResult]]) -> str:
    """Draw each unit's worst error in percent of its limit, with U, the worst unit first."""
    ranked = [(serial, worst_of_unit(result)) for serial, result in rank_units(units)]
    settings = units[0][1].settings

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        rows = range(len(ranked))
        shares = [100 * point.share_of_limit for _, point in ranked]
        bars = [
            100 * point.expanded_uncertainty_na / point.deciding_limit_na for _, point in ranked
        ]
        guard = settings.guard_share(COVERAGE_FACTOR) * max(bars)
        axes.axvspan(100 - guard, 100, color=CLAIM, alpha=0.22, linewidth=0)
        axes.axvline(100, color=LIMIT, linewidth=1.2)
        axes.barh(rows, shares, height=0.46, color=ACCENT, alpha=0.55, linewidth=0)
        axes.errorbar(
            shares, rows, xerr=bars, fmt="none", ecolor=INK, elinewidth=1, capsize=3, zorder=4
        )
        axes.set_yticks(
            rows,
            [
                f"{serial}  {point.mode or 'idle'} {format_signed_ua(point.target_na)} µA"
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

    return draw_svg(draw, width=7.6, height=0.9 + 0.3 * len(ranked), salt="ranking")


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
        axes.set_ylim(-span * HEADROOM, span * HEADROOM)
        axes.set_xlim(0, settings.max_code)
        axes.set_xticks([*range(0, settings.max_code + 1, settings.mid_code // 4)])
        axes.set_xlabel("DAC code")
        axes.set_ylabel("from best line, LSB")
        finish_axes(axes)

    return draw_svg(draw, width=7.6, height=2.4, salt="linearity")


def plot_captures(result: VerificationResult) -> str:
    """Draw the captured samples of each mode as the meter saw them, one panel for each."""
    played = [waveform for waveform in result.waveforms if waveform.pictured_samples_na]

    def draw(figure: Any) -> None:
        for axes, waveform in zip(
            figure.subplots(1, len(played), squeeze=False)[0], played, strict=True
        ):
            samples_na = waveform.pictured_samples_na
            unit, factor = ("s", 1.0) if waveform.sample_aperture_s > 0.1 else ("ms", 1e3)  # noqa: PLR2004 - only chooses the axis' unit
            edges = [
                index * waveform.sample_aperture_s * factor for index in range(len(samples_na) + 1)
            ]
            axes.stairs(
                [sample / NA_PER_UA for sample in samples_na],
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
            finish_axes(axes)

    return draw_svg(draw, width=7.6, height=2.2, salt="captures")
