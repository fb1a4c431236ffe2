"""Waveforms in and out as `t_us,i_ua`: whole ticks and whole nanoamps, and what that changed.

What is exported and imported again is the same, tick for tick and nanoamp for nanoamp. What
quantisation moves is stated; without a tick nothing is moved, and what would have to be is refused.

Implements docs/spec/waveform-table.md §9.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import TickError, WaveformSourceError
from firmware_images.waveform import Segment
from firmware_images.waveform_csv import (
    CSV_BYTES_MAX,
    HEADER,
    ROW_COUNT_MAX,
    TIME_US_MAX,
    parse_csv_waveform,
    quantise_na,
)
from firmware_images.waveform_instrument import (
    FULL_SCALE_UA_MAX,
    is_instrument_form,
    parse_instrument_csv,
)
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from firmware_images.waveform_instrument import InstrumentWaveform

_EXACT_TICK_US: Final = 1
_NA_PER_UA: Final = 1000
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedWaveform:
    """One period on ticks, and what was done to put it there.

    Args:
        segments: In order of time.
        tick_us: Microseconds per tick.
        row_count: Rows or samples of the file.
        moved_rows: How many of their moments were not on a tick.
        largest_shift_us: The furthest that one was moved.
        largest_rounding_na: The most that a current was rounded by.
    """

    segments: tuple[Segment, ...]
    tick_us: int
    row_count: int
    moved_rows: int
    largest_shift_us: float
    largest_rounding_na: float

    @property
    def period_us(self) -> int:
        """The length of the period."""
        return sum(segment.duration_ticks for segment in self.segments) * self.tick_us

    @property
    def peak_na(self) -> int:
        """The largest absolute current."""
        return max(max(abs(s.start_na), abs(s.end_na)) for s in self.segments)


def import_waveform(
    path: Path, *, tick_us: int | None = None, full_scale_ua: Decimal | None = None
) -> ImportedWaveform:
    """Reads `t_us,i_ua` rows or the instrument form; which of them, the first line says.

    Args:
        path: The file.
        tick_us: Move every moment to the nearest tick of this length; `None` moves nothing.
        full_scale_ua: What a sample of 1 means; for the instrument form, and needed there.

    Raises:
        WaveformSourceError: When the file is neither, or the full scale does not fit the form.
        TickError: When a moment is not on a tick and none was given, or two would meet on one.
    """
    content = read_bounded(path, CSV_BYTES_MAX, WaveformSourceError)
    if is_instrument_form(content):
        if full_scale_ua is None or not 0 < full_scale_ua <= FULL_SCALE_UA_MAX:
            raise WaveformSourceError(
                "normalised samples need a full scale",
                expected=f"more than 0, at most {FULL_SCALE_UA_MAX} µA",
                got="none" if full_scale_ua is None else full_scale_ua,
                where=path,
                hint="add --full-scale-ua with what a sample of 1 means",
            )
        return _hold_samples(parse_instrument_csv(content, where=str(path)), full_scale_ua, tick_us)
    if full_scale_ua is not None:
        raise WaveformSourceError(
            "rows in microamps have no full scale",
            expected="a file that begins with SampleRate=",
            got=f"{full_scale_ua} µA",
            where=path,
            hint="leave out --full-scale-ua, or check that this is the instrument's file",
        )
    return _quantise_rows(content, str(path), tick_us)


def serialize_csv(segments: Iterable[Segment], tick_us: int, *, where: object) -> bytes:
    """Segments as `t_us,i_ua` rows, a step as two rows at one time.

    Raises:
        WaveformSourceError: When they are more rows, or last longer, than a reader takes.
    """
    rows = list(_list_rows(segments, tick_us))
    for what, got, largest in (
        ("rows", len(rows) + 1, ROW_COUNT_MAX),
        ("microseconds", rows[-1][0], int(TIME_US_MAX)),
    ):
        if got > largest:
            raise WaveformSourceError(
                f"the waveform has too many {what} for a CSV file",
                expected=f"at most {largest}",
                got=got,
                where=where,
            )
    lines = [HEADER, *(f"{t_us},{_format_ua(i_na)}" for t_us, i_na in rows)]
    return ("\n".join(lines) + "\n").encode("ascii")


def _list_rows(segments: Iterable[Segment], tick_us: int) -> Iterator[tuple[int, int]]:
    time_us, last_na = 0, None
    for segment in segments:
        if segment.start_na != last_na:
            yield time_us, segment.start_na
        time_us += segment.duration_ticks * tick_us
        last_na = segment.end_na
        yield time_us, last_na


def _format_ua(current_na: int) -> str:
    return format((Decimal(current_na) / _NA_PER_UA).normalize(), "f")


def _quantise_rows(content: bytes, where: str, tick_us: int | None) -> ImportedWaveform:
    waveform = parse_csv_waveform(content, where=where)
    if tick_us is None:
        for row in waveform.rows:
            if row.t_us != int(row.t_us):
                raise _refuse_moment(row.t_us, f"{where}, line {row.line}, column 1 (t_us)")
    tick_us = tick_us or _EXACT_TICK_US
    quantised = waveform.quantise(tick_us)
    return ImportedWaveform(
        segments=tuple(
            Segment(
                duration_ticks=round(piece.duration_us) // tick_us,
                start_na=int(piece.start_na),
                end_na=int(piece.end_na),
            )
            for piece in quantised.train.pieces
        ),
        tick_us=tick_us,
        row_count=len(waveform.rows),
        moved_rows=quantised.moved_rows,
        largest_shift_us=quantised.largest_shift_us,
        largest_rounding_na=float(
            max(abs(row.i_ua * _NA_PER_UA - quantise_na(row.i_ua)) for row in waveform.rows)
        ),
    )


def _hold_samples(
    waveform: InstrumentWaveform, full_scale_ua: Decimal, tick_us: int | None
) -> ImportedWaveform:
    """Each sample held until the next; equal ones in a row become one segment."""
    step = Fraction(_US_PER_S) / Fraction(waveform.sample_rate_hz)
    place = f"{waveform.where}, {waveform.sample_rate_hz} samples a second"
    if tick_us is None and step.denominator != 1:
        raise _refuse_moment(f"{float(step):g}", place)
    tick_us = tick_us or _EXACT_TICK_US
    # Whole numbers from here on: moments in µs times the step's denominator.
    tick = tick_us * step.denominator
    moments = [index * step.numerator for index in range(len(waveform.samples) + 1)]
    ticks = [(2 * moment + tick) // (2 * tick) for moment in moments]
    if any(later == earlier for earlier, later in pairwise(ticks)):
        raise TickError(
            "TICK: a sample would vanish on this tick",
            expected=f"samples at least {tick_us} µs apart",
            got=f"{float(step):g} µs",
            where=place,
            hint="use a shorter tick, or save fewer samples",
        )
    shifts = [abs(count * tick - at) for count, at in zip(ticks, moments, strict=True)]
    exact_ua = [sample.value * full_scale_ua for sample in waveform.samples]
    currents_na = [quantise_na(current_ua) for current_ua in exact_ua]
    segments = []
    for current_na, group in groupby(range(len(currents_na)), key=currents_na.__getitem__):
        indices = list(group)
        duration_ticks = ticks[indices[-1] + 1] - ticks[indices[0]]
        segments.append(
            Segment(duration_ticks=duration_ticks, start_na=current_na, end_na=current_na)
        )
    return ImportedWaveform(
        segments=tuple(segments),
        tick_us=tick_us,
        row_count=len(waveform.samples),
        moved_rows=sum(shift > 0 for shift in shifts),
        largest_shift_us=max(shifts) / step.denominator,
        largest_rounding_na=float(
            max(abs(u * _NA_PER_UA - n) for u, n in zip(exact_ua, currents_na, strict=True))
        ),
    )


def _refuse_moment(moment_us: object, where: str) -> TickError:
    return TickError(
        "TICK: a moment is not a whole number of microseconds",
        expected="whole microseconds, or a tick to move it to",
        got=f"{moment_us} µs",
        where=where,
        hint="add --tick-us T; the result says how many moments moved, and how far",
    )
