"""The seam to the field updater: the simulator knows its shape, never its code.

The composition root gives each board a session that answers the update command of the serial link
(docs/spec/serial-link.md §4.9).
"""

from __future__ import annotations

from typing import Protocol


class UpdateSession(Protocol):
    """One board's updater, driven by whoever carries the bytes."""

    def answer(self, data: bytes | None) -> dict[str, object]:
        """Take what was asked for, or `None` to begin, and say what comes next.

        Returns:
            A map with the keys of `provisioning.link_release.UpdateWriteResponse`.
        """
        ...
