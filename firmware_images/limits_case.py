"""One level of one mode, with everything that the rules look at computed once."""

from __future__ import annotations

from itertools import accumulate
from math import fsum
from typing import TYPE_CHECKING, Final

from firmware_images.limits_finding import Finding
from firmware_images.waveform import Balance
from firmware_images.waveform_analysis import WINDOW_US, Analysis, summarize_train
from firmware_images.waveform_phases import Phase, find_phases, scan_period
from firmware_images.waveform_ramp import (
    RampPulse,
    SessionTrain,
    build_session_train,
    list_ramp_pulses,
)
from firmware_images.waveform_session import Session
from firmware_images.waveform_train import PulseTrain, build_burst, build_pulse, build_repeat_period
from firmware_images.waveform_window import WindowMean, find_largest_window_mean
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_images.limits_policy import LimitsPolicy, ModeLimits
    from firmware_images.waveform import Level, Mode
    from firmware_images.waveform_train import Piece

_US_PER_MS: Final = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelCase:
    """What is judged.

    Args:
        policy: The limits.
        mode: The mode as the table has it.
        level: One of its levels.
        number: The level's number, from 1.
        tick_us: Microseconds per tick.
        pulse: One pulse.
        burst: One burst with its rest, in the first polarity.
        period: The full repeat period.
        scanned: The phases of `period`, cut off at its ends.
        phases: Those of `period`, without a dead band.
        analysis: The figures of `period`.
        worst_second: The second of the endless train with the largest absolute mean.
        session: What a device plays from start to end.
        session_train: The session with its ramps, or `None` where it has none.
        ramp_pulses: One of each share that a ramp plays.
    """

    policy: LimitsPolicy
    mode: Mode
    level: Level
    number: int
    tick_us: int
    pulse: PulseTrain
    burst: PulseTrain
    period: PulseTrain
    scanned: list[Phase]
    phases: tuple[Phase, ...]
    analysis: Analysis
    worst_second: WindowMean
    session: Session
    session_train: SessionTrain | None
    ramp_pulses: tuple[RampPulse, ...]

    @property
    def mode_limits(self) -> ModeLimits | None:
        """What the policy says of this mode, or `None` when it does not name it."""
        return self.policy.modes.get(self.mode.name)

    @property
    def is_balanced(self) -> bool:
        """Whether the table or the policy asks for balance: the stricter of the two counts."""
        limits = self.mode_limits
        return Balance.BALANCED in (self.mode.balance, limits and limits.balance)

    @property
    def area_cm2(self) -> float:
        """The smallest contact area."""
        return self.fact("CONTACT_AREA")

    @property
    def gain(self) -> float:
        """The largest factor by which a unit may exceed its nominal current."""
        return float(1 + self.policy.facts["GAIN_TOLERANCE"].value / 100)

    @property
    def rms_ua(self) -> float:
        """The larger of the rms over the cycle and inside the burst."""
        return max(self.analysis.irms_ua, self.analysis.irms_burst_ua)

    def fact(self, key: str) -> float:
        """A fact of the policy, in its unit."""
        return float(self.policy.facts[key])

    def limit(self, key: str) -> float:
        """A limit of the policy, in its unit."""
        return float(self.policy.limits[key])

    def segment_of(self, piece: int) -> int | None:
        """The segment that a piece of `period` comes from; `None` for the rest after a burst."""
        count = len(self.level.segments)
        per_burst = len(self.burst.pieces)
        index = (piece - 1) % per_burst
        return None if index >= count * self.mode.pulses_per_burst else index % count + 1

    def segment_at(self, time_us: float) -> int | None:
        """The segment that is played at a moment of the session; `None` in a rest."""
        ticks = time_us / self.tick_us
        if not 0 <= ticks < self.session.played_ticks:
            return None
        moment = ticks % self.mode.burst_ticks(self.level)
        if moment >= self.level.pulse_ticks * self.mode.pulses_per_burst:
            return None
        ends = accumulate(segment.duration_ticks for segment in self.level.segments)
        within = moment % self.level.pulse_ticks
        return next((n for n, end in enumerate(ends, start=1) if within < end), None)

    def heaviest_place(self, weigh: Callable[[Piece], float]) -> tuple[int, float]:
        """The segment of a pulse that weighs most, and when it begins, µs.

        A figure over a whole period happens nowhere; this is where to change it.
        """
        pieces = self.pulse.pieces
        index = max(range(len(pieces)), key=lambda number: weigh(pieces[number]))
        return index + 1, fsum(piece.duration_us for piece in pieces[:index])

    def peak_place(self) -> tuple[int, float]:
        """The segment that first reaches the peak, and when, µs."""
        start_us = 0.0
        for number, piece in enumerate(self.pulse.pieces, start=1):
            for moment_us, current_na in ((0.0, piece.start_na), (piece.duration_us, piece.end_na)):
                if abs(current_na) == self.level.peak_na:
                    return number, start_us + moment_us
            start_us += piece.duration_us
        raise AssertionError("a level states its true peak")

    def find(
        self,
        key: str,
        what: str,
        value: float,
        unit: str,
        *,
        rule: str | None = None,
        limit_key: str | None = None,
        limit: float | None = None,
        source: str | None = None,
        detail: str = "",
        is_strict: bool = False,
        segment: int | None = None,
        time_us: float | None = None,
    ) -> Finding:
        """A finding about this level; its segment follows from its time unless given.

        Args:
            key: The limit of the policy that decides.
            what: What is compared.
            value: The figure.
            unit: Its unit.
            rule: The rule's id, when it is not `key`.
            limit_key: What the figure is called, when it is not `key`.
            limit: The limit, when it is not the policy's figure itself.
            source: Its origin, when it is not that of `key`.
            detail: What else explains the value.
            is_strict: Whether the value must stay below.
            segment: Where.
            time_us: When, since the session and the repeat period begin.
        """
        if segment is None and time_us is not None:
            segment = self.segment_at(time_us)
        return Finding(
            rule=rule or key,
            limit_key=limit_key or key,
            what=what,
            value=value,
            limit=self.limit(key) if limit is None else limit,
            unit=unit,
            is_strict=is_strict,
            source=self.policy.limits[key].source if source is None else source,
            detail=detail,
            mode=self.mode.name,
            level=self.number,
            level_ua=self.level.peak_na / 1000,
            segment=segment,
            time_ms=None if time_us is None else time_us / _US_PER_MS,
        )


def build_case(policy: LimitsPolicy, mode: Mode, number: int, tick_us: int) -> LevelCase:
    """Computes what the rules need for level `number`, counted from 1."""
    level = mode.levels[number - 1]
    period = build_repeat_period(mode, level, tick_us)
    scanned = scan_period(period)
    phases = find_phases(period, scanned=scanned)
    worst_second = find_largest_window_mean(period, WINDOW_US)
    area_cm2 = float(policy.facts["CONTACT_AREA"])
    session = Session(
        mode=mode,
        level=level,
        end_ticks=min(mode.session_ticks, policy.hard_stop_us // tick_us),
    )
    return LevelCase(
        policy=policy,
        mode=mode,
        level=level,
        number=number,
        tick_us=tick_us,
        pulse=build_pulse(level, tick_us),
        burst=build_burst(mode, level, tick_us),
        period=period,
        scanned=scanned,
        phases=phases,
        analysis=summarize_train(period, phases, worst_second, area_cm2=area_cm2),
        worst_second=worst_second,
        session=session,
        session_train=build_session_train(session, tick_us),
        ramp_pulses=tuple(list_ramp_pulses(session, tick_us)),
    )
