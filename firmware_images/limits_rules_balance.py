"""BALANCE: what a pulse delivers it takes back. Implements docs/spec/policy-and-approval.md §7.

Three things are looked at, each from closed forms: every pulse, and within a pulse that is itself a
train every part between two rests; every pulse of a soft start or stop, after its rounding; and the
direct current that remains.
"""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING

from firmware_images.waveform_phases import find_phases
from firmware_images.waveform_ramp import build_ramp_pulse
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from firmware_images.limits_case import LevelCase
    from firmware_images.limits_finding import Finding
    from firmware_images.waveform_phases import Phase

_NA_PER_UA = 1e3
_NA_US_PER_UC = 1e9
_US_PER_MS = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unpaired:
    """Charge that something leaves behind, and what it may leave."""

    net_uc: float
    limit_uc: float
    is_share: bool

    @property
    def excess(self) -> float:
        """Above 1 when the limit is broken; for finding the worst."""
        return self.net_uc / self.limit_uc if self.limit_uc else self.net_uc * float("inf")


def judge_balance(case: LevelCase) -> Iterator[Finding]:
    """BALANCE: each pulse returns its charge, and no DC remains with the unit's own offset.

    The DC is looked at over one burst too: a polarity that flips hides it from the whole cycle,
    not from the skin in between. The offset counts in the DC alone.
    """
    if not case.is_balanced:
        return
    dc_ua = _largest_dc_ua(case)
    yield _judge_pulse(case, dc_ua)
    if case.session_train is not None:
        yield _judge_ramp(case)
    sign = -1 if dc_ua < 0 else 1
    segment, time_us = case.heaviest_place(lambda piece: sign * piece.charge_na_us)
    yield case.find(
        "BALANCE_DC",
        "DC of the table with the unit's offset and drift",
        abs(dc_ua) + case.fact("RESIDUAL_OFFSET") + case.fact("OFFSET_DRIFT"),
        "µA",
        rule="BALANCE",
        detail=f"{dc_ua:+.3f} µA of DC in the table",
        is_strict=True,
        segment=segment,
        time_us=time_us,
    )


def _judge_pulse(case: LevelCase, dc_ua: float) -> Finding:
    """The pulse as a whole; or a part of it that leaves charge where its other parts do not."""
    phases = find_phases(case.pulse)
    largest = max(phases, key=lambda phase: phase.charge_na_us)
    net_na_us = fsum(piece.charge_na_us for piece in case.pulse.pieces)
    worst, place = _weigh(case, net_na_us, largest.charge_na_us), largest
    detail = f"{dc_ua:+.3f} µA of DC"
    parts = _split_at_rests(phases, case.pulse.period_us)
    weighed = [(_weigh(case, _net(part), largest.charge_na_us), part) for part in parts]
    if any(part_worst.excess <= 1 for part_worst, _ in weighed):
        part_worst, part = max(weighed, key=lambda pair: pair[0].excess)
        if part_worst.excess > max(worst.excess, 1):
            worst, place = part_worst, max(part, key=lambda phase: phase.charge_na_us)
            end_ms = (part[-1].start_us + part[-1].duration_us) / _US_PER_MS
            count = f"{len(part)} phase{'' if len(part) == 1 else 's'}"
            detail = f"{count} without a partner before the rest at {end_ms:g} ms, {detail}"
    return _find_charge(
        case,
        "charge that each pulse leaves unpaired",
        worst,
        detail,
        segment=place.piece,
        time_us=place.start_us,
    )


def _judge_ramp(case: LevelCase) -> Finding:
    """The pulse of a soft start or stop that comes nearest to its limit, after rounding."""
    worst, number, start_us, share_text = _weigh(case, 0.0, 0.0), 1, 0.0, ""
    for pulse in case.ramp_pulses:
        weighed = _weigh(case, pulse.net_na_us, 0.0)
        if weighed.excess > 1:
            # Only now is the pulse's own phase charge worth computing: it can only widen the limit.
            train = build_ramp_pulse(case.session, pulse.share, case.tick_us)
            charges = [phase.charge_na_us for phase in find_phases(train)]
            weighed = _weigh(case, pulse.net_na_us, max(charges, default=0.0))
        if weighed.excess > worst.excess or not share_text:
            worst, number, start_us = weighed, pulse.number, pulse.start_us
            share_text = f"{pulse.share.parts}/{pulse.share.whole}"
    return _find_charge(
        case,
        "charge that a pulse of the soft start or stop leaves unpaired",
        worst,
        f"pulse {number} of the session, {share_text} of the level",
        segment=1,
        time_us=start_us,
    )


def _find_charge(
    case: LevelCase, what: str, worst: _Unpaired, detail: str, *, segment: int, time_us: float
) -> Finding:
    return case.find(
        "BALANCE_CHARGE_SHARE" if worst.is_share else "BALANCE_CHARGE",
        what,
        worst.net_uc,
        "µC",
        rule="BALANCE",
        detail=detail,
        limit=worst.limit_uc,
        segment=segment,
        time_us=time_us,
    )


def _weigh(case: LevelCase, net_na_us: float, phase_na_us: float) -> _Unpaired:
    """A net charge beside the greater of the share of a phase and the charge that is let pass."""
    share_uc = case.limit("BALANCE_CHARGE_SHARE") / 100 * phase_na_us / _NA_US_PER_UC
    floor_uc = case.limit("BALANCE_CHARGE")
    return _Unpaired(
        net_uc=abs(net_na_us) / _NA_US_PER_UC,
        limit_uc=max(share_uc, floor_uc),
        is_share=share_uc > floor_uc,
    )


def _split_at_rests(phases: Sequence[Phase], period_us: float) -> list[list[Phase]]:
    """Phases that belong together: a rest longer than both of its neighbours parts them.

    The last part and the first are one where no such rest lies across the end of the pulse.
    """
    parts = [[phases[0]]]
    for phase in phases[1:]:
        if _is_rest(parts[-1][-1], phase, 0.0):
            parts.append([])
        parts[-1].append(phase)
    if len(parts) > 1 and not _is_rest(parts[-1][-1], parts[0][0], period_us):
        parts[0] = parts.pop() + parts[0]
    return parts


def _is_rest(before: Phase, after: Phase, wrapped_us: float) -> bool:
    gap_us = after.start_us + wrapped_us - before.start_us - before.duration_us
    return gap_us > max(before.duration_us, after.duration_us)


def _net(part: Sequence[Phase]) -> float:
    return fsum(phase.sign * phase.charge_na_us for phase in part)


def _largest_dc_ua(case: LevelCase) -> float:
    """The DC over a burst or over the period, and what bursts of one ramp pulse would have."""
    burst_us = case.burst.period_us
    means_na = [
        fsum(piece.charge_na_us for piece in case.burst.pieces) / burst_us,
        case.analysis.idc_ua * _NA_PER_UA,
    ]
    means_na += [
        pulse.net_na_us * case.mode.pulses_per_burst / burst_us for pulse in case.ramp_pulses
    ]
    return max(means_na, key=abs) / _NA_PER_UA
