"""Sequences of one series of serial numbers, from a first to a last: what is leased, or is void.

Knows which numbers are in it and how they are written; who may give them is not its business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.serial_numbers import SerialNumber

if TYPE_CHECKING:
    from provisioning.serial_formats import SerialFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSpan:
    """A span of numbers without a gap.

    Attributes:
        prefix: Maker's code of the serial numbers.
        model: Model code of the serial numbers.
        year: ISO year of the serial numbers.
        week: ISO week of the serial numbers.
        first_sequence: First of the span.
        last_sequence: Last of the span.
    """

    prefix: str
    model: str
    year: int
    week: int
    first_sequence: int
    last_sequence: int

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return self.last_sequence - self.first_sequence + 1

    @property
    def sequences(self) -> range:
        """Its sequences."""
        return range(self.first_sequence, self.last_sequence + 1)

    def has(self, number: SerialNumber) -> bool:
        """Whether a number is one of the span."""
        series = (number.prefix, number.model, number.year, number.week)
        is_of_series = series == (self.prefix, self.model, self.year, self.week)
        return is_of_series and self.first_sequence <= number.sequence <= self.last_sequence

    def serial_in(self, serial_format: SerialFormat, sequence: int) -> str:
        """Return the serial number of one sequence of the series, in the ledger's format."""
        number = SerialNumber(
            prefix=self.prefix, model=self.model, year=self.year, week=self.week,
            sequence=sequence, format=serial_format,
        )  # fmt: skip
        return str(number)
