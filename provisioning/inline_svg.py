"""Makes an SVG picture part of an HTML page: no outside references, no clashing ids, both themes.

Pictures of this project use one palette; its colours become CSS variables, so that one drawing is
readable on light and dark ground. Anything that could reach outside or run is refused, not removed.
"""

from __future__ import annotations

import re
from typing import Final

from provisioning.errors import ReportError

SVG_MAX_CHARACTERS: Final = 8 << 20
INK: Final = "#1f2933"
GRID: Final = "#d9dee3"
LIMIT: Final = "#b3261e"
CLAIM: Final = "#b7791f"
ACCENT: Final = "#0b5fa5"
SOFT: Final = "#9cc3e6"
PAPER: Final = "#ffffff"
PALETTE: Final = {
    INK: "ink",
    GRID: "grid",
    LIMIT: "limit",
    CLAIM: "claim",
    ACCENT: "accent",
    SOFT: "soft",
    PAPER: "paper",
}
_PROLOG = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)
# matplotlib's one style rule has the selector `*`: on a page it would reach everything.
_STYLE = re.compile(
    r"<defs>\s*<style type=\"text/css\">\*\{stroke-linejoin: round; stroke-linecap: butt\}</style>"
    r"\s*</defs>"
)
_NAMESPACE = re.compile(r"\sxmlns(:\w+)?=\"[^\"]*\"")
_SIZE = re.compile(r"(<svg\b[^>]*?)\s(?:width|height)=\"[^\"]*\"")
_IDENTIFIER = re.compile(r"\bid=\"([^\"]+)\"")
_REFERENCE = re.compile(r"(href=\"#|url\(#)([^\")]+)")
_ACTIVE = re.compile(
    r"<\s*(?:script|foreignObject|image|iframe|style|a)\b|\son\w+\s*=|javascript:"
    r"|href\s*=\s*[\"'](?!#)|url\(\s*[\"']?(?!#)|<!ENTITY",
    re.IGNORECASE,
)


def inline_svg(untrusted_svg: str, *, prefix: str, label: str) -> str:
    """Return a picture as markup to put into an HTML body.

    Args:
        untrusted_svg: A whole SVG document.
        prefix: Put before every id, unique on the page.
        label: What the picture shows, for those who do not see it.

    Raises:
        ReportError: It is no SVG, is too large, or refers to something outside itself.
    """
    if len(untrusted_svg) > SVG_MAX_CHARACTERS:
        raise ReportError(
            "a picture is too large for a report",
            expected=f"at most {SVG_MAX_CHARACTERS} characters",
            got=len(untrusted_svg),
            where=label,
        )
    svg = _STYLE.sub("", _PROLOG.sub("", untrusted_svg)).strip()
    if not (svg.startswith("<svg") and svg.endswith("</svg>")):
        raise ReportError("a picture is not SVG", expected="<svg ...>", got=svg[:40], where=label)
    if found := _ACTIVE.search(svg):
        raise ReportError(
            "a picture refers to something outside itself",
            expected="drawing elements and references to its own ids",
            got=found.group(0).strip(),
            where=label,
            hint="draw it again; a report must show the same everywhere and for ever",
        )
    svg = _NAMESPACE.sub("", svg)
    svg = _SIZE.sub(r"\1", _SIZE.sub(r"\1", svg))
    svg = _IDENTIFIER.sub(rf'id="{prefix}-\1"', svg)
    svg = _REFERENCE.sub(rf"\1{prefix}-\2", svg)
    for color, name in PALETTE.items():
        svg = svg.replace(color, f"var(--{name})")
    text = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg class="plot" role="img" aria-label="{text}"', 1)
