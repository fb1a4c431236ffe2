"""A mode in words: the shape of its pulse, and how pulses follow each other.

The words are found from the quantised segments alone, so they are true of what a device plays,
however the waveform was written down. Implements docs/spec/spec-sheet.md §3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from firmware_images.waveform import Regulation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.waveform import Level, Mode, Segment

_US_PER_S: Final = 1_000_000
_US_PER_MS: Final = 1000


def describe_shape(level: Level) -> str:
    """The shape of one pulse, such as `biphasic symmetric trapezoid`."""
    phases = _split_phases(level.segments)
    shapes = {_name_phase(phase) for phase in phases}
    shape = shapes.pop() if len(shapes) == 1 else "piecewise linear"
    if shape == "piecewise linear":
        shape = f"piecewise linear in {sum(map(len, phases))} pieces"
    signs = [_sign(phase) for phase in phases]
    if 0 in signs:
        return f"biphasic {shape}"
    if len(set(signs)) == 1:
        count = "" if len(phases) == 1 else f", {len(phases)} phases a pulse"
        return f"monophasic {shape}{count}"
    mirrored = len(phases) % 2 == 0 and all(
        _magnitudes(first) == _magnitudes(second) and _sign(first) != _sign(second)
        for first, second in zip(phases[::2], phases[1::2], strict=True)
    )
    count = "" if len(phases) == len(set(signs)) else f", {len(phases)} phases a pulse"
    return f"biphasic {'symmetric' if mirrored else 'asymmetric'} {shape}{count}"


def describe_output(mode: Mode, level: Level, tick_us: int) -> str:
    """How pulses follow each other, such as `bursts of 60 pulses, 1.998 s on, 0.999 s off`."""
    on_s = level.pulse_ticks * mode.pulses_per_burst * tick_us / _US_PER_S
    if mode.burst_off_ticks:
        off_s = mode.burst_off_ticks * tick_us / _US_PER_S
        text = f"bursts of {_count_pulses(mode)}, {on_s:g} s on, {off_s:g} s off"
    else:
        text = "continuous"
    if mode.flips_each_burst:
        text += f", polarity reverses every {mode.burst_ticks(level) * tick_us / _US_PER_S:g} s"
        text += f" ({_count_pulses(mode)})"
    for name, pulses in (("start", mode.soft_start_pulses), ("stop", mode.soft_stop_pulses)):
        if pulses:
            ramp_s = pulses * level.pulse_ticks * tick_us / _US_PER_S
            text += f", soft {name} over {pulses} pulses ({ramp_s:g} s)"
    return f"{text}, {_name_regulation(mode)}"


def measure_pulse_us(level: Level, tick_us: int) -> int:
    """From the first current of a pulse to its last, gaps between phases included, µs."""
    is_on = [segment.start_na != 0 or segment.end_na != 0 for segment in level.segments]
    first = is_on.index(True)
    last = len(is_on) - 1 - is_on[::-1].index(True)
    return sum(s.duration_ticks for s in level.segments[first : last + 1]) * tick_us


def format_ms(duration_us: float) -> str:
    """A duration in milliseconds, without trailing zeros."""
    return f"{duration_us / _US_PER_MS:g} ms"


def _count_pulses(mode: Mode) -> str:
    return f"{mode.pulses_per_burst} pulse{'' if mode.pulses_per_burst == 1 else 's'}"


def _name_regulation(mode: Mode) -> str:
    return "current-regulated" if mode.regulation is Regulation.CURRENT else "voltage-regulated"


def _split_phases(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Segments of one sign together; a segment through zero belongs to both sides of it."""
    phases: list[list[Segment]] = []
    is_open = False
    for segment in segments:
        sign = _sign([segment])
        if sign == 0 and segment.start_na == 0:
            is_open = False
            continue
        begins_at_zero = segment.start_na == 0
        if not is_open or begins_at_zero or sign == 0 or _sign(phases[-1]) != sign:
            phases.append([])
        phases[-1].append(segment)
        is_open = segment.end_na != 0
    return phases


def _sign(segments: Sequence[Segment]) -> int:
    """1 or -1; 0 for a single segment that is zero or passes through it."""
    values = [value for s in segments for value in (s.start_na, s.end_na)]
    if min(values) >= 0:
        return int(max(values) > 0)
    return -1 if max(values) <= 0 else 0


def _magnitudes(segments: Sequence[Segment]) -> list[tuple[int, int, int]]:
    return [(s.duration_ticks, abs(s.start_na), abs(s.end_na)) for s in segments]


def _name_phase(phase: Sequence[Segment]) -> str:
    sides = _magnitudes(phase)
    if all(start == end for _, start, end in sides):
        return "rectangle" if len({start for _, start, _ in sides}) == 1 else "staircase"
    is_joined = all(before[2] == after[1] for before, after in pairwise(sides))
    if is_joined and sides[0][1] == 0 and sides[-1][2] == 0:
        if len(sides) == 2:  # noqa: PLR2004 - up and down
            return "triangle"
        if len(sides) == 3 and sides[1][1] == sides[1][2]:  # noqa: PLR2004 - up, hold, down
            return "trapezoid"
    return "piecewise linear"
