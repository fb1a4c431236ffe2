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

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import WaveformSourceError
from firmware_images.toml_document import (
    TOML_BYTES_MAX,
    Number,
    StrictDocument,
    parse_toml_document,
)
from firmware_images.waveform import (
    LEVEL_COUNT_MAX,
    MODE_COUNT_MAX,
    Balance,
    Regulation,
)
from firmware_images.waveform_csv import load_csv_waveform
from firmware_images.waveform_segments import (
    MS_MAX,
    US_PER_MS,
    SegmentDocument,
    build_shape_segments,
    refuse_number,
)
from firmware_images.waveform_shape import Shape, build_csv_shape, build_shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.waveform_csv import CsvWaveform


_LEVEL_UA_MAX: Final = Decimal(2_000_000)


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
    segments: list[SegmentDocument] | None = None
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
        refuse_number(level, _LEVEL_UA_MAX, "a level", where, least=Decimal("0.001"), decimals=3)
    refuse_number(mode.session_s, MS_MAX / 1000, "session_s", where)
    refuse_number(mode.burst_off_ms, MS_MAX, "burst_off_ms", where)
    if mode.burst_on_ms is not None:
        refuse_number(mode.burst_on_ms, MS_MAX, "burst_on_ms", where)
    return ModeSource(
        name=mode.name,
        balance=Balance(mode.balance),
        regulation=Regulation(mode.regulation),
        shape=_build_shape(mode, where, load_csv),
        levels_ua=tuple(mode.levels_ua),
        pulses_per_burst=mode.pulses_per_burst,
        burst_on_us=None if mode.burst_on_ms is None else mode.burst_on_ms * US_PER_MS,
        burst_off_us=mode.burst_off_ms * US_PER_MS,
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
    segments = build_shape_segments(mode.segments or (), where)
    shape = build_shape(segments, where=where)
    if shape.peak != 1:
        raise WaveformSourceError(
            "a pulse must reach its level",
            expected="a segment at 1 or -1, the level's peak",
            got=f"at most {shape.peak}",
            where=where,
        )
    return shape
