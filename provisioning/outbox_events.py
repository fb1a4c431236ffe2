"""What an outbox may say: only what a station writes under a lease.

An outbox lies in the station's folder, and its chain is not signed. Of what the ledger alone may
say, taken over byte for byte, the ledger's chains would tell for ever what its rows do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.errors import LeaseError
from provisioning.ledger_events import Phase
from provisioning.ledger_formats import FORMAT_STEP
from provisioning.ledger_leases import LEASE_END_STEP, LEASE_STEP
from provisioning.ledger_retelling import RELEASE_STEP
from provisioning.ledger_schema import HEADS_STEP, INSTRUMENT_STEP
from provisioning.ledger_supervision import SUPERVISE_STEP
from provisioning.ledger_voids import REASON_MAX_LENGTH, RESTORE_STEP, VOID_STEP

if TYPE_CHECKING:
    from provisioning.ledger_events import Event

SYNC_STEP: Final = "sync"
REFUSE_STEP: Final = "refuse"
GIVE_UP_STEP: Final = "give-up"
CHANGED_HINT: Final = (
    "it was changed outside Ampforge; nothing of this part was taken over: find out by whom, then "
    "`ampforge station sync --give-up --reason TEXT`"
)
_LEDGER_STEPS: Final = frozenset(
    {
        FORMAT_STEP, GIVE_UP_STEP, HEADS_STEP, INSTRUMENT_STEP, REFUSE_STEP, RELEASE_STEP,
        RESTORE_STEP, SUPERVISE_STEP, SYNC_STEP, VOID_STEP,
    }
)  # fmt: skip
"""About all numbers, about other chains, or by a supervisor: written with the ledger alone."""


def require_own_word(event: Event, *, name: str) -> None:
    """Refuse an event that no outbox has (docs/spec/lease.md §5).

    Args:
        event: An event of the outbox, its chain verified.
        name: The lease, STATION/n.

    Raises:
        LeaseError: No station writes it under a lease.
    """
    if event.step in _LEDGER_STEPS:
        expected = "what a station writes under a lease"
    elif event.step == LEASE_STEP and (event.phase is not Phase.CONFIRM or event.number != 0):
        expected = "one event of this step, the first"
    elif event.step == LEASE_END_STEP and not _is_end(event, name):
        expected = f"the end of {name}, with a reason"
    else:
        return
    raise LeaseError(
        "the outbox says what no outbox says",
        expected=expected,
        got=f"{event.step}, {event.phase.value}: {event.data!r:.80}",
        where=f"{name}, event {event.number}",
        hint=CHANGED_HINT,
    )


def _is_end(event: Event, name: str) -> bool:
    reason = event.data.get("reason")
    return (
        event.phase is Phase.CONFIRM
        and event.data.get("lease") == name
        and isinstance(reason, str)
        and 1 <= len(reason) <= REASON_MAX_LENGTH
        and reason.isprintable()
    )
