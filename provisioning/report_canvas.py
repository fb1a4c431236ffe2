"""One way of drawing for all pictures of a report: palette, fonts, deterministic SVG.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any, Final

from provisioning.inline_svg import GRID, INK

if TYPE_CHECKING:
    from collections.abc import Callable

NA_PER_UA: Final = 1_000
HEADROOM: Final = 1.12
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
    """Return what `draw` puts on a figure as SVG text, the same every time.

    Args:
        draw: Draws on the figure.
        width: Width, inches.
        height: Height, inches.
        salt: What the ids inside are made from.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # matplotlib's settings are process-wide, and slots may finish at once.
    with _LOCK, mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"ampforge {salt}"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    # The reader's own sans serif replaces matplotlib's font where that is not installed.
    return buffer.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")


def finish_axes(axes: Any) -> None:
    """Give a pair of axes its grid and take away what is not needed."""
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def format_signed_ua(current_na: int) -> str:
    """Return a current in µA with its sign, as a label."""
    return f"{current_na / NA_PER_UA:+g}".replace("-", "\N{MINUS SIGN}")
