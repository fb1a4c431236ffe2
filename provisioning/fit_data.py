"""Reads the points of `ampforge calibration fit` from CSV text.

The first row names the columns `x,y[,u_x][,u_y]` in any order; every further row is one point. This
module fits nothing.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.errors import FitDataError
from signing.input_file import read_input
from signing.text_lines import TextLinesError, count_lines, iterate_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIT_DATA_MAX_BYTES = 16 << 20
ROW_COUNT_MAX = 100_000
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
    if count_lines(untrusted_bytes) > ROW_COUNT_MAX:
        raise FitDataError(
            "the data file has too many rows",
            expected=f"at most {ROW_COUNT_MAX}",
            got=count_lines(untrusted_bytes),
            where=where,
        )
    rows = _iterate_rows(untrusted_bytes, where)
    header_line, header = next(rows, (1, []))
    names = [name.strip() for name in header]
    if not {"x", "y"} <= set(names) or len(set(names)) != len(names) or set(names) - set(COLUMNS):
        raise FitDataError(
            "the header row does not name the columns",
            expected="x,y[,u_x][,u_y]",
            got=",".join(names)[:80] or "nothing",
            where=f"{where}, line {header_line}",
            hint="begin the file with a line that says x,y",
        )
    columns: dict[str, list[float]] = {name: [] for name in names}
    for line, row in rows:
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


def _iterate_rows(untrusted_bytes: bytes, where: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, one at a time, each with the line that it ends in."""
    reader = csv.reader(f"{line}\n" for line in iterate_lines(untrusted_bytes))
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield reader.line_num, row
    except (TextLinesError, csv.Error) as error:
        raise FitDataError(
            "the data file is not CSV text in UTF-8",
            got=str(error),
            where=f"{where}, line {reader.line_num + 1}",
            hint="export the table as comma-separated text",
        ) from error


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
