"""The UDI: the strings of the specification, and nothing else is written or read."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import UdiError
from provisioning.udi import (
    GROUP_SEPARATOR,
    Udi,
    is_scanned,
    parse_udi,
    parse_udi_document,
    require_gtin,
    require_lot,
)

UDI = Udi(
    gtin="09506000134352",
    production_date=dt.date(2026, 11, 26),
    lot="L4711",
    serial="AMPFL1264800001A",
)
ELEMENT_STRING = "01095060001343521126112610L4711\x1d21AMPFL1264800001A"
TEXT = "(01)09506000134352(11)261126(10)L4711(21)AMPFL1264800001A"
values = st.text("ABCXYZabcxyz0123456789!\"%&'*+,-./:;<=>?_", min_size=1, max_size=20)
udis = st.builds(
    Udi,
    gtin=st.sampled_from(["09506000134352", "00000000000000", "95060001343528"]),
    production_date=st.dates(dt.date(2000, 1, 1), dt.date(2099, 12, 31)),
    lot=st.none() | values,
    serial=values,
)


def test_the_golden_strings_of_the_specification():
    assert UDI.human_readable == TEXT
    assert UDI.element_string == ELEMENT_STRING
    without = replace(UDI, lot=None)
    assert without.element_string == "01095060001343521126112621AMPFL1264800001A"
    assert GROUP_SEPARATOR not in without.element_string


@given(udis)
def test_each_form_is_read_back(udi):
    assert parse_udi(udi.element_string) == udi
    assert parse_udi("]d2" + udi.element_string) == udi
    assert parse_udi(udi.human_readable) == udi
    assert parse_udi_document(udi.document(), where="test") == udi


@given(st.text(max_size=120) | st.text("01(29)\x1d]d", max_size=60))
def test_arbitrary_text_raises_only_our_error(text):
    try:
        udi = parse_udi(text)
    except UdiError:
        return
    assert text.removeprefix("]d2") in {udi.element_string, udi.human_readable}


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        ("", "a GTIN"),
        (TEXT.replace("52(11)", "53(11)"), "check digit of the GTIN"),
        (TEXT.replace("(11)261126", "(11)261131"), "a day"),
        (TEXT.replace("(11)261126", "(11)26112"), "6 digits"),
        (TEXT.replace("(11)261126", "(11)26112\uff16"), "6 digits"),
        (TEXT.replace("(11)261126", ""), "a production date"),
        (TEXT.replace("(21)AMPFL1264800001A", ""), "a serial number"),
        (TEXT + "(21)X", "at most once"),
        (TEXT.replace("(10)", "AI '17'"), "AI '17'"),
        (TEXT.replace("(10)L4711", "(10)"), "lot"),
        (TEXT.replace("(11)261126(10)L4711", "(10)L4711(11)261126"), "this order"),
        (TEXT + " ", "serial number"),
        (ELEMENT_STRING.replace("\x1d", ""), "a serial number"),
        (ELEMENT_STRING + "\x1d", "no FNC1 after the last"),
        (ELEMENT_STRING[:10], "14 digits"),
        ("]d1" + ELEMENT_STRING, "at most once"),
        ("0" * 101, "at most 100"),
    ],
)
def test_what_is_not_the_udi_of_a_unit_is_refused(text, telling):
    with pytest.raises(UdiError) as refusal:
        parse_udi(text)
    assert telling in str(refusal.value)


@pytest.mark.parametrize("lot", ["", "A" * 21, "L 1", "L(1)", "L\x1d1", "L\xe9", "L#1", "L\n"])
def test_a_lot_that_gs1_has_no_character_for_is_refused(lot):
    with pytest.raises(UdiError, match="lot cannot be written"):
        require_lot(lot)


@pytest.mark.parametrize(
    ("gtin", "telling"),
    [
        ("9506000134352", "14 digits"),
        ("0950600013435\uff12", "14 digits"),
        ("09506000134353", "digit"),
    ],
)
def test_a_gtin_that_is_none_is_refused(gtin, telling):
    with pytest.raises(UdiError) as refusal:
        require_gtin(gtin)
    assert telling in str(refusal.value)


@pytest.mark.parametrize(
    "changes",
    [{"gtin": "09506000134353"}, {"production_date": "2026-02-30"}, {"lot": 7}, {"serial": None},
     {"element_string": "x"}, {"more": 1}],
)  # fmt: skip
def test_a_record_whose_udi_was_changed_is_refused(changes):
    with pytest.raises(UdiError):
        parse_udi_document(UDI.document() | changes, where="test")
    with pytest.raises(UdiError):
        parse_udi_document("(01)", where="test")


def test_a_day_of_another_century_is_refused():
    with pytest.raises(UdiError, match="six digits"):
        replace(UDI, production_date=dt.date(1999, 12, 31))


def test_a_scanned_label_is_told_from_a_serial_number():
    assert is_scanned(TEXT)
    assert is_scanned("]d2" + ELEMENT_STRING)
    assert is_scanned(ELEMENT_STRING)
    assert not is_scanned("AMPFL1264800001A")
