"""Signs snapshot and timestamp again before they expire, beside a server that runs.

Looks once a minute, and signs once half of the lifetime is over: so a key that cannot be used, or a
disk that is full, is told for days before any client notices. Somebody who publishes at the same
moment goes first.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manifests.repository_reading import load_repository
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from manifests.publishing import Publisher

CHECK_INTERVAL_S = 60.0


def refresh_if_due(publisher: Publisher, *, now: datetime) -> datetime | None:
    """Sign snapshot and timestamp again if one of them has lived half of its life.

    Args:
        publisher: The repository, and its snapshot and timestamp keys.
        now: The present, UTC.

    Returns:
        When the new timestamp expires; `None` if nothing was due.

    Raises:
        RepositoryError: The repository is damaged, somebody publishes right now, or the keys are
            not those of the repository.
    """
    metadata = load_repository(publisher.store)
    is_due = any(
        document.signed.expires - now < publisher.settings.lifetime(name) / 2
        for name, document in (("timestamp", metadata.timestamp), ("snapshot", metadata.snapshot))
    )
    return publisher.renew(now=now).timestamp.signed.expires if is_due else None


@contextmanager
def refreshing(
    publisher: Publisher,
    *,
    on_refresh: Callable[[datetime], None],
    on_failure: Callable[[Refusal], None],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC).replace(microsecond=0),
    interval_s: float = CHECK_INTERVAL_S,
) -> Iterator[None]:
    """Keep a repository from expiring while the block runs.

    Args:
        publisher: The repository, and its snapshot and timestamp keys.
        on_refresh: Told when the new timestamp expires; from a thread of its own.
        on_failure: Told why it could not be done, once for each reason; it is tried again.
        clock: The present, UTC.
        interval_s: How often it looks.
    """
    ended = threading.Event()

    def look() -> None:
        told = ""
        while not ended.is_set():
            try:
                expires_at = refresh_if_due(publisher, now=clock())
                told = ""
                if expires_at is not None:
                    on_refresh(expires_at)
            except Refusal as error:
                if str(error) != told:
                    on_failure(error)
                told = str(error)
            ended.wait(interval_s)

    thread = threading.Thread(target=look, name="refreshing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
