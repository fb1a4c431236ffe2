"""A waveform as a CSV file of `t_us,i_ua` rows.

The current is linear between rows; where a time repeats, it steps. The rows are one full period,
from time 0 to its end, and are taken as written; `quantise` moves them onto ticks when a caller
asks for it, and says by how much. Bounded and strict: UTF-8, two plain decimal numbers to a row,
times that never fall. A first line `t_us,i_ua` is the header; any other text is refused, so that a
file in milliseconds or milliamps is not taken for one in microseconds and microamps. For the same
reason a file with comments must have the header: a comment could say something else of the rows.

Implements docs/spec/waveform-table.md §9.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from math import fsum
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import TickError, WaveformSourceError
from firmware_images.waveform_train import Piece, PulseTrain
from signing.text_lines import TextLinesError, count_lines, iterate_lines
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CSV_BYTES_MAX: Final = 16 * 1024 * 1024
ROW_COUNT_MAX: Final = 100_000
TIME_US_MAX: Final = Decimal(86_400_000_000)
CURRENT_UA_MAX: Final = Decimal(2_000_000)
HEADER: Final = "t_us,i_ua"
COMMENT: Final = "#"

_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,18}\.?[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?"
)
_COLUMNS: Final = ("t_us", "i_ua")
_BLANKS: Final = " \t"
_UNITS_HINT: Final = "times are microseconds, currents microamps: convert others, and say t_us,i_ua"
_SHOWN_CHARACTERS: Final = 40
_SAME_TIME_ROWS_MAX: Final = 2
_NA_PER_UA: Final = 1000


class CsvRow(NamedTuple):
    """One row as written; a tuple, because a file may hold hundreds of thousands.

    Args:
        line: Its line in the file, from 1.
        t_us: Time since the period began, µs.
        i_ua: Current at that time, µA.
    """

    line: int
    t_us: Decimal
    i_ua: Decimal


class Quantisation(NamedTuple):
    """What moving the rows onto ticks did to them.

    Args:
        train: The period as the device would play it.
        moved_rows: How many rows were not on a tick.
        largest_shift_us: The furthest that a row was moved.
    """

    train: PulseTrain
    moved_rows: int
    largest_shift_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvWaveform:
    """The rows of a file, checked as a whole: one period that takes time.

    Args:
        where: The file, for errors.
        rows: Times from 0 and never falling, at most two rows at one time.
    """

    where: str
    rows: tuple[CsvRow, ...]

    def __post_init__(self) -> None:
        if len(self.rows) < len(_COLUMNS):
            raise WaveformSourceError(
                "a waveform needs two rows at least",
                expected="a row at time 0 and one at the end of the period",
                got="1 row" if len(self.rows) == 1 else f"{len(self.rows)} rows",
                where=self.where,
                hint="write one full period, a row t_us,i_ua for each moment",
            )
        if self.rows[0].t_us != 0:
            raise self._refuse(self.rows[0], "the period must begin at time 0", "0")
        earlier_us = None
        for before, row in pairwise(self.rows):
            if row.t_us < before.t_us:
                raise self._refuse(row, "the time falls", f"{before.t_us} or more")
            if row.t_us == before.t_us == earlier_us:
                expected = (
                    f"at most {_SAME_TIME_ROWS_MAX} rows at one time: before and after a step"
                )
                raise self._refuse(row, "a time repeats twice", expected)
            earlier_us = before.t_us
        if self.rows[-1].t_us < 1:
            raise self._refuse(self.rows[-1], "the period takes no time", "1 µs or more")

    @property
    def peak_ua(self) -> Decimal:
        """The largest absolute current of any row."""
        return max(abs(row.i_ua) for row in self.rows)

    def to_train(self) -> PulseTrain:
        """The period as written; all of it counts as the burst."""
        return _build_train((row.t_us, float(row.i_ua * _NA_PER_UA)) for row in self.rows)

    def quantise(self, tick_us: int) -> Quantisation:
        """The period with each row on the nearest tick and each current a whole nanoamp.

        Args:
            tick_us: Microseconds per tick, at least 1.

        Raises:
            TickError: When two rows that are apart would meet on one tick.
        """
        ticks = [int((row.t_us / tick_us).to_integral_value(ROUND_HALF_UP)) for row in self.rows]
        for (before, row), (tick_before, tick) in zip(
            pairwise(self.rows), pairwise(ticks), strict=True
        ):
            if tick == tick_before and row.t_us > before.t_us:
                raise TickError(
                    "TICK: a segment would vanish on this tick",
                    expected=f"rows at least {tick_us} µs apart",
                    got=f"{row.t_us - before.t_us} µs",
                    where=f"{self.where}, line {row.line}, column 1 (t_us)",
                    hint="use a shorter tick, or fewer rows",
                )
        shifts_us = [
            abs(tick * tick_us - row.t_us) for tick, row in zip(ticks, self.rows, strict=True)
        ]
        points = (
            (Decimal(tick * tick_us), float(quantise_na(row.i_ua)))
            for tick, row in zip(ticks, self.rows, strict=True)
        )
        return Quantisation(
            _build_train(points), sum(shift > 0 for shift in shifts_us), float(max(shifts_us))
        )

    def _refuse(self, row: CsvRow, what: str, expected: str) -> WaveformSourceError:
        return WaveformSourceError(
            what,
            expected=expected,
            got=row.t_us,
            where=f"{self.where}, line {row.line}, column 1 (t_us)",
        )


def quantise_na(current_ua: Decimal) -> int:
    """The nearest whole nanoamp; halves away from zero, so that both polarities round alike."""
    return int((current_ua * _NA_PER_UA).to_integral_value(ROUND_HALF_UP))


def load_csv_waveform(path: Path) -> CsvWaveform:
    """Reads a CSV waveform from a file.

    Raises:
        WaveformSourceError: Naming file, line, column, what was expected and what was there.
    """
    return parse_csv_waveform(
        read_bounded(path, CSV_BYTES_MAX, WaveformSourceError), where=str(path)
    )


def parse_csv_waveform(untrusted_bytes: bytes, *, where: str) -> CsvWaveform:
    """As `load_csv_waveform`, from bytes."""
    rows: list[CsvRow] = []
    has_header = False
    comment_line = 0
    for number, line in enumerate(iterate_rows(untrusted_bytes, where=where), start=1):
        if not line.strip(_BLANKS):
            continue
        if line.startswith(COMMENT):
            comment_line = comment_line or number
            has_header |= not rows and _is_header(line.removeprefix(COMMENT))
        elif not rows and _is_header(line):
            has_header = True
        else:
            is_first = not rows and not has_header
            rows.append(_parse_row(line, number, where, is_first=is_first))
    if comment_line and not has_header:
        raise WaveformSourceError(
            "a file with comments must name its columns",
            expected=f"a line {HEADER}, or {COMMENT} {HEADER}, before the first row",
            where=f"{where}, line {comment_line}",
            hint=_UNITS_HINT,
        )
    return CsvWaveform(where=where, rows=tuple(rows))


def iterate_rows(untrusted_bytes: bytes, *, where: str) -> Iterator[str]:
    """The lines of a waveform file, one at a time.

    Raises:
        WaveformSourceError: There are too many of them, or one is not text or too long.
    """
    count = count_lines(untrusted_bytes)
    if count > ROW_COUNT_MAX:
        raise WaveformSourceError(
            "the file has too many rows",
            expected=f"at most {ROW_COUNT_MAX}",
            got=count,
            where=where,
        )
    try:
        yield from iterate_lines(untrusted_bytes)
    except TextLinesError as error:
        raise WaveformSourceError(
            "the file is not UTF-8 text in lines", got=error, where=f"{where}, line {error.line}"
        ) from error


def _is_header(line: str) -> bool:
    """Whether a line names the columns; `i_uA` is how many write it, and `mA` stays another."""
    return tuple(_unquote(field).lower() for field in line.split(",")) == _COLUMNS


def _unquote(field: str) -> str:
    text = field.strip(_BLANKS)
    is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].strip(_BLANKS) if is_quoted else text


def _parse_row(line: str, number: int, where: str, *, is_first: bool) -> CsvRow:
    fields = line.split(",", len(_COLUMNS))
    if len(fields) != len(_COLUMNS):
        raise WaveformSourceError(
            "a row must have two columns",
            expected=HEADER,
            got=repr(line[:_SHOWN_CHARACTERS]),
            where=f"{where}, line {number}",
            hint=_explain_columns(line),
        )
    t_us = _parse_number(fields[0], TIME_US_MAX, 0, number, where, is_first=is_first)
    i_ua = _parse_number(fields[1], CURRENT_UA_MAX, 1, number, where, is_first=is_first)
    return CsvRow(number, t_us, i_ua)


def _explain_columns(line: str) -> str:
    """What the writer of such a line probably meant."""
    if "\r" in line:
        return "end lines with LF or CRLF"
    if "=" in line:
        return "samples with a SampleRate are read by `ampforge waveform import --full-scale-ua`"
    if ";" in line or "\t" in line:
        return "separate the columns with a comma, and write numbers with a decimal point"
    return "write numbers with a decimal point, and nothing after the current"


def _parse_number(
    field: str, magnitude_max: Decimal, column: int, number: int, where: str, *, is_first: bool
) -> Decimal:
    text = field.strip(_BLANKS)
    is_number = _NUMBER.fullmatch(text)
    if is_number is None:
        text = _unquote(text)
        is_number = _NUMBER.fullmatch(text)
    if is_number is None:
        raise WaveformSourceError(
            "neither a number nor the header" if is_first else "not a number",
            expected=f"a decimal number, or {HEADER}" if is_first else "a decimal number",
            got=repr(field[:_SHOWN_CHARACTERS]),
            where=_name_place(column, number, where),
            hint=_UNITS_HINT if is_first else "write a number such as 12.5, -400 or 1e3",
        )
    value = Decimal(text)
    if abs(value) > magnitude_max:
        raise WaveformSourceError(
            "a number is out of range",
            expected=f"at most {magnitude_max} in size",
            got=text,
            where=_name_place(column, number, where),
            hint="times are microseconds, currents microamps",
        )
    return value


def _name_place(column: int, number: int, where: str) -> str:
    return f"{where}, line {number}, column {column + 1} ({_COLUMNS[column]})"


def _build_train(points: Iterable[tuple[Decimal, float]]) -> PulseTrain:
    # Durations are differences of decimals, so that phases written alike are exactly as long and a
    # balanced pulse has a net charge of zero.
    pieces = tuple(
        Piece(float(end_us - start_us), start_na, end_na)
        for (start_us, start_na), (end_us, end_na) in pairwise(points)
        if end_us > start_us
    )
    return PulseTrain(pieces=pieces, on_us=fsum(piece.duration_us for piece in pieces))
