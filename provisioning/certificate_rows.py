"""The levels that a certificate shows, and which of them when one page does not hold all.

Implements docs/spec/calibration.md §9.2. This module does no input or output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioning.report_figures import point_risk
from provisioning.uncertainty import Outcome, worst_outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.verification_result import PointResult, VerificationResult

ROWS_MAX: Final = 14
"""More levels than these do not fit one page: of each mode the lowest, middle and highest stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """One level of one mode, in both polarities, at the reference load and over all loads.

    Attributes:
        mode: Name of the mode; empty for the idle current.
        level: Level, from 1; 0 for the idle current.
        target_na: Size of the current that is asked for, nA.
        readings: At the reference load, the positive polarity first.
        limit_na: Deciding limit there, nA.
        expanded_na: Largest U of these readings, nA.
        test_uncertainty_ratio: Smallest limit/U of these readings.
        risk: Largest probability that one of them is outside its limit.
        claimed: The point of all loads that used most of the claim limit.
        outcome: Worst outcome of all points of the level.
    """

    mode: str
    level: int
    target_na: int
    readings: tuple[PointResult, ...]
    limit_na: float
    expanded_na: float
    test_uncertainty_ratio: float
    risk: float
    claimed: PointResult
    outcome: Outcome


def build_rows(verification: VerificationResult) -> tuple[tuple[LevelRow, ...], int]:
    """Return the levels that a certificate shows, idle last, and how many it leaves out."""
    levels: dict[tuple[str, int], list[PointResult]] = {}
    for point in verification.points:
        levels.setdefault((point.mode, point.level_index), []).append(point)
    order = {mode: index for index, mode in enumerate(w.mode for w in verification.waveforms)}
    rows = [
        _build_row(mode, level_index + 1, levels[mode, level_index])
        for mode, level_index in sorted(
            levels, key=lambda key: (order.get(key[0], len(order)), key[0], key[1])
        )
    ]
    shown = rows if len(rows) <= ROWS_MAX else _choose_rows(rows)
    idle = (_build_row("", 0, verification.idle),) if verification.idle else ()
    return (*shown, *idle), len(rows) - len(shown)


def _choose_rows(rows: Sequence[LevelRow]) -> list[LevelRow]:
    """Return of each mode lowest, middle and highest level; of more modes, each one's worst."""
    chosen = []
    for mode in dict.fromkeys(row.mode for row in rows):
        own = [row for row in rows if row.mode == mode]
        chosen += [own[place] for place in sorted({0, len(own) // 2, len(own) - 1})]
    if len(chosen) <= ROWS_MAX:
        return chosen
    worst: dict[str, LevelRow] = {}
    for row in rows:
        known = worst.setdefault(row.mode, row)
        if row.risk > known.risk:
            worst[row.mode] = row
    return sorted(worst.values(), key=lambda row: -row.risk)[:ROWS_MAX]


def _build_row(mode: str, level: int, points: Sequence[PointResult]) -> LevelRow:
    at_reference = [point for point in points if point.calibration_limit_na is not None]
    readings = sorted(at_reference or points[:1], key=lambda point: -point.target_na)
    return LevelRow(
        mode=mode,
        level=level,
        target_na=abs(readings[0].target_na),
        readings=tuple(readings),
        limit_na=readings[0].deciding_limit_na,
        expanded_na=max(point.expanded_uncertainty_na for point in readings),
        test_uncertainty_ratio=min(point.test_uncertainty_ratio for point in readings),
        risk=max(point_risk(point) for point in points),
        claimed=max(points, key=lambda point: abs(point.error_na) / point.claim_limit_na),
        outcome=worst_outcome(point.outcome for point in points),
    )
