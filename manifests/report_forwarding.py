"""Forwards the device reports of one server to another, in batches.

For a server on a site of its own, whose maker wants to hear of its devices. The reports are signed
by the devices, so the forwarding server need not be trusted, and nothing of it is remembered: what
is sent again is known at the other end. Implements docs/spec/device-report.md §6, the carrier.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from manifests.carried_reports import (
    OUTCOMES_MAX_BYTES,
    parse_outcomes,
    serialize_carried_reports,
    split_into_batches,
)
from manifests.errors import AskedTooOftenError
from manifests.rsgi import CREATED, OK, UNAVAILABLE
from manifests.server_paths import REPORT_BATCHES_PATH
from manifests.transfer import Fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from manifests.received_report import StoredMessage
    from manifests.transfer import Transport

_WORDS: Final = {CREATED: "stored", OK: "known", UNAVAILABLE: "waiting"}
REFUSALS_KEPT: Final = 100
"""Refused reports that are named; the others are counted."""
STORED_AFTER_MAX_S: Final = 60
"""How long after it came a report may be stored: one that came before the last may follow it."""
WAIT_MAX_S: Final = 900
"""What a server may ask to wait: a whole batch, where five reports a minute are taken."""
WAITS_MAX: Final = 5
"""How often one batch waits; others may ask from the same address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedReports:
    """What became of the reports.

    Attributes:
        stored: New to the other server.
        known: It had them.
        refused: It takes them neither now nor later.
        waiting: It could not store them now.
        refusals: Serial numbers and what was said, of the first that were refused.
        first_waiting_s: When the first that waits had come, seconds since 1970; `None` if none
            waits.
        last_s: When the last of all had come; `None` if there was none.
    """

    stored: int = 0
    known: int = 0
    refused: int = 0
    waiting: int = 0
    refusals: tuple[tuple[str, str], ...] = ()
    first_waiting_s: int | None = None
    last_s: int | None = None

    @property
    def total(self) -> int:
        """All of them."""
        return self.stored + self.known + self.refused + self.waiting

    @property
    def next_since_s(self) -> int | None:
        """From when on to forward the next time; `None` if there was nothing."""
        begin_s = self.last_s if self.first_waiting_s is None else self.first_waiting_s
        return None if begin_s is None else begin_s - STORED_AFTER_MAX_S


def forward_reports(
    reports: Iterable[StoredMessage],
    transport: Transport,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    wait: Callable[[int], None] = time.sleep,
) -> ForwardedReports:
    """Post reports to a server, as often as it lets itself be asked.

    Args:
        reports: The oldest first.
        transport: To the other server.
        on_progress: Told how many have an outcome.
        wait: Waits, seconds.

    Raises:
        TransportError: The server cannot be reached or does not take batches. What it took before
            is stored there; forwarding again sends the rest.
    """
    words: Counter[str] = Counter()
    refusals: list[tuple[str, str]] = []
    first_waiting_s = last_s = None
    for batch in split_into_batches(reports):
        for report, (status, text) in zip(batch, _post(batch, transport, wait), strict=True):
            last_s = report.received_at_s
            words[_WORDS.get(status, "refused")] += 1
            if status == UNAVAILABLE and first_waiting_s is None:
                first_waiting_s = report.received_at_s
            elif status not in _WORDS and len(refusals) < REFUSALS_KEPT:
                refusals.append((report.serial_number, f"{status} {text}"))
        on_progress(words.total())
    return ForwardedReports(
        **words, refusals=tuple(refusals), first_waiting_s=first_waiting_s, last_s=last_s
    )


def _post(
    batch: Sequence[StoredMessage], transport: Transport, wait: Callable[[int], None]
) -> list[tuple[int, str]]:
    fetch = Fetch(
        path=REPORT_BATCHES_PATH.removeprefix("/"),
        max_bytes=OUTCOMES_MAX_BYTES,
        body=serialize_carried_reports([report.message for report in batch]),
    )
    for _ in range(WAITS_MAX):
        # Who begins anew instead is as far each time, and never at the end.
        try:
            return parse_outcomes(transport.fetch(fetch), count=len(batch))
        except AskedTooOftenError as error:
            if error.wait_s > WAIT_MAX_S:
                raise
            wait(error.wait_s)
    return parse_outcomes(transport.fetch(fetch), count=len(batch))
