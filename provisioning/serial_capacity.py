"""How many serial numbers a series has, and how long the rest of them will last."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.ledger_events import format_time
from provisioning.ledger_schema import serial_numbers
from provisioning.serial_formats import SerialDate, SerialFormat
from provisioning.serial_numbers import SerialNumber

if TYPE_CHECKING:
    from provisioning.ledger import Ledger

RATE_DAYS: Final = 28
_DAYS_TO_ACT: Final = 28
"""How long numbers without a date must last for somebody to act in time."""
_PERIOD_NAMES: Final = {
    SerialDate.WEEK: "a week",
    SerialDate.YEAR: "a year",
    SerialDate.NONE: "for ever",
}
_DAYS_PER_YEAR: Final = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many numbers a series has in the present epoch.

    Attributes:
        serial_format: The ledger's.
        example: The first number of the present week or year.
        total: Numbers a week, a year, or for ever.
        left: Of the present week or year, or for ever.
        recent_count: Numbers that were given in the last 28 days.
        days_needed: How long the rest must last: to the end of the week or year, or to act.
    """

    serial_format: SerialFormat
    example: str
    total: int
    left: int
    recent_count: int
    days_needed: int

    @property
    def days_left(self) -> float:
        """How long the rest lasts at this rate, in days."""
        return self.left * RATE_DAYS / self.recent_count if self.recent_count else math.inf

    @property
    def is_enough(self) -> bool:
        """Whether the rest lasts as long as it must, at the rate of the last 28 days."""
        return self.left > 0 and self.days_left >= self.days_needed

    def describe(self) -> str:
        """Return it in words."""
        date, picture = self.serial_format.date, self.serial_format.picture
        text = f"{picture}, such as {self.example}: {_count(self.total)} {_PERIOD_NAMES[date]}"
        if self.left < self.total:
            text += f", {_count(self.left)} left"
        if self.recent_count:
            text += f"; {_count(self.recent_count)} given in the last {RATE_DAYS} days"
        if self.recent_count and date is SerialDate.NONE:
            days = int(self.days_left)
            lasts = f"{days} days" if days < _DAYS_PER_YEAR else (
                f"{_count(days // _DAYS_PER_YEAR)} years"
            )  # fmt: skip
            text += f", at which rate they last {lasts}"
        return text


def measure_capacity(ledger: Ledger, *, prefix: str, model: str, now: dt.datetime) -> Capacity:
    """Return how many numbers a series has and how fast they are used.

    Args:
        ledger: The open ledger.
        prefix: Maker's code, fitting the ledger's format.
        model: Model code, fitting it too.
        now: The present, aware.
    """
    serial_format = ledger.identity.serial_format
    year, week = serial_format.period_of(now)
    allowed = sequences_of_epoch(ledger.identity.epoch, serial_format)
    series = (serial_numbers.c.prefix == prefix, serial_numbers.c.model == model)
    since = format_time(now - dt.timedelta(days=RATE_DAYS))
    with ledger.database.reading() as connection:
        last = connection.execute(
            select(func.max(serial_numbers.c.sequence)).where(
                *series,
                serial_numbers.c.year == year,
                serial_numbers.c.week == week,
                serial_numbers.c.sequence.between(allowed[0], allowed[-1]),
            )
        ).scalar()
        recent = connection.execute(
            select(func.count())
            .select_from(serial_numbers)
            .where(*series, serial_numbers.c.reserved_at >= since)
        ).scalar_one()
    first = SerialNumber(
        prefix=prefix, model=model, year=year, week=week, sequence=allowed[0], format=serial_format
    )
    return Capacity(
        serial_format=serial_format,
        example=str(first),
        total=len(allowed),
        left=len(allowed) if last is None else allowed[-1] - int(last),
        recent_count=int(recent),
        days_needed=_days_needed(serial_format.date, now.astimezone(dt.UTC).date()),
    )


def _days_needed(date: SerialDate, today: dt.date) -> int:
    match date:
        case SerialDate.WEEK:
            return 8 - today.isoweekday()
        case SerialDate.YEAR:
            return (dt.date(today.year, 12, 31) - today).days + 1
        case SerialDate.NONE:
            return _DAYS_TO_ACT


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")
