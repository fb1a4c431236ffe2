"""The four panels of a mode's picture; `waveform_plot` puts them together.

What each shows: the pulse at every level with the limits on its peak and its slope; the repeat
period at the highest level with its worst second beside the limit on a mean; the charge that has
flowed, beside what may stay unpaired or add up; and the session as an envelope, ramps included.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from firmware_images.waveform import Balance
from firmware_images.waveform_phases import find_phases
from firmware_images.waveform_session import Session
from firmware_images.waveform_train import build_pulse, build_repeat_period
from firmware_images.waveform_window import find_largest_window_mean
from firmware_images.waveform_words import measure_pulse_us

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waveform import Level, Mode
    from firmware_images.waveform_train import PulseTrain

INK: Final = "#1f2933"
GRID: Final = "#d9dee3"
_HIGHEST: Final = "#0072b2"
_LOWER: Final = "#8fc3e0"
_CEILING: Final = "#b03a00"
_CLAIM: Final = "#9a6b00"
_MEAN: Final = "#00664b"
_DASHED: Final = (0, (5, 3))
_DOTTED: Final = (0, (1.5, 2))
_DASH_DOT: Final = (0, (6, 2, 1.5, 2))
_HEADROOM: Final = 1.12
_ROOM_FOR_LEGEND: Final = 1.75
_REST_SHOWN: Final = 1.4
_THOUSANDS_FROM: Final = 1e4
_DRAWN_PIECES_MAX: Final = 6000
_DRAWN_BURSTS_MAX: Final = 240
_DRAWN_RAMP_PULSES_MAX: Final = 120
_CURVE_POINTS: Final = 8
_WINDOW_US: Final = 1e6
_US_PER_MS: Final = 1e3
_US_PER_S: Final = 1e6
_NA_PER_UA: Final = 1e3
_NA_US_PER_UC: Final = 1e9
_UC_PER_MA_MIN: Final = 6e4


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedMode:
    """What the panels draw.

    Args:
        mode: The mode.
        policy: The limits.
        tick_us: Microseconds per tick.
        level: The highest level.
        pulse: One pulse of it.
        period: Its repeat period.
        session: Its session.
    """

    mode: Mode
    policy: LimitsPolicy
    tick_us: int
    level: Level
    pulse: PulseTrain
    period: PulseTrain
    session: Session

    @property
    def level_ua(self) -> float:
        """The highest level's peak."""
        return self.level.peak_na / _NA_PER_UA

    @property
    def gain(self) -> float:
        """The largest factor by which a unit may exceed its nominal current."""
        return 1 + self.fact("GAIN_TOLERANCE") / 100

    def fact(self, key: str) -> float:
        """A fact of the policy."""
        return float(self.policy.facts[key])

    def limit(self, key: str) -> float:
        """A limit of the policy."""
        return float(self.policy.limits[key])


def build_plotted_mode(mode: Mode, policy: LimitsPolicy, tick_us: int) -> PlottedMode:
    """Everything that is drawn of the highest level."""
    level = mode.levels[-1]
    end_ticks = min(mode.session_ticks, policy.hard_stop_us // tick_us)
    return PlottedMode(
        mode=mode,
        policy=policy,
        tick_us=tick_us,
        level=level,
        pulse=build_pulse(level, tick_us),
        period=build_repeat_period(mode, level, tick_us),
        session=Session(mode=mode, level=level, end_ticks=end_ticks),
    )


def draw_pulses(axes: Any, plotted: PlottedMode) -> None:
    """One pulse at every level, with the limits on its peak and, where it has one, its slope."""
    unit_us, unit = _choose_unit(plotted.pulse.period_us)
    for level in plotted.mode.levels:
        is_highest = level is plotted.level
        label = f"{level.peak_na / _NA_PER_UA:g} µA, the highest level" if is_highest else None
        if not is_highest and level is plotted.mode.levels[-2]:
            label = "lower levels"
        times, currents = _trace(build_pulse(level, plotted.tick_us), unit_us)
        axes.plot(
            times,
            currents,
            color=_HIGHEST if is_highest else _LOWER,
            linewidth=1.6 if is_highest else 1.0,
            zorder=3 if is_highest else 2,
            label=label,
        )
    top_ua = _draw_peak_limits(axes, plotted)
    _draw_slope_limit(axes, plotted, unit_us)
    shown_us = measure_pulse_us(plotted.level, plotted.tick_us) * _REST_SHOWN
    title = "One pulse at each level"
    if shown_us < plotted.pulse.period_us:
        title += f" (at rest until {plotted.pulse.period_us / unit_us:g} {unit})"
        axes.set_xlim(-0.01 * shown_us / unit_us, shown_us / unit_us)
    _finish(axes, title, f"time in the pulse, {unit}", "current, µA")
    axes.set_ylim(-top_ua * _ROOM_FOR_LEGEND, top_ua * _HEADROOM)
    axes.legend(loc="lower center", ncols=2, edgecolor=GRID)


def draw_period(axes: Any, plotted: PlottedMode) -> None:
    """The repeat period at the highest level, and its worst second beside the limit on a mean."""
    unit_us, unit = _choose_unit(plotted.period.period_us)
    _shade_reversal(axes, plotted, unit_us)
    if len(plotted.period.pieces) <= _DRAWN_PIECES_MAX:
        times, currents = _trace(plotted.period, unit_us)
        axes.plot(times, currents, color=_HIGHEST, linewidth=0.7)
    else:
        _draw_blocks(axes, plotted, unit_us)
    window = find_largest_window_mean(plotted.period, _WINDOW_US)
    mean_ua = window.mean_na / _NA_PER_UA
    start, end = window.start_us / unit_us, (window.start_us + _WINDOW_US) / unit_us
    if end - start >= plotted.period.period_us / unit_us:
        start, end = 0.0, plotted.period.period_us / unit_us
    axes.plot(
        [start, end],
        [mean_ua, mean_ua],
        color=_MEAN,
        linewidth=3.2,
        solid_capstyle="butt",
        marker="D",
        markersize=4.5,
        zorder=4,
        label=f"mean of the worst second: {mean_ua:+.3g} µA",
    )
    density = plotted.limit("JDC") * 1000 * plotted.fact("CONTACT_AREA")
    mean_limit_ua = (density - plotted.fact("RESIDUAL_OFFSET")) / plotted.gain
    _draw_both(
        axes, mean_limit_ua, _MEAN, _DASH_DOT, f"JDC: a second's mean, ±{mean_limit_ua:.4g} µA"
    )
    top_ua = _draw_peak_limits(axes, plotted, is_labelled=False)
    title = f"Repeat period at {plotted.level_ua:g} µA"
    _finish(axes, title, f"time in the repeat period, {unit}", "current, µA")
    axes.set_ylim(-top_ua * _ROOM_FOR_LEGEND, top_ua * _HEADROOM)
    axes.set_xlim(0, plotted.period.period_us / unit_us)
    axes.legend(loc="lower center", ncols=2, edgecolor=GRID)


def draw_charge(axes: Any, plotted: PlottedMode) -> None:
    """The charge that has flowed since the beginning: of a pulse, or of a galvanic period."""
    is_balanced = plotted.mode.balance is Balance.BALANCED
    train = plotted.pulse if is_balanced else plotted.period
    unit_us, unit = _choose_unit(train.period_us)
    times, charges = _integrate(train, unit_us)
    axes.plot(times, charges, color=_HIGHEST, linewidth=1.6, zorder=3)
    if is_balanced:
        phases = find_phases(plotted.pulse)
        largest_uc = max(phase.charge_na_us for phase in phases) / _NA_US_PER_UC
        share = plotted.limit("BALANCE_CHARGE_SHARE") / 100
        limit_uc = max(share * largest_uc, plotted.limit("BALANCE_CHARGE"))
        label = f"BALANCE: may stay unpaired, ±{limit_uc:.3g} µC"
        title = f"Charge balance of one pulse at {plotted.level_ua:g} µA"
        where = "time in the pulse"
    else:
        limit_uc = plotted.limit("DOSE") * _UC_PER_MA_MIN / plotted.gain
        label = f"DOSE: in one polarity, ±{limit_uc:,.0f} µC"
        title = f"Charge over the repeat period at {plotted.level_ua:g} µA"
        where = "time in the repeat period"
        _shade_reversal(axes, plotted, unit_us)
    _draw_both(axes, limit_uc, _CEILING, _DASHED, label)
    axes.plot(
        times[-1:],
        charges[-1:],
        color=_HIGHEST,
        marker="o",
        markersize=5,
        linestyle="none",
        zorder=4,
        clip_on=False,
        label=f"left at the end: {charges[-1]:.4g} µC",
    )
    _finish(axes, title, f"{where}, {unit}", "charge since the beginning, µC")
    top = max(*(abs(charge) for charge in charges), limit_uc) * _HEADROOM
    if top >= _THOUSANDS_FROM:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(-top * (0.75 if is_balanced and min(charges) > -limit_uc else 1.5), top)
    axes.set_xlim(0, train.period_us / unit_us)
    axes.legend(loc="lower center", ncols=2, edgecolor=GRID)


def draw_session(axes: Any, plotted: PlottedMode) -> None:
    """The session as an envelope: bursts, soft start, soft stop, and where the last pulse ends."""
    session = plotted.session
    lowest = min(min(s.start_na, s.end_na) for s in plotted.level.segments) / _NA_PER_UA
    highest = max(max(s.start_na, s.end_na) for s in plotted.level.segments) / _NA_PER_UA
    is_mirrored = lowest == -highest
    times: list[float] = []
    uppers: list[float] = []
    lowers: list[float] = []
    for start_s, end_s, first, last, sign in _list_stretches(plotted, is_mirrored=is_mirrored):
        bounds = sorted((sign * lowest, sign * highest))
        if times and start_s > times[-1]:
            times += [times[-1], start_s]
            lowers += [0.0, 0.0]
            uppers += [0.0, 0.0]
        times += [start_s, end_s]
        lowers += [bounds[0] * first, bounds[0] * last]
        uppers += [bounds[1] * first, bounds[1] * last]
    axes.fill_between(
        times,
        lowers,
        uppers,
        color=_LOWER,
        linewidth=0,
        label=f"{session.pulse_count:,} whole pulses",
    )
    end_s = session.end_ticks * plotted.tick_us / _US_PER_S
    last_s = session.played_ticks * plotted.tick_us / _US_PER_S
    axes.axvline(
        end_s,
        color=INK,
        linewidth=1.1,
        linestyle=_DOTTED,
        label=f"stop at {end_s:g} s, last pulse ends at {last_s:.7g} s",
    )
    top_ua = _draw_peak_limits(axes, plotted, is_labelled=False)
    ramps = [
        f"soft {name} {pulses} pulses"
        for name, pulses in (
            ("start", plotted.mode.soft_start_pulses),
            ("stop", plotted.mode.soft_stop_pulses),
        )
        if pulses
    ]
    title = f"Session at {plotted.level_ua:g} µA: {', '.join(ramps) or 'no soft start or stop'}"
    _finish(axes, title, "time in the session, s", "envelope of the current, µA")
    axes.set_ylim(-top_ua * _ROOM_FOR_LEGEND, top_ua * _HEADROOM)
    axes.set_xlim(-0.01 * end_s, 1.02 * end_s)
    axes.legend(loc="lower center", ncols=2, edgecolor=GRID)


def _list_stretches(
    plotted: PlottedMode, *, is_mirrored: bool
) -> Iterator[tuple[float, float, float, float, int]]:
    """Stretches of the envelope: from and to in seconds, share at each, polarity.

    Bursts apart where and while they can be seen apart; ramps in up to so many steps; the rest in
    one.
    """
    session, mode = plotted.session, plotted.mode
    count, per_burst = session.pulse_count, mode.pulses_per_burst
    bursts = -(-count // per_burst)
    edges = {0, count}
    is_seen = mode.burst_off_ticks > 0 or (mode.flips_each_burst and not is_mirrored)
    if bursts <= _DRAWN_BURSTS_MAX and is_seen:
        edges.update(range(0, count, per_burst))
    ramp_ends = (mode.soft_start_pulses, count - mode.soft_stop_pulses)
    for first, last in ((0, ramp_ends[0]), (ramp_ends[1], count)):
        step = max((last - first) // _DRAWN_RAMP_PULSES_MAX, 1)
        edges.update(pulse for pulse in range(first, last + 1, step) if 0 <= pulse <= count)
    tick_s = plotted.tick_us / _US_PER_S
    for first, after in pairwise(sorted(edges)):
        shares = [session.share(pulse) for pulse in (first, after - 1)]
        yield (
            session.start_ticks(first) * tick_s,
            (session.start_ticks(after - 1) + plotted.level.pulse_ticks) * tick_s,
            shares[0].parts / shares[0].whole,
            shares[1].parts / shares[1].whole,
            session.sign(first),
        )


def _draw_peak_limits(axes: Any, plotted: PlottedMode, *, is_labelled: bool = True) -> float:
    """The ceiling and the claim with its tolerance; returns the highest of them, µA."""
    ceiling_ua = plotted.limit("PEAK")
    lines: list[tuple[float, str, Any, str]] = [
        (ceiling_ua, _CEILING, _DASHED, f"PEAK: ceiling {ceiling_ua:g} µA")
    ]
    limits = plotted.policy.modes.get(plotted.mode.name)
    if limits is not None:
        claim_ua = float(limits.claim) * plotted.gain
        tolerance = plotted.fact("GAIN_TOLERANCE")
        label = f"PEAK: claim +{tolerance:g} % = {claim_ua:g} µA"
        lines.append((claim_ua, _CLAIM, _DOTTED, label))
    for value_ua, color, style, label in lines:
        _draw_both(axes, value_ua, color, style, label if is_labelled else None)
    return max(plotted.level_ua, *(value_ua for value_ua, *_ in lines))


def _draw_slope_limit(axes: Any, plotted: PlottedMode, unit_us: float) -> None:
    """The steepest rise that SLOPE allows, from the pulse's beginning to its peak."""
    limits = plotted.policy.modes.get(plotted.mode.name)
    slope = plotted.limit("SLOPE")
    if slope == 0 or (limits is not None and not limits.is_slope_limited):
        return
    rise_us = plotted.level_ua / slope * _US_PER_MS
    axes.plot(
        [0, rise_us / unit_us],
        [0, plotted.level_ua],
        color=_CEILING,
        linewidth=1.1,
        linestyle=_DASH_DOT,
        zorder=4,
        label=f"SLOPE: steepest {slope:g} µA/ms",
    )


def _draw_both(axes: Any, value: float, color: str, style: Any, label: str | None) -> None:
    axes.axhline(value, color=color, linewidth=1.1, linestyle=style, label=label)
    axes.axhline(-value, color=color, linewidth=1.1, linestyle=style)


def _shade_reversal(axes: Any, plotted: PlottedMode, unit_us: float) -> None:
    if not plotted.mode.flips_each_burst:
        return
    half = plotted.period.period_us / unit_us / 2
    axes.axvspan(half, 2 * half, color=_LOWER, alpha=0.16, linewidth=0)
    for start, label in ((0.0, "first polarity"), (half, "reversed")):
        axes.annotate(
            label,
            (start, 0.13),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7.5,
        )


def _draw_blocks(axes: Any, plotted: PlottedMode, unit_us: float) -> None:
    """Bursts as blocks, where single pulses would be too many to see."""
    mode, level = plotted.mode, plotted.level
    lowest = min(min(s.start_na, s.end_na) for s in level.segments) / _NA_PER_UA
    highest = max(max(s.start_na, s.end_na) for s in level.segments) / _NA_PER_UA
    on = level.pulse_ticks * mode.pulses_per_burst * plotted.tick_us / unit_us
    burst = mode.burst_ticks(level) * plotted.tick_us / unit_us
    for index in range(mode.bursts_per_repeat):
        sign = -1 if index % 2 else 1
        axes.fill_between(
            [index * burst, index * burst + on],
            sign * lowest,
            sign * highest,
            color=_LOWER,
            edgecolor=_HIGHEST,
        )


def _finish(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.grid(visible=True, color=GRID, linewidth=0.5)
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _choose_unit(duration_us: float) -> tuple[float, str]:
    return (_US_PER_S, "s") if duration_us >= _US_PER_S else (_US_PER_MS, "ms")


def _trace(train: PulseTrain, unit_us: float) -> tuple[list[float], list[float]]:
    """The corners of the waveform; a step is two points at one time."""
    times: list[float] = []
    currents: list[float] = []
    for (start_us, end_us), piece in zip(pairwise(train.starts_us()), train.pieces, strict=True):
        times += [start_us / unit_us, end_us / unit_us]
        currents += [piece.start_na / _NA_PER_UA, piece.end_na / _NA_PER_UA]
    return times, currents


def _integrate(train: PulseTrain, unit_us: float) -> tuple[list[float], list[float]]:
    """The charge at the corners, exact; between them a few points where it is a parabola."""
    times, charges = [0.0], [0.0]
    total = start_us = 0.0
    points = _CURVE_POINTS if len(train.pieces) <= _DRAWN_PIECES_MAX // _CURVE_POINTS else 1
    for piece in train.pieces:
        steps = 1 if piece.start_na == piece.end_na else points
        for step in range(1, steps + 1):
            within_us = piece.duration_us * step / steps
            flown = within_us * (piece.start_na + piece.value_at(within_us)) / 2
            times.append((start_us + within_us) / unit_us)
            charges.append((total + flown) / _NA_US_PER_UC)
        total += piece.charge_na_us
        start_us += piece.duration_us
    return times, charges
