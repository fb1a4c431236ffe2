"""The memory of one job: what was intended, what was confirmed, and what need not be done again.

Before an act its INTENT is on the disk, after its read-back its CONFIRM. When the station starts
again, a step whose CONFIRM is there and whose read-back still holds is skipped; from the first step
that has to be done again, all later ones are done again too, because each builds on the one before
(docs/decisions/0052).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.ledger_events import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import Reservation, SerialState, Writer
    from provisioning.station_values import Step


class UnitJob:
    """One job in the ledger.

    Args:
        ledger: The open ledger.
        writer: Who writes.
        reservation: Serial number and job.
    """

    def __init__(self, ledger: Ledger, writer: Writer, reservation: Reservation) -> None:
        assert reservation.job is not None, "only a job can be worked on"
        self.reservation = reservation
        self._ledger = ledger
        self._writer = writer
        self._has_redone = False
        self._intended: dict[str, Mapping[str, object]] = {}
        self._confirmed: dict[str, Mapping[str, object]] = {}
        if reservation.is_resumed:
            for chained in ledger.events(job=reservation.job):
                event = chained.event
                if event.phase is Phase.INTENT:
                    self._intended[event.step] = event.data
                elif event.phase is Phase.CONFIRM:
                    self._confirmed[event.step] = event.data

    def last_intent(self, step: Step) -> Mapping[str, object] | None:
        """Return what this job intended last for a step, confirmed or not."""
        return self._intended.get(step.value)

    def perform(
        self,
        step: Step,
        *,
        intent: Mapping[str, object],
        act: Callable[[], Mapping[str, object]],
        still_holds: Callable[[Mapping[str, object]], bool],
        serial_state: SerialState | None = None,
    ) -> bool:
        """Do one step, unless it was done and still holds.

        Args:
            step: Which one.
            intent: What the INTENT says.
            act: Does it, reads it back, and returns what the CONFIRM says.
            still_holds: Told an earlier CONFIRM; whether it is still true on the board.
            serial_state: How far the serial number has come with the CONFIRM, when it moves.

        Returns:
            Whether the step was done now.
        """
        confirmed = None if self._has_redone else self._confirmed.get(step.value)
        if confirmed is not None and still_holds(confirmed):
            return False
        self._has_redone = True
        self._append(step, Phase.INTENT, intent)
        self._intended[step.value] = intent
        data = act()
        self._append(step, Phase.CONFIRM, data, serial_state=serial_state)
        return True

    def note(self, step: Step, data: Mapping[str, object]) -> None:
        """Write down something that is neither intended nor confirmed."""
        self._append(step, Phase.NOTE, data)

    def _append(
        self,
        step: Step,
        phase: Phase,
        data: Mapping[str, object],
        *,
        serial_state: SerialState | None = None,
    ) -> None:
        self._ledger.append(
            self._writer,
            step=step.value,
            phase=phase,
            data=data,
            reservation=self.reservation,
            serial_state=serial_state,
        )
