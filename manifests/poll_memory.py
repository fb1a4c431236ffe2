"""What a board keeps in memory of its last poll, so that a poll with nothing new is one request.

The assignment is asked for first. Is it byte for byte the message on which the last session ended
without anything to install, and has nothing changed on the board since, then this one ends alike.
Nothing of it is verified again, because nothing is done. Whatever publishes a new trust record
also signs the assignments again (`trust_publication`), so the record is asked for at once.

Kept in memory and not in flash: it is lost at a reboot, wears nothing, and no number in it can be
driven up by whoever holds an online key.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manifests.update_device import UpdateDevice
    from manifests.update_outcome import UpdateOutcome


class PollMemory:
    """The last session that ended with nothing to install, and what a server heard since."""

    def __init__(self) -> None:
        self._key: object = None
        self._outcome: UpdateOutcome | None = None
        self._said: tuple[bytes, str] | None = None

    def recall(self, device: UpdateDevice, untrusted_assignment: bytes) -> UpdateOutcome | None:
        """Return how the last session ended, if this one has the same to go by."""
        return self._outcome if self._key == _key(device, untrusted_assignment) else None

    def remember(
        self, device: UpdateDevice, assignment_bytes: bytes, outcome: UpdateOutcome
    ) -> None:
        """Keep how a session ended on an assignment that was verified."""
        self._key, self._outcome = _key(device, assignment_bytes), outcome

    def has_to_say(self, manifest_sha256: bytes, reason: str) -> bool:
        """Whether a server has not heard yet, since the boot, what holds the device back."""
        return self._said != (manifest_sha256, reason)

    def said(self, manifest_sha256: bytes, reason: str) -> None:
        """Keep that a server heard it."""
        self._said = manifest_sha256, reason


def _key(device: UpdateDevice, assignment_bytes: bytes) -> object:
    stored = device.record.trust.load()
    return (
        hashlib.sha256(assignment_bytes).digest(),
        device.record.load_update_state(),
        None if stored is None else stored.generation,
        device.board.running_slot,
    )
