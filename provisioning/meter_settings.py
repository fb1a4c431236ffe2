"""Section `[station.meter]`: which kind of instrument there is, and what it must show before a job.

These figures stop a station, never a unit: what decides about units is in `measurement_settings`.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_DESCRIPTION: Final = "scpi-switching-meter"
"""Name of the description that is meant when none is named."""
_Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MeterSettings(BaseModel):
    """The section `[station.meter]`.

    Attributes:
        description: Name of a description that comes with Ampforge, or a file.
        timeout_s: How long it may take to connect, and to answer on top of its integration, s.
        settling_limit_na: How far the first sample of a block may be from the mean of the others,
            nA; for one mains period or longer, shorter ones are noisier by one over the root.
        settling_attempts: How often a block is taken until it has settled.
        zero_limit_na: Largest reading with the output off, nA; `None` is twice what budgets grant
            to the zero: range part of the smallest range's specification, and leakage.
        open_lead_limit_na: With less than this at ±100 µA the leads are taken to be open, nA.
        due_warning_days: How long before its due date an instrument is pointed out, days.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    description: Annotated[str, Field(min_length=1, max_length=1000)] = DEFAULT_DESCRIPTION
    timeout_s: Annotated[float, Field(ge=0.1, le=60, allow_inf_nan=False)] = 5.0
    settling_limit_na: _Limit = 1_000.0
    settling_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    zero_limit_na: _Limit | None = None
    open_lead_limit_na: _Limit = 1_000.0
    due_warning_days: Annotated[int, Field(ge=0, le=365)] = 30
