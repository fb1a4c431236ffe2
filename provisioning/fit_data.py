"""Reads the points of `ampforge calibration fit` from CSV text.

The first row names the columns `x,y[,u_x][,u_y]` in any order; every further row is one point. This
module fits nothing.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.csv_table import CsvForm, iterate_blocks, load_csv, refuse_overload
from provisioning.errors import FitDataError

if TYPE_CHECKING:
    from pathlib import Path

FIT_DATA_MAX_BYTES: Final = 16 << 20
ROW_COUNT_MAX: Final = 100_000
_FORM: Final = CsvForm(
    required=("x", "y"),
    optional=("u_x", "u_y"),
    max_bytes=FIT_DATA_MAX_BYTES,
    max_rows=ROW_COUNT_MAX,
    error_class=FitDataError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitData:
    """Measured points.

    Attributes:
        x: Settings.
        y: Readings, as many as `x`.
        u_x: Standard uncertainty of each x, or `None` when the file has no such column.
        u_y: Standard uncertainty of each y, or `None`.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    u_x: tuple[float, ...] | None
    u_y: tuple[float, ...] | None


def load_fit_data(path: Path) -> FitData:
    """Load points from a CSV file.

    Raises:
        FitDataError: The file cannot be read or is not such a table.
    """
    return parse_fit_data(load_csv(path, _FORM), where=str(path))


def parse_fit_data(untrusted_bytes: bytes, *, where: str) -> FitData:
    """Parse CSV text with a header row.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.

    Raises:
        FitDataError: Naming line and column of what is wrong.
    """
    columns: dict[str, array[float]] = {}
    for block in iterate_blocks(untrusted_bytes, _FORM, where=where):
        for name in block.columns:
            numbers = block.numbers(name)
            refuse_overload(block, name, numbers)
            columns.setdefault(name, array("d")).extend(numbers)
    found = {name: tuple(column) for name, column in columns.items()}
    return FitData(x=found["x"], y=found["y"], u_x=found.get("u_x"), u_y=found.get("u_y"))
