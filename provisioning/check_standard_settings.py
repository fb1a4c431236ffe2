"""Section `[station.check_standard]`: a known current on the fixture, and how it may vary."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CheckStandardSettings(BaseModel):
    """The section `[station.check_standard]`.

    Attributes:
        name: What is written on it; another name begins another chart.
        channel: Relay channel of the fixture that connects it.
        resistance_ohm: Its nominal resistance, Ω; information.
        reference_na: Its current as calibrated, nA.
        expanded_uncertainty_na: U of that value, k = 2, nA.
        limit_na: How far one reading may be from the reference, nA; U and the specification of the
            instrument are inside.
        sd_na: Standard deviation of one reading from check to check, nA.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    channel: Annotated[int, Field(gt=0, le=9999)]
    resistance_ohm: Annotated[int, Field(gt=0)]
    reference_na: Annotated[float, Field(allow_inf_nan=False)]
    expanded_uncertainty_na: _Positive
    limit_na: _Positive
    sd_na: _Positive
