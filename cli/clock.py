"""The machine's clock, which every command reads here."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present, in UTC."""
    return datetime.now(UTC)


def utc_second() -> datetime:
    """Return the present to the second, as repository metadata and device messages state it."""
    return utc_now().replace(microsecond=0)
