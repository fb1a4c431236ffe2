"""Reads the values of a process from CSV text: columns `value[,subgroup]`, in the order of making.

What they say is computed in `process_capability` and `control_charts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.csv_table import load_csv_table, parse_csv_table, refuse_overload
from provisioning.errors import CapabilityDataError

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.csv_table import CsvTable

VALUE: Final = "value"
SUBGROUP: Final = "subgroup"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessData:
    """Values of a process.

    Attributes:
        values: In the order of making.
        subgroups: What each was made together with, or `None` when the file does not say.
    """

    values: tuple[float, ...]
    subgroups: tuple[str, ...] | None


def load_process_data(path: Path) -> ProcessData:
    """Load values from a CSV file.

    Raises:
        CapabilityDataError: The file cannot be read or is not such a table.
    """
    return _take(
        load_csv_table(
            path, required=(VALUE,), optional=(SUBGROUP,), error_class=CapabilityDataError
        )
    )


def parse_process_data(untrusted_bytes: bytes, *, where: str) -> ProcessData:
    """Parse CSV text.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.

    Raises:
        CapabilityDataError: Naming line and column of what is wrong.
    """
    return _take(
        parse_csv_table(
            untrusted_bytes,
            required=(VALUE,),
            optional=(SUBGROUP,),
            error_class=CapabilityDataError,
            where=where,
        )
    )


def _take(table: CsvTable) -> ProcessData:
    values = table.numbers(VALUE)
    refuse_overload(table, VALUE, values)
    subgroups = table.columns.get(SUBGROUP)
    return ProcessData(values=values, subgroups=None if subgroups is None else tuple(subgroups))
