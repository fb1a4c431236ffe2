"""Waivers as the lines that every view of a release prints.

A release's own take the document of `LimitWaiver.to_json`, because bundles, TUF targets and ledgers
all keep that one. A waveform slot has the approval alone, which names waivers by digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.approval import TableApproval


def format_waiver(document: Mapping[str, Any], *, now: datetime | None) -> str:
    """The line, such as `WAIVED JDC INFUSE level 4 until 2027-01-31: reason (0.6, limit 0.5 …)`.

    Args:
        document: A waiver as `LimitWaiver.to_json` gives it.
        now: The present, UTC; without it an expired waiver is not marked as one.
    """
    level = "all levels" if document["level"] is None else f"level {document['level']}"
    expires_at = datetime.fromisoformat(str(document["expires_at"])).astimezone(UTC)
    until = f"until {document['last_day']}"
    if now is not None and now >= expires_at:
        until = f"EXPIRED on {document['last_day']}"
    return (
        f"WAIVED {document['rule']} {document['mode']} {level} {until}: {document['reason']} "
        f"({document['value']} {document['unit']}, limit {document['limit']}; "
        f"asked for by {document['requested_by']})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedWaivers:
    """What an approval says of the waivers that it was given with.

    Attributes:
        digests: SHA-256 of each, rising; at least one.
        expires_at: When the first of them no longer counts, UTC.
    """

    digests: tuple[bytes, ...]
    expires_at: datetime

    @property
    def last_day(self) -> str:
        """The day of the last second at which all of them count, UTC."""
        return str((self.expires_at - timedelta(seconds=1)).date())

    def to_json(self) -> dict[str, object]:
        """The same for scripts."""
        return {
            "digests": [digest.hex() for digest in self.digests],
            "expires_at": self.expires_at.isoformat(),
            "last_day": self.last_day,
        }


def format_approved_waivers(document: Mapping[str, Any], *, now: datetime) -> str:
    """The line, such as `WAIVED by 1 waiver until 2027-01-31: 8b68b1231aea4e9f… (…)`.

    Args:
        document: As `ApprovedWaivers.to_json` gives it.
        now: The present, UTC.
    """
    digests = document["digests"]
    expires_at = datetime.fromisoformat(str(document["expires_at"])).astimezone(UTC)
    count = f"{len(digests)} waiver{'' if len(digests) == 1 else 's'}"
    until = "EXPIRED on" if now >= expires_at else "until"
    names = ", ".join(f"{digest[:16]}…" for digest in digests)
    return f"WAIVED by {count} {until} {document['last_day']}: {names} (the release says what)"


def find_approved_waivers(approval: TableApproval) -> ApprovedWaivers | None:
    """What an approval says of waivers, or `None` where it names none."""
    if approval.waivers_expire_at_s is None:
        return None
    return ApprovedWaivers(
        digests=approval.waiver_digests,
        expires_at=datetime.fromtimestamp(approval.waivers_expire_at_s, UTC),
    )
