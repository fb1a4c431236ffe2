"""Serial numbers: what is written is read back, and what was misread is found."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import SerialNumberError
from provisioning.serial_formats import (
    CHECK_ALPHABET,
    SEQUENCE_ALPHABET,
    STANDARD_FORMAT,
    check_character,
)
from provisioning.serial_numbers import SerialNumber, normalise_typed_serial, parse_serial

SEQUENCE_MAX = STANDARD_FORMAT.sequence_max

codes = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)
serials = st.builds(
    SerialNumber,
    prefix=codes,
    model=codes,
    year=st.integers(2000, 2099),
    week=st.integers(1, 52),
    sequence=st.integers(1, SEQUENCE_MAX),
)


def a_serial(**changes):
    parts = {"prefix": "AMP", "model": "FLR", "year": 2026, "week": 7, "sequence": 1}
    return SerialNumber(**{**parts, **changes})


def test_check_character_agrees_with_the_published_grid_example():
    """The GRid standard (ISO 7064 MOD 37,36) publishes A1-2425G-ABC1234002-M."""
    assert check_character("A12425GABC1234002") == "M"
    assert check_character("AMPFLR260700001") == "R"


def test_a_serial_number_is_sixteen_characters_in_the_stated_order():
    text = str(a_serial(sequence=33))
    assert len(text) == 16
    assert text.startswith("AMPFLR260700011")


@given(serials)
def test_what_is_written_is_read_back(serial):
    assert parse_serial(str(serial)) == serial


@given(serials, st.integers(0, 15), st.sampled_from(CHECK_ALPHABET))
def test_every_single_wrong_character_is_found(serial, position, replacement):
    text = str(serial)
    misread = text[:position] + replacement + text[position + 1 :]
    if misread != text:
        with pytest.raises(SerialNumberError):
            parse_serial(misread)


@given(st.text(max_size=40))
def test_arbitrary_text_raises_only_our_error(text):
    try:
        serial = parse_serial(text)
    except SerialNumberError:
        return
    assert str(serial) == text


def test_the_sequence_never_has_a_letter_that_looks_like_a_digit():
    assert not set("ILOU") & set(SEQUENCE_ALPHABET)
    with pytest.raises(SerialNumberError, match="not a serial number"):
        parse_serial("AMPFLR2607O0001X")


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"prefix": "amp"}, "prefix"),
        ({"model": "FLARE"}, "model"),
        ({"year": 1999}, "no such week"),
        ({"year": 2025, "week": 53}, "2025-W53"),
        ({"week": 0}, "no such week"),
        ({"sequence": 0}, "sequence"),
        ({"sequence": SEQUENCE_MAX + 1}, "sequence"),
    ],
)
def test_parts_that_cannot_be_written_are_refused(changes, telling):
    with pytest.raises(SerialNumberError, match=telling):
        a_serial(**changes)


def test_a_week_53_exists_only_in_a_long_year():
    assert parse_serial(str(a_serial(year=2026, week=53))).week == 53


def test_a_wrong_check_character_names_the_right_one():
    text = str(a_serial())
    wrong = "0" if text[-1] != "0" else "1"
    with pytest.raises(SerialNumberError) as refusal:
        parse_serial(text[:-1] + wrong)
    assert refusal.value.expected == text[-1]
    assert refusal.value.hint is not None


def test_the_week_is_the_iso_week_in_utc():
    evening_in_new_york = dt.datetime(2026, 1, 4, 22, tzinfo=dt.timezone(dt.timedelta(hours=-5)))
    assert STANDARD_FORMAT.period_of(evening_in_new_york) == (2026, 2)
    assert STANDARD_FORMAT.period_of(dt.datetime(2027, 1, 1, tzinfo=dt.UTC)) == (2026, 53)


def test_typed_separators_and_lower_case_are_forgiven_and_nothing_else():
    assert normalise_typed_serial("amp-flr 2607-0000 1x") == "AMPFLR260700001X"
