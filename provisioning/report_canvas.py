"""One way of drawing for all pictures of measurements: palette, fonts, deterministic SVG or PNG.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import io
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioning.inline_svg import GRID, INK, PAPER

if TYPE_CHECKING:
    from collections.abc import Callable

PictureFormat = Literal["svg", "png"]

NA_PER_UA: Final = 1_000
HEADROOM: Final = 1.12
_PNG_DOTS_PER_INCH: Final = 150
_LOCK = threading.Lock()
_SETTINGS: Final[Any] = {
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


def draw_svg(draw: Callable[[Any], None], *, width: float, height: float, salt: str) -> str:
    """Return what `draw` puts on a figure as SVG text for a page, the same every time.

    Args:
        draw: Draws on the figure.
        width: Width, inches.
        height: Height, inches.
        salt: What the ids inside are made from.
    """
    return _draw(draw, (width, height), salt, "svg", _SETTINGS).decode()


def draw_picture(
    draw: Callable[[Any], None],
    *,
    width: float,
    height: float,
    salt: str,
    picture_format: PictureFormat,
) -> bytes:
    """Return what `draw` puts on a figure as a file of its own, on white paper.

    Args:
        draw: Draws on the figure.
        width: Width, inches.
        height: Height, inches.
        salt: What the ids inside are made from.
        picture_format: `svg` or `png`.
    """
    # Names come from people's files: a dollar sign in one is no formula.
    paper = {"figure.facecolor": PAPER, "savefig.facecolor": PAPER, "text.parse_math": False}
    return _draw(draw, (width, height), salt, picture_format, _SETTINGS | paper)


def _draw(
    draw: Callable[[Any], None],
    size: tuple[float, float],
    salt: str,
    picture_format: PictureFormat,
    settings: Any,
) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    # matplotlib's settings are process-wide, and slots may finish at once.
    with (
        _LOCK,
        warnings.catch_warnings(),
        mpl.rc_context(settings | {"svg.hashsalt": f"ampforge {salt}"}),
    ):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        # A name in a script that the font lacks is drawn as boxes; SVG keeps its letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if picture_format == "png":
            png: Any = FigureCanvasAgg(figure)
            figure.set_dpi(_PNG_DOTS_PER_INCH)
            png.print_png(buffer, metadata={"Software": "Ampforge"})
            return buffer.getvalue()
        svg: Any = FigureCanvasSVG(figure)
        svg.print_svg(buffer, metadata={"Date": None, "Creator": None})
    # The reader's own sans serif replaces matplotlib's font where that is not installed.
    return buffer.getvalue().replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def finish_axes(axes: Any) -> None:
    """Give a pair of axes its grid and take away what is not needed."""
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def format_signed_ua(current_na: int) -> str:
    """Return a current in µA with its sign, as a label."""
    return f"{current_na / NA_PER_UA:+g}".replace("-", "\N{MINUS SIGN}")
