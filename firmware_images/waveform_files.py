"""A waveform file of any kind as what the verbs need: a table to judge, or periods to analyse.

The kind is decided by the name's ending: `.toml` and `.csv` are sources, anything else is a
compiled table or a waveform slot image and is told apart by its magic.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from firmware_images.bounded_file import read_bounded
from firmware_images.errors import WaveformSourceError, WaveformTableError
from firmware_images.waveform import TICKS_MAX
from firmware_images.waveform_compile import (
    Deviation,
    compile_modes,
    compile_table,
    find_deviations,
)
from firmware_images.waveform_csv import load_csv_waveform
from firmware_images.waveform_ramp import SessionFigures, measure_session
from firmware_images.waveform_session import Session, double_charge
from firmware_images.waveform_shape import build_csv_shape
from firmware_images.waveform_slot import MAGIC as SLOT_MAGIC
from firmware_images.waveform_slot import SLOT_BYTES, parse_waveform_slot
from firmware_images.waveform_source import ModeSource, WaveformSource, load_waveforms
from firmware_images.waveform_table import parse_waveform_table, serialize_waveform_table
from firmware_images.waveform_train import build_repeat_period
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waveform import Mode, WaveformTable
    from firmware_images.waveform_train import PulseTrain

_US_PER_S: Final = 1_000_000
_SESSION_S_MAX: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTrain:
    """One waveform of a file.

    Args:
        name: The mode and level, or the CSV file's name without its ending.
        train: One full repeat period.
        mode: The mode, or `None` for a CSV file.
        level_ua: The level's peak, µA, or `None` for a CSV file.
        pulse_net_charge_uc: Signed charge of one pulse, µC, or `None` for a CSV file.
        session: What a whole session comes to, or `None` for a CSV file.
    """

    name: str
    train: PulseTrain
    mode: str | None = None
    level_ua: float | None = None
    pulse_net_charge_uc: float | None = None
    session: SessionFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformFile:
    """What is analysed.

    Args:
        trains: At least one.
        tick_us: Microseconds per tick, or `None` for a CSV file taken as written.
        moved_rows: Rows that quantisation moved onto a tick.
        largest_shift_us: How far at most, µs.
        deviations: How far curves of a TOML file lie from their linear pieces.
    """

    trains: tuple[NamedTrain, ...]
    tick_us: int | None
    moved_rows: int = 0
    largest_shift_us: float = 0.0
    deviations: tuple[Deviation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvMode:
    """What a CSV file does not say of itself, for judging it as a mode.

    Args:
        name: The mode's name in the policy.
        tick_us: Microseconds per tick; every row must lie on one.
        session_s: How long it plays, or `None` for the longest that the policy allows.
    """

    name: str
    tick_us: int
    session_s: Decimal | None = None


def read_waveform_file(path: Path, *, tick_us: int | None = None) -> WaveformFile:
    """Reads a file to be analysed.

    Args:
        path: `.csv`, `.toml`, or a compiled table or slot image.
        tick_us: For a CSV file: move its rows onto ticks of this length. For a TOML file: use
            this tick instead of its own. A compiled table has its tick.

    Raises:
        WaveformError: When the file is not a waveform.
    """
    if path.suffix.lower() == ".csv":
        waveform = load_csv_waveform(path)
        if tick_us is None:
            train = waveform.to_train()
            return WaveformFile(trains=(NamedTrain(name=path.stem, train=train),), tick_us=None)
        quantised = waveform.quantise(tick_us)
        return WaveformFile(
            trains=(NamedTrain(name=path.stem, train=quantised.train),),
            tick_us=tick_us,
            moved_rows=quantised.moved_rows,
            largest_shift_us=quantised.largest_shift_us,
        )
    if path.suffix.lower() == ".toml":
        source = load_waveforms(path)
        if tick_us is not None:
            source = replace(source, tick_us=tick_us)
        return WaveformFile(
            trains=_name_trains(compile_modes(source), source.tick_us),
            tick_us=source.tick_us,
            deviations=find_deviations(source),
        )
    table = read_table(path)[0]
    if tick_us not in {None, table.tick_us}:
        raise WaveformTableError(
            "a compiled table has its tick", expected=table.tick_us, got=tick_us, where=path
        )
    trains = _name_trains(table.modes, table.tick_us, hard_stop_ticks=table.hard_stop_ticks)
    return WaveformFile(trains=trains, tick_us=table.tick_us)


def read_deviations(path: Path) -> tuple[Deviation, ...]:
    """How far the curves of a TOML file lie from their linear pieces; none in any other file."""
    return find_deviations(load_waveforms(path)) if path.suffix.lower() == ".toml" else ()


def read_table(path: Path) -> tuple[WaveformTable, bytes, bytes | None]:
    """Reads a compiled table, or the one in a waveform slot image.

    Returns:
        The table, its bytes, and the approval beside it if the file is a slot image.

    Raises:
        WaveformTableError: When the file is neither.
    """
    content = read_bounded(path, SLOT_BYTES, WaveformTableError)
    approval_bytes = None
    if content.startswith(SLOT_MAGIC):
        content, approval_bytes = parse_waveform_slot(content, where=str(path))
    return parse_waveform_table(content, where=str(path)), content, approval_bytes


def build_table(
    path: Path, policy: LimitsPolicy, hardware_class: str, *, csv_mode: CsvMode | None = None
) -> WaveformTable:
    """The table to be judged: compiled from a source, or read as it is.

    Args:
        path: As for `read_waveform_file`.
        policy: The limits that it will be judged by.
        hardware_class: Which boards it is for; a compiled table states its own.
        csv_mode: What a CSV file does not say; needed for one, and for nothing else.

    Raises:
        WaveformError: When the file is not a waveform, or not one that a device may hold.
    """
    if path.suffix.lower() == ".csv":
        if csv_mode is None:
            raise WaveformSourceError(
                "a CSV file does not say which mode it is",
                expected="the mode's name and the tick",
                where=path,
                hint="add --mode NAME --tick-us T",
            )
        return compile_table(_build_csv_source(path, policy, csv_mode), policy, hardware_class)
    if path.suffix.lower() == ".toml":
        return compile_table(load_waveforms(path), policy, hardware_class)
    return read_table(path)[0]


def read_or_compile(
    path: Path, policy: LimitsPolicy, hardware_class: Callable[[], str]
) -> tuple[WaveformTable, bytes]:
    """A table and its bytes: the file's own if it is a compiled one, else compiled from it.

    Args:
        path: As for `read_waveform_file`; a CSV file is refused.
        policy: The limits that it will be judged by.
        hardware_class: Asked for when the file has to be compiled.
    """
    if path.suffix.lower() not in {".toml", ".csv"}:
        table, table_bytes, _ = read_table(path)
        return table, table_bytes
    table = build_table(path, policy, hardware_class())
    return table, serialize_waveform_table(table)


def _build_csv_source(path: Path, policy: LimitsPolicy, csv_mode: CsvMode) -> WaveformSource:
    """One mode with one level: the rows as they are, repeated without bursts."""
    limits = policy.modes.get(csv_mode.name)
    if limits is None:
        raise WaveformSourceError(
            "the policy names no such mode",
            expected=", ".join(policy.modes),
            got=repr(csv_mode.name),
            where=path,
        )
    waveform = load_csv_waveform(path)
    if csv_mode.session_s is not None and not 0 < csv_mode.session_s <= _SESSION_S_MAX:
        raise WaveformSourceError(
            "the session is out of range",
            expected=f"more than 0 s, at most {_SESSION_S_MAX} s",
            got=f"{csv_mode.session_s} s",
            where=path,
            hint="give the time after which the device stops, in seconds",
        )
    session_us = (
        policy.hard_stop_us if csv_mode.session_s is None else csv_mode.session_s * _US_PER_S
    )
    mode = ModeSource(
        name=csv_mode.name,
        balance=limits.balance,
        regulation=limits.regulation,
        shape=build_csv_shape(waveform),
        levels_ua=(waveform.peak_ua,),
        pulses_per_burst=1,
        burst_on_us=None,
        burst_off_us=Decimal(0),
        flips_each_burst=False,
        session_us=Decimal(session_us),
    )
    return WaveformSource(where=str(path), tick_us=csv_mode.tick_us, modes=(mode,))


def _name_trains(
    modes: tuple[Mode, ...], tick_us: int, *, hard_stop_ticks: int = TICKS_MAX
) -> tuple[NamedTrain, ...]:
    return tuple(
        NamedTrain(
            name=f"{mode.name} {level.peak_na / 1000:g} µA",
            train=build_repeat_period(mode, level, tick_us),
            mode=mode.name,
            level_ua=level.peak_na / 1000,
            pulse_net_charge_uc=double_charge(level.segments) * tick_us / 2 / 1e9,
            session=measure_session(
                Session(mode=mode, level=level, end_ticks=min(mode.session_ticks, hard_stop_ticks)),
                tick_us,
            ),
        )
        for mode in modes
        for level in mode.levels
    )
