"""Labels: what is printed is read by code that did not draw it, as the UDI and nothing else."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import zxingcpp
from hypothesis import given, settings
from PIL import Image

from provisioning import labels
from provisioning.errors import UdiError
from provisioning.labels import LabelFormat, LabelSize, build_label, render_label
from tests.provisioning.test_udi import ELEMENT_STRING, UDI, udis


def scan(pixels):
    """Return what a scanner sends: symbology identifier and data."""
    return [
        (one.format, one.symbology_identifier, one.content_type, one.bytes.decode())
        for one in zxingcpp.read_barcodes(np.asarray(pixels, dtype=np.uint8))
    ]


def expected(element_string):
    return [(zxingcpp.DataMatrix, "]d2", zxingcpp.ContentType.GS1, element_string)]


def draw_svg(text):
    """Draw the path of an SVG label, by its numbers alone."""
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', text).groups())
    pixels = np.full((height, width), 255, dtype=np.uint8)
    (path,) = re.findall(r' d="([^"]*)"', text)
    drawn = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", path)
    assert "".join("M{} {}h{}v{}h-{}z".format(*one) for one in drawn) == path
    for x, y, w, h, _ in (map(int, one) for one in drawn):
        pixels[y : y + h, x : x + w] = 0
    return pixels


def test_a_png_is_a_gs1_datamatrix_with_fnc1_and_the_stated_size():
    label = build_label(UDI, LabelSize())
    image = Image.open(io.BytesIO(render_label(label, LabelFormat.PNG)))
    assert scan(image) == expected(ELEMENT_STRING)
    size = label.describe()
    assert image.size == (label.width_dots, label.height_dots)
    assert [round(value) for value in image.info["dpi"]] == [300, 300]
    assert (size["modules"], size["module_mm"], size["symbol_mm"]) == (22, 0.4233, 9.31)
    assert np.asarray(image)[:10].min() == 255, "the light space above the symbol"


def test_an_svg_says_the_same_and_how_large_it_is_printed():
    label = build_label(UDI, LabelSize(dpi=203, module_dots=3))
    text = render_label(label, LabelFormat.SVG).decode()
    assert scan(draw_svg(text)) == expected(ELEMENT_STRING)
    assert f'width="{label.describe()["width_mm"]}mm"' in text
    for field in ("(01)09506000134352", "(11)261126", "(10)L4711", "(21)AMPFL1264800001A"):
        assert f">{field}</text>" in text


def test_what_xml_and_zpl_give_a_meaning_to_stays_text():
    udi = replace(UDI, lot='<&">_1')
    label = build_label(udi, LabelSize())
    text = render_label(label, LabelFormat.SVG).decode()
    assert "(10)&lt;&amp;&quot;&gt;_1<" in text
    assert scan(draw_svg(text)) == expected(udi.element_string)
    zpl = render_label(label, LabelFormat.ZPL).decode()
    assert '^FD_101095060001343521126112610<&">__1_121AMPFL1264800001A^FS' in zpl


def test_a_zpl_label_has_the_printer_draw_the_same_symbol():
    zpl = render_label(build_label(UDI, LabelSize()), LabelFormat.ZPL).decode()
    assert zpl.startswith("^XA\n")
    assert zpl.endswith("^XZ\n")
    assert "^BXN,5,200,22,22,,_^FD_101095060001343521126112610L4711_121AMPFL1264800001A^FS" in zpl
    assert "^FD(21)AMPFL1264800001A^FS" in zpl


@settings(max_examples=20)
@given(udis)
def test_every_udi_is_drawn_and_read_back(udi):
    label = build_label(udi, LabelSize(dpi=200, module_dots=2))
    image = Image.open(io.BytesIO(render_label(label, LabelFormat.PNG)))
    assert scan(image) == expected(udi.element_string)


@pytest.mark.parametrize(
    ("dpi", "dots", "telling"),
    [(300, 2, "take 3 to 11 dots"), (300, 12, "take 3 to 11 dots"), (203, 2, "take 3 to 7 dots"),
     (100, 2, "203, 300 and 600"), (9600, 40, "203, 300 and 600"), (300, 0, "take"),
     (300, -5, "take"), (300, 10**400, "take")],
)  # fmt: skip
def test_a_size_that_is_not_allowed_is_refused_with_one_that_is(dpi, dots, telling):
    with pytest.raises(UdiError) as refusal:
        LabelSize(dpi=dpi, module_dots=dots)
    assert telling in refusal.value.hint


def test_a_symbol_that_reads_otherwise_is_not_returned(monkeypatch):
    wrong = zxingcpp.create_barcode("[01]09506000134352[21]X", zxingcpp.DataMatrix, gs1=True)
    monkeypatch.setattr(labels, "_import_extra", lambda _name: _Fake(wrong))
    with pytest.raises(UdiError, match="does not say what it should"):
        build_label(UDI, LabelSize())


class _Fake:
    """A library that draws another symbol than it was asked for, and reads what it drew."""

    BarcodeFormat = zxingcpp.BarcodeFormat
    read_barcodes = staticmethod(zxingcpp.read_barcodes)

    def __init__(self, drawn) -> None:
        self.create_barcode = lambda *_arguments, **_options: drawn


def test_without_the_extra_the_next_step_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "zxingcpp", None)
    with pytest.raises(UdiError, match="no label can be drawn") as refusal:
        build_label(UDI, LabelSize())
    assert "pip install 'ampforge[label]'" in refusal.value.hint
