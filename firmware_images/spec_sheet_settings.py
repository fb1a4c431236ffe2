"""Section `[spec_sheet]` of `ampforge.toml`: what no table and no policy says of the hardware."""

from __future__ import annotations

from dataclasses import field

from firmware_images.spec_sheet import NOT_STATED, OUTPUT_IMPEDANCE_OHM_MAX, TEXT_CHARACTERS_MAX
from signing.value_class import dataclass
from signing.written_checks import text, whole
from signing.written_table import written


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecSheetSettings:
    """What the output specification states beside the table.

    Attributes:
        output_impedance_ohm: Parallel to a current source; an ideal one when left out.
        impedance_monitoring: How the device watches its load.
    """

    output_impedance_ohm: int | None = field(
        default=None, metadata=written(whole(least=1, most=OUTPUT_IMPEDANCE_OHM_MAX))
    )
    impedance_monitoring: str = field(
        default=NOT_STATED, metadata=written(text(least=1, most=TEXT_CHARACTERS_MAX))
    )
