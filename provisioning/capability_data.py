"""Reads the values of a process from CSV text: columns `value[,subgroup]`, in the order of making.

What they say is computed in `process_capability` and `control_charts`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
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


def load_process_data(path: Path) -> ProcessData:
    """Load values from a CSV file.

    Raises:
        CapabilityDataError: The file cannot be read or is not such a table.
    """
    return parse_process_data(load_csv(path, _FORM), where=str(path))


def parse_process_data(untrusted_bytes: bytes, *, where: str) -> ProcessData:
    """Parse CSV text.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.

    Raises:
        CapabilityDataError: Naming line and column of what is wrong.
    """
    values = array("d")
    subgroups: list[str] = []
    known: dict[str, str] = {}
    has_subgroups = False
    for block in iterate_blocks(untrusted_bytes, _FORM, where=where):
        numbers = block.numbers(VALUE)
        refuse_overload(block, VALUE, numbers)
        values.extend(numbers)
        has_subgroups = SUBGROUP in block.columns
        # The same name is kept once, however many values it has.
        subgroups += [known.setdefault(name, name) for name in block.columns.get(SUBGROUP, ())]
    return ProcessData(values=values, subgroups=subgroups if has_subgroups else None)
