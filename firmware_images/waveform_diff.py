"""What changed between two waveforms, in numbers: per mode and per level, nothing sampled.

Levels are compared by their number, because that is what a person chooses on the device. Two sides
with other ticks are compared in microseconds. What this module does not do: judge whether a change
is acceptable (`limits_judging`), or find the sides (`waveform_sides`).
"""

from __future__ import annotations

from math import fsum, isclose
from typing import TYPE_CHECKING, Final

from firmware_images.waveform_analysis import analyze_train
from firmware_images.waveform_difference import find_largest_difference
from firmware_images.waveform_phases import find_phases
from firmware_images.waveform_train import build_pulse, build_repeat_period
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from firmware_images.waveform import Level, Mode
    from firmware_images.waveform_sides import WaveformSide

Value = float | int | str | bool | None

_RELATIVE_SAME: Final = 1e-12
_ABSOLUTE_SAME: Final = 1e-15
_NA_PER_UA: Final = 1000
_US_PER_MS: Final = 1000
_US_PER_S: Final = 1_000_000
_NA_US_PER_UC: Final = 1e9
_DENSITIES: Final = (
    *("jrms_ma_cm2", "jrms_burst_ma_cm2", "jpeak_ma_cm2"),
    *("power_density_w_cm2", "power_density_burst_w_cm2", "shannon_k", "shannon_k_applies"),
)
"""Left out: they follow from the charge and the r.m.s. current, and depend on an area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure or statement that is not the same on both sides.

    Args:
        what: Its name with its unit, such as `peak_ua`; `mode` or `level` when one is missing.
        before: On the first side; `None` when it has none.
        after: On the second side.
        mode: The mode, or `None` for the table.
        level: The level's number from 1, or `None` for the mode.
    """

    what: str
    before: Value
    after: Value
    mode: str | None = None
    level: int | None = None

    @property
    def difference(self) -> float | None:
        """After less before, where both are numbers."""
        if isinstance(self.before, bool) or isinstance(self.after, bool):
            return None
        if isinstance(self.before, int | float) and isinstance(self.after, int | float):
            return self.after - self.before
        return None

    def to_json(self) -> dict[str, object]:
        """The change for scripts."""
        return {
            "mode": self.mode,
            "level": self.level,
            "what": self.what,
            "before": self.before,
            "after": self.after,
            "difference": self.difference,
        }


def diff_waveforms(before: WaveformSide, after: WaveformSide) -> tuple[Change, ...]:
    """Everything that is not the same: statements of the table, then mode by mode, level by level.

    Returns:
        The changes in the order of the first side's modes; empty when a device would play the same.
    """
    changes = list(_compare(before.statements, after.statements))
    modes_before = {mode.name: mode for mode in before.modes}
    modes_after = {mode.name: mode for mode in after.modes}
    if modes_before.keys() == modes_after.keys() and [*modes_before] != [*modes_after]:
        order = (", ".join(modes_before), ", ".join(modes_after))
        changes.append(Change(what="mode_order", before=order[0], after=order[1]))
    for name in dict.fromkeys((*modes_before, *modes_after)):
        one, other = modes_before.get(name), modes_after.get(name)
        if one is None or other is None:
            changes.append(
                Change(what="mode", before=_present(one), after=_present(other), mode=name)
            )
            continue
        figures = _state_mode(one, before.tick_us), _state_mode(other, after.tick_us)
        changes.extend(_compare(*figures, mode=name))
        changes.extend(_compare_levels((one, before), (other, after)))
    return tuple(changes)


def _compare_levels(
    one: tuple[Mode, WaveformSide], other: tuple[Mode, WaveformSide]
) -> Iterator[Change]:
    (mode_before, before), (mode_after, after) = one, other
    for index in range(max(len(mode_before.levels), len(mode_after.levels))):
        number = before.first_level + index
        levels_before = mode_before.levels[index : index + 1]
        levels_after = mode_after.levels[index : index + 1]
        if not levels_before or not levels_after:
            yield Change(
                what="level",
                before=levels_before[0].peak_na / _NA_PER_UA if levels_before else None,
                after=levels_after[0].peak_na / _NA_PER_UA if levels_after else None,
                mode=mode_before.name,
                level=number,
            )
            continue
        yield from _compare(
            _state_level(mode_before, levels_before[0], before.tick_us),
            _state_level(mode_after, levels_after[0], after.tick_us),
            mode=mode_before.name,
            level=number,
        )
        difference = find_largest_difference(
            levels_before[0], before.tick_us, levels_after[0], after.tick_us
        )
        if difference.current_na:
            at_ms = difference.time_us / _US_PER_MS
            for what, value in (
                ("largest_difference_ua", difference.current_na / _NA_PER_UA),
                ("largest_difference_at_ms", at_ms),
            ):
                yield Change(
                    what=what, before=None, after=value, mode=mode_before.name, level=number
                )


def _compare(
    before: Mapping[str, Value],
    after: Mapping[str, Value],
    *,
    mode: str | None = None,
    level: int | None = None,
) -> Iterator[Change]:
    """The entries that both sides state, and state differently."""
    for what, value in before.items():
        if what in after and not _is_same(value, after[what]):
            yield Change(what=what, before=value, after=after[what], mode=mode, level=level)


def _is_same(before: Value, after: Value) -> bool:
    if isinstance(before, float) and isinstance(after, float):
        return isclose(before, after, rel_tol=_RELATIVE_SAME, abs_tol=_ABSOLUTE_SAME)
    return before == after


def _present(mode: Mode | None) -> str | None:
    return None if mode is None else f"{len(mode.levels)} levels"


def _state_mode(mode: Mode, tick_us: int) -> dict[str, Value]:
    highest = mode.levels[-1]
    on_ticks = highest.pulse_ticks * mode.pulses_per_burst
    return {
        "balance": str(mode.balance),
        "regulation": str(mode.regulation),
        "level_count": len(mode.levels),
        "pulses_per_burst": mode.pulses_per_burst,
        "burst_on_ms": on_ticks * tick_us / _US_PER_MS,
        "burst_off_ms": mode.burst_off_ticks * tick_us / _US_PER_MS,
        "flips_each_burst": mode.flips_each_burst,
        "session_s": mode.session_ticks * tick_us / _US_PER_S,
        "session_pulses": mode.count_pulses(highest, mode.session_ticks),
        "soft_start_pulses": mode.soft_start_pulses,
        "soft_stop_pulses": mode.soft_stop_pulses,
    }


def _state_level(mode: Mode, level: Level, tick_us: int) -> dict[str, Value]:
    pulse = build_pulse(level, tick_us)
    phases = find_phases(pulse)
    analysis = analyze_train(build_repeat_period(mode, level, tick_us), area_cm2=1.0)
    figures: dict[str, Value] = {
        "peak_ua": level.peak_na / _NA_PER_UA,
        "pulse_ms": level.pulse_ticks * tick_us / _US_PER_MS,
        "first_polarity": "positive" if phases[0].sign > 0 else "negative",
        "phases_per_pulse": len(phases),
        "longest_phase_ms": max(phase.duration_us for phase in phases) / _US_PER_MS,
        "pulse_net_charge_uc": fsum(p.charge_na_us for p in pulse.pieces) / _NA_US_PER_UC,
    }
    for name in analysis.__slots__:
        if name not in {*_DENSITIES, "ipeak_ua"}:
            figures[name] = getattr(analysis, name)
    figures["segments"] = len(level.segments)
    return figures
