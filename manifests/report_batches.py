"""Stores reports for many connections at once: one commit for all that are here or about to be.

A commit waits for the disk, and costs nearly the same for one report as for a hundred. So reports
are gathered while a commit is under way, and after it while others are being verified, which takes
milliseconds; a report that comes alone is committed at once. A thread commits, and each request is
answered when its own report is on the disk. The event loop goes on meanwhile, even while the
database is locked.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from manifests.errors import FleetStoreError
from manifests.fleet import BATCH_MAX, BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from manifests.fleet import FleetStore
    from manifests.received_report import ReceivedReport

WAITING_MAX = 4096
"""Reports that wait for the disk; more are refused, and their devices come again."""
GATHERED_MAX = 32
"""Reports that are not held back for more to join them."""
HELD_BACK_MAX_S = 0.02
"""How long a report is held back, whatever becomes of those that are being verified."""
PROBE_INTERVAL_S = 5.0
"""How old may be what is told of the database; then it is written to, if somebody asks."""
SILENT_MAX_S = 2 * BUSY_TIMEOUT_S
"""How long one commit may take before the database counts as broken."""

_Waiting: TypeAlias = "tuple[ReceivedReport, asyncio.Future[bool]]"


class ReportBatches:
    """Adds reports to a store, from an event loop.

    Args:
        store: Where they go; closed by whoever opened it, after `close`.
        clock_s: Monotonic clock, seconds.

    Attributes:
        commits: How many commits there were.
    """

    def __init__(self, store: FleetStore, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock_s = clock_s
        self._waiting: list[_Waiting] = []
        self._handed_over: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._busy_since_s: float | None = None
        self._tried_s: float | None = None
        self._failure: FleetStoreError | None = None
        self._thread: threading.Thread | None = None
        self._coming = 0
        self._is_committing = False
        self._is_closed = False
        self._gathering_loop: asyncio.AbstractEventLoop | None = None
        self._held_back: asyncio.TimerHandle | None = None
        self.commits = 0

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Have those that wait for a commit wait for what the block verifies, to share it."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            # It may have been refused: then it is no more what the others wait for.
            self._gather(asyncio.get_running_loop())

    async def add(self, received: ReceivedReport) -> bool:
        """Store a verified report; returns when it is on the disk, whether it is new.

        Raises:
            FleetStoreError: It could not be stored, or too many wait.
        """
        return await self.begin(received)

    def begin(self, received: ReceivedReport) -> asyncio.Future[bool]:
        """Begin with what `add` does; the future is done when the report is on the disk.

        Raises:
            FleetStoreError: Too many wait.
        """
        if len(self._waiting) >= WAITING_MAX or self._is_closed:
            raise FleetStoreError(
                "too many device reports wait for the database",
                expected=f"at most {WAITING_MAX}",
                hint="send it again later",
            )
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((received, stored))
        self._gather(loop)
        return stored

    def find_failure(self, *, now_s: float) -> FleetStoreError | None:
        """Return why reports cannot be stored, as the last attempt to write has told.

        If that was long ago the database is written to, beside whoever asks, who is told the
        outcome the next time.

        Args:
            now_s: What the clock says.
        """
        if self._is_closed:
            return FleetStoreError("device reports are not stored any more")
        if self._busy_since_s is None:
            if self._tried_s is None or now_s - self._tried_s >= PROBE_INTERVAL_S:
                self._give(None)
        elif now_s - self._busy_since_s > SILENT_MAX_S:
            return FleetStoreError("the report database does not answer")
        return self._failure

    def close(self) -> None:
        """Store what waits, and end; the loops whose reports wait have ended."""
        self._is_closed = True
        while self._waiting:
            self._hand_over()
        if self._thread is not None:
            self._handed_over.put([])
            self._thread.join()

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._is_committing and self._gathering_loop is not loop:
            self._gathering_loop = loop
            loop.call_soon(self._look, loop, 0)

    def _look(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        # What one turn of the loop receives is verified in the next, so this looks twice at least.
        count = len(self._waiting)
        is_enough = count >= GATHERED_MAX
        if seen < count and not is_enough:
            loop.call_soon(self._look, loop, count)
            return
        self._gathering_loop = None
        if not count or self._is_committing:
            return  # `_end_waiting` came between; what is left is gathered after the commit
        if is_enough or not self._coming:
            self._hand_over()
        elif self._held_back is None:
            self._held_back = loop.call_later(HELD_BACK_MAX_S, self._end_waiting)

    def _end_waiting(self) -> None:
        self._held_back = None
        if self._waiting and not self._is_committing:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._held_back is not None:
            self._held_back.cancel()
            self._held_back = None
        batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        self._is_committing = True
        self._give(batch)

    def _give(self, batch: list[_Waiting] | None) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
            self._thread.start()
        if self._busy_since_s is None:
            self._busy_since_s = self._clock_s()
        self._handed_over.put(batch)

    def _run(self) -> None:
        try:
            while (batch := self._handed_over.get()) != []:
                if batch is None:
                    self._probe()
                else:
                    self._store_batch(batch)
        finally:
            # Also after a bug: better a refusal at once than a promise that nobody keeps.
            self._is_closed = True

    def _probe(self) -> None:
        failure: FleetStoreError | None = None
        try:
            self._store.try_to_write()
        except FleetStoreError as error:
            failure = error
        self._note(failure)

    def _note(self, failure: FleetStoreError | None) -> None:
        self._failure = failure
        self._tried_s = self._clock_s()
        # What was handed over meanwhile begins now.
        self._busy_since_s = None if self._handed_over.empty() else self._tried_s

    def _store_batch(self, batch: list[_Waiting]) -> None:
        outcome: list[bool] | FleetStoreError = FleetStoreError("device reports were not stored")
        try:
            outcome = self._store.add_reports([received for received, _ in batch])
        except FleetStoreError as error:
            outcome = error
        finally:
            self.commits += 1
            self._note(outcome if isinstance(outcome, FleetStoreError) else None)
            self._is_committing = False
            futures = [stored for _, stored in batch]
            loop = futures[0].get_loop()
            # A loop that has ended waits for no answer; what is stored is stored.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._go_on, loop, futures, outcome)

    def _go_on(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: list[asyncio.Future[bool]],
        outcome: list[bool] | FleetStoreError,
    ) -> None:
        _resolve(futures, outcome)
        self._gather(loop)


def _resolve(futures: list[asyncio.Future[bool]], outcome: list[bool] | FleetStoreError) -> None:
    for number, stored in enumerate(futures):
        if stored.done():
            continue
        if isinstance(outcome, FleetStoreError):
            stored.set_exception(outcome)
        else:
            stored.set_result(outcome[number])
