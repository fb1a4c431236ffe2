"""One waiver as the line that every view of a release prints.

It takes the document of `LimitWaiver.to_json`, because bundles, TUF targets and ledgers all keep
that one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


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
