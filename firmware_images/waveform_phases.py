"""Phases and polarity runs of a periodic current.

A *phase* is a stretch of one sign in which the absolute current stays above a dead band; touching
the dead band for an instant ends it. A *polarity run* is looser: it lasts until the opposite sign
begins, whatever rests lie in between, and is what electrolysis at the skin adds up over.
"""

from __future__ import annotations

from itertools import groupby
from math import fsum
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from firmware_images.waveform_train import Piece, PulseTrain


class Phase(NamedTuple):
    """A stretch of one sign; a tuple, because a period may hold tens of thousands.

    Args:
        charge_na_us: Integral of the absolute current.
        squared_na2_us: Integral of the squared current.
        duration_us: Its length.
        start_us: When it begins.
        piece: Number of the piece in which it begins, from 1.
        sign: 1 or -1.
    """

    charge_na_us: float
    squared_na2_us: float
    duration_us: float
    start_us: float
    piece: int
    sign: int

    def moved(self, by_us: float) -> Phase:
        """The same so much later; by hand, as `_replace` takes several times as long."""
        charge, squared, duration_us, start_us, piece, sign = self
        return Phase(charge, squared, duration_us, by_us + start_us, piece, sign)

    def lasting(self, duration_us: float) -> Phase:
        """The same with another length."""
        charge, squared, _, start_us, piece, sign = self
        return Phase(charge, squared, duration_us, start_us, piece, sign)


def scan_period(train: PulseTrain, dead_band_na: float = 0.0) -> list[Phase]:
    """The phases of one period from its beginning to its end, cut off at both.

    Args:
        train: One repeat period.
        dead_band_na: A current of this size or less belongs to no phase, 0 or more.
    """
    return _scan(train.pieces, dead_band_na)


def find_phases(
    train: PulseTrain, dead_band_na: float = 0.0, *, scanned: list[Phase] | None = None
) -> tuple[Phase, ...]:
    """All phases of one period; the last joins the first when the period's end lies within it.

    A current that never falls to the dead band is one phase as long as the period.

    Args:
        train: One repeat period.
        dead_band_na: A current of this size or less belongs to no phase, 0 or more.
        scanned: What `scan_period` finds with the same dead band, if it is known.
    """
    phases = scan_period(train, dead_band_na) if scanned is None else scanned
    if len(phases) > 1:
        first_na, last_na = train.pieces[0].start_na, train.pieces[-1].end_na
        sign = phases[0].sign
        if sign == phases[-1].sign and min(first_na * sign, last_na * sign) > dead_band_na:
            phases = [*phases[1:-1], _join([phases[-1], phases[0]])]
    return tuple(phases)


def find_runs(
    train: PulseTrain,
    session_us: float,
    played_us: float | None = None,
    *,
    scanned: list[Phase] | None = None,
) -> tuple[Phase, ...]:
    """The polarity runs of a session that begins with the period; at least the longest ones.

    Two periods hold every run whole, however it lies across their ends, so no more is looked at,
    unless the current never reverses: then it adds up over the whole session.

    Args:
        train: One repeat period.
        session_us: When the device stops, more than 0; the last run lasts until then.
        played_us: When its last whole pulse ends, at most `session_us`; that, unless given.
        scanned: What `scan_period` finds without a dead band, if it is known.
    """
    period_us = train.period_us
    played_us = session_us if played_us is None else played_us
    seen_us = min(session_us, 2 * period_us)
    if min(played_us, seen_us) == 2 * period_us:
        first = scan_period(train) if scanned is None else scanned
        second = [phase.moved(period_us) for phase in first]
        runs = _join_runs([*first, *second], seen_us)
    else:
        played = _clip(train.pieces * 2, min(played_us, seen_us))
        runs = _join_runs(_scan(played, 0.0), seen_us)
    if len(runs) != 1 or session_us <= seen_us:
        return tuple(runs)
    whole_periods = int(played_us // period_us)
    rest = _clip(train.pieces, played_us - whole_periods * period_us)
    return (
        runs[0]._replace(
            charge_na_us=whole_periods * train.rectified_na_us
            + fsum(p.rectified_na_us for p in rest),
            squared_na2_us=whole_periods * train.squared_na2_us
            + fsum(p.squared_na2_us for p in rest),
            duration_us=session_us - runs[0].start_us,
        ),
    )


def find_runs_of(pieces: Sequence[Piece]) -> tuple[Phase, ...]:
    """The polarity runs of pieces that are played once."""
    end_us = fsum(piece.duration_us for piece in pieces)
    return tuple(_join_runs(_scan(pieces, 0.0), end_us))


def _scan(pieces: Sequence[Piece], dead_band_na: float) -> list[Phase]:
    """The phases from the beginning of `pieces` to their end, without wrapping around."""
    phases: list[_OpenPhase] = []
    is_open = False
    start_us = 0.0
    for number, piece in enumerate(pieces, start=1):
        duration_us, start_na, end_na = piece
        if dead_band_na == 0 and start_na * end_na > 0:  # most pieces: one sign from end to end
            sign = 1 if start_na > 0 else -1
            if is_open and phases[-1].sign == sign:
                phases[-1].parts.append(piece)
            else:
                phases.append(_OpenPhase(start_us, number, sign, [piece]))
            is_open = True
            start_us += duration_us
            continue
        if -dead_band_na <= start_na <= dead_band_na and -dead_band_na <= end_na <= dead_band_na:
            is_open = False
            start_us += duration_us
            continue
        has_part = False
        for from_us, to_us, sign in _cut_above(piece, dead_band_na):
            has_part = True
            is_whole = from_us == 0 and to_us == piece.duration_us
            goes_on = is_open and from_us == 0 and piece.start_na * sign > dead_band_na
            if not (goes_on and phases[-1].sign == sign):
                phases.append(_OpenPhase(start_us + from_us, number, sign, []))
            phases[-1].parts.append(piece if is_whole else piece.cut(from_us, to_us))
            is_open = to_us == piece.duration_us and piece.end_na * sign > dead_band_na
        is_open = is_open and has_part
        start_us += duration_us
    return [phase.close() for phase in phases]


class _OpenPhase(NamedTuple):
    """A phase while its parts are gathered."""

    start_us: float
    piece: int
    sign: int
    parts: list[Piece]

    def close(self) -> Phase:
        if len(self.parts) == 1:  # most of them, and a sum of one is that one
            (part,) = self.parts
            return Phase(
                abs(part.charge_na_us),
                part.squared_na2_us,
                part.duration_us,
                self.start_us,
                self.piece,
                self.sign,
            )
        return Phase(
            charge_na_us=abs(fsum(part.charge_na_us for part in self.parts)),
            squared_na2_us=fsum(part.squared_na2_us for part in self.parts),
            duration_us=fsum(part.duration_us for part in self.parts),
            start_us=self.start_us,
            piece=self.piece,
            sign=self.sign,
        )


def _cut_above(piece: Piece, dead_band_na: float) -> Iterator[tuple[float, float, int]]:
    """Where in a piece the current is beyond the dead band, in order of time: from, to, sign."""
    duration_us, start_na, end_na = piece
    for sign in (1, -1) if start_na >= end_na else (-1, 1):
        start, end = start_na * sign - dead_band_na, end_na * sign - dead_band_na
        if start <= 0 and end <= 0:
            continue
        crossing_us = duration_us if start == end else duration_us * start / (start - end)
        yield (0.0 if start >= 0 else crossing_us, duration_us if end >= 0 else crossing_us, sign)


def _join(fragments: Sequence[Phase]) -> Phase:
    if len(fragments) == 1:
        return fragments[0]
    return fragments[0]._replace(
        charge_na_us=fsum(fragment.charge_na_us for fragment in fragments),
        squared_na2_us=fsum(fragment.squared_na2_us for fragment in fragments),
        duration_us=fsum(fragment.duration_us for fragment in fragments),
    )


def _join_runs(phases: Sequence[Phase], end_us: float) -> list[Phase]:
    """Phases of one sign taken together; each run lasts until the next one begins."""
    runs = [_join(list(same)) for _, same in groupby(phases, key=attrgetter("sign"))]
    ends_us = [*(run.start_us for run in runs[1:]), end_us][: len(runs)]
    return [
        run.lasting(until_us - run.start_us) for run, until_us in zip(runs, ends_us, strict=True)
    ]


def _clip(pieces: Sequence[Piece], until_us: float) -> list[Piece]:
    """The pieces before a moment, the last one cut there."""
    clipped: list[Piece] = []
    start_us = 0.0
    for piece in pieces:
        left_us = until_us - start_us
        if left_us <= 0:
            break
        clipped.append(piece if left_us >= piece.duration_us else piece.cut(0.0, left_us))
        start_us += piece.duration_us
    return clipped
