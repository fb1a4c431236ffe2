"""Where to look at a mode whose whole repeat period would take too long: windows around its events.

Everything is closed form of the table. A window begins early enough that its event is inside
however late the meter starts, and long enough that whole pulses lie on both sides of it. All
windows of a mode have one aperture and one count, so that the meter is configured once. Implements
docs/spec/calibration.md §8.2. This module measures and judges nothing.
"""

from __future__ import annotations

from enum import StrEnum, unique
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from firmware_images.waveform_session import Session
from provisioning.waveform_train import WaveformShape
from signing.value_class import dataclass

if TYPE_CHECKING:
    from firmware_images.waveform import Mode
    from provisioning.measurement_settings import MetrologySettings

FAST_PULSE_MAX_US: Final = 250_000
"""Of a longer pulse a window holds the corners, not the whole."""
SLOW_SIDE_US: Final = 100_000
_FAST_SIDE_US: Final = 60_000
_APERTURE_MIN_US: Final = 500
_SLOW_APERTURE_MAX_US: Final = 20_000
_SAMPLES_PER_PULSE_MAX: Final = 100
_SAMPLES_PER_SEGMENT: Final = 4
WINDOW_SAMPLES_MAX: Final = 2_000
_MARGIN_SAMPLES: Final = 4


@unique
class WindowName(StrEnum):
    """What a window shows."""

    START = "start"
    BURST_BEGIN = "burst begin"
    BURST_END = "burst end"
    REVERSAL = "reversal"
    JOINT = "joint"
    CORNER = "corner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One look at a playing mode.

    Attributes:
        name: What it shows.
        event_us: When that happens in the repeat period, µs.
        start_us: How far into the session the board begins, µs.
    """

    name: WindowName
    event_us: int
    start_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """All windows of a mode.

    Attributes:
        sample_aperture_us: Integration time of a sample, µs.
        sample_count: Samples of each window.
        windows: In the order of their starts; the first is the start of the mode.
    """

    sample_aperture_us: float
    sample_count: int
    windows: tuple[Window, ...]

    @property
    def duration_us(self) -> float:
        """Measuring time of all windows, µs."""
        return len(self.windows) * self.sample_count * self.sample_aperture_us


def is_fast(shape: WaveformShape) -> bool:
    """Whether a window holds whole pulses of this shape."""
    return shape.pulse_us <= FAST_PULSE_MAX_US


def find_events(shape: WaveformShape) -> tuple[tuple[int, WindowName], ...]:
    """Return what there is to see in a repeat period: instants in µs with their names, ascending.

    Of a slow pulse its corners, and its joint with the next, are looked at once in each burst.
    """
    events: dict[int, WindowName] = {}
    for burst in range(shape.bursts):
        begin_us = burst * shape.burst_us
        if shape.burst_off_ticks:
            events[begin_us] = WindowName.BURST_BEGIN
            events[begin_us + shape.train_us] = WindowName.BURST_END
        elif shape.flips_each_burst:
            events[begin_us] = WindowName.REVERSAL
        if is_fast(shape):
            continue
        if shape.pulses_per_burst > 1 or not events:
            events.setdefault((begin_us + shape.pulse_us) % shape.period_us, WindowName.JOINT)
        events |= {begin_us + corner_us: WindowName.CORNER for corner_us in _find_corners_us(shape)}
    return tuple(sorted(events.items()))


def plan_windows(
    mode: Mode, level_index: int, settings: MetrologySettings, *, tick_us: int, hard_stop_ticks: int
) -> WindowPlan | None:
    """Choose the windows of a mode.

    Args:
        mode: The mode.
        level_index: The level, from 0.
        settings: How late the meter may start.
        tick_us: Microseconds per tick.
        hard_stop_ticks: The device plays no longer, ticks.

    Returns:
        The windows; `None` where they would take as long as the whole period, or the session has no
        room for them.
    """
    shape = WaveformShape.of(mode, level_index, tick_us=tick_us)
    aperture_us, side_us = _choose_aperture(shape)
    late_us = _round_up(settings.start_delay_max_s * 1e6, tick_us)
    side_us = _round_up(side_us + _MARGIN_SAMPLES * aperture_us, tick_us)
    count = -int(-(late_us + 2 * side_us) // aperture_us)
    since_us, until_us = _steady_span_us(mode, level_index, tick_us, hard_stop_ticks)
    phase_us = since_us % shape.period_us
    windows = {since_us: Window(name=WindowName.START, event_us=phase_us, start_us=since_us)}
    if since_us + late_us + count * aperture_us > until_us:
        return None
    for event_us, name in find_events(shape):
        before_us = event_us - side_us - late_us
        periods = max(0, -(-(since_us - before_us) // shape.period_us))
        start_us = before_us + periods * shape.period_us
        # The session, or its full level, ends before this event has been seen on both sides.
        if start_us + late_us + count * aperture_us <= until_us:
            windows.setdefault(start_us, Window(name=name, event_us=event_us, start_us=start_us))
    plan = WindowPlan(
        sample_aperture_us=aperture_us,
        sample_count=count,
        windows=tuple(windows[start_us] for start_us in sorted(windows)),
    )
    is_short = plan.duration_us < shape.period_us and count <= WINDOW_SAMPLES_MAX
    return plan if is_short else None


def _find_corners_us(shape: WaveformShape) -> list[int]:
    # Where a pulse steps or bends, its begin and end apart.
    corners = []
    position_ticks = 0
    for (duration, start, end), (after, next_start, next_end) in pairwise(shape.segments):
        position_ticks += duration
        is_straight = (end - start) * after == (next_end - next_start) * duration
        if end != next_start or not is_straight:
            corners.append(position_ticks * shape.tick_us)
    return corners


def _choose_aperture(shape: WaveformShape) -> tuple[float, int]:
    """Returns the integration time of a sample and what a window holds beside an event, µs."""
    if is_fast(shape):
        # A whole number of samples in a pulse: the mean over them is that of a whole pulse.
        samples = min(_SAMPLES_PER_PULSE_MAX, max(1, shape.pulse_us // _APERTURE_MIN_US))
        return shape.pulse_us / samples, -(-_FAST_SIDE_US // shape.pulse_us) * shape.pulse_us
    shortest_us = min(ticks for ticks, _, _ in shape.segments) * shape.tick_us
    aperture_us = min(
        max(shortest_us / _SAMPLES_PER_SEGMENT, _APERTURE_MIN_US), _SLOW_APERTURE_MAX_US
    )
    return float(aperture_us), SLOW_SIDE_US


def _steady_span_us(
    mode: Mode, level_index: int, tick_us: int, hard_stop_ticks: int
) -> tuple[int, int]:
    """Returns from when to when in the session every pulse is played in full, µs."""
    session = Session(
        mode=mode,
        level=mode.levels[level_index],
        end_ticks=min(mode.session_ticks, hard_stop_ticks),
    )
    since = session.start_ticks(max(mode.soft_start_pulses - 1, 0))
    falling = mode.soft_stop_pulses - 1
    full = session.pulse_count - falling
    until = session.start_ticks(max(full, 0)) if falling > 0 else session.played_ticks
    return since * tick_us, until * tick_us


def _round_up(value_us: float, tick_us: int) -> int:
    return -int(-value_us // tick_us) * tick_us
