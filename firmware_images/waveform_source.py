"""Waveforms as a person writes them: `waveforms.toml`, in milliseconds and microamps.

Implements docs/spec/waveform-table.md §10. A pulse is written as segments relative to the level's
peak, or taken from a CSV file beside the TOML. `compile_table` turns it into a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from firmware_images.errors import WaveformSourceError
from firmware_images.toml_document import (
    TOML_BYTES_MAX,
    Number,
    StrictDocument,
    parse_toml_document,
    read_bounded,
)
from firmware_images.waveform import (
    LEVEL_COUNT_MAX,
    MODE_COUNT_MAX,
    SEGMENT_COUNT_MAX,
    Balance,
    Regulation,
)
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_csv import load_csv_waveform
from firmware_images.waveform_curve import (
    HALF_WAVES_MAX,
    PIECES_DEFAULT,
    PIECES_MAX,
    CurveSegment,
)
from firmware_images.waveform_shape import Shape, ShapeSegment, build_csv_shape, build_shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.waveform_csv import CsvWaveform

__all__ = ["ModeSource", "WaveformSource", "compile_table", "load_waveforms", "parse_waveforms"]

_US_PER_MS: Final = 1000
_MS_MAX: Final = Decimal(86_400_000)
_RELATIVE_MAX: Final = Decimal(1)
_LEVEL_UA_MAX: Final = Decimal(2_000_000)
_DECIMALS_MAX: Final = 9


class _Segment(StrictDocument):
    ms: Number
    at: Number | None = None
    from_: Number | None = Field(default=None, alias="from")
    to: Number | None = None
    half_sine: Number | None = None
    sine: Number | None = None
    cycles: int | None = Field(default=None, ge=1, le=HALF_WAVES_MAX // 2)
    pieces: int | None = Field(default=None, ge=2, le=PIECES_MAX, multiple_of=2)


class _Mode(StrictDocument):
    name: str
    balance: Literal["balanced", "galvanic"]
    regulation: Literal["current", "voltage"]
    levels_ua: list[Number] = Field(min_length=1, max_length=LEVEL_COUNT_MAX)
    session_s: Number
    flip_each_burst: bool
    pulses_per_burst: int | None = None
    burst_on_ms: Number | None = None
    burst_off_ms: Number = Decimal(0)
    segments: list[_Segment] | None = None
    csv: str | None = None


class _Waveforms(StrictDocument):
    format: Literal[1]
    tick_us: int = Field(ge=1, le=1_000_000)
    mode: list[_Mode] = Field(min_length=1, max_length=MODE_COUNT_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeSource:
    """One mode as written; exactly one of the two ways to state a burst's length is given.

    Args:
        name: Its name.
        balance: Declared by the author; the policy has the last word.
        regulation: What the output stage holds constant.
        shape: One pulse.
        levels_ua: Peaks, µA.
        pulses_per_burst: Whole pulses, or `None` when `burst_on_us` is given.
        burst_on_us: How long a burst lasts, µs, or `None`.
        burst_off_us: Rest after each burst, µs.
        flips_each_burst: Whether the polarity alternates.
        session_us: When the device stops, µs.
    """

    name: str
    balance: Balance
    regulation: Regulation
    shape: Shape
    levels_ua: tuple[Decimal, ...]
    pulses_per_burst: int | None
    burst_on_us: Decimal | None
    burst_off_us: Decimal
    flips_each_burst: bool
    session_us: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformSource:
    """A whole file.

    Args:
        where: The file, for errors.
        tick_us: Microseconds per tick.
        modes: In the order of the file.
    """

    where: str
    tick_us: int
    modes: tuple[ModeSource, ...]


def load_waveforms(path: Path) -> WaveformSource:
    """Reads a TOML file, and the CSV files beside it that it names.

    Raises:
        WaveformSourceError: Naming file, mode and segment, when it is not as §10 describes.
    """
    content = read_bounded(path, TOML_BYTES_MAX, WaveformSourceError)
    return parse_waveforms(
        content, where=str(path), load_csv=lambda name: load_csv_waveform(path.parent / name)
    )


def parse_waveforms(
    untrusted_bytes: bytes, *, where: str, load_csv: Callable[[str], CsvWaveform]
) -> WaveformSource:
    """As `load_waveforms`, from bytes.

    Args:
        untrusted_bytes: The TOML.
        where: The file, for errors.
        load_csv: Reads a CSV file by the name that a mode gives.
    """
    document = parse_toml_document(
        untrusted_bytes, _Waveforms, where=where, error=WaveformSourceError
    )
    return WaveformSource(
        where=where,
        tick_us=document.tick_us,
        modes=tuple(_build_mode(mode, where, load_csv) for mode in document.mode),
    )


def _build_mode(mode: _Mode, file: str, load_csv: Callable[[str], CsvWaveform]) -> ModeSource:
    where = f"{file}, mode {mode.name[:20]}"
    if (mode.segments is None) == (mode.csv is None):
        raise WaveformSourceError(
            "a pulse must be given once",
            expected="segments or csv",
            got="neither" if mode.csv is None else "both",
            where=where,
        )
    if (mode.pulses_per_burst is None) == (mode.burst_on_ms is None):
        raise WaveformSourceError(
            "a burst's length must be given once",
            expected="pulses_per_burst or burst_on_ms",
            got="neither" if mode.burst_on_ms is None else "both",
            where=where,
        )
    for level in mode.levels_ua:
        _refuse_number(level, _LEVEL_UA_MAX, "a level", where, least=Decimal("0.001"), decimals=3)
    _refuse_number(mode.session_s, _MS_MAX / 1000, "session_s", where)
    _refuse_number(mode.burst_off_ms, _MS_MAX, "burst_off_ms", where)
    if mode.burst_on_ms is not None:
        _refuse_number(mode.burst_on_ms, _MS_MAX, "burst_on_ms", where)
    return ModeSource(
        name=mode.name,
        balance=Balance(mode.balance),
        regulation=Regulation(mode.regulation),
        shape=_build_shape(mode, where, load_csv),
        levels_ua=tuple(mode.levels_ua),
        pulses_per_burst=mode.pulses_per_burst,
        burst_on_us=None if mode.burst_on_ms is None else mode.burst_on_ms * _US_PER_MS,
        burst_off_us=mode.burst_off_ms * _US_PER_MS,
        flips_each_burst=mode.flip_each_burst,
        session_us=mode.session_s * 1_000_000,
    )


def _build_shape(mode: _Mode, where: str, load_csv: Callable[[str], CsvWaveform]) -> Shape:
    if mode.csv is not None:
        if PurePosixPath(mode.csv).name != mode.csv or mode.csv in {"", ".", ".."}:
            raise WaveformSourceError(
                "a csv must lie beside the TOML file",
                expected="a file name without folders",
                got=repr(mode.csv[:60]),
                where=where,
            )
        return build_csv_shape(load_csv(mode.csv))
    segments = tuple(
        _build_segment(segment, f"segment {number}", where)
        for number, segment in enumerate(mode.segments or (), start=1)
    )
    shape = build_shape(segments, where=where)
    if shape.peak != 1:
        raise WaveformSourceError(
            "a pulse must reach its level",
            expected="a segment at 1 or -1, the level's peak",
            got=f"at most {shape.peak}",
            where=where,
        )
    return shape


def _build_segment(segment: _Segment, name: str, mode_where: str) -> ShapeSegment | CurveSegment:
    where = f"{mode_where}, {name}"
    _refuse_number(segment.ms, _MS_MAX, "ms", where)
    match segment.model_dump(by_alias=True, exclude_none=True, exclude={"ms"}):
        case {"at": Decimal() as at, **rest} if not rest:
            start = end = at
        case {"from": Decimal() as start, "to": Decimal() as end, **rest} if not rest:
            pass
        case {"half_sine": Decimal() as crest, **rest} if rest.keys() <= {"pieces"}:
            return _build_curve(segment, crest, 1, name, where)
        case {"sine": Decimal() as crest, "cycles": int() as cycles, **rest} if rest.keys() <= {
            "pieces"
        }:
            return _build_curve(segment, crest, 2 * cycles, name, where)
        case _:
            raise WaveformSourceError(
                "a segment must say what it is, once",
                expected="at, or from and to, or half_sine, or sine and cycles",
                got=", ".join(sorted(segment.model_dump(by_alias=True, exclude_unset=True))),
                where=where,
            )
    for value in (start, end):
        _refuse_number(value, _RELATIVE_MAX, "a current", where, least=-_RELATIVE_MAX)
    return ShapeSegment(duration_us=segment.ms * _US_PER_MS, start=start, end=end, where=name)


def _build_curve(
    segment: _Segment, crest: Decimal, half_waves: int, name: str, where: str
) -> CurveSegment:
    _refuse_number(crest, _RELATIVE_MAX, "a crest", where, least=-_RELATIVE_MAX)
    pieces = segment.pieces or PIECES_DEFAULT
    if crest == 0 or half_waves * pieces > SEGMENT_COUNT_MAX:
        raise WaveformSourceError(
            "a sine has no crest, or too many pieces",
            expected=f"a crest other than 0, at most {SEGMENT_COUNT_MAX} pieces in a pulse",
            got=f"a crest of {crest}, {half_waves * pieces} pieces",
            where=where,
            hint="fewer cycles, or fewer pieces for each half wave",
        )
    return CurveSegment(
        duration_us=segment.ms * _US_PER_MS,
        amplitude=crest,
        half_waves=half_waves,
        pieces=pieces,
        where=name,
    )


def _refuse_number(
    value: Decimal,
    largest: Decimal,
    what: str,
    where: str,
    *,
    least: Decimal = Decimal(0),
    decimals: int = _DECIMALS_MAX,
) -> None:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -decimals or not least <= value <= largest:
        raise WaveformSourceError(
            f"{what} is out of range",
            expected=f"{least} to {largest}, at most {decimals} decimals",
            got=value,
            where=where,
        )
