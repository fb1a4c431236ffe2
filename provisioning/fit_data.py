"""Reads the points of `ampforge calibration fit` from CSV text.

The first row names the columns `x,y[,u_x][,u_y]` in any order; every further row is one point. This
module fits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.csv_table import load_csv_table, parse_csv_table
from provisioning.errors import FitDataError

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.csv_table import CsvTable

FIT_DATA_MAX_BYTES: Final = 16 << 20
REQUIRED: Final = ("x", "y")
OPTIONAL: Final = ("u_x", "u_y")


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
    return _take_points(
        load_csv_table(
            path,
            required=REQUIRED,
            optional=OPTIONAL,
            max_bytes=FIT_DATA_MAX_BYTES,
            error_class=FitDataError,
        )
    )


def parse_fit_data(untrusted_bytes: bytes, *, where: str) -> FitData:
    """Parse CSV text with a header row.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.

    Raises:
        FitDataError: Naming line and column of what is wrong.
    """
    return _take_points(
        parse_csv_table(
            untrusted_bytes,
            required=REQUIRED,
            optional=OPTIONAL,
            max_bytes=FIT_DATA_MAX_BYTES,
            error_class=FitDataError,
            where=where,
        )
    )


def _take_points(table: CsvTable) -> FitData:
    columns = {name: table.numbers(name) for name in table.columns}
    return FitData(x=columns["x"], y=columns["y"], u_x=columns.get("u_x"), u_y=columns.get("u_y"))
