"""Waveforms, tables and policies for tests: the worked cases, the example product, random ones."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import cache
from math import fsum
from pathlib import Path
from types import MappingProxyType

from hypothesis import strategies as st

from firmware_images.limits import LimitsPolicy, ModeLimits, load_limits
from firmware_images.waveform import Balance, Level, Mode, Regulation, Segment, WaveformTable
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_source import load_waveforms
from firmware_images.waveform_train import Piece, PulseTrain

ROOT = Path(__file__).parents[2]
FLARE = ROOT / "examples" / "flare"
REJECTED = ROOT / "tests" / "rejected" / "waveforms"
GOLDEN = ROOT / "tests" / "golden" / "waveforms"

# duration in microseconds, start and end in microamps
E1 = ((500, 400, 400), (100, 0, 0), (500, -400, -400), (8900, 0, 0))
E3 = (
    (10000, 0, 400),
    (30000, 400, 400),
    (10000, 400, 0),
    (10000, 0, -400),
    (30000, -400, -400),
    (10000, -400, 0),
    (25000, 0, 0),
)
E5 = ((2_000_000, 0, 200), (56_000_000, 200, 200), (2_000_000, 200, 0))


def build_train(segments, *, on_us=None) -> PulseTrain:
    """A period from segments in microseconds and microamps."""
    pieces = tuple(Piece(float(d), a * 1000.0, b * 1000.0) for d, a, b in segments)
    return PulseTrain(pieces=pieces, on_us=on_us or fsum(p.duration_us for p in pieces))


def format_csv(segments) -> str:
    """The same as the rows of a CSV file, a step as two rows."""
    rows, t_us = ["t_us,i_ua"], 0
    for duration_us, start_ua, end_ua in segments:
        rows += [f"{t_us},{start_ua}", f"{t_us + duration_us},{end_ua}"]
        t_us += duration_us
    # a row that only repeats the one before is one row
    return "\n".join(row for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]) + "\n"


@cache
def flare_policy() -> LimitsPolicy:
    return load_limits(FLARE / "limits.toml")


@cache
def flare_table() -> WaveformTable:
    return compile_table(load_waveforms(FLARE / "waveforms.toml"), flare_policy(), "flare-c3")


def change_policy(policy: LimitsPolicy, *, modes=None, version=None, **values) -> LimitsPolicy:
    """The policy with some figures replaced, as `CONTACT_AREA="0.35"`."""

    def replaced(figures):
        return MappingProxyType(
            {
                key: replace(figure, value=Decimal(values[key])) if key in values else figure
                for key, figure in figures.items()
            }
        )

    return replace(
        policy,
        version=version or policy.version,
        facts=replaced(policy.facts),
        limits=replaced(policy.limits),
        modes=MappingProxyType({**policy.modes, **(modes or {})}),
    )


def name_mode(name: str, balance: Balance, claim_ua: str = "400", *, slope: bool = False):
    """An entry for `change_policy(modes=…)`."""
    claim = replace(flare_policy().modes["LIFT"].claim, value=Decimal(claim_ua))
    limits = ModeLimits(
        balance=balance, regulation=Regulation.CURRENT, is_slope_limited=slope, claim=claim
    )
    return {name: limits}


def build_mode(segments, *, tick_us=100, name="TRIAL", balance=Balance.BALANCED, **changes):
    """A mode of one level from segments in microseconds and microamps."""
    level = Level(
        peak_na=max(max(abs(a), abs(b)) for _, a, b in segments) * 1000,
        segments=tuple(
            Segment(duration_ticks=d // tick_us, start_na=a * 1000, end_na=b * 1000)
            for d, a, b in segments
        ),
    )
    fields = {
        "name": name,
        "balance": balance,
        "regulation": Regulation.CURRENT,
        "levels": (level,),
        "pulses_per_burst": 1,
        "burst_off_ticks": 0,
        "flips_each_burst": False,
        "session_ticks": 300_000_000 // tick_us,
    }
    return Mode(**{**fields, **changes})


def build_table(policy: LimitsPolicy, *modes: Mode, tick_us=100) -> WaveformTable:
    return WaveformTable(
        hardware_class="flare-c3",
        tick_us=tick_us,
        clamp_na=policy.clamp_na,
        hard_stop_ticks=policy.hard_stop_us // tick_us,
        contact_area_mm2=policy.contact_area_mm2,
        policy_digest=policy.digest,
        policy_version=policy.version,
        modes=modes,
    )


currents_ua = st.integers(-400, 400)
segments = st.lists(
    st.tuples(st.integers(1, 3000).map(lambda d: d * 100), currents_ua, currents_ua),
    min_size=1,
    max_size=12,
)


@st.composite
def levels(draw, peak_na: int) -> Level:
    inner = st.integers(-peak_na, peak_na)
    parts = draw(st.lists(st.tuples(st.integers(1, 10**6), inner, inner), max_size=4))
    parts.append((draw(st.integers(1, 10**6)), draw(st.sampled_from([peak_na, -peak_na])), 0))
    return Level(
        peak_na=peak_na,
        segments=tuple(Segment(duration_ticks=d, start_na=a, end_na=b) for d, a, b in parts),
    )


@st.composite
def modes(draw, name: str) -> Mode:
    peaks_na = draw(st.sets(st.integers(1, 2**31 - 1), min_size=1, max_size=3))
    chosen = tuple(draw(levels(peak_na)) for peak_na in sorted(peaks_na))
    longest_ticks = max(level.pulse_ticks for level in chosen)
    session_ticks = draw(st.integers(longest_ticks, 2**32 - 1))
    mode = Mode(
        name=name,
        balance=draw(st.sampled_from(Balance)),
        regulation=draw(st.sampled_from(Regulation)),
        levels=chosen,
        pulses_per_burst=draw(st.integers(1, 5000)),
        burst_off_ticks=draw(st.integers(0, 2**32 - 1)),
        flips_each_burst=draw(st.booleans()),
        session_ticks=session_ticks,
    )
    pulses = min(min(mode.count_pulses(level, session_ticks) for level in chosen) // 2, 10_000)
    ramps = st.sampled_from([0]) if pulses < 2 else st.one_of(st.just(0), st.integers(2, pulses))
    return replace(mode, soft_start_pulses=draw(ramps), soft_stop_pulses=draw(ramps))


@st.composite
def tables(draw) -> WaveformTable:
    names = draw(
        st.lists(
            st.from_regex(r"[A-Z][A-Z0-9_]{0,15}", fullmatch=True),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    return WaveformTable(
        hardware_class=draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,31}", fullmatch=True)),
        tick_us=draw(st.integers(1000, 10**6)),
        clamp_na=draw(st.integers(1, 2**31 - 1)),
        hard_stop_ticks=draw(st.integers(1, 2**32 - 1)),
        contact_area_mm2=draw(st.integers(1, 10**6)),
        policy_digest=draw(st.binary(min_size=32, max_size=32)),
        policy_version=draw(st.integers(1, 2**32 - 1)),
        modes=tuple(draw(modes(name)) for name in names),
    )
