"""`station run --headless`: one JSON object per line, for the controller of a line.

Implements docs/spec/station-run-events.md. Lines are written from the slots' threads, one call at a
time, and flushed one by one. A reader that goes away stops nothing: the ledger has everything.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from typing import TextIO

    from provisioning.station_values import Progress, SlotResult

EVENT_SCHEMA = "ampforge.station-event/1"
PROGRESS_INTERVAL_S = 0.5


class EventStream:
    """Writes events to a text stream until its reader goes away.

    Args:
        stream: Where the lines go.
        now: The present moment, aware.
    """

    def __init__(self, stream: TextIO, *, now: Callable[[], datetime]) -> None:
        self._stream = stream
        self._now = now
        self._number = 0
        self._is_read = True

    def write(self, event: str, content: Mapping[str, object]) -> None:
        """Write one event as one line."""
        document = {
            "schema": EVENT_SCHEMA,
            "event": event,
            "number": self._number,
            "at": self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **content,
        }
        self._number += 1
        if not self._is_read:
            return
        try:
            # ASCII: a line must not depend on the locale of whoever reads it.
            self._stream.write(json.dumps(document, allow_nan=False) + "\n")
            self._stream.flush()
        except OSError:
            self._is_read = False

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Say in a last line why it ended, when it did not end with `finished`."""
        from cli.entry import EXIT_INTERRUPTED
        from cli.failures import describe_error

        try:
            yield
        except Refusal as error:
            self.write("refused", {"error": describe_error(error)})
            raise
        except KeyboardInterrupt:
            self.write("interrupted", {"exit_code": EXIT_INTERRUPTED})
            raise


class EventDisplay:
    """Turns the news of the slots into events; a `cli.station_display.Display`.

    Args:
        events: Where they go.
        slot_document: Describes how a slot ended.
        clock_s: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        events: EventStream,
        *,
        slot_document: Callable[[SlotResult], Mapping[str, object]],
        clock_s: Callable[[], float],
    ) -> None:
        self._events = events
        self._slot_document = slot_document
        self._clock_s = clock_s
        self._told: dict[str, tuple[Progress, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def on_progress(self, progress: Progress) -> None:
        """Write the begin and the end of each step, and what is between them now and then."""
        now_s = self._clock_s()
        told, told_s = self._told.get(progress.slot, (None, 0.0))
        if progress == told:
            return
        is_within = told is not None and told.step is progress.step and progress.fraction < 1
        if is_within and now_s - told_s < PROGRESS_INTERVAL_S:
            return
        self._told[progress.slot] = (progress, now_s)
        self._events.write(
            "progress",
            {
                "slot": progress.slot,
                "step": progress.step.value,
                "fraction": round(progress.fraction, 3),
                "text": progress.text,
            },
        )

    def on_result(self, result: SlotResult) -> None:
        """Write how a slot ended."""
        self._events.write("result", self._slot_document(result))
