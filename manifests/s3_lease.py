"""The lease that keeps two publishers to one bucket apart: its file, and who is refused by it.

`publishing/lease-N.json` holds `holder` (random) and `until_s` (seconds since
1970-01-01T00:00:00Z); the highest N counts (docs/spec/repository-layout.md §8). Nothing is read or
written here: that is `s3_store`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from manifests.errors import RepositoryError

LEASE_FOLDER = "publishing"
LEASE_LIFETIME = timedelta(minutes=10)
LEASE_MAX_BYTES = 1024
CLOCKS_AGREE_WITHIN = timedelta(minutes=1)
_LEASE = re.compile(rf"{LEASE_FOLDER}/lease-([0-9]{{12}})\.json")
_LIFETIME_MIN = LEASE_LIFETIME.seconds // 60


@dataclass(slots=True, kw_only=True)
class HeldLease:
    """The lease of this publisher, and what it read under it: ETag, or `None` if absent."""

    number: int
    holder: str
    until: datetime
    etags: dict[str, str | None]


def lease_path(number: int) -> str:
    """Return where the lease of a number lies."""
    return f"{LEASE_FOLDER}/lease-{number:012d}.json"


def lease_number(path: str) -> int:
    """Return the number of the lease that lies at a path; 0 if none does."""
    match = _LEASE.fullmatch(path)
    return int(match[1]) if match else 0


def serialize_lease(held: HeldLease) -> bytes:
    """Return the bytes of a lease's file."""
    document = {"holder": held.holder, "until_s": int(held.until.timestamp())}
    return json.dumps(document).encode()


def refuse_lease_in_force(
    untrusted_bytes: bytes, *, now: datetime, store: object, where: str
) -> None:
    """Refuse to publish while the last lease is not over.

    Args:
        untrusted_bytes: Its file.
        now: The present, UTC.
        store: The bucket, for messages.
        where: The file's place, for messages.

    Raises:
        RepositoryError: It is not over, cannot be read, or ends later than any lease does.
    """
    try:
        until = datetime.fromtimestamp(int(json.loads(untrusted_bytes)["until_s"]), UTC)
    except (ValueError, TypeError, LookupError, OverflowError, OSError, RecursionError) as error:
        raise RepositoryError(
            "the bucket's publishing lease cannot be read",
            where=where,
            hint="see that nobody publishes, and remove that file",
        ) from error
    if until - now > LEASE_LIFETIME + CLOCKS_AGREE_WITHIN:
        raise RepositoryError(
            "the bucket's publishing lease ends later than any lease does",
            expected=f"at most {_LIFETIME_MIN} minutes after {now:%Y-%m-%d %H:%M} UTC, the time by "
            "this machine's clock",
            got=f"{until:%Y-%m-%d %H:%M} UTC",
            where=where,
            hint="set this machine's clock if it is wrong; else that of the publisher that took "
            "the lease was: see that nobody publishes, and remove that file",
        )
    if until > now:
        raise lease_is_held(store, f"a publisher whose lease ends {until:%H:%M:%S} UTC")


def lease_is_held(store: object, by: str) -> RepositoryError:
    """Return the refusal of a publisher that another one was before.

    Args:
        store: The bucket.
        by: Who holds it, or what happened to the own lease.
    """
    return RepositoryError(
        "somebody else publishes to this repository right now",
        expected="a bucket that nobody holds",
        got=by,
        where=store,
        hint="wait until that is done, then run the command again; a lease that a killed "
        f"publisher left ends after {_LIFETIME_MIN} minutes",
    )
