"""The two sides of a comparison, each from TOML, CSV or a compiled table.

A CSV file is one pulse of one level. It says nothing of bursts, polarity and session, so it takes
them from the other side, and only pulses are compared then.
"""

from __future__ import annotations

from dataclasses import field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from firmware_images.errors import TickError, WaveformError
from firmware_images.waveform import Balance, Mode, Regulation
from firmware_images.waveform_compile import compile_modes
from firmware_images.waveform_csv import load_csv_waveform
from firmware_images.waveform_files import read_table
from firmware_images.waveform_shape import build_csv_shape, build_level
from firmware_images.waveform_source import load_waveforms
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from firmware_images.waveform import Level, WaveformTable

CSV_MODE: Final = "CSV"
"""The name of the mode when both sides are CSV files."""

_CSV_TICK_US: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformSide:
    """One side.

    Args:
        tick_us: Microseconds per tick.
        modes: As quantised.
        first_level: The number of each mode's first level.
        statements: What it says beside its modes; only entries that both sides have count.
    """

    tick_us: int
    modes: tuple[Mode, ...]
    first_level: int = 1
    statements: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))


def load_sides(
    before: Path, after: Path, *, mode: str | None = None, level: int | None = None
) -> tuple[WaveformSide, WaveformSide]:
    """Reads two files to be compared.

    Args:
        before: `.toml`, `.csv`, or a compiled table or slot image.
        after: The same.
        mode: Compare this mode only; needed for a CSV file against a side with several modes.
        level: Compare this level only, from 1; for a CSV file the highest unless given.

    Raises:
        WaveformError: When a file is not a waveform, or a mode or level is not there.
    """
    one, other = (None if _is_csv(path) else load_side(path) for path in (before, after))
    if one is None and other is None:
        return _wrap_csv(before), _wrap_csv(after)
    if other is None:
        assert one is not None
        side = choose_level(
            one, before, _name_mode(one, mode, before), level or _highest(one, mode)
        )
        return side, _adopt_csv(after, side)
    if one is None:
        side = choose_level(
            other, after, _name_mode(other, mode, after), level or _highest(other, mode)
        )
        return _adopt_csv(before, side), side
    return choose_level(one, before, mode, level), choose_level(other, after, mode, level)


def find_level(
    path: Path, *, mode: str | None, level: int | None
) -> tuple[WaveformSide, Mode, int]:
    """One level of a file that has modes.

    Args:
        path: `.toml`, or a compiled table or slot image.
        mode: Its name; may be left out when the file has one.
        level: Its number from 1, or `None` for the highest.

    Returns:
        The side, the mode with that level alone, and the level's number.

    Raises:
        WaveformError: When it is a CSV file, or the mode or level is not there.
    """
    if _is_csv(path):
        raise WaveformError(
            "a CSV file has no modes and levels",
            expected="TOML or a compiled table",
            where=path,
            hint="`ampforge waveform import` puts a CSV file onto ticks and nanoamps",
        )
    side = load_side(path)
    name = _name_mode(side, mode, path)
    number = level or _highest(side, name)
    chosen = choose_level(side, path, name, number)
    return chosen, chosen.modes[0], number


def state_table(table: WaveformTable) -> WaveformSide:
    """A compiled table as a side, with what its header states."""
    return WaveformSide(
        tick_us=table.tick_us,
        modes=table.modes,
        statements=MappingProxyType(
            {
                "tick_us": table.tick_us,
                "hardware_class": table.hardware_class,
                "clamp_na": table.clamp_na,
                "hard_stop_us": table.hard_stop_ticks * table.tick_us,
                "contact_area_mm2": table.contact_area_mm2,
                "policy_version": table.policy_version,
                "policy_digest": table.policy_digest.hex(),
            }
        ),
    )


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def load_side(path: Path) -> WaveformSide:
    """Reads a TOML file, a compiled table or a slot image."""
    if path.suffix.lower() != ".toml":
        return state_table(read_table(path)[0])
    source = load_waveforms(path)
    return WaveformSide(
        tick_us=source.tick_us,
        modes=compile_modes(source),
        statements=MappingProxyType({"tick_us": source.tick_us}),
    )


def _name_mode(side: WaveformSide, mode: str | None, path: Path) -> str:
    if mode is not None:
        return mode
    if len(side.modes) == 1:
        return side.modes[0].name
    raise WaveformError(
        "it is not said which mode is meant",
        expected=", ".join(mode.name for mode in side.modes),
        where=path,
        hint="add --mode NAME",
    )


def _highest(side: WaveformSide, name: str | None) -> int:
    counts = [len(mode.levels) for mode in side.modes if name in {None, mode.name}]
    return counts[0] if counts else 1


def choose_level(
    side: WaveformSide, path: Path, mode: str | None, level: int | None
) -> WaveformSide:
    """The side with one mode, one level, or both, as asked for.

    Raises:
        WaveformError: When the mode or the level is not there.
    """
    modes = tuple(m for m in side.modes if mode in {None, m.name})
    if not modes:
        raise WaveformError(
            "there is no such mode",
            expected=", ".join(m.name for m in side.modes),
            got=repr(mode if mode is None else mode[:80]),
            where=path,
            hint="give one of these with --mode, or none for all",
        )
    if level is None:
        return replace(side, modes=modes)
    for m in modes:
        if not 1 <= level <= len(m.levels):
            raise WaveformError(
                "there is no such level",
                expected=f"1 to {len(m.levels)}",
                got=level,
                where=f"{path}, mode {m.name}",
                hint="give one of these with --level",
            )
    chosen = tuple(replace(m, levels=(m.levels[level - 1],)) for m in modes)
    return replace(side, modes=chosen, first_level=level)


def _adopt_csv(path: Path, other: WaveformSide) -> WaveformSide:
    """A CSV file as the one mode and level of the other side."""
    pulse = _load_csv_level(path, other.tick_us)
    (mode,) = other.modes
    return replace(other, modes=(replace(mode, levels=(pulse,)),), statements=MappingProxyType({}))


def _wrap_csv(path: Path) -> WaveformSide:
    pulse = _load_csv_level(path, _CSV_TICK_US)
    mode = Mode(
        name=CSV_MODE,
        balance=Balance.GALVANIC,
        regulation=Regulation.CURRENT,
        levels=(pulse,),
        pulses_per_burst=1,
        burst_off_ticks=0,
        flips_each_burst=False,
        session_ticks=pulse.pulse_ticks,
    )
    return WaveformSide(tick_us=_CSV_TICK_US, modes=(mode,))


def _load_csv_level(path: Path, tick_us: int) -> Level:
    waveform = load_csv_waveform(path)
    try:
        return build_level(
            build_csv_shape(waveform), peak_ua=waveform.peak_ua, tick_us=tick_us, where=str(path)
        )
    except TickError as error:
        raise TickError(
            error.what,
            expected=error.expected,
            got=error.got,
            where=error.where,
            hint=f"move its rows onto ticks first: ampforge waveform import {path} --tick-us T",
        ) from error
