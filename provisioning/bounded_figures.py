"""Numbers as the sections and results of measuring have them, and how large they may be.

What people or machines write is bounded, far beyond what a line that measures microamps has: so
nothing computed from it leaves the floats. What each figure means stands where it is used.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

FIGURE_MAX: Final = 10**12
"""No figure of a line that measures microamps is larger, in any of its units: 1 kA, 1 TΩ."""
Whole = Annotated[int, Field(ge=-FIGURE_MAX, le=FIGURE_MAX)]
Count = Annotated[int, Field(ge=0, le=FIGURE_MAX)]
PositiveInt = Annotated[int, Field(gt=0, le=FIGURE_MAX)]
PositiveFloat = Annotated[float, Field(gt=0, le=FIGURE_MAX, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=FIGURE_MAX, allow_inf_nan=False)]

# What was read or asked for, from which all else is computed: far beyond what a meter shows.
_READING_NA_MAX: Final = 10**18
ReadCurrent = Annotated[float, Field(ge=-_READING_NA_MAX, le=_READING_NA_MAX, allow_inf_nan=False)]
ReadScatter = Annotated[float, Field(ge=0, le=_READING_NA_MAX, allow_inf_nan=False)]
AskedCurrent = Annotated[int, Field(ge=-_READING_NA_MAX, le=_READING_NA_MAX)]

# What was computed from them.
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
