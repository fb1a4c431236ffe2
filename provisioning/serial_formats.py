"""Formats of serial numbers: which parts a number has, written as a picture of one.

| letters | part | characters |
|---|---|---|
| `P` to `PPP` | prefix of the maker | A-Z 0-9 |
| none, `M` to `MMM` | model | A-Z 0-9 |
| none, `YY` or `YYWW` | year, or ISO year and ISO week | 0-9 |
| `SSS` to `SSSSSS` | sequence in that year or week | 0-9 A-Z without I L O U |
| none or `C` | check character, ISO 7064 MOD 37,36 over all before it | 0-9 A-Z |

`PPPMMMYYWWSSSSSC` is the format of a product that says nothing. Parts stand in this order and have
a fixed length, so that a number can be read in one way only. A ledger has one format, for ever.
Implements docs/spec/serial-number.md §1. What a number's parts mean is `serial_numbers`'.
"""

from __future__ import annotations

import datetime as dt
import re
from enum import StrEnum
from typing import Final

from provisioning.errors import SerialNumberError
from signing.value_class import dataclass

GS1_SERIAL_MAX_LENGTH: Final = 20
SEQUENCE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CHECK_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PICTURE: Final = re.compile(r"(P{1,3})(M{0,3})((?:YYWW|YY)?)(S{3,6})(C?)", re.ASCII)
_LONGEST: Final = "PPPMMMYYWWSSSSSSC"
assert len(_LONGEST) <= GS1_SERIAL_MAX_LENGTH


class SerialDate(StrEnum):
    """What of the date stands in a number; the value is its picture."""

    WEEK = "YYWW"
    YEAR = "YY"
    NONE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialFormat:
    """Which parts the serial numbers of one ledger have.

    Attributes:
        prefix_length: Characters of the maker's prefix, 1 to 3.
        model_length: Characters of the model, 0 to 3.
        date: What of the date is in the number.
        sequence_length: Digits of the sequence in base 32, 3 to 6.
        has_check: Whether the number ends with a check character.
    """

    prefix_length: int
    model_length: int
    date: SerialDate
    sequence_length: int
    has_check: bool

    def __post_init__(self) -> None:
        if _PICTURE.fullmatch(self.picture) is None:
            raise _no_format(self.picture)

    @property
    def picture(self) -> str:
        """The format as it is written in ampforge.toml and in the ledger."""
        return (
            "P" * self.prefix_length
            + "M" * self.model_length
            + self.date.value
            + "S" * self.sequence_length
            + "C" * self.has_check
        )

    @property
    def length(self) -> int:
        """Characters of a number."""
        return len(self.picture)

    @property
    def sequence_max(self) -> int:
        """The largest sequence that can be written, over all epochs."""
        return int(len(SEQUENCE_ALPHABET) ** self.sequence_length) - 1

    def period_of(self, moment: dt.datetime) -> tuple[int, int]:
        """Return year and week in which a moment's numbers count up; 0 for what is not written.

        Args:
            moment: Aware; the period is that of UTC.
        """
        match self.date:
            case SerialDate.WEEK:
                year, week, _ = moment.astimezone(dt.UTC).isocalendar()
                return year, week
            case SerialDate.YEAR:
                return moment.astimezone(dt.UTC).year, 0
            case SerialDate.NONE:
                return 0, 0

    def periods_between(self, start: dt.datetime, end: dt.datetime) -> list[tuple[int, int]]:
        """Return every period from that of one moment to that of a later one, in order."""
        periods, moment = [self.period_of(start)], start
        while moment < end:
            moment = min(moment + dt.timedelta(weeks=1), end)
            if (period := self.period_of(moment)) != periods[-1]:
                periods.append(period)
        return periods

    def describe(self) -> str:
        """Return the parts in words."""
        parts = [("prefix", self.prefix_length), ("model", self.model_length)]
        parts += [("year", 2)] if self.date is not SerialDate.NONE else []
        parts += [("week", 2)] if self.date is SerialDate.WEEK else []
        parts += [("sequence", self.sequence_length), ("check", int(self.has_check))]
        return ", ".join(f"{name} {length}" for name, length in parts if length)

    def split(self, text: str) -> dict[str, str] | None:
        """Return a text cut into the parts of a number, or `None` if it is none.

        The check character is not looked at. Parts that the format has not are empty.
        """
        sequence = f"[{SEQUENCE_ALPHABET}]{{{self.sequence_length}}}"
        digits = len(self.date.value)
        pattern = (
            f"(?P<prefix>[0-9A-Z]{{{self.prefix_length}}})(?P<model>[0-9A-Z]{{{self.model_length}}})"
            f"(?P<date>[0-9]{{{digits}}})(?P<sequence>{sequence})"
            f"(?P<check>[0-9A-Z]{{{int(self.has_check)}}})"
        )
        match = re.fullmatch(pattern, text, re.ASCII)
        return None if match is None else match.groupdict()


STANDARD_FORMAT: Final = SerialFormat(
    prefix_length=3, model_length=3, date=SerialDate.WEEK, sequence_length=5, has_check=True
)


def parse_format(picture: str) -> SerialFormat:
    """Return the format that a picture shows.

    Raises:
        SerialNumberError: It is not the picture of a serial number.
    """
    match = _PICTURE.fullmatch(picture)
    if match is None:
        raise _no_format(picture)
    prefix, model, date, sequence, check = match.groups()
    return SerialFormat(
        prefix_length=len(prefix),
        model_length=len(model),
        date=SerialDate(date),
        sequence_length=len(sequence),
        has_check=bool(check),
    )


def check_character(body: str) -> str:
    """Return the check character of a text of A-Z 0-9.

    ISO 7064 MOD 37,36 (hybrid system): every single wrong character is found.
    """
    product = 36
    for character in body:
        total = (product + CHECK_ALPHABET.index(character)) % 36 or 36
        product = total * 2 % 37
    return CHECK_ALPHABET[(37 - product) % 36]


def _no_format(picture: str) -> SerialNumberError:
    return SerialNumberError(
        "this is not a format of serial numbers",
        expected="P to PPP, up to MMM, YYWW or YY or no date, SSS to SSSSSS, C or none",
        got=repr(picture[:40]),
        hint=f"without a wish of your own leave it out: {STANDARD_PICTURE}",
    )


STANDARD_PICTURE: Final = STANDARD_FORMAT.picture
