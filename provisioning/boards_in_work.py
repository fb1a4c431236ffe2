"""Which chips the slots of one station work on at this moment, so that two with one MAC are seen.

What is done about two is `unit_admission`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class BoardsInWork:
    """The chips that the slots of one station work on at this moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[bytes, str] = {}

    @contextmanager
    def holding(self, mac: bytes, slot: str) -> Iterator[str | None]:
        """Hold a MAC while the block runs; gives the slot that holds it already, or `None`."""
        with self._lock:
            holder = self._slots.setdefault(mac, slot)
        try:
            yield None if holder == slot else holder
        finally:
            if holder == slot:
                with self._lock:
                    del self._slots[mac]
