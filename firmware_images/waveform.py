"""The waveform model after quantisation: integer ticks, signed integer nanoamps.

A value of this module is always one that a device may hold: counts are bounded, names are plain
ASCII, levels rise strictly, every level says its true peak and ends at zero (rule TICK). What it
does not do: judge whether the currents are safe (`limits_judging`), or know how the waveform was
written down (`waveform_source`, `waveform_csv`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import pairwise
from typing import Final

from firmware_images.errors import TickError, WaveformError
from signing.value_class import dataclass

MODE_COUNT_MAX: Final = 16
LEVEL_COUNT_MAX: Final = 16
SEGMENT_COUNT_MAX: Final = 4096
UNROLLED_SEGMENTS_MAX: Final = 65_536
RAMP_PULSES_MIN: Final = 2
TICKS_MAX: Final = 0xFFFF_FFFF
CURRENT_NA_MAX: Final = 0x7FFF_FFFF
MODE_NAME_BYTES_MAX: Final = 16
HARDWARE_CLASS_BYTES_MAX: Final = 32
DIGEST_BYTES: Final = 32

_US_PER_S: Final = 1_000_000
_MODE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,15}")
_HARDWARE_CLASS = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


def is_class_text(text: str) -> bool:
    """Whether a signed document may name a hardware class so: 1 to 32 printable ASCII characters.

    Implements docs/spec/policy-and-approval.md §5.
    """
    return 1 <= len(text) <= HARDWARE_CLASS_BYTES_MAX and text.isascii() and text.isprintable()


class Regulation(StrEnum):
    """What the output stage holds constant while the skin's resistance changes.

    With `VOLTAGE` the samples are the current that flows into the reference load of 500 Ω.
    """

    CURRENT = "current"
    VOLTAGE = "voltage"


class Balance(StrEnum):
    """Whether each pulse must return the charge it delivered."""

    BALANCED = "balanced"
    GALVANIC = "galvanic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch in which the current changes linearly.

    Args:
        duration_ticks: Length in ticks, at least 1.
        start_na: Current at its first instant, nanoamps, signed.
        end_na: Current at its last instant, nanoamps, signed.
    """

    duration_ticks: int
    start_na: int
    end_na: int

    def __post_init__(self) -> None:
        _refuse_outside(self.duration_ticks, 1, TICKS_MAX, "a segment's duration in ticks")
        for current_na in (self.start_na, self.end_na):
            _refuse_outside(
                current_na, -CURRENT_NA_MAX, CURRENT_NA_MAX, "a segment's current in nanoamps"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One pulse period at one intensity, rest included; the first polarity is as stored.

    Args:
        peak_na: The largest absolute current among the segments, nanoamps.
        segments: In order of time; the last one ends at zero.
    """

    peak_na: int
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        _refuse_outside(len(self.segments), 1, SEGMENT_COUNT_MAX, "the segments of a level")
        largest_na = max(max(abs(s.start_na), abs(s.end_na)) for s in self.segments)
        if self.peak_na != largest_na or largest_na == 0:
            raise WaveformError(
                "a level must state its true peak",
                expected=f"{largest_na} nA, and more than 0",
                got=f"{self.peak_na} nA",
            )
        if self.segments[-1].end_na != 0:
            raise TickError(
                "TICK: the last sample of a pulse must be zero",
                expected="0 nA",
                got=f"{self.segments[-1].end_na} nA",
                where=f"segment {len(self.segments)}",
                hint="end the pulse with a ramp to zero or with a rest",
            )
        _refuse_outside(self.pulse_ticks, 1, TICKS_MAX, "a pulse period in ticks")

    @property
    def pulse_ticks(self) -> int:
        """The length of one pulse period in ticks."""
        return sum(segment.duration_ticks for segment in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What a person selects: a shape, its repetition, and its levels.

    A burst is `pulses_per_burst` pulses followed by `burst_off_ticks` of rest. With
    `flips_each_burst` every second burst is played with the opposite sign. A soft start and a soft
    stop scale whole pulses (`waveform_session`).

    Args:
        name: Capital letters, digits and underscore, at most 16.
        balance: Whether each pulse must return its charge.
        regulation: What the output stage holds constant.
        levels: Strictly rising peaks.
        pulses_per_burst: Whole pulses, at least 1.
        burst_off_ticks: Rest after the burst, 0 for none.
        flips_each_burst: Whether the polarity alternates from burst to burst.
        session_ticks: After this the device stops by itself; it holds one whole pulse at least.
        soft_start_pulses: Pulse k of the first so many plays k of so many parts; 0 for none.
        soft_stop_pulses: The same towards the session's end; 0 for none.
    """

    name: str
    balance: Balance
    regulation: Regulation
    levels: tuple[Level, ...]
    pulses_per_burst: int
    burst_off_ticks: int
    flips_each_burst: bool
    session_ticks: int
    soft_start_pulses: int = 0
    soft_stop_pulses: int = 0

    def __post_init__(self) -> None:
        if _MODE_NAME.fullmatch(self.name) is None:
            raise WaveformError(
                "a mode's name is not usable",
                expected="1 to 16 of A-Z, 0-9 and _, a letter first",
                got=repr(self.name),
            )
        _refuse_outside(len(self.levels), 1, LEVEL_COUNT_MAX, f"the levels of mode {self.name}")
        _refuse_outside(self.pulses_per_burst, 1, TICKS_MAX, "pulses per burst")
        _refuse_outside(self.burst_off_ticks, 0, TICKS_MAX, "the rest after a burst in ticks")
        _refuse_outside(self.session_ticks, 1, TICKS_MAX, "a session in ticks")
        for number, (lower, upper) in enumerate(pairwise(self.levels), start=2):
            if upper.peak_na <= lower.peak_na:
                raise TickError(
                    "TICK: levels must rise strictly",
                    expected=f"more than {lower.peak_na} nA",
                    got=f"{upper.peak_na} nA",
                    where=f"mode {self.name}, level {number}",
                    hint="sort the levels and remove equal ones",
                )
        for level in self.levels:
            unrolled = self.bursts_per_repeat * (self.pulses_per_burst * len(level.segments) + 1)
            _refuse_outside(
                unrolled, 1, UNROLLED_SEGMENTS_MAX, f"segments in a repeat period of {self.name}"
            )
            self._refuse_session(level)

    def _refuse_session(self, level: Level) -> None:
        """Refuses ramps that are none or too long, and a session without a whole pulse."""
        where = f"mode {self.name}, level of {level.peak_na / 1000:g} µA"
        for name, pulses in (("start", self.soft_start_pulses), ("stop", self.soft_stop_pulses)):
            largest = UNROLLED_SEGMENTS_MAX // len(level.segments)
            if pulses != 0 and not RAMP_PULSES_MIN <= pulses <= largest:
                raise TickError(
                    f"TICK: a soft {name} has too few or too many pulses",
                    expected=f"0 for none, or {RAMP_PULSES_MIN} to {largest}",
                    got=pulses,
                    where=where,
                    hint="of one pulse nothing would be scaled" if pulses == 1 else None,
                )
        count = self.count_pulses(level, self.session_ticks)
        if count == 0:
            raise TickError(
                "TICK: the session ends before its first pulse does, so nothing would be played",
                expected=f"at least {level.pulse_ticks} ticks",
                got=f"{self.session_ticks} ticks",
                where=where,
                hint="a device begins no pulse that it cannot end; lengthen the session",
            )
        if self.soft_start_pulses + self.soft_stop_pulses > count:
            raise TickError(
                "TICK: soft start and soft stop are longer than the session",
                expected=f"at most {count} pulses, which are all that the session holds",
                got=f"{self.soft_start_pulses} and {self.soft_stop_pulses} pulses",
                where=where,
                hint="the level would never be reached; shorten the ramps",
            )

    def count_pulses(self, level: Level, end_ticks: int) -> int:
        """How many pulses begin and end before a moment: the others are not begun at all."""
        bursts, rest_ticks = divmod(end_ticks, self.burst_ticks(level))
        last = min(self.pulses_per_burst, rest_ticks // level.pulse_ticks)
        return bursts * self.pulses_per_burst + last

    @property
    def bursts_per_repeat(self) -> int:
        """How many bursts pass before everything repeats: 2 when the polarity flips."""
        return 2 if self.flips_each_burst else 1

    def burst_ticks(self, level: Level) -> int:
        """The length of one burst at `level`, rest included, in ticks."""
        return level.pulse_ticks * self.pulses_per_burst + self.burst_off_ticks

    def repeat_ticks(self, level: Level) -> int:
        """The full repeat period at `level`: bursts, rests and polarity cycle, in ticks."""
        return self.burst_ticks(level) * self.bursts_per_repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformTable:
    """Everything that a device needs to generate its modes, and the policy they were judged by.

    Args:
        hardware_class: Which boards it is for, such as `flare-c3`.
        tick_us: Microseconds per tick.
        clamp_na: The firmware never puts out more, whatever a segment says, nanoamps.
        hard_stop_ticks: The firmware stops after this in any mode, ticks.
        contact_area_mm2: The smallest contact the limits were judged for, mm².
        policy_digest: SHA-256 of the limits policy's canonical bytes.
        policy_version: Its version.
        modes: With distinct names, in the order that the device shows.
    """

    hardware_class: str
    tick_us: int
    clamp_na: int
    hard_stop_ticks: int
    contact_area_mm2: int
    policy_digest: bytes
    policy_version: int
    modes: tuple[Mode, ...]

    def __post_init__(self) -> None:
        if _HARDWARE_CLASS.fullmatch(self.hardware_class) is None:
            raise WaveformError(
                "a hardware class is not usable",
                expected="1 to 32 of a-z, 0-9, dot, hyphen and underscore",
                got=repr(self.hardware_class[:80]),
                hint="name it as hardware_class in [product] does",
            )
        _refuse_outside(self.tick_us, 1, 1_000_000, "a tick in microseconds")
        _refuse_outside(self.clamp_na, 1, CURRENT_NA_MAX, "the clamp in nanoamps")
        _refuse_outside(self.hard_stop_ticks, 1, TICKS_MAX, "the hard stop in ticks")
        _refuse_outside(self.contact_area_mm2, 1, 1_000_000, "the contact area in mm²")
        _refuse_outside(self.policy_version, 1, TICKS_MAX, "the policy version")
        _refuse_outside(len(self.policy_digest), DIGEST_BYTES, DIGEST_BYTES, "the policy digest")
        _refuse_outside(len(self.modes), 1, MODE_COUNT_MAX, "the modes of a table")
        self._refuse_fast_ramps()
        names = [mode.name for mode in self.modes]
        if len(set(names)) != len(names):
            raise WaveformError("two modes have one name", expected="distinct names", got=names)

    def _refuse_fast_ramps(self) -> None:
        """Bounds the second beside a ramp, which is looked at pulse by pulse."""
        for mode in self.modes:
            for level in mode.levels if mode.soft_start_pulses or mode.soft_stop_pulses else ():
                pulse_us = level.pulse_ticks * self.tick_us
                _refuse_outside(
                    len(level.segments) * (_US_PER_S // pulse_us),
                    0,
                    UNROLLED_SEGMENTS_MAX,
                    f"segments in a second of {mode.name}, which has a soft start or stop,",
                )

    def mode(self, name: str) -> Mode:
        """The mode of that name; raises `WaveformError` when the table has none."""
        for mode in self.modes:
            if mode.name == name:
                return mode
        raise WaveformError(
            "the table has no such mode",
            expected=", ".join(mode.name for mode in self.modes),
            got=repr(name),
        )


def _refuse_outside(value: int, low: int, high: int, what: str) -> None:
    if not low <= value <= high:
        expected = f"{low}" if low == high else f"{low} to {high}"
        raise WaveformError(f"{what} out of range", expected=expected, got=value)
