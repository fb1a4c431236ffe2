"""The sheet of a guided gauge study: who measures which part next, and what came out so far.

A sheet is the CSV file of a study (`gauge_data`) whose values may still be missing. Its rows stand
in the order of measuring, which is random within each trial: nobody shall know what to expect, and
a drift shall not look like a difference between appraisers. This module measures nothing.
"""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioning.csv_table import parse_csv_table
from provisioning.gauge_data import COLUMNS, GAUGE_FORM, arrange_readings

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """One reading, taken or not.

    Attributes:
        part: Name of the part.
        appraiser: Who measures it.
        trial: Which time.
        value: What came out, as text; empty until then.
    """

    part: str
    appraiser: str
    trial: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeSheet:
    """All readings of a study, in the order of measuring."""

    rows: tuple[SheetRow, ...]

    def open_rows(self) -> tuple[int, ...]:
        """Return the places of the readings that are still to be taken."""
        return tuple(place for place, row in enumerate(self.rows) if not row.value)

    def with_value(self, place: int, value: str) -> GaugeSheet:
        """Return the sheet with one reading entered; one that is there is never replaced."""
        assert not self.rows[place].value, "a reading was about to be replaced"
        rows = list(self.rows)
        rows[place] = replace(rows[place], value=value)
        return GaugeSheet(rows=tuple(rows))


def plan_sheet(
    parts: Sequence[str], appraisers: Sequence[str], *, trial_count: int, seed: int
) -> GaugeSheet:
    """Return an empty sheet: all first trials, then all second ones, each in random order.

    Args:
        parts: Names of the parts; for `gauge measure` their serial numbers.
        appraisers: Names of people, stations or slots.
        trial_count: How often each measures each part.
        seed: What the order is drawn from.

    Raises:
        GaugeDataError: Too few of anything, or a name that cannot be used or is there twice.
    """
    draw = random.Random(seed)
    rows = []
    for trial in range(1, trial_count + 1):
        block = [
            SheetRow(part=part, appraiser=who, trial=str(trial), value="")
            for who in appraisers
            for part in parts
        ]
        draw.shuffle(block)
        rows += block
    sheet = GaugeSheet(rows=tuple(rows))
    return parse_sheet(serialize_sheet(sheet), where="the plan")


def parse_sheet(untrusted_bytes: bytes, *, where: str) -> GaugeSheet:
    """Parse a sheet; what is filled in must be numbers, and the plan must be a whole study.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.

    Raises:
        GaugeDataError: It is not such a sheet.
    """
    table = parse_csv_table(untrusted_bytes, GAUGE_FORM, where=where)
    filled = [value or "0" for value in table.columns["value"]]
    arrange_readings(replace(table, columns={**table.columns, "value": filled}))
    cells = zip(*(table.columns[name] for name in COLUMNS), strict=True)
    return GaugeSheet(
        rows=tuple(
            SheetRow(part=part, appraiser=who, trial=trial, value=value)
            for part, who, trial, value in cells
        )
    )


def serialize_sheet(sheet: GaugeSheet) -> bytes:
    """Return a sheet as CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.part, row.appraiser, row.trial, row.value) for row in sheet.rows)
    return text.getvalue().encode()
