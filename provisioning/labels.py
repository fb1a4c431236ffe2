"""Labels with the UDI of one unit: a GS1 DataMatrix and the text for people.

The symbol is square, on a grid of printer dots: each module is a whole number of dots, so that no
printer has to round. Sizes are those of docs/spec/udi-and-labels.md §4. A symbol is read back, by
code that did not draw it, before a label is returned: one that no scanner reads is never written.

zxing-cpp draws and reads the symbol, Pillow draws the PNG (the extra `ampforge[label]`); SVG and
ZPL are text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from provisioning.errors import UdiError
from provisioning.numpy_threads import keep_numpy_in_one_thread
from provisioning.udi import GROUP_SEPARATOR, SYMBOLOGY_IDENTIFIER

if TYPE_CHECKING:
    from provisioning.udi import Udi

MM_PER_INCH: Final = 25.4
_UM_PER_INCH: Final = 25_400
MODULE_MIN_UM: Final = 254
MODULE_MAX_UM: Final = 990
"""Least and largest module, micrometres, for regulated healthcare items that are not sold at a till
(General Specifications, symbol specification tables)."""
DPI_MIN, DPI_MAX = 150, 1200
_QUIET_MODULES: Final = 2
"""Light space around the symbol; the standard asks for one module on each side."""
_TEXT_MIN_MM: Final = 1.6
_LINE_HEIGHT: Final = 1.25
_TEXT_WIDTH: Final = 0.62
"""Width of a character of a monospaced font, in heights of its line."""
_READING_SCALE: Final = 4


class LabelFormat(StrEnum):
    """What a label is written as; the value is the suffix of its file."""

    SVG = "svg"
    PNG = "png"
    ZPL = "zpl"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSize:
    """How large a label is printed.

    Attributes:
        dpi: Dots of the printer per inch.
        module_dots: Dots of one module of the symbol, in each direction.
    """

    dpi: int = 300
    module_dots: int = 5

    def __post_init__(self) -> None:
        if not DPI_MIN <= self.dpi <= DPI_MAX:
            raise UdiError(
                "no label is printed with so many dots",
                expected=f"{DPI_MIN} to {DPI_MAX} dots per inch",
                got=self.dpi,
                hint="the printer's data sheet says it; 203, 300 and 600 are usual",
            )
        least = -(-MODULE_MIN_UM * self.dpi // _UM_PER_INCH)
        most = MODULE_MAX_UM * self.dpi // _UM_PER_INCH
        if not least <= self.module_dots <= most:
            raise UdiError(
                "the modules of the symbol have a size that GS1 does not allow",
                expected=f"{MODULE_MIN_UM / 1000} to {MODULE_MAX_UM / 1000} mm",
                got=f"{self.module_dots} dots at {self.dpi} dpi",
                hint=f"at {self.dpi} dpi take {least} to {most} dots",
            )

    @property
    def module_mm(self) -> float:
        """Width of one module."""
        return self.module_dots * MM_PER_INCH / self.dpi


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label, laid out in dots.

    Attributes:
        udi: What it says.
        size: Dots and modules.
        modules: Rows of the symbol from the top; true is dark.
    """

    udi: Udi
    size: LabelSize
    modules: tuple[tuple[bool, ...], ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The text for people, one field a line."""
        return tuple(f"({ai}){value}" for ai, value in self.udi.fields())

    @property
    def quiet_dots(self) -> int:
        """Light space around the symbol."""
        return _QUIET_MODULES * self.size.module_dots

    @property
    def symbol_dots(self) -> int:
        """Edge of the symbol, without the light space."""
        return len(self.modules) * self.size.module_dots

    @property
    def symbol_mm(self) -> float:
        """Edge of the symbol, without the light space."""
        return self._mm(self.symbol_dots)

    @property
    def text_dots(self) -> int:
        """Height of the text's characters: the lines fill the height of the symbol."""
        fitting = self.symbol_dots / (len(self.lines) * _LINE_HEIGHT)
        least = _TEXT_MIN_MM * self.size.dpi / MM_PER_INCH
        return round(max(min(fitting, 1.5 * least), least))

    @property
    def text_left_dots(self) -> int:
        """Where the text begins."""
        return self.symbol_dots + 2 * self.quiet_dots

    @property
    def width_dots(self) -> int:
        """Width of the label."""
        longest = max(map(len, self.lines))
        return self.text_left_dots + round(longest * self.text_dots * _TEXT_WIDTH) + self.quiet_dots

    @property
    def height_dots(self) -> int:
        """Height of the label."""
        text = round(len(self.lines) * self.text_dots * _LINE_HEIGHT)
        return max(self.symbol_dots, text) + 2 * self.quiet_dots

    def describe(self) -> dict[str, object]:
        """Return the printed size as JSON values."""
        return {
            "dpi": self.size.dpi,
            "module_dots": self.size.module_dots,
            "module_mm": round(self.size.module_mm, 4),
            "modules": len(self.modules),
            "symbol_mm": round(self.symbol_mm, 2),
            "quiet_zone_modules": _QUIET_MODULES,
            "width_mm": round(self._mm(self.width_dots), 2),
            "height_mm": round(self._mm(self.height_dots), 2),
        }

    def line_top_dots(self, number: int) -> int:
        """Return where a line of text begins, from the top; the first is number 0."""
        return self.quiet_dots + round(number * self.text_dots * _LINE_HEIGHT)

    def dark_modules(self) -> list[tuple[int, int]]:
        """Return column and row of each dark module."""
        return [
            (column, row)
            for row, modules in enumerate(self.modules)
            for column, is_dark in enumerate(modules)
            if is_dark
        ]

    def _mm(self, dots: int) -> float:
        return dots * MM_PER_INCH / self.size.dpi


def build_label(udi: Udi, size: LabelSize) -> Label:
    """Lay a label out, after its symbol was drawn and read back.

    Raises:
        UdiError: zxing-cpp is not installed, or does not read what it drew.
    """
    return Label(udi=udi, size=size, modules=_draw_symbol(udi))


def render_label(label: Label, kind: LabelFormat) -> bytes:
    """Return a label as the content of a file.

    Raises:
        UdiError: Pillow is not installed.
    """
    match kind:
        case LabelFormat.SVG:
            return _render_svg(label).encode()
        case LabelFormat.PNG:
            return _render_png(label)
        case LabelFormat.ZPL:
            return _render_zpl(label).encode()


def _draw_symbol(udi: Udi) -> tuple[tuple[bool, ...], ...]:
    zxing = _import_extra("zxingcpp")
    bracketed = "".join(f"[{ai}]{value}" for ai, value in udi.fields())
    try:
        barcode = zxing.create_barcode(
            bracketed, zxing.BarcodeFormat.DataMatrix, gs1=True, force_square=True
        )
        pixels = _as_rows(barcode.to_image(scale=1, add_quiet_zones=False))
        found = zxing.read_barcodes(barcode.to_image(scale=_READING_SCALE))
    except ValueError as error:
        raise _unreadable(str(error), udi) from error
    read = [(one.symbology_identifier, one.bytes) for one in found]
    wanted = [(SYMBOLOGY_IDENTIFIER, udi.element_string.encode("ascii"))]
    if read != wanted or {len(row) for row in pixels} != {len(pixels)}:
        raise _unreadable(repr(read), udi)
    return tuple(tuple(pixel == 0 for pixel in row) for row in pixels)


def _as_rows(image: Any) -> list[list[int]]:
    keep_numpy_in_one_thread()
    import numpy as np

    rows: list[list[int]] = np.asarray(image).tolist()
    return rows


def _render_svg(label: Label) -> str:
    """One unit of the picture is a dot; width and height say how large it is printed."""
    size, scale = label.describe(), label.size.module_dots
    path = "".join(
        f"M{label.quiet_dots + column * scale} {label.quiet_dots + row * scale}"
        f"h{scale}v{scale}h-{scale}z"
        for column, row in label.dark_modules()
    )
    text = "\n".join(
        f'<text x="{label.text_left_dots}" y="{label.line_top_dots(number) + label.text_dots}" '
        f'textLength="{round(len(line) * label.text_dots * _TEXT_WIDTH)}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(line)}</text>'
        for number, line in enumerate(label.lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size["width_mm"]}mm" '
        f'height="{size["height_mm"]}mm" viewBox="0 0 {label.width_dots} {label.height_dots}">\n'
        f"<title>{escape(label.udi.human_readable)}</title>\n"
        f'<rect width="{label.width_dots}" height="{label.height_dots}" fill="#fff"/>\n'
        f'<path shape-rendering="crispEdges" fill="#000" d="{path}"/>\n'
        f'<g fill="#000" font-family="monospace" font-size="{label.text_dots}">\n{text}\n</g>\n'
        "</svg>\n"
    )


def _render_png(label: Label) -> bytes:
    _import_extra("PIL")
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (label.width_dots, label.height_dots), 255)
    draw, scale = ImageDraw.Draw(image), label.size.module_dots
    for column, row in label.dark_modules():
        left, top = label.quiet_dots + column * scale, label.quiet_dots + row * scale
        draw.rectangle((left, top, left + scale - 1, top + scale - 1), fill=0)
    font = ImageFont.load_default(label.text_dots)
    for number, line in enumerate(label.lines):
        draw.text((label.text_left_dots, label.line_top_dots(number)), line, fill=0, font=font)
    content = BytesIO()
    image.save(content, format="PNG", dpi=(label.size.dpi, label.size.dpi))
    return content.getvalue()


def _render_zpl(label: Label) -> str:
    """The printer draws the symbol itself: `_1` is FNC1, `__` an underscore (ZPL II, ^BX)."""
    data = label.udi.element_string.replace("_", "__").replace(GROUP_SEPARATOR, "_1")
    text = "\n".join(
        f"^FO{label.text_left_dots},{label.line_top_dots(number)}"
        f"^A0N,{label.text_dots},{round(label.text_dots * _TEXT_WIDTH)}^FD{line}^FS"
        for number, line in enumerate(label.lines)
    )
    return (
        f"^XA\n^PW{label.width_dots}\n^LL{label.height_dots}\n^LH0,0\n"
        f"^FO{label.quiet_dots},{label.quiet_dots}"
        f"^BXN,{label.size.module_dots},200,{len(label.modules)},{len(label.modules)},,_"
        f"^FD_1{data}^FS\n{text}\n^XZ\n"
    )


def _import_extra(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UdiError(
            "no label can be drawn here",
            expected="zxing-cpp and Pillow",
            got=f"no module {error.name}",
            hint="install Ampforge with them: pip install 'ampforge[label]'",
        ) from error


def _unreadable(got: str, udi: Udi) -> UdiError:
    return UdiError(
        "the symbol of the label does not say what it should",
        expected=udi.human_readable,
        got=got,
        hint="this is a fault of the library that draws it; do not print this label",
    )
