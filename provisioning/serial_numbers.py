"""Serial numbers: at most 20 characters, one check character, readable over the telephone.

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
from dataclasses import dataclass
from typing import Final

from provisioning.errors import SerialNumberError

PREFIX_LENGTH: Final = 3
MODEL_LENGTH: Final = 3
SEQUENCE_LENGTH: Final = 5
SERIAL_LENGTH: Final = 16
GS1_SERIAL_MAX_LENGTH: Final = 20
assert SERIAL_LENGTH <= GS1_SERIAL_MAX_LENGTH

SEQUENCE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SEQUENCE_MAX: Final = len(SEQUENCE_ALPHABET) ** SEQUENCE_LENGTH - 1
CHECK_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CENTURY: Final = 2000
_CODE_PATTERN: Final = re.compile(r"[0-9A-Z]{3}", re.ASCII)
_SERIAL_PATTERN: Final = re.compile(
    rf"([0-9A-Z]{{3}})([0-9A-Z]{{3}})([0-9]{{2}})([0-9]{{2}})([{SEQUENCE_ALPHABET}]{{5}})([0-9A-Z])",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialNumber:
    """One serial number in its parts.

    Attributes:
        prefix: Maker, three characters A-Z 0-9.
        model: Model, three characters A-Z 0-9.
        year: ISO year of the week, 2000 to 2099.
        week: ISO week, 1 to 52 or 53.
        sequence: Number in that week, from 1.
    """

    prefix: str
    model: str
    year: int
    week: int
    sequence: int

    def __post_init__(self) -> None:
        require_code(self.prefix, field="prefix")
        require_code(self.model, field="model")
        _require_week(self.year, self.week)
        if not 1 <= self.sequence <= SEQUENCE_MAX:
            raise SerialNumberError(
                "the sequence cannot be written in a serial number",
                expected=f"1 to {SEQUENCE_MAX}",
                got=self.sequence,
                hint="a week with more units needs a second model code",
            )

    def __str__(self) -> str:
        body = (
            f"{self.prefix}{self.model}{self.year - _CENTURY:02d}{self.week:02d}"
            f"{_serialize_sequence(self.sequence)}"
        )
        return body + check_character(body)


def require_code(text: str, *, field: str) -> str:
    """Return a prefix or model code, or refuse it.

    Raises:
        SerialNumberError: It is not three characters A-Z 0-9.
    """
    if _CODE_PATTERN.fullmatch(text) is None:
        raise SerialNumberError(
            f"the {field} does not fit in a serial number",
            expected="three characters A-Z 0-9",
            got=repr(text),
            hint=f"set the {field} under [station.serials] in ampforge.toml",
        )
    return text


def iso_week_of(moment: dt.datetime) -> tuple[int, int]:
    """Return ISO year and ISO week of an aware moment, in UTC."""
    year, week, _ = moment.astimezone(dt.UTC).isocalendar()
    return year, week


def check_character(body: str) -> str:
    """Return the check character of a text of A-Z 0-9.

    ISO 7064 MOD 37,36 (hybrid system): every single wrong character is found.
    """
    product = 36
    for character in body:
        total = (product + CHECK_ALPHABET.index(character)) % 36 or 36
        product = total * 2 % 37
    return CHECK_ALPHABET[(37 - product) % 36]


def parse_serial(untrusted_text: str) -> SerialNumber:
    """Return the parts of a serial number after its check character was verified.

    Args:
        untrusted_text: The sixteen characters, upper case, no separators.

    Raises:
        SerialNumberError: Length, alphabet, check character or week are wrong.
    """
    match = _SERIAL_PATTERN.fullmatch(untrusted_text)
    if match is None:
        raise SerialNumberError(
            "this is not a serial number",
            expected="16 characters: prefix 3, model 3, year 2, week 2, sequence 5, check 1",
            got=repr(untrusted_text[:40]),
            hint="the sequence never has the letters I, L, O or U",
        )
    prefix, model, year, week, sequence, check = match.groups()
    expected_check = check_character(untrusted_text[:-1])
    if check != expected_check:
        raise SerialNumberError(
            "the check character of the serial number is wrong",
            expected=expected_check,
            got=check,
            where=untrusted_text,
            hint="one character was misread; read the label again",
        )
    return SerialNumber(
        prefix=prefix,
        model=model,
        year=_CENTURY + int(year),
        week=int(week),
        sequence=_parse_sequence(sequence),
    )


def normalise_typed_serial(typed_text: str) -> str:
    """Return what a person typed without separators and in upper case; nothing else is guessed."""
    return re.sub(r"[\s-]", "", typed_text).upper()


def _require_week(year: int, week: int) -> None:
    try:
        if not _CENTURY <= year < _CENTURY + 100:
            raise ValueError  # noqa: TRY301 - one message for both ways to be wrong
        dt.date.fromisocalendar(year, week, 1)
    except ValueError as error:
        raise SerialNumberError(
            "there is no such week",
            expected="an ISO week of the years 2000 to 2099",
            got=f"{year}-W{week:02d}",
        ) from error


def _serialize_sequence(sequence: int) -> str:
    digits = []
    for _ in range(SEQUENCE_LENGTH):
        sequence, digit = divmod(sequence, len(SEQUENCE_ALPHABET))
        digits.append(SEQUENCE_ALPHABET[digit])
    return "".join(reversed(digits))


def _parse_sequence(text: str) -> int:
    sequence = 0
    for character in text:
        sequence = sequence * len(SEQUENCE_ALPHABET) + SEQUENCE_ALPHABET.index(character)
    return sequence
