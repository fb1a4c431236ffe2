"""Reads the readings of a gauge study: who measured which part how often, and what came out.

The file is CSV with the columns `part,appraiser,trial,value`, one reading a row, in any order. A
study is only taken whole: each appraiser measured each part in the same trials. Values are kept
exactly as they are written. What they say is computed in `gauge_study`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.csv_table import CsvForm, load_csv, parse_csv_table, refuse_overload
from provisioning.errors import GaugeDataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction
    from pathlib import Path

    from provisioning.csv_table import CsvTable

GAUGE_DATA_MAX_BYTES: Final = 4 << 20
READING_COUNT_MAX: Final = 20_000
COLUMNS: Final = ("part", "appraiser", "trial", "value")
GAUGE_FORM: Final = CsvForm(
    required=COLUMNS,
    max_bytes=GAUGE_DATA_MAX_BYTES,
    max_rows=READING_COUNT_MAX + 1,
    error_class=GaugeDataError,
)
LABEL_MAX_CHARACTERS: Final = 40
LEVELS_MIN: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeData:
    """A whole, balanced study.

    Attributes:
        parts: Names of the parts, in the order in which the file first has them.
        appraisers: Names of the appraisers, likewise: people, stations or slots.
        trials: Names of the trials, likewise.
        values: Readings, as `values[part][appraiser][trial]`.
    """

    parts: tuple[str, ...]
    appraisers: tuple[str, ...]
    trials: tuple[str, ...]
    values: tuple[tuple[tuple[Fraction, ...], ...], ...]

    def shape(self) -> str:
        """Return how large the study is, in words."""
        return (
            f"{len(self.parts)} parts by {len(self.appraisers)} appraisers by "
            f"{len(self.trials)} trials"
        )


def load_gauge_data(path: Path) -> GaugeData:
    """Load a study from a CSV file.

    Raises:
        GaugeDataError: The file cannot be read or is not a whole study.
    """
    return parse_gauge_data(load_csv(path, GAUGE_FORM), where=str(path))


def parse_gauge_data(untrusted_bytes: bytes, *, where: str) -> GaugeData:
    """Parse CSV text.

    Args:
        untrusted_bytes: The file's content.
        where: What to call it in an error.

    Raises:
        GaugeDataError: It is not a whole study; line and column, or what is missing, are named.
    """
    return arrange_readings(parse_csv_table(untrusted_bytes, GAUGE_FORM, where=where))


def arrange_readings(table: CsvTable) -> GaugeData:
    """Return the study that a table of readings is.

    Raises:
        GaugeDataError: It is not a whole study.
    """
    readings = _index_readings(table)
    names = [tuple(dict.fromkeys(table.columns[name])) for name in COLUMNS[:3]]
    for name, found in zip(COLUMNS, names, strict=False):
        if len(found) < LEVELS_MIN:
            raise GaugeDataError(
                f"a gauge study needs more than one {name}",
                expected=f"at least {LEVELS_MIN}",
                got=", ".join(found) or "none",
                where=table.where,
                hint=_WHAT_ONE_HIDES[name],
            )
    parts, appraisers, trials = names
    _require_whole(readings, parts, appraisers, trials, where=table.where)
    return GaugeData(
        parts=parts,
        appraisers=appraisers,
        trials=trials,
        values=tuple(
            tuple(tuple(readings[part, who, trial] for trial in trials) for who in appraisers)
            for part in parts
        ),
    )


_WHAT_ONE_HIDES: Final = {
    "part": "one part cannot tell the gauge's variation from that of the parts: take ten",
    "appraiser": "let a second person, station or slot measure the same parts",
    "trial": "let each appraiser measure each part again, without seeing the first result",
}


def _index_readings(table: CsvTable) -> dict[tuple[str, str, str], Fraction]:
    for name in COLUMNS[:3]:
        for row, label in enumerate(table.columns[name]):
            if not label or len(label) > LABEL_MAX_CHARACTERS or not label.isprintable():
                raise GaugeDataError(
                    "a field is not a usable name",
                    expected=f"1 to {LABEL_MAX_CHARACTERS} printable characters",
                    got=repr(label[:LABEL_MAX_CHARACTERS]),
                    where=table.place(row, name),
                )
    values = table.fractions("value")
    refuse_overload(table, "value", values)
    keys = list(zip(*(table.columns[name] for name in COLUMNS[:3]), strict=True))
    first_rows: dict[tuple[str, str, str], int] = {}
    for row, key in enumerate(keys):
        if first_rows.setdefault(key, row) != row:
            raise GaugeDataError(
                "a reading is there twice",
                expected="one row for each part, appraiser and trial",
                got=f"lines {table.lines[first_rows[key]]} and {table.lines[row]}, "
                + _name_cell(*key),
                where=table.where,
                hint="number the trials of a part and appraiser 1, 2, 3",
            )
    return dict(zip(keys, values, strict=True))


def _require_whole(
    readings: dict[tuple[str, str, str], Fraction],
    parts: Sequence[str],
    appraisers: Sequence[str],
    trials: Sequence[str],
    *,
    where: str,
) -> None:
    whole = len(parts) * len(appraisers) * len(trials)
    if len(readings) == whole:
        return
    missing = next(
        (part, who, trial)
        for part in parts
        for who in appraisers
        for trial in trials
        if (part, who, trial) not in readings
    )
    raise GaugeDataError(
        "the gauge study is not complete",
        expected=f"{whole} readings: {len(parts)} parts by {len(appraisers)} appraisers by "
        f"{len(trials)} trials",
        got=f"{len(readings)}, without {_name_cell(*missing)}",
        where=where,
        hint="measure what is missing, and number the trials of each part and appraiser 1, 2, 3; a "
        "name that is spelled in two ways counts as two",
    )


def _name_cell(part: str, appraiser: str, trial: str) -> str:
    return f"part {part}, appraiser {appraiser}, trial {trial}"
