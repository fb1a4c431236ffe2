"""Waveforms as a person writes them: `waveforms.toml`, in milliseconds and microamps.

Implements docs/spec/waveform-table.md §10. A pulse is written as segments relative to the level's
peak, or taken from a CSV file beside the TOML. `compile_table` turns it into a table.
"""

from __future__ import annotations

from dataclasses import field
from decimal import Decimal
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import WaveformSourceError
from firmware_images.toml_document import TOML_BYTES_MAX, parse_toml_document
from firmware_images.waveform import (
    LEVEL_COUNT_MAX,
    MODE_COUNT_MAX,
    Balance,
    Regulation,
)
from firmware_images.waveform_csv import CSV_BYTES_MAX, parse_csv_waveform
from firmware_images.waveform_segments import (
    MS_MAX,
    US_PER_MS,
    SegmentDocument,
    build_shape_segments,
    refuse_number,
)
from firmware_images.waveform_shape import Shape, build_csv_shape, build_shape
from signing.value_class import dataclass
from signing.written_checks import flag, number, only, several, text, whole
from signing.written_table import nested, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.waveform_csv import CsvWaveform


_LEVEL_UA_MAX: Final = Decimal(2_000_000)
_NUMBER: Final = written(number())
_WHOLE: Final = written(whole())
_LEVELS: Final = written(several(number(), least=1, most=LEVEL_COUNT_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mode:
    name: str = field(metadata=written(text()))
    balance: str = field(metadata=written(only("balanced", "galvanic")))
    regulation: str = field(metadata=written(only("current", "voltage")))
    levels_ua: tuple[Decimal, ...] = field(metadata=_LEVELS)
    session_s: Decimal = field(metadata=_NUMBER)
    flip_each_burst: bool | None = field(default=None, metadata=written(flag()))
    flip_every_ms: Decimal | None = field(default=None, metadata=_NUMBER)
    pulses_per_burst: int | None = field(default=None, metadata=_WHOLE)
    burst_on_ms: Decimal | None = field(default=None, metadata=_NUMBER)
    burst_off_ms: Decimal = field(default=Decimal(0), metadata=_NUMBER)
    soft_start_pulses: int | None = field(default=None, metadata=_WHOLE)
    soft_start_ms: Decimal | None = field(default=None, metadata=_NUMBER)
    soft_stop_pulses: int | None = field(default=None, metadata=_WHOLE)
    soft_stop_ms: Decimal | None = field(default=None, metadata=_NUMBER)
    segments: tuple[SegmentDocument, ...] | None = field(
        default=None, metadata=written(several(nested(SegmentDocument)))
    )
    csv: str | None = field(default=None, metadata=written(text()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waveforms:
    format: int = field(metadata=written(only(1)))
    tick_us: int = field(metadata=written(whole(least=1, most=1_000_000)))
    mode: tuple[_Mode, ...] = field(
        metadata=written(several(nested(_Mode), least=1, most=MODE_COUNT_MAX))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RampSource:
    """The length of a soft start or stop: pulses, or their time without rests, or neither.

    Args:
        pulses: How many pulses, or `None`.
        duration_us: How long those pulses take, µs, or `None`.
    """

    pulses: int | None = None
    duration_us: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeSource:
    """One mode as written; of two ways to state a length in pulses one is given.

    Args:
        name: Its name.
        balance: Declared by the author; the policy has the last word.
        regulation: What the output stage holds constant.
        shape: One pulse.
        levels_ua: Peaks, µA.
        pulses_per_burst: Whole pulses, or `None` when `burst_on_us` is given.
        burst_on_us: How long a burst lasts, µs, or `None`; with neither, it is `flip_every_us`.
        burst_off_us: Rest after each burst, µs.
        flips_each_burst: Whether the polarity alternates.
        session_us: When the device stops, µs.
        flip_every_us: The time between reversals where it was given, µs, or `None`.
        soft_start: The rising ramp at the session's beginning.
        soft_stop: The falling one at its end.
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
    flip_every_us: Decimal | None = None
    soft_start: RampSource = RampSource()
    soft_stop: RampSource = RampSource()


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
    return load_waveforms_and_files(path)[0]


def load_waveforms_and_files(path: Path) -> tuple[WaveformSource, bytes, dict[str, bytes]]:
    """As `load_waveforms`, with what was read: the TOML, and each CSV file by its name.

    Raises:
        WaveformSourceError: As for `load_waveforms`.
    """
    content = read_bounded(path, TOML_BYTES_MAX, WaveformSourceError)
    csv_files: dict[str, bytes] = {}

    def load_csv(name: str) -> CsvWaveform:
        csv_path = path.parent / name
        csv_files[name] = read_bounded(csv_path, CSV_BYTES_MAX, WaveformSourceError)
        return parse_csv_waveform(csv_files[name], where=str(csv_path))

    return parse_waveforms(content, where=str(path), load_csv=load_csv), content, csv_files


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
    if (mode.flip_each_burst is None) == (mode.flip_every_ms is None):
        raise WaveformSourceError(
            "whether the polarity flips must be said once",
            expected="flip_each_burst or flip_every_ms",
            got="neither" if mode.flip_every_ms is None else "both",
            where=where,
            hint="by burst: true or false; by time: a number of milliseconds",
        )
    is_given = (mode.pulses_per_burst is not None, mode.burst_on_ms is not None)
    # A train that only reverses has no bursts of its own: the time between reversals is the burst.
    needs_burst = mode.flip_every_ms is None or mode.burst_off_ms != 0
    if all(is_given) or (needs_burst and not any(is_given)):
        raise WaveformSourceError(
            "a burst's length must be given once",
            expected="pulses_per_burst or burst_on_ms",
            got="both" if all(is_given) else "neither",
            where=where,
        )
    for level in mode.levels_ua:
        refuse_number(level, _LEVEL_UA_MAX, "a level", where, least=Decimal("0.001"), decimals=3)
    refuse_number(mode.session_s, MS_MAX / 1000, "session_s", where)
    refuse_number(mode.burst_off_ms, MS_MAX, "burst_off_ms", where)
    for name in ("burst_on_ms", "flip_every_ms", "soft_start_ms", "soft_stop_ms"):
        if (value := getattr(mode, name)) is not None:
            refuse_number(value, MS_MAX, name, where)
    return ModeSource(
        name=mode.name,
        balance=Balance(mode.balance),
        regulation=Regulation(mode.regulation),
        shape=_build_shape(mode, where, load_csv),
        levels_ua=mode.levels_ua,
        pulses_per_burst=mode.pulses_per_burst,
        burst_on_us=_microseconds(mode.burst_on_ms),
        burst_off_us=mode.burst_off_ms * US_PER_MS,
        flips_each_burst=mode.flip_each_burst is not False,
        flip_every_us=_microseconds(mode.flip_every_ms),
        session_us=mode.session_s * 1_000_000,
        soft_start=_build_ramp(mode.soft_start_pulses, mode.soft_start_ms, "soft_start", where),
        soft_stop=_build_ramp(mode.soft_stop_pulses, mode.soft_stop_ms, "soft_stop", where),
    )


def _build_ramp(
    pulses: int | None, duration_ms: Decimal | None, name: str, where: str
) -> RampSource:
    if pulses is not None and duration_ms is not None:
        raise WaveformSourceError(
            "a ramp's length must be given once",
            expected=f"{name}_pulses or {name}_ms",
            got="both",
            where=where,
            hint="keep one of them",
        )
    return RampSource(pulses=pulses, duration_us=_microseconds(duration_ms))


def _microseconds(duration_ms: Decimal | None) -> Decimal | None:
    return None if duration_ms is None else duration_ms * US_PER_MS


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
