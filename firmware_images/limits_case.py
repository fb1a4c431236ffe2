"""One level of one mode, with everything that the rules look at computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_images.limits_finding import Finding
from firmware_images.waveform import Balance
from firmware_images.waveform_analysis import WINDOW_US, Analysis, summarize_train
from firmware_images.waveform_phases import Phase, find_phases, scan_period
from firmware_images.waveform_train import PulseTrain, build_burst, build_pulse, build_repeat_period
from firmware_images.waveform_window import WindowMean, find_largest_window_mean

if TYPE_CHECKING:
    from firmware_images.limits_policy import LimitsPolicy, ModeLimits
    from firmware_images.waveform import Level, Mode


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
        window: The largest mean of `period` over a second.
        analysis: The figures of `period`.
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
    window: WindowMean
    analysis: Analysis

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

    def find(
        self,
        key: str,
        what: str,
        value: float,
        unit: str,
        *,
        rule: str | None = None,
        limit: float | None = None,
        source: str | None = None,
        detail: str = "",
        is_strict: bool = False,
        segment: int | None = None,
        time_ms: float | None = None,
    ) -> Finding:
        """A finding about this level.

        Args:
            key: The limit of the policy that decides.
            what: What is compared.
            value: The figure.
            unit: Its unit.
            rule: The rule's id, when it is not `key`.
            limit: The limit, when it is not the policy's figure itself.
            source: Its origin, when it is not that of `key`.
            detail: What else explains the value.
            is_strict: Whether the value must stay below.
            segment: Where.
            time_ms: When.
        """
        return Finding(
            rule=rule or key,
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
            time_ms=time_ms,
        )


def build_case(policy: LimitsPolicy, mode: Mode, number: int, tick_us: int) -> LevelCase:
    """Computes what the rules need for level `number`, counted from 1."""
    level = mode.levels[number - 1]
    period = build_repeat_period(mode, level, tick_us)
    scanned = scan_period(period)
    phases = find_phases(period, scanned=scanned)
    window = find_largest_window_mean(period, WINDOW_US)
    area_cm2 = float(policy.facts["CONTACT_AREA"])
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
        window=window,
        analysis=summarize_train(period, phases, window, area_cm2=area_cm2),
    )
