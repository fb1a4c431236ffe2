"""Stores reports for many connections at once: one commit for all that came during the last one.

A commit waits for the disk, and costs the same for one report as for a hundred. So a thread commits
what has gathered, and each request is answered when its own report is on the disk; nobody waits for
a batch to fill. The server's event loop goes on meanwhile, even while the database is locked.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from manifests.errors import FleetStoreError
from manifests.fleet import BATCH_MAX

if TYPE_CHECKING:
    from manifests.fleet import FleetStore, ReceivedReport

WAITING_MAX = 4096
"""Reports that wait for the disk; more are refused, and their devices come again."""


class ReportBatches:
    """Adds reports to a store, from an event loop.

    Args:
        store: Where they go; closed by whoever opened it, after `close`.

    Attributes:
        commits: How many commits there were.
    """

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._waiting: deque[tuple[ReceivedReport, asyncio.Future[bool]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.commits = 0

    async def add(self, received: ReceivedReport) -> bool:
        """Store a verified report; returns when it is on the disk, whether it is new.

        Raises:
            FleetStoreError: It could not be stored, or too many wait.
        """
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._changed:
            if len(self._waiting) >= WAITING_MAX or self._is_closed:
                raise FleetStoreError(
                    "too many device reports wait for the database",
                    expected=f"at most {WAITING_MAX}",
                    hint="send it again later",
                )
            self._waiting.append((received, stored))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
                self._thread.start()
            self._changed.notify()
        return await stored

    def close(self) -> None:
        """Store what waits, and end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._store_batch(batch)
        finally:
            with self._changed:
                # Also after a bug: better a refusal at once than a promise that nobody keeps.
                self._is_closed = True

    def _store_batch(self, batch: list[tuple[ReceivedReport, asyncio.Future[bool]]]) -> None:
        outcome: list[bool] | FleetStoreError = FleetStoreError("device reports were not stored")
        try:
            outcome = self._store.add_reports([received for received, _ in batch])
        except FleetStoreError as error:
            outcome = error
        finally:
            self.commits += 1
            futures = [stored for _, stored in batch]
            # A loop that has ended waits for no answer; what is stored is stored.
            with suppress(RuntimeError):
                futures[0].get_loop().call_soon_threadsafe(_resolve, futures, outcome)

    def _next_batch(self) -> list[tuple[ReceivedReport, asyncio.Future[bool]]]:
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            count = min(BATCH_MAX, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]


def _resolve(futures: list[asyncio.Future[bool]], outcome: list[bool] | FleetStoreError) -> None:
    for number, stored in enumerate(futures):
        if stored.done():
            continue
        if isinstance(outcome, FleetStoreError):
            stored.set_exception(outcome)
        else:
            stored.set_result(outcome[number])
