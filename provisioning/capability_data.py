"""Reads the values of a process from CSV text: columns `value[,subgroup]`, in the order of making.

What they say is computed in `process_capability` and `control_charts`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioning.csv_table import CsvForm, iterate_blocks, load_csv, refuse_overload
from provisioning.errors import CapabilityDataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROCESS_DATA_MAX_BYTES: Final = 32 << 20
VALUE_COUNT_MAX: Final = 1_000_000
VALUE: Final = "value"
SUBGROUP: Final = "subgroup"
_FORM: Final = CsvForm(
    required=(VALUE,),
    optional=(SUBGROUP,),
    max_bytes=PROCESS_DATA_MAX_BYTES,
    max_rows=VALUE_COUNT_MAX + 1,
    error_class=CapabilityDataError,
    column_hint="begin the file with a line that says value, or name the column that holds the "
    "values with --column",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessData:
    """Values of a process.

    Attributes:
        values: In the order of making.
        subgroups: What each was made together with, or `None` when the file does not say.
    """

    values: Sequence[float]
    subgroups: Sequence[str] | None


def load_process_data(
    path: Path, *, value_column: str | None = None, subgroup_column: str | None = None
) -> ProcessData:
    """Load values from a CSV file.

    Args:
        path: The file.
        value_column: The column of the values in a table with any others; `None` for a table of
            `value[,subgroup]` alone.
        subgroup_column: The column of the subgroups; with it, there may be any others, too.

    Raises:
        CapabilityDataError: The file cannot be read or is not such a table.
    """
    return parse_process_data(
        load_csv(path, _FORM),
        where=str(path),
        value_column=value_column,
        subgroup_column=subgroup_column,
    )


def parse_process_data(
    untrusted_bytes: bytes,
    *,
    where: str,
    value_column: str | None = None,
    subgroup_column: str | None = None,
) -> ProcessData:
    """Parse CSV text.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.
        value_column: As for `load_process_data`.
        subgroup_column: As for `load_process_data`.

    Raises:
        CapabilityDataError: Naming line and column of what is wrong.
    """
    form, value, subgroup = _FORM, VALUE, SUBGROUP
    if value_column is not None or subgroup_column is not None:
        value = _column(value_column, VALUE)
        subgroup = _column(subgroup_column, "")
        form = replace(
            _FORM,
            required=(value, subgroup) if subgroup else (value,),
            optional=(),
            ignores_others=True,
            column_hint="give the name as it stands in the first row, in quotes if it has blanks",
        )
    values = array("d")
    subgroups: list[str] = []
    known: dict[str, str] = {}
    has_subgroups = False
    for block in iterate_blocks(untrusted_bytes, form, where=where):
        numbers = block.numbers(value)
        refuse_overload(block, value, numbers)
        values.extend(numbers)
        has_subgroups = subgroup in block.columns
        # The same name is kept once, however many values it has.
        subgroups += [known.setdefault(name, name) for name in block.columns.get(subgroup, ())]
    return ProcessData(values=values, subgroups=subgroups if has_subgroups else None)


def _column(given: str | None, default: str) -> str:
    return default if given is None else given.strip().lower()
