"""Section `[station.check_standard]`: a known current on the fixture, and how it may vary."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CheckStandardSettings(BaseModel):
    """The section `[station.check_standard]`.

    Attributes:
        name: What is written on it; another name begins another chart.
        channel: Relay channel of the fixture that connects it.
        resistance_ohm: Its nominal resistance, Ω; information.
        reference_na: Its current as calibrated, nA.
        expanded_uncertainty_na: U of that value, k = 2, nA.
        certificate: Where both stand; `None`: nowhere, it only shows what changes.
        due: Last day on which the certificate may be relied on; `None`: it does not end.
        limit_na: How far one reading may be from the reference, nA; U and the specification of the
            instrument are inside.
        sd_na: Standard deviation of one reading from check to check, nA.
        every_units: 1: before and after each run of a slot. More: only when that many units were
            measured since the last good reading, or for `every_s`.
        every_s: With more than one unit between readings: when the last good one is so old, s.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    channel: Annotated[int, Field(gt=0, le=9999)]
    resistance_ohm: Annotated[int, Field(gt=0)]
    reference_na: Annotated[float, Field(allow_inf_nan=False)]
    expanded_uncertainty_na: _Positive
    limit_na: _Positive
    sd_na: _Positive
    certificate: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    due: dt.date | None = None
    every_units: Annotated[int, Field(ge=1, le=1_000)] = 1
    every_s: Annotated[float, Field(ge=60, le=604_800, allow_inf_nan=False)] = 28_800.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.expanded_uncertainty_na >= self.limit_na:
            raise ValueError(
                f"limit_na {self.limit_na:g} is not above expanded_uncertainty_na "
                f"{self.expanded_uncertainty_na:g}, which is inside it"
            )
        if self.due is not None and self.certificate is None:
            raise ValueError("due: it is that of a certificate, and none is stated")
        return self

    @property
    def is_read_each_run(self) -> bool:
        """Whether it is read before and after each run of a slot."""
        return self.every_units == 1
