"""What the maker specifies of a meter's direct current, and what a laboratory certified of it.

Ranges and columns are tables of section `[station.metrology]` and are copied into the results; what
becomes of them in a reading's uncertainty is `uncertainty`.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from provisioning.bounded_figures import NonNegativeFloat, PositiveInt


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class AgedAccuracy(_Section):
    """A column of the accuracy table for an instrument that was calibrated not long ago.

    Attributes:
        days: The column holds up to this many days after calibration: 1, 90 and so on.
        reading_percent: Part of the reading, percent.
        range_percent: Part of the full scale, percent.
    """

    days: PositiveInt
    reading_percent: NonNegativeFloat
    range_percent: NonNegativeFloat


class AccuracyRange(_Section):
    """One range of the multimeter, as its maker specifies it.

    Attributes:
        range_ua: Full scale, µA.
        reading_percent: Part of the reading, percent, up to `accuracy_days` after calibration.
        range_percent: Part of the full scale, percent.
        younger: Columns for less time since calibration, ascending.
    """

    range_ua: PositiveInt
    reading_percent: NonNegativeFloat
    range_percent: NonNegativeFloat
    younger: tuple[AgedAccuracy, ...] = ()

    def at_age(self, age_days: int | None) -> tuple[float, float]:
        """Return the parts of reading and range, percent, so many days after calibration.

        Args:
            age_days: Days since calibration; `None`, when that is not known, is the longest time.
        """
        for column in self.younger:
            if age_days is not None and age_days <= column.days:
                return column.reading_percent, column.range_percent
        return self.reading_percent, self.range_percent


class InstrumentCalibration(_Section):
    """A calibration certificate of an instrument that this station may use.

    Attributes:
        serial_number: As `*IDN?` tells it.
        certificate: Number of the certificate.
        due: Last day on which the certificate may be relied on.
        calibrated: The day of the calibration; without it the accuracy is that of
            `accuracy_days`.
    """

    serial_number: Annotated[str, Field(min_length=1, max_length=64)]
    certificate: Annotated[str, Field(min_length=1, max_length=128)]
    due: date
    calibrated: date | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.calibrated is not None and self.calibrated > self.due:
            raise ValueError("due: before the day of the calibration")
        return self
