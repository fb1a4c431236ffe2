"""What a soft start and a soft stop do to the figures: their pulses, and the session around them.

A pulse that is scaled never exceeds the one in full, segment end by segment end. But rounding to
nanoamps may leave charge in a pulse whose phases differ in height, and a train of one-sided pulses
that cancels in full does not cancel while it grows. So each pulse of a ramp is looked at, and so is
every second that holds a part of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_images.waveform_session import (
    FULL,
    Session,
    Share,
    double_charge,
    scale_na,
    session_double_charge,
)
from firmware_images.waveform_train import Piece, PulseTrain, build_pieces
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND_US: Final = 1e6

_US_PER_S: Final = 1_000_000
_NA_US_PER_UC: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class RampPulse:
    """One pulse that is not played in full.

    Args:
        number: Its place in the session, from 1.
        share: How much of it is played.
        net_na_us: Its net charge after rounding, nA·µs.
        start_us: When it begins, since the session began.
    """

    number: int
    share: Share
    net_na_us: float
    start_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTrain:
    """A session with its ramps, a second of silence before it, and its steady middle shortened.

    Only whole repeat periods are taken out, and more than a second is left between the ramps, so
    every second that holds a part of a ramp is in it as it is played.

    Args:
        train: Silence, then the session.
        cut_us: Where something was taken out, since the session began.
        removed_us: How long that was.
    """

    train: PulseTrain
    cut_us: float
    removed_us: float

    def time_us(self, moment_us: float) -> float:
        """When a moment of `train` is in the session; its beginning for one before it."""
        since_us = max(moment_us - SECOND_US, 0.0)
        return since_us + self.removed_us if since_us >= self.cut_us else since_us


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFigures:
    """What a whole session comes to.

    Args:
        session_pulses: Whole pulses that are played.
        session_played_s: When the last of them ends.
        session_net_charge_uc: Signed charge of the whole session, ramps included, µC.
        ramp_net_charge_uc: Largest charge that a pulse of a ramp leaves unpaired, µC.
    """

    session_pulses: int
    session_played_s: float
    session_net_charge_uc: float
    ramp_net_charge_uc: float

    def to_json(self) -> dict[str, object]:
        """The figures under the names that scripts rely on."""
        return {name: getattr(self, name) for name in self.__slots__}


def measure_session(session: Session, tick_us: int) -> SessionFigures:
    """The figures of a session, from whole numbers alone."""
    ramp = (abs(pulse.net_na_us) for pulse in list_ramp_pulses(session, tick_us))
    return SessionFigures(
        session_pulses=session.pulse_count,
        session_played_s=session.played_ticks * tick_us / _US_PER_S,
        session_net_charge_uc=session_double_charge(session) * tick_us / 2 / _NA_US_PER_UC,
        ramp_net_charge_uc=max(ramp, default=0.0) / _NA_US_PER_UC,
    )


def list_ramp_pulses(session: Session, tick_us: int) -> Iterator[RampPulse]:
    """The pulses of both ramps; of those that play the same share, the first."""
    known: set[Share] = set()
    for pulse, share in session.ramp_pulses():
        if share not in known:
            known.add(share)
            yield RampPulse(
                number=pulse + 1,
                share=share,
                net_na_us=double_charge(session.level.segments, share) * tick_us / 2,
                start_us=float(session.start_ticks(pulse) * tick_us),
            )


def build_ramp_pulse(session: Session, share: Share, tick_us: int) -> PulseTrain:
    """One scaled pulse by itself."""
    pieces = _scale_pieces(build_pieces(session.level.segments, tick_us), share, 1)
    return PulseTrain(pieces=pieces, on_us=sum(piece.duration_us for piece in pieces))


def build_session_train(session: Session, tick_us: int) -> SessionTrain | None:
    """The session to look at second by second; `None` where it has no ramp."""
    mode, count = session.mode, session.pulse_count
    if not mode.soft_start_pulses and not mode.soft_stop_pulses:
        return None
    period_pulses = mode.pulses_per_burst * mode.bursts_per_repeat
    period_us = mode.repeat_ticks(session.level) * tick_us
    kept_periods = int(SECOND_US // period_us) + 2
    steady_pulses = count - mode.soft_start_pulses - mode.soft_stop_pulses
    removed_periods = max(steady_pulses // period_pulses - kept_periods, 0)
    cut = mode.soft_start_pulses + kept_periods * period_pulses if removed_periods else count
    pieces = [Piece(SECOND_US, 0.0, 0.0)]
    pulse_pieces = build_pieces(session.level.segments, tick_us)
    full = {sign: _scale_pieces(pulse_pieces, FULL, sign) for sign in (1, -1)}
    rest = range(cut + removed_periods * period_pulses, count)
    for pulse in (*range(cut), *rest):
        share, sign = session.share(pulse), session.sign(pulse)
        pieces += full[sign] if share == FULL else _scale_pieces(pulse_pieces, share, sign)
        if mode.burst_off_ticks and (pulse + 1) % mode.pulses_per_burst == 0:
            pieces.append(Piece(float(mode.burst_off_ticks * tick_us), 0.0, 0.0))
    return SessionTrain(
        train=PulseTrain(pieces=tuple(pieces), on_us=sum(piece.duration_us for piece in pieces)),
        cut_us=float(session.start_ticks(cut) * tick_us),
        removed_us=float(removed_periods * period_us),
    )


def _scale_pieces(pieces: tuple[Piece, ...], share: Share, sign: int) -> tuple[Piece, ...]:
    """A pulse as it is played: whole nanoamps, as `scale_segments` has them."""
    return tuple(
        Piece(
            duration_us,
            float(sign * scale_na(int(start_na), share)),
            float(sign * scale_na(int(end_na), share)),
        )
        for duration_us, start_na, end_na in pieces
    )
