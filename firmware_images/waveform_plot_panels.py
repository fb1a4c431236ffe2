"""The four panels of a mode's picture; `waveform_plot` puts them together.

What each shows: the pulse at every level with the limits on its peak and its slope; the repeat
period at the highest level with its worst second beside the limit on a mean; the charge that has
flowed, beside what may stay unpaired or add up; and the session as an envelope, ramps included.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from firmware_images.waveform import Balance
from firmware_images.waveform_phases import find_phases
from firmware_images.waveform_plot_parts import (
    CEILING,
    DASH_DOT,
    DASHED,
    DOTTED,
    DRAWN_PIECES_MAX,
    GRID,
    HIGHEST,
    INK,
    LOWER,
    MEAN,
    NA_PER_UA,
    NA_US_PER_UC,
    US_PER_S,
    PlottedMode,
    choose_unit,
    draw_both,
    draw_peak_limits,
    draw_slope_limit,
    finish_axes,
    integrate_charge,
    shade_reversal,
    trace_corners,
)
from firmware_images.waveform_train import build_pulse
from firmware_images.waveform_window import find_largest_window_mean
from firmware_images.waveform_words import measure_pulse_us

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADROOM: Final = 1.12
_ROOM_FOR_LEGEND: Final = 1.75
_REST_SHOWN: Final = 1.4
_THOUSANDS_FROM: Final = 1e4
_DRAWN_BURSTS_MAX: Final = 240
_DRAWN_RAMP_PULSES_MAX: Final = 120
_WINDOW_US: Final = 1e6
_UC_PER_MA_MIN: Final = 6e4


def draw_pulses(axes: Any, plotted: PlottedMode) -> None:
    """One pulse at every level, with the limits on its peak and, where it has one, its slope."""
    unit_us, unit = choose_unit(plotted.pulse.period_us)
    for level in plotted.mode.levels:
        is_highest = level is plotted.level
        label = f"{level.peak_na / NA_PER_UA:g} µA, the highest level" if is_highest else None
        if not is_highest and level is plotted.mode.levels[-2]:
            label = "lower levels"
        times, currents = trace_corners(build_pulse(level, plotted.tick_us), unit_us)
        axes.plot(
            times,
            currents,
            color=HIGHEST if is_highest else LOWER,
            linewidth=1.6 if is_highest else 1.0,
            zorder=3 if is_highest else 2,
            label=label,
        )
    top_ua = draw_peak_limits(axes, plotted)
    draw_slope_limit(axes, plotted, unit_us)
    shown_us = measure_pulse_us(plotted.level, plotted.tick_us) * _REST_SHOWN
    title = "One pulse at each level"
    if shown_us < plotted.pulse.period_us:
        title += f" (at rest until {plotted.pulse.period_us / unit_us:g} {unit})"
        axes.set_xlim(-0.01 * shown_us / unit_us, shown_us / unit_us)
    finish_axes(axes, title, f"time in the pulse, {unit}", "current, µA")
    axes.set_ylim(-top_ua * _ROOM_FOR_LEGEND, top_ua * _HEADROOM)
    axes.legend(loc="lower center", ncols=2, edgecolor=GRID)


def draw_period(axes: Any, plotted: PlottedMode) -> None:
    """The repeat period at the highest level, and its worst second beside the limit on a mean."""
    unit_us, unit = choose_unit(plotted.period.period_us)
    shade_reversal(axes, plotted, unit_us)
    if len(plotted.period.pieces) <= DRAWN_PIECES_MAX:
        times, currents = trace_corners(plotted.period, unit_us)
        axes.plot(times, currents, color=HIGHEST, linewidth=0.7)
    else:
        _draw_blocks(axes, plotted, unit_us)
    window = find_largest_window_mean(plotted.period, _WINDOW_US)
    mean_ua = window.mean_na / NA_PER_UA
    start, end = window.start_us / unit_us, (window.start_us + _WINDOW_US) / unit_us
    if end - start >= plotted.period.period_us / unit_us:
        start, end = 0.0, plotted.period.period_us / unit_us
    axes.plot(
        [start, end],
        [mean_ua, mean_ua],
        color=MEAN,
        linewidth=3.2,
        solid_capstyle="butt",
        marker="D",
        markersize=4.5,
        zorder=4,
        label=f"mean of the worst second: {mean_ua:+.3g} µA",
    )
    density = plotted.limit("JDC") * 1000 * plotted.fact("CONTACT_AREA")
    mean_limit_ua = (density - plotted.fact("RESIDUAL_OFFSET")) / plotted.gain
    draw_both(axes, mean_limit_ua, MEAN, DASH_DOT, f"JDC: a second's mean, ±{mean_limit_ua:.4g} µA")
    top_ua = draw_peak_limits(axes, plotted, is_labelled=False)
    title = f"Repeat period at {plotted.level_ua:g} µA"
    finish_axes(axes, title, f"time in the repeat period, {unit}", "current, µA")
    axes.set_ylim(-top_ua * _ROOM_FOR_LEGEND, top_ua * _HEADROOM)
    axes.set_xlim(0, plotted.period.period_us / unit_us)
    axes.legend(loc="lower center", ncols=2, edgecolor=GRID)


def draw_charge(axes: Any, plotted: PlottedMode) -> None:
    """The charge that has flowed since the beginning: of a pulse, or of a galvanic period."""
    is_balanced = plotted.mode.balance is Balance.BALANCED
    train = plotted.pulse if is_balanced else plotted.period
    unit_us, unit = choose_unit(train.period_us)
    times, charges = integrate_charge(train, unit_us)
    axes.plot(times, charges, color=HIGHEST, linewidth=1.6, zorder=3)
    if is_balanced:
        phases = find_phases(plotted.pulse)
        largest_uc = max(phase.charge_na_us for phase in phases) / NA_US_PER_UC
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
        shade_reversal(axes, plotted, unit_us)
    draw_both(axes, limit_uc, CEILING, DASHED, label)
    axes.plot(
        times[-1:],
        charges[-1:],
        color=HIGHEST,
        marker="o",
        markersize=5,
        linestyle="none",
        zorder=4,
        clip_on=False,
        label=f"left at the end: {charges[-1]:.4g} µC",
    )
    finish_axes(axes, title, f"{where}, {unit}", "charge since the beginning, µC")
    top = max(*(abs(charge) for charge in charges), limit_uc) * _HEADROOM
    if top >= _THOUSANDS_FROM:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(-top * (0.75 if is_balanced and min(charges) > -limit_uc else 1.5), top)
    axes.set_xlim(0, train.period_us / unit_us)
    # Side by side, the words of a balanced mode are wider than the panel for some figures.
    axes.legend(loc="lower center", ncols=1 if is_balanced else 2, edgecolor=GRID)


def draw_session(axes: Any, plotted: PlottedMode) -> None:
    """The session as an envelope: bursts, soft start, soft stop, and where the last pulse ends."""
    session = plotted.session
    lowest = min(min(s.start_na, s.end_na) for s in plotted.level.segments) / NA_PER_UA
    highest = max(max(s.start_na, s.end_na) for s in plotted.level.segments) / NA_PER_UA
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
        color=LOWER,
        linewidth=0,
        label=f"{session.pulse_count:,} whole pulses",
    )
    end_s = session.end_ticks * plotted.tick_us / US_PER_S
    last_s = session.played_ticks * plotted.tick_us / US_PER_S
    axes.axvline(
        end_s,
        color=INK,
        linewidth=1.1,
        linestyle=DOTTED,
        label=f"stop at {end_s:g} s, last pulse ends at {last_s:.7g} s",
    )
    top_ua = draw_peak_limits(axes, plotted, is_labelled=False)
    ramps = [
        f"soft {name} {pulses} pulses"
        for name, pulses in (
            ("start", plotted.mode.soft_start_pulses),
            ("stop", plotted.mode.soft_stop_pulses),
        )
        if pulses
    ]
    title = f"Session at {plotted.level_ua:g} µA: {', '.join(ramps) or 'no soft start or stop'}"
    finish_axes(axes, title, "time in the session, s", "envelope of the current, µA")
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
    tick_s = plotted.tick_us / US_PER_S
    for first, after in pairwise(sorted(edges)):
        shares = [session.share(pulse) for pulse in (first, after - 1)]
        yield (
            session.start_ticks(first) * tick_s,
            (session.start_ticks(after - 1) + plotted.level.pulse_ticks) * tick_s,
            shares[0].parts / shares[0].whole,
            shares[1].parts / shares[1].whole,
            session.sign(first),
        )


def _draw_blocks(axes: Any, plotted: PlottedMode, unit_us: float) -> None:
    """Bursts as blocks, where single pulses would be too many to see."""
    mode, level = plotted.mode, plotted.level
    lowest = min(min(s.start_na, s.end_na) for s in level.segments) / NA_PER_UA
    highest = max(max(s.start_na, s.end_na) for s in level.segments) / NA_PER_UA
    on = level.pulse_ticks * mode.pulses_per_burst * plotted.tick_us / unit_us
    burst = mode.burst_ticks(level) * plotted.tick_us / unit_us
    for index in range(mode.bursts_per_repeat):
        sign = -1 if index % 2 else 1
        axes.fill_between(
            [index * burst, index * burst + on],
            sign * lowest,
            sign * highest,
            color=LOWER,
            edgecolor=HIGHEST,
        )
