"""Times that must hold whole pulses: bursts, reversals, ramps; and what cutting one would do.

A burst that ends inside a pulse leaves a phase without its partner; a polarity that reverses inside
a hold makes the output step. Both are refused where they are written, with mode, segment and time.
Implements rule TICK, docs/spec/waveform-table.md §10.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from firmware_images.errors import TickError
from firmware_images.waveform_phases import find_phases
from firmware_images.waveform_shape import count_ticks, format_decimal
from firmware_images.waveform_train import Piece, PulseTrain, build_pulse

if TYPE_CHECKING:
    from firmware_images.waveform import Level, Mode
    from firmware_images.waveform_source import RampSource


class _Cut(NamedTuple):
    """What the first part of a pulse leaves behind: in words, and in which segment it ends."""

    effect: str
    segment: int


def count_whole_pulses(
    duration_us: Decimal, level: Level, tick_us: int, *, what: str, where: str
) -> int:
    """How many pulses a time holds, which must be a whole number.

    Args:
        duration_us: As written, µs.
        level: The highest one; a cut is described at it.
        tick_us: Microseconds per tick.
        what: What would cut a pulse: `a burst`, `a reversal`.
        where: File, mode and key, for errors.

    Raises:
        TickError: Naming the pulse, its segment and the time, with what the cut would do.
    """
    ticks = count_ticks(duration_us, tick_us, where=where)
    whole, rest_ticks = divmod(ticks, level.pulse_ticks)
    if rest_ticks == 0:
        return whole
    pulse_ms = Decimal(level.pulse_ticks * tick_us) / 1000
    cut = _describe_cut(level, rest_ticks, tick_us)
    raise TickError(
        f"TICK: {what} cuts pulse {whole + 1} short: {cut.effect}",
        expected=(
            f"a multiple of {format_decimal(pulse_ms)} ms, "
            f"such as {format_decimal(max(whole, 1) * pulse_ms)} ms"
        ),
        got=f"{format_decimal(duration_us / 1000)} ms",
        where=f"{where}, segment {cut.segment}, at {format_decimal(duration_us / 1000)} ms",
        hint="end bursts, and reverse the polarity, only between whole pulses",
    )


def count_ramp(ramp: RampSource, level: Level, tick_us: int, where: str) -> int:
    """How many pulses a soft start or stop has; 0 where none is written.

    Raises:
        TickError: When it is given as a time that is not a whole number of pulses.
    """
    if ramp.pulses is not None or ramp.duration_us is None:
        return ramp.pulses or 0
    ticks = count_ticks(ramp.duration_us, tick_us, where=where, least=0)
    whole, rest_ticks = divmod(ticks, level.pulse_ticks)
    if rest_ticks:
        pulse_ms = Decimal(level.pulse_ticks * tick_us) / 1000
        raise TickError(
            "TICK: a ramp is not a whole number of pulses",
            expected=f"a multiple of {format_decimal(pulse_ms)} ms, "
            f"such as {format_decimal(max(whole, 2) * pulse_ms)} ms",
            got=f"{format_decimal(ramp.duration_us / 1000)} ms",
            where=where,
            hint="pulses are scaled as a whole; rests between bursts do not count",
        )
    return whole


def refuse_flip_inside(mode: Mode, flip_every_us: Decimal, tick_us: int, *, where: str) -> None:
    """Refuses a time between reversals that is not that of a burst with its rest.

    Raises:
        TickError: Naming where in the burst the polarity would reverse.
    """
    level = mode.levels[-1]
    flip_ticks = count_ticks(flip_every_us, tick_us, where=where)
    burst_ticks = mode.burst_ticks(level)
    if flip_ticks == burst_ticks:
        return
    inside_ticks = flip_ticks % burst_ticks
    pulse, rest_ticks = divmod(inside_ticks, level.pulse_ticks)
    place, effect = where, "the polarity would reverse after several bursts"
    if 0 < inside_ticks < level.pulse_ticks * mode.pulses_per_burst:
        effect = f"the polarity would reverse after pulse {pulse} of the burst"
        if rest_ticks:
            cut = _describe_cut(level, rest_ticks, tick_us)
            effect = f"the polarity would reverse inside pulse {pulse + 1}: {cut.effect}"
            place = f"{where}, segment {cut.segment}"
    elif inside_ticks:
        effect = "the polarity would reverse in the rest after the burst"
    burst_ms = format_decimal(Decimal(burst_ticks * tick_us) / 1000)
    flip_ms = format_decimal(flip_every_us / 1000)
    raise TickError(
        f"TICK: {effect}",
        expected=f"{burst_ms} ms, one burst with its rest",
        got=f"{flip_ms} ms",
        where=f"{place}, at {flip_ms} ms",
        hint="reverse the polarity only between bursts; several bursts of one polarity are one "
        "burst whose segments hold their rests",
    )


def _describe_cut(level: Level, rest_ticks: int, tick_us: int) -> _Cut:
    """What the first `rest_ticks` of a pulse leave behind at the highest level."""
    pieces: list[Piece] = []
    left_us = float(rest_ticks * tick_us)
    for piece in build_pulse(level, tick_us).pieces:
        if left_us <= 0:
            break
        pieces.append(piece if left_us >= piece.duration_us else piece.cut(0.0, left_us))
        left_us -= piece.duration_us
    train = PulseTrain(pieces=tuple(pieces), on_us=sum(p.duration_us for p in pieces))
    net_uc = sum(piece.charge_na_us for piece in pieces) / 1e9
    count = len(find_phases(train))
    parts = [f"{count} phase{'' if count == 1 else 's'} played"]
    if net_uc:
        parts.append(f"{abs(net_uc):.4g} µC left unpaired")
    if pieces[-1].end_na:
        parts.append(f"the output stepping by {abs(pieces[-1].end_na) / 1000:.4g} µA")
    return _Cut(", ".join(parts), len(pieces))
