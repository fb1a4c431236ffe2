"""A number that was typed wrong is explained, and never taken for another one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioning.serial_checking import CANDIDATES_MAX, check_serial
from provisioning.serial_formats import CHECK_ALPHABET, STANDARD_FORMAT, parse_format
from provisioning.serial_numbers import SerialNumber

RIGHT = "AMPFL1264800001A"
GIVEN = {RIGHT, "AMPFL12648000028"}


def check(typed, serial_format=STANDARD_FORMAT, given=frozenset(GIVEN)):
    return check_serial(
        typed, serial_format, codes="AMPFL1", find_given=lambda serials: given & set(serials)
    )


def test_a_right_number_is_explained_and_nothing_is_guessed():
    checked = check("amp-fl1 2648-00001-a")
    assert (checked.text, checked.error, checked.candidates) == (RIGHT, None, ())
    assert checked.number == SerialNumber(prefix="AMP", model="FL1", year=2026, week=48, sequence=1)
    assert checked.is_given


@pytest.mark.parametrize(
    ("typed", "change"),
    [
        ("AMPFL1264800001B", "character 16 is A, not B"),
        ("AMPFL1264B00001A", "character 10 is 8, not B"),
        ("AMPFLI264800001A", "character 6 is 1, not I"),
        ("AMPFL1264800O01A", "character 13 is 0, not O"),
        ("AMPF1L264800001A", "characters 5 and 6 are L1, not 1L"),
        ("AMPFL126480001A", "character 11, 0, was left out"),
        ("AMPFL12648000001A", "character 11, 0, is one too many"),
    ],
)
def test_the_number_that_the_ledger_gave_is_the_first_guess(typed, change):
    checked = check(typed)
    assert checked.number is None
    assert checked.error is not None
    assert [(one.serial, one.change) for one in checked.candidates] == [(RIGHT, change)]


def test_without_a_ledger_look_alikes_come_first_and_guesses_are_few():
    checked = check("AMPFL1264B00001A", given=frozenset())
    assert checked.candidates[0].serial == RIGHT
    assert len(checked.candidates) <= CANDIDATES_MAX
    assert not any(one.is_given for one in checked.candidates)


@settings(max_examples=30)
@given(st.integers(0, 15), st.sampled_from(CHECK_ALPHABET))
def test_any_one_misread_character_leads_back_to_the_number(place, other):
    typed = RIGHT[:place] + other + RIGHT[place + 1 :]
    checked = check(typed)
    if typed == RIGHT:
        assert checked.is_given
    else:
        assert checked.error is not None
        assert RIGHT in [one.serial for one in checked.candidates]


@given(st.text(max_size=40))
def test_arbitrary_text_is_explained_without_any_error(typed):
    checked = check(typed, given=frozenset())
    assert (checked.number is None) == (checked.error is not None)


def test_without_a_check_character_only_the_ledger_tells_a_misread_number():
    serial_format = parse_format("PPPMMMYYWWSSSSS")
    given = frozenset({"AMPFL1264800001"})
    right = check("AMPFL1264800001", serial_format, given)
    assert (right.is_given, right.candidates) == (True, ())
    misread = check("AMPFL1264800007", serial_format, given)
    assert (misread.error, misread.is_given) == (None, False)
    assert [one.serial for one in misread.candidates] == ["AMPFL1264800001"]
