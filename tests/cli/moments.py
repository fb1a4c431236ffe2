"""One fixed moment, so that no test depends on the day it runs."""

from __future__ import annotations

from datetime import UTC, datetime

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
