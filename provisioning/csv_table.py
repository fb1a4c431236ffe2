"""Reads tables that people export from a spreadsheet: CSV text with a header row, strictly.

Numbers are plain decimals with a point, never guessed at, and every refusal names line and column.
A column of numbers comes as floats, or exactly, as fractions. This module knows no meaning of a
column.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from provisioning.instruments import OVERLOAD_AMPERE
from signing.input_file import read_input

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from provisioning.errors import ProvisioningError

TABLE_MAX_BYTES: Final = 64 << 20
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]+))?")
_NUMBER_CHARACTERS: Final = frozenset("0123456789+-.eE")
_SPACES: Final = " \t"
_EXACT_MAX_CHARACTERS: Final = 60
_EXACT_MAX_EXPONENT: Final = 400
"""An exact fraction costs memory with its exponent; no float has a larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTable:
    """A table as it was read.

    Attributes:
        where: What to call the file in an error.
        header_line: Line of the header, from 1.
        lines: Line of each row.
        columns: Fields of each column by its name, without blanks around them.
        error_class: What is raised.
    """

    where: str
    header_line: int
    lines: Sequence[int]
    columns: Mapping[str, Sequence[str]]
    error_class: type[ProvisioningError]

    def place(self, row: int, name: str) -> str:
        """Return where a field stands, for an error."""
        return f"{self.where}, line {self.lines[row]}, column {name}"

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a column of finite decimal numbers.

        Raises:
            ProvisioningError: As `error_class`: a field is not one.
        """
        fields = self.columns[name]
        # Of these characters `float` makes exactly the decimals of our grammar, at C speed; it
        # would also take 1_000, nan and the digits of other scripts.
        if _NUMBER_CHARACTERS.issuperset("".join(fields)):
            try:
                values = tuple(map(float, fields))
            except ValueError:
                values = (math.nan,)
            if all(map(math.isfinite, values)):
                return values
        for row, field in enumerate(fields):
            if not _is_number(field):
                raise self._not_a_number(row, name)
        raise AssertionError("a field is wrong and none was found")  # pragma: no cover

    def fractions(self, name: str) -> tuple[Fraction, ...]:
        """Return a column of decimal numbers exactly as they are written.

        Raises:
            ProvisioningError: As `error_class`: a field is not one, or has absurdly many digits.
        """
        values = []
        for row, field in enumerate(self.columns[name]):
            if not _is_number(field) or not _is_short(field):
                raise self._not_a_number(row, name)
            values.append(Fraction(field))
        return tuple(values)

    def _not_a_number(self, row: int, name: str) -> ProvisioningError:
        return self.error_class(
            "a field is not a finite number",
            expected="a number such as 478.8055 or 1.2e-3",
            got=repr(self.columns[name][row][:40]),
            where=self.place(row, name),
        )


def load_csv_table(
    path: Path,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    max_bytes: int = TABLE_MAX_BYTES,
    error_class: type[ProvisioningError],
) -> CsvTable:
    """Load a table from a file; arguments and errors as of `parse_csv_table`.

    Raises:
        ProvisioningError: As `error_class`: also when the file cannot be read.
    """
    try:
        content = read_input(path, max_bytes)
    except OSError as error:
        raise error_class(
            "the data cannot be read", got=error.strerror, where=path, hint="check the path"
        ) from error
    return parse_csv_table(
        content,
        required=required,
        optional=optional,
        max_bytes=max_bytes,
        error_class=error_class,
        where=str(path),
    )


def parse_csv_table(
    untrusted_bytes: bytes,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    max_bytes: int = TABLE_MAX_BYTES,
    error_class: type[ProvisioningError],
    where: str,
) -> CsvTable:
    """Parse CSV text in UTF-8 whose first row names the columns, in any order.

    Args:
        untrusted_bytes: The file's content.
        required: Columns that must be there.
        optional: Columns that may be there; no others may.
        max_bytes: The longest content.
        error_class: What is raised.
        where: What to call the file in an error.

    Raises:
        ProvisioningError: As `error_class`: it is not such a table.
    """
    if len(untrusted_bytes) > max_bytes:
        raise error_class(
            "the data file is too large",
            expected=f"at most {max_bytes} bytes",
            got="more",
            where=where,
        )
    names: list[str] = []
    header_line = 1
    lines: list[int] = []
    fields: list[str] = []
    try:
        reader = csv.reader(io.StringIO(untrusted_bytes.decode("utf-8-sig"), newline=""))
        for row in reader:
            if not row or not (row[0].strip() or "".join(row).strip()):
                continue
            if not names:
                names, header_line = [name.strip() for name in row], reader.line_num
                continue
            if len(row) != len(names):
                break
            # One flat list: a million rows kept as lists would cost seconds of garbage collection.
            fields += row
            lines.append(reader.line_num)
        else:
            row = names
    except (UnicodeDecodeError, csv.Error) as error:
        raise error_class(
            "the data file is not CSV text in UTF-8",
            got=str(error),
            where=where,
            hint="export the table as comma-separated text",
        ) from error
    known = {*required, *optional}
    if not set(required) <= set(names) or len(set(names)) != len(names) or set(names) - known:
        raise error_class(
            "the header row does not name the columns",
            expected=",".join(required) + "".join(f"[,{name}]" for name in optional),
            got=",".join(names)[:80] or "nothing",
            where=f"{where}, line {header_line}",
            hint=f"begin the file with a line that says {','.join(required)}",
        )
    if len(row) != len(names):
        raise error_class(
            "a row has another number of fields than the header",
            expected=len(names),
            got=len(row),
            where=f"{where}, line {reader.line_num}",
            hint="write numbers with a decimal point, not a comma",
        )
    return CsvTable(
        where=where,
        header_line=header_line,
        lines=lines,
        columns={
            name: [field.strip(_SPACES) for field in fields[index :: len(names)]]
            for index, name in enumerate(names)
        },
        error_class=error_class,
    )


def refuse_overload(table: CsvTable, name: str, values: Sequence[float | Fraction]) -> None:
    """Refuse a column of readings that has SCPI's infinity in it.

    Raises:
        ProvisioningError: As the table's `error_class`.
    """
    if not values or -OVERLOAD_AMPERE < min(values) <= max(values) < OVERLOAD_AMPERE:
        return
    for row, value in enumerate(values):
        if not -OVERLOAD_AMPERE < value < OVERLOAD_AMPERE:
            raise table.error_class(
                "a reading is an overload, not a value",
                expected=f"less than {OVERLOAD_AMPERE:g}",
                got=table.columns[name][row][:40],
                where=table.place(row, name),
                hint="measure it again on a larger range",
            )


def _is_number(field: str) -> bool:
    return _NUMBER.fullmatch(field) is not None and math.isfinite(float(field))


def _is_short(field: str) -> bool:
    match = _NUMBER.fullmatch(field)
    assert match is not None
    exponent = match["exponent"] or "0"
    return len(field) <= _EXACT_MAX_CHARACTERS and abs(int(exponent)) <= _EXACT_MAX_EXPONENT
