"""Reads tables that people export from a spreadsheet: CSV text with a header row, strictly.

Numbers are plain decimals with a point, never guessed at, and every refusal names line and column.
A column of numbers comes as floats, or exactly, as fractions. This module knows no meaning of a
column.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from provisioning.instruments import OVERLOAD_AMPERE
from signing.input_file import read_input
from signing.text_lines import TextLinesError, count_lines, iterate_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from provisioning.errors import ProvisioningError

BLOCK_ROWS: Final = 4096
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]+))?")
_NUMBER_CHARACTERS: Final = frozenset("0123456789+-.eE")
_SPACES: Final = " \t"
_EXACT_MAX_CHARACTERS: Final = 60
_EXACT_MAX_EXPONENT: Final = 400
"""An exact fraction costs memory with its exponent; no float has a larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTable:
    """A table, or some rows of it, as it was read.

    Attributes:
        where: What to call the file in an error.
        lines: Line of each row.
        columns: Fields of each column by its name, without blanks around them.
        error_class: What is raised.
    """

    where: str
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
        field = self.columns[name][row]
        hint = "correct the field; numbers have a decimal point, and no unit"
        if not field:
            hint = "if nothing was measured, take the whole row out; a gap is never filled"
        elif "," in field:
            hint = "write numbers with a decimal point, not a comma"
        return self.error_class(
            "a field is not a finite number",
            expected="a number such as 478.8055 or 1.2e-3",
            got=repr(field[:40]),
            where=self.place(row, name),
            hint=hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvForm:
    """What a table must look like.

    Attributes:
        required: Columns that must be there.
        optional: Columns that may be there.
        ignores_others: Whether others may be there, too; they are not read.
        max_bytes: The longest file.
        max_rows: The most lines, the header among them.
        error_class: What is raised.
        column_hint: What to do about a header that names other columns.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    ignores_others: bool = False
    max_bytes: int
    max_rows: int
    error_class: type[ProvisioningError]
    column_hint: str | None = None


def load_csv(path: Path, form: CsvForm) -> bytes:
    """Return the content of a file, up to one byte more than the form allows.

    Raises:
        ProvisioningError: As the form's `error_class`: the file cannot be read.
    """
    try:
        return read_input(path, form.max_bytes)
    except OSError as error:
        raise form.error_class(
            "the data cannot be read", got=error.strerror, where=path, hint="check the path"
        ) from error


def iterate_blocks(untrusted_bytes: bytes, form: CsvForm, *, where: str) -> Iterator[CsvTable]:
    """Yield CSV text in UTF-8 whose first row names the columns, some rows at a time.

    A million rows are never in memory as text. There is at least one block; without rows it is
    empty. Blank rows are skipped, and lines before the header that begin with `#`: after it, a `#`
    may begin a name. In a table of one column a blank row between two others is a value that is
    missing, and refused. Names of columns are taken in capitals, too.

    Args:
        untrusted_bytes: The file's content.
        form: What it must look like.
        where: What to call the file in an error.

    Raises:
        ProvisioningError: As the form's `error_class`: it is not such a table.
    """
    if len(untrusted_bytes) > form.max_bytes:
        raise form.error_class(
            "the data file is too large",
            expected=f"at most {form.max_bytes} bytes",
            got="more",
            where=where,
            hint="check that this is the file that was meant",
        )
    if count_lines(untrusted_bytes) > form.max_rows:
        raise form.error_class(
            "the data file has too many rows",
            expected=f"at most {form.max_rows}",
            got=count_lines(untrusted_bytes),
            where=where,
            hint="check that this is the file that was meant",
        )
    rows = _iterate_rows(untrusted_bytes, form, where)
    is_data = (row for row in rows if not row[1][0].lstrip(_SPACES).startswith("#"))
    header_line, header = next(is_data, (1, []))
    names = _take_names(header, form, where=f"{where}, line {header_line}")
    has_gaps = len(names) > 1
    line_before = 0
    lines: list[int] = []
    fields: list[str] = []
    for line, row in rows:
        if not has_gaps and line_before and line != line_before + 1:
            raise form.error_class(
                "a value is missing",
                expected="one in each row",
                got="a blank row",
                where=f"{where}, line {line_before + 1}",
                hint="if nothing was measured, take the whole row out; a gap is never filled",
            )
        line_before = line
        if len(row) != len(names):
            raise form.error_class(
                "a row has another number of fields than the header",
                expected=len(names),
                got=len(row),
                where=f"{where}, line {line}",
                hint="write numbers with a decimal point, not a comma",
            )
        fields += row
        lines.append(line)
        if len(lines) == BLOCK_ROWS:
            yield _make_block(names, lines, fields, form, where)
            lines, fields = [], []
    yield _make_block(names, lines, fields, form, where)


def parse_csv_table(untrusted_bytes: bytes, form: CsvForm, *, where: str) -> CsvTable:
    """Parse CSV text as `iterate_blocks`, and return all of it at once."""
    blocks = list(iterate_blocks(untrusted_bytes, form, where=where))
    names = blocks[0].columns
    return CsvTable(
        where=where,
        lines=[line for block in blocks for line in block.lines],
        columns={name: [text for each in blocks for text in each.columns[name]] for name in names},
        error_class=form.error_class,
    )


def _iterate_rows(
    untrusted_bytes: bytes, form: CsvForm, where: str
) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_require_whole_rows(iterate_lines(untrusted_bytes)))
    try:
        for row in reader:
            if row and (row[0].strip() or "".join(row).strip()):
                yield reader.line_num, row
    except (TextLinesError, csv.Error) as error:
        raise form.error_class(
            "the data file is not CSV text in UTF-8",
            got=str(error),
            where=f"{where}, line {reader.line_num + 1}",
            hint="export the table as comma-separated text in UTF-8",
        ) from error


def _require_whole_rows(lines: Iterator[str]) -> Iterator[str]:
    # A quoted field may go over lines, and a row of millions of them costs any memory.
    for line in lines:
        if '"' in line and line.count('"') % 2:
            raise csv.Error("a quotation mark is not closed in its line")
        yield line


def _take_names(header: Sequence[str], form: CsvForm, *, where: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in header)
    known = {*form.required, *form.optional}
    read = [name for name in names if name in known or not form.ignores_others]
    is_known = set(form.required) <= set(read) <= known
    if not is_known or len(set(read)) != len(read):
        hint = form.column_hint or f"begin the file with a line that says {','.join(form.required)}"
        if len(header) == 1 and {*";\t"} & {*header[0]}:
            hint = "separate the columns with commas, and write numbers with a decimal point"
        raise form.error_class(
            "the header row does not name the columns",
            expected=",".join(form.required) + "".join(f"[,{name}]" for name in form.optional),
            got=",".join(name.strip() for name in header)[:80] or "nothing",
            where=where,
            hint=hint,
        )
    return names


def _make_block(
    names: Sequence[str], lines: list[int], fields: list[str], form: CsvForm, where: str
) -> CsvTable:
    return CsvTable(
        where=where,
        lines=lines,
        columns={
            name: [field.strip(_SPACES) for field in fields[index :: len(names)]]
            for index, name in enumerate(names)
            if name in form.required or name in form.optional
        },
        error_class=form.error_class,
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
