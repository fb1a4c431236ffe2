"""Reads the points of `ampforge calibration fit` from CSV text.

The first row names the columns `x,y[,u_x][,u_y]` in any order; every further row is one point. This
module fits nothing.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.errors import FitDataError
from signing.input_file import read_input

if TYPE_CHECKING:
    from pathlib import Path

FIT_DATA_MAX_BYTES = 16 << 20
COLUMNS = ("x", "y", "u_x", "u_y")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SPACES = " \t"


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
    try:
        content = read_input(path, FIT_DATA_MAX_BYTES)
    except OSError as error:
        raise FitDataError(
            "the data cannot be read", got=error.strerror, where=path, hint="check the path"
        ) from error
    return parse_fit_data(content, where=str(path))


def parse_fit_data(untrusted_bytes: bytes, *, where: str) -> FitData:
    """Parse CSV text with a header row.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.

    Raises:
        FitDataError: Naming line and column of what is wrong.
    """
    if len(untrusted_bytes) > FIT_DATA_MAX_BYTES:
        raise FitDataError(
            "the data file is too large",
            expected=f"at most {FIT_DATA_MAX_BYTES} bytes",
            got="more",
            where=where,
        )
    try:
        reader = csv.reader(io.StringIO(untrusted_bytes.decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FitDataError(
            "the data file is not CSV text in UTF-8",
            got=str(error),
            where=where,
            hint="export the table as comma-separated text",
        ) from error
    rows = [(line, row) for line, row in rows if any(field.strip() for field in row)]
    names = [name.strip() for name in rows[0][1]] if rows else []
    if not {"x", "y"} <= set(names) or len(set(names)) != len(names) or set(names) - set(COLUMNS):
        raise FitDataError(
            "the header row does not name the columns",
            expected="x,y[,u_x][,u_y]",
            got=",".join(names)[:80] or "nothing",
            where=f"{where}, line {rows[0][0] if rows else 1}",
            hint="begin the file with a line that says x,y",
        )
    columns: dict[str, list[float]] = {name: [] for name in names}
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise FitDataError(
                "a row has another number of fields than the header",
                expected=len(names),
                got=len(row),
                where=f"{where}, line {line}",
                hint="write numbers with a decimal point, not a comma",
            )
        for name, text in zip(names, row, strict=True):
            columns[name].append(_parse_number(text, where=f"{where}, line {line}, column {name}"))
    return FitData(
        x=tuple(columns["x"]),
        y=tuple(columns["y"]),
        u_x=tuple(columns["u_x"]) if "u_x" in columns else None,
        u_y=tuple(columns["u_y"]) if "u_y" in columns else None,
    )


def _parse_number(text: str, *, where: str) -> float:
    # Plain decimals only: Python would also take 1_000 and the digits of other scripts.
    digits = text.strip(_SPACES)
    value = float(digits) if _NUMBER.fullmatch(digits) else math.nan
    if not math.isfinite(value):
        raise FitDataError(
            "a field is not a finite number",
            expected="a number such as 478.8055 or 1.2e-3",
            got=repr(text[:40]),
            where=where,
        )
    return value
