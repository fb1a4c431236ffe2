"""Whether a server can do what it is for: give metadata that holds, and store reports.

    {"status": …, "timestamp": {"state": …, "expires_at": …}, "reports": …}

`status` is `ok`, or the first thing that is wrong; then the answer is 503. A timestamp that expires
soon is told by its state alone: everything is still served.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from manifests.served_files import UnreadableFileError
from manifests.server_paths import TIMESTAMP_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.report_batches import ReportBatches
    from manifests.report_database_check import ReportDatabaseChecks
    from manifests.served_files import ServedFiles

SOON: Final = timedelta(hours=12)
"""Half of the shortest life: a server that signs by itself never lets it come to that."""


class HealthStatus(StrEnum):
    """What is wrong, if anything is."""

    OK = "ok"
    NO_REPOSITORY = "no repository to serve"
    EXPIRED = "the timestamp has expired"
    NOT_STORING = "device reports cannot be stored"
    DAMAGED = "the report database is damaged"


class TimestampState(StrEnum):
    """How long the repository's timestamp still holds."""

    CURRENT = "current"
    SOON = "expires soon"
    EXPIRED = "expired"
    MISSING = "missing or unreadable"


class ReportsState(StrEnum):
    """Whether device reports can be stored, and those that were are still there."""

    STORED = "stored"
    FAILING = "cannot be stored"
    DAMAGED = "stored beside damaged ones"
    NOT_OFFERED = "not offered"


class ServerHealth:
    """Judges one server, each time it is asked.

    Args:
        files: The repository's files.
        reports: Stores reports; `None` where none are taken.
        checks: Look for damage in the report database; `None` where nobody does.
        clock: The present, UTC.
        clock_s: Monotonic clock, seconds.
    """

    def __init__(
        self,
        files: ServedFiles,
        reports: ReportBatches | None,
        *,
        checks: ReportDatabaseChecks | None = None,
        clock: Callable[[], datetime],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._reports = reports
        self._checks = checks
        self._clock = clock
        self._clock_s = clock_s

    def find_expiry(self) -> datetime | None:
        """Return when the timestamp that is served expires; `None` if none can be read."""
        try:
            return self.read_expiry()
        except UnreadableFileError:
            return None

    def read_expiry(self) -> datetime | None:
        """Return when the timestamp that is served expires; `None` if there is none that tells.

        Raises:
            UnreadableFileError: It is there, and cannot be read now.
        """
        served = self._files.find(TIMESTAMP_PATH)
        if served is None or served.content is None:
            return None
        try:
            expires_at = datetime.fromisoformat(json.loads(served.content)["signed"]["expires"])
        except (ValueError, KeyError, TypeError):
            return None
        return expires_at if expires_at.tzinfo is not None else None

    def judge_timestamp(self) -> TimestampState:
        """Return how long the timestamp still holds."""
        expires_at = self.find_expiry()
        if expires_at is None:
            return TimestampState.MISSING
        left = expires_at - self._clock()
        if left <= timedelta(0):
            return TimestampState.EXPIRED
        return TimestampState.SOON if left <= SOON else TimestampState.CURRENT

    def judge_reports(self) -> ReportsState:
        """Return whether reports can be stored, as the last attempt to write and checks tell."""
        if self._reports is None:
            return ReportsState.NOT_OFFERED
        failure = self._reports.find_failure(now_s=self._clock_s())
        if failure is not None:
            return ReportsState.FAILING
        return ReportsState.DAMAGED if self.is_database_damaged() else ReportsState.STORED

    def is_database_damaged(self) -> bool:
        """Return whether a check of the report database has found damage."""
        return self._checks is not None and self._checks.damage is not None

    def describe(self) -> tuple[HealthStatus, dict[str, object]]:
        """Return the status, and the whole document as JSON values."""
        timestamp, reports, expires_at = (
            self.judge_timestamp(),
            self.judge_reports(),
            self.find_expiry(),
        )
        status = HealthStatus.OK
        if timestamp is TimestampState.MISSING:
            status = HealthStatus.NO_REPOSITORY
        elif timestamp is TimestampState.EXPIRED:
            status = HealthStatus.EXPIRED
        elif reports is ReportsState.FAILING:
            status = HealthStatus.NOT_STORING
        elif reports is ReportsState.DAMAGED:
            status = HealthStatus.DAMAGED
        return status, {
            "status": status,
            "timestamp": {
                "state": timestamp,
                "expires_at": None if expires_at is None else expires_at.isoformat(),
            },
            "reports": reports,
        }
