"""A publisher's clock that cannot be right, by what the repository says of the present.

Ahead: the root has expired by it, so what is signed now would hold until far beyond any freeze that
clients should notice. Behind: what is signed now would have expired before an assignment in force
was signed, and every client would refuse the repository. A computer whose clock lost its power
comes up so, and a daily job may be quicker than its time server. Halting and withdrawing ask
neither: devices learn of those from messages of their own. Implements
docs/spec/repository-layout.md §4.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manifests.errors import RepositoryError
from manifests.published_releases import ASSIGNMENT_KIND, open_listed_assignment
from manifests.repository_reading import read_target
from manifests.tuf_metadata import entries_of_kind
from signing.refusal import Refusal

if TYPE_CHECKING:
    from manifests.manifests_settings import RepositorySettings
    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata


def refuse_wrong_clock(
    store: Store, before: RepositoryMetadata, settings: RepositorySettings, *, now: datetime
) -> None:
    """Refuse to sign for clients by a clock that is far ahead or far behind.

    Args:
        store: The repository.
        before: Its verified state.
        settings: For how long the timestamp would hold.
        now: The present, UTC.

    Raises:
        RepositoryError: It is.
    """
    expires = before.root.signed.expires
    if now >= expires:
        raise RepositoryError(
            "the repository's root has expired by this machine's clock",
            expected=f"a time before {expires:%Y-%m-%d %H:%M} UTC",
            got=f"{now:%Y-%m-%d %H:%M} UTC",
            where="root.json",
            hint="nothing was signed: set the clock if it is wrong; else make the next root with "
            "`ampforge repo rotate`",
        )
    refuse_clock_behind(store, before, settings, now=now)


def refuse_clock_behind(
    store: Store, before: RepositoryMetadata, settings: RepositorySettings, *, now: datetime
) -> None:
    """Refuse to sign what would have expired before the last assignment was signed.

    Args:
        store: The repository.
        before: Its verified state.
        settings: For how long the timestamp would hold.
        now: The present, UTC.

    Raises:
        RepositoryError: It would have.
    """
    last_s, where = 0, ""
    for path, entry, _ in entries_of_kind(before.campaign, ASSIGNMENT_KIND):
        with suppress(Refusal):  # one that is damaged says nothing of the time, and stops nobody
            issued_at_s = open_listed_assignment(read_target(store, entry)).issued_at_s
            if issued_at_s > last_s:
                last_s, where = issued_at_s, path
    issued_at = datetime.fromtimestamp(last_s, UTC)
    if now + settings.lifetime("timestamp") <= issued_at:
        raise RepositoryError(
            "this machine's clock is behind the repository",
            expected=f"a time after {issued_at:%Y-%m-%d %H:%M} UTC, when an assignment was signed",
            got=f"{now:%Y-%m-%d %H:%M} UTC",
            where=where,
            hint="nothing was signed: set the clock. If it is right, the assignment was signed by "
            "one that was ahead: replace it with `ampforge campaign create --halt`, which is "
            "always signed, and assign the release again",
        )
