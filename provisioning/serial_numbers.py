"""Serial numbers: at most 20 characters, one check character, readable over the telephone.

In the standard format, sixteen characters (`serial_formats` has the others):

| position | characters | meaning |
|---|---|---|
| 0 | 3 | prefix of the maker, A-Z 0-9 |
| 3 | 3 | model, A-Z 0-9 |
| 6 | 2 | year of the ISO week, last two digits (2000 to 2099) |
| 8 | 2 | ISO week, 01 to 53 |
| 10 | 5 | sequence in that week, base 32 without I L O U |
| 15 | 1 | check character, ISO 7064 MOD 37,36 over positions 0 to 14 |

Implements docs/spec/serial-number.md. Giving numbers out is the ledger's business, not this
module's: it only knows what a number looks like.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, assert_never

from provisioning.errors import SerialNumberError
from provisioning.serial_formats import (
    SEQUENCE_ALPHABET,
    STANDARD_FORMAT,
    SerialDate,
    SerialFormat,
    check_character,
)
from signing.value_class import dataclass

_CENTURY: Final = 2000
_CODE_PATTERN: Final = re.compile(r"[0-9A-Z]*", re.ASCII)
_COUNTS: Final = ("no", "one", "two", "three")


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialNumber:
    """One serial number in its parts.

    Attributes:
        prefix: Maker, A-Z 0-9.
        model: Model, A-Z 0-9; empty in a format without one.
        year: ISO year of the week, or calendar year in a format without week, 2000 to 2099; 0 in
            a format without date.
        week: ISO week, 1 to 52 or 53; 0 in a format without week.
        sequence: Number in that week, from 1.
        format: Which parts are written, and how long they are.
    """

    prefix: str
    model: str
    year: int
    week: int
    sequence: int
    format: SerialFormat = STANDARD_FORMAT

    def __post_init__(self) -> None:
        require_code(self.prefix, field="prefix", length=self.format.prefix_length)
        require_code(self.model, field="model", length=self.format.model_length)
        _require_period(self.year, self.week, self.format)
        if not 1 <= self.sequence <= self.format.sequence_max:
            raise SerialNumberError(
                "the sequence cannot be written in a serial number",
                expected=f"1 to {self.format.sequence_max}",
                got=self.sequence,
                hint="a week with more units needs a second model code",
            )

    def __str__(self) -> str:
        date = ""
        if self.format.date is not SerialDate.NONE:
            date = f"{self.year - _CENTURY:02d}"
        if self.format.date is SerialDate.WEEK:
            date += f"{self.week:02d}"
        sequence = _serialize_sequence(self.sequence, self.format.sequence_length)
        body = f"{self.prefix}{self.model}{date}{sequence}"
        return body + (check_character(body) if self.format.has_check else "")


def require_code(text: str, *, field: str, length: int) -> str:
    """Return a prefix or model code, or refuse it.

    Args:
        text: The code.
        field: What it is, for the message.
        length: How many characters the format has for it.

    Raises:
        SerialNumberError: It is not so many characters A-Z 0-9.
    """
    if _CODE_PATTERN.fullmatch(text) is None or len(text) != length:
        noun = "character" if length == 1 else "characters"
        raise SerialNumberError(
            f"the {field} does not fit in a serial number",
            expected=f"{_COUNTS[length]} {noun} A-Z 0-9",
            got=repr(text),
            hint=f"set the {field} under [station.serials] in ampforge.toml",
        )
    return text


def parse_serial(
    untrusted_text: str, serial_format: SerialFormat = STANDARD_FORMAT
) -> SerialNumber:
    """Return the parts of a serial number after its check character was verified.

    Args:
        untrusted_text: The number, upper case, no separators.
        serial_format: The format of the ledger that gave it.

    Raises:
        SerialNumberError: Length, alphabet, check character or week are wrong.
    """
    parts = serial_format.split(untrusted_text)
    if parts is None:
        raise SerialNumberError(
            "this is not a serial number",
            expected=f"{serial_format.length} characters: {serial_format.describe()}",
            got=repr(untrusted_text[:40]),
            hint="the sequence never has the letters I, L, O or U",
        )
    check = parts["check"]
    expected_check = check_character(untrusted_text[:-1]) if serial_format.has_check else ""
    if check != expected_check:
        raise SerialNumberError(
            "the check character of the serial number is wrong",
            expected=expected_check,
            got=check,
            where=untrusted_text,
            hint="one character was misread; `ampforge serials check` says which it may have been",
        )
    date = parts["date"]
    return SerialNumber(
        prefix=parts["prefix"],
        model=parts["model"],
        year=_CENTURY + int(date[:2]) if date else 0,
        week=int(date[2:] or 0),
        sequence=_parse_sequence(parts["sequence"]),
        format=serial_format,
    )


def normalise_typed_serial(typed_text: str) -> str:
    """Return what a person typed without separators and in upper case; nothing else is guessed."""
    return re.sub(r"[\s-]", "", typed_text).upper()


def _require_period(year: int, week: int, serial_format: SerialFormat) -> None:
    is_in_century = _CENTURY <= year < _CENTURY + 100
    match serial_format.date:
        case SerialDate.NONE:
            is_good, expected = (year, week) == (0, 0), "no year and no week"
        case SerialDate.YEAR:
            is_good, expected = is_in_century and week == 0, "one of the years 2000 to 2099"
        case SerialDate.WEEK:
            is_good, expected = is_in_century, "an ISO week of the years 2000 to 2099"
            try:
                dt.date.fromisocalendar(year, week, 1)
            except ValueError:
                is_good = False
        case _:
            assert_never(serial_format.date)
    if not is_good:
        raise SerialNumberError(
            "there is no such week", expected=expected, got=f"{year}-W{week:02d}"
        )


def _serialize_sequence(sequence: int, length: int) -> str:
    digits = []
    for _ in range(length):
        sequence, digit = divmod(sequence, len(SEQUENCE_ALPHABET))
        digits.append(SEQUENCE_ALPHABET[digit])
    return "".join(reversed(digits))


def _parse_sequence(text: str) -> int:
    sequence = 0
    for character in text:
        sequence = sequence * len(SEQUENCE_ALPHABET) + SEQUENCE_ALPHABET.index(character)
    return sequence
