"""Draws a mode for a quality file: its pulse, its repeat period, its charge, its session.

The picture is made from the same linear pieces as the figures, so its corners are the waveform's
corners, and the limits are those of the policy that judges it. Drawing the same mode twice gives
the same bytes. The colours are told apart by every kind of colour vision, and no line is told from
another by colour alone. matplotlib is imported only here, and only when something is drawn.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, Literal

from firmware_images.waveform_plot_panels import (
    draw_charge,
    draw_period,
    draw_pulses,
    draw_session,
)
from firmware_images.waveform_plot_parts import GRID, INK, PlottedMode, build_plotted_mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waveform import Mode

PictureFormat = Literal["svg", "png"]

_WIDTH_INCHES: Final = 10.4
_HEIGHT_INCHES: Final = 6.8
_PNG_DOTS_PER_INCH: Final = 150
_MARGINS: Final = {
    "left": 0.09,
    "right": 0.985,
    "top": 0.905,
    "bottom": 0.105,
    "wspace": 0.21,
    "hspace": 0.35,
}
"""Fixed, because finding them takes as long as drawing, and depends on matplotlib's version."""


def plot_mode(
    mode: Mode, policy: LimitsPolicy, *, tick_us: int, picture_format: PictureFormat = "svg"
) -> bytes:
    """A mode as a picture with the limits that can be drawn into it.

    Args:
        mode: As the table has it.
        policy: Where the limits come from.
        tick_us: Microseconds per tick, as in the table.
        picture_format: `svg`, or `png` for programs that take nothing else.

    Returns:
        SVG in UTF-8, the same bytes every time; or PNG, the same with the same matplotlib.
    """
    plotted = build_plotted_mode(mode, policy, tick_us)

    def draw(figure: Any) -> None:
        (pulse_axes, period_axes), (charge_axes, session_axes) = figure.subplots(
            2, 2, width_ratios=[1, 1.25], gridspec_kw=_MARGINS
        )
        draw_pulses(pulse_axes, plotted)
        draw_period(period_axes, plotted)
        draw_charge(charge_axes, plotted)
        draw_session(session_axes, plotted)
        _write_words(figure, plotted)

    return render_figure(
        draw,
        width_inches=_WIDTH_INCHES,
        height_inches=_HEIGHT_INCHES,
        salt=mode.name,
        picture_format=picture_format,
    )


def render_figure(
    draw: Callable[[Any], None],
    *,
    width_inches: float,
    height_inches: float,
    salt: str,
    picture_format: PictureFormat,
) -> bytes:
    """Return the picture that a function draws, in the style of all waveform pictures.

    Args:
        draw: Given matplotlib's empty figure.
        width_inches: The picture's width.
        height_inches: The picture's height.
        salt: What the identifiers within an SVG are made from.
        picture_format: `svg` or `png`.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": f"ampforge {salt}",
        "svg.fonttype": "none",
        "font.size": 8.5,
        "font.family": "DejaVu Sans",
        "axes.edgecolor": GRID,
        "axes.labelcolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "legend.fontsize": 7.5,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(width_inches, height_inches))
        (FigureCanvasSVG if picture_format == "svg" else FigureCanvasAgg)(figure)
        draw(figure)
        buffer = io.BytesIO()
        if picture_format == "png":
            figure.savefig(
                buffer, format="png", dpi=_PNG_DOTS_PER_INCH, metadata={"Software": "Ampforge"}
            )
            return buffer.getvalue()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "Ampforge"})
    # Text stays text: a third of the size, and it can be searched and read aloud. The reader's own
    # sans serif replaces matplotlib's font where that is not installed.
    return buffer.getvalue().replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def _write_words(figure: Any, plotted: PlottedMode) -> None:
    mode, policy = plotted.mode, plotted.policy
    levels = ", ".join(f"{level.peak_na / 1000:g}" for level in mode.levels)
    figure.suptitle(
        f"{mode.name}: {mode.balance}, {mode.regulation}-regulated, levels {levels} µA",
        fontweight="bold",
        fontsize=11,
    )
    figure.supxlabel(
        f"Limits: {policy.name} version {policy.version}, SHA-256 {policy.digest.hex()[:16]}…; "
        f"smallest contact {policy.contact_area_mm2 / 100:g} cm². Nominal currents; limit lines "
        "include the unit's tolerance and offset.",
        fontsize=7.5,
        color=INK,
        fontweight="normal",
    )
