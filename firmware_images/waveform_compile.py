"""From a waveform as written to a table: integer ticks, integer nanoamps, whole pulses.

What it does not do: judge. A table that compiles may still break every limit; `limits_judging`
says so.
"""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

from firmware_images.errors import TickError, WaveformError, WaveformSourceError
from firmware_images.waveform import Mode, WaveformTable
from firmware_images.waveform_curve import CurveSegment, find_largest_deviation_na
from firmware_images.waveform_cut import count_ramp, count_whole_pulses, refuse_flip_inside
from firmware_images.waveform_shape import (
    build_level,
    build_segments,
    count_ticks,
)
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waveform import Level
    from firmware_images.waveform_source import ModeSource, WaveformSource


def compile_table(
    source: WaveformSource, policy: LimitsPolicy, hardware_class: str
) -> WaveformTable:
    """Builds the table that a board of `hardware_class` would generate.

    The clamp, the hard stop, the contact area and the policy's digest come from `policy`.

    Args:
        source: The modes as written.
        policy: The limits that it will be judged by.
        hardware_class: Which boards it is for.

    Raises:
        TickError: When a duration is not a whole number of ticks, a burst cuts a pulse, levels do
            not rise or a pulse does not end at zero. Nothing is rounded.
        WaveformSourceError: When it cannot be a table for another reason.
    """
    hard_stop_us = Decimal(policy.hard_stop_us)
    with _placed_in(source):
        return WaveformTable(
            hardware_class=hardware_class,
            tick_us=source.tick_us,
            clamp_na=policy.clamp_na,
            hard_stop_ticks=count_ticks(hard_stop_us, source.tick_us, where="policy, SESSION"),
            contact_area_mm2=policy.contact_area_mm2,
            policy_digest=policy.digest,
            policy_version=policy.version,
            modes=compile_modes(source),
        )


def compile_modes(source: WaveformSource) -> tuple[Mode, ...]:
    """The modes alone, for looking at a waveform without a policy.

    Raises:
        WaveformError: As `compile_table`.
    """
    with _placed_in(source):
        return tuple(_compile_mode(mode, source) for mode in source.modes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """How far the linear pieces of a curve lie from it, at a mode's highest level.

    Args:
        mode: The mode.
        segment: Which of its segments, as written: `segment 3`.
        pieces: How many linear pieces it became.
        largest_na: The largest distance, nanoamps, rounding included.
    """

    mode: str
    segment: str
    pieces: int
    largest_na: float


def find_deviations(source: WaveformSource) -> tuple[Deviation, ...]:
    """What compiling made of each half sine and sine burst; lower levels deviate by less.

    Raises:
        WaveformError: As `compile_table`.
    """
    deviations = []
    with _placed_in(source):
        for mode in source.modes:
            parts = (part for part in mode.shape.segments if isinstance(part, CurveSegment))
            for part in dict.fromkeys(parts):  # one that is repeated is stated once
                segments = build_segments(
                    part,
                    peak_ua=mode.levels_ua[-1],
                    shape=mode.shape,
                    tick_us=source.tick_us,
                    where=f"{source.where}, mode {mode.name}",
                )
                deviations.append(
                    Deviation(
                        mode=mode.name,
                        segment=part.where,
                        pieces=len(segments),
                        largest_na=find_largest_deviation_na(segments, part.half_waves),
                    )
                )
    return tuple(deviations)


@contextmanager
def _placed_in(source: WaveformSource) -> Iterator[None]:
    """Names the source's file in what the waveform model refuses; keeps the kind of error."""
    try:
        yield
    except WaveformError as error:
        if error.where is not None and error.where.startswith(source.where):
            raise
        kind = TickError if isinstance(error, TickError) else WaveformSourceError
        raise kind(
            error.what,
            expected=error.expected,
            got=error.got,
            where=source.where if error.where is None else f"{source.where}, {error.where}",
            hint=error.hint,
        ) from error


def _compile_mode(mode: ModeSource, source: WaveformSource) -> Mode:
    where = f"{source.where}, mode {mode.name}"
    tick_us = source.tick_us
    levels = tuple(
        build_level(mode.shape, peak_ua=peak_ua, tick_us=tick_us, where=f"{where}, {peak_ua} µA")
        for peak_ua in mode.levels_ua
    )
    highest = levels[-1]
    compiled = Mode(
        name=mode.name,
        balance=mode.balance,
        regulation=mode.regulation,
        levels=levels,
        pulses_per_burst=_count_pulses(mode, highest, tick_us, where),
        burst_off_ticks=count_ticks(
            mode.burst_off_us, tick_us, where=f"{where}, burst_off_ms", least=0
        ),
        flips_each_burst=mode.flips_each_burst,
        session_ticks=count_ticks(mode.session_us, tick_us, where=f"{where}, session_s"),
        soft_start_pulses=count_ramp(mode.soft_start, highest, tick_us, f"{where}, soft_start_ms"),
        soft_stop_pulses=count_ramp(mode.soft_stop, highest, tick_us, f"{where}, soft_stop_ms"),
    )
    if mode.flip_every_us is not None:
        refuse_flip_inside(compiled, mode.flip_every_us, tick_us, where=f"{where}, flip_every_ms")
    return compiled


def _count_pulses(mode: ModeSource, level: Level, tick_us: int, where: str) -> int:
    """Whole pulses in a burst; a burst that cuts one is refused, with what the cut would do."""
    if mode.pulses_per_burst is not None:
        return mode.pulses_per_burst
    if mode.burst_on_us is not None:
        return count_whole_pulses(
            mode.burst_on_us, level, tick_us, what="a burst", where=f"{where}, burst_on_ms"
        )
    assert mode.flip_every_us is not None
    return count_whole_pulses(
        mode.flip_every_us, level, tick_us, what="a reversal", where=f"{where}, flip_every_ms"
    )
