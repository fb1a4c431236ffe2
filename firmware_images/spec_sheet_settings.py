"""Section `[spec_sheet]` of `ampforge.toml`: what no table and no policy says of the hardware."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from firmware_images.spec_sheet import NOT_STATED, OUTPUT_IMPEDANCE_OHM_MAX, TEXT_CHARACTERS_MAX


class SpecSheetSettings(BaseModel):
    """What the output specification states beside the table.

    Attributes:
        output_impedance_ohm: Parallel to a current source; an ideal one when left out.
        impedance_monitoring: How the device watches its load.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    output_impedance_ohm: Annotated[int, Field(ge=1, le=OUTPUT_IMPEDANCE_OHM_MAX)] | None = None
    impedance_monitoring: Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)] = (
        NOT_STATED
    )
