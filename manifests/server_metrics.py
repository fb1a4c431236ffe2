"""What the server counts, and how Prometheus reads it.

Counting is cheap and always on; `prometheus_client` is imported when the first scrape asks. No
label has a value that a client chooses, and none names a device: the number of series is fixed.
The metrics have a listening socket of their own, because they are the operator's business.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from manifests.rsgi import TEXT
from manifests.server_paths import METRICS_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from prometheus_client.core import Metric

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

REPORT_OUTCOMES = ("stored", "known", "refused", "denied", "failed")


class Durations:
    """A histogram of seconds, with the buckets `BUCKETS_S`."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s

    def cumulated(self) -> list[tuple[str, float]]:
        """Return the upper edge of each bucket and how many are at or below it."""
        total, buckets = 0, []
        for edge, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((edge, float(total)))
        return buckets


class ServerCounts:
    """The counters of one server.

    Attributes:
        answers: By status.
        connections: Connections taken.
        refused: Connections turned away, by which limit: `all` or `address`.
        failed_handshakes: TLS handshakes that came to nothing.
        sent_bytes: Written to connections that have ended.
        limited: Requests answered 429.
        reports: By outcome, of `REPORT_OUTCOMES`.
        batches: Commits of reports.
        durations: Of each service, from the whole request to its answer.
        failed_reloads: How often files were to be read again and could not be used.
        open_connections: Says how many there are now.
        timestamp_expiry: Says when the timestamp that is served expires.
        are_reports_failing: Says whether reports cannot be stored.
        is_database_damaged: Says whether a check of the report database found damage.
        database_checked_at: Says when the last such check ended.
    """

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self.connections = 0
        self.refused: Counter[str] = Counter()
        self.failed_handshakes = 0
        self.sent_bytes = 0
        self.limited = 0
        self.reports: Counter[str] = Counter()
        self.durations: dict[str, Durations] = {}
        self.failed_reloads = 0
        self.open_connections: Callable[[], int] = lambda: 0
        self.batches: Callable[[], int] = lambda: 0
        self.lost_log_lines: Callable[[], int] = lambda: 0
        self.timestamp_expiry: Callable[[], datetime | None] = lambda: None
        self.are_reports_failing: Callable[[], bool] = lambda: False
        self.is_database_damaged: Callable[[], bool] = lambda: False
        self.database_checked_at: Callable[[], datetime | None] = lambda: None

    def observe(self, path: str, duration_s: float) -> None:
        """Count the duration of a service's answer; its path is one of `SERVICE_PATHS`."""
        self.durations.setdefault(path, Durations()).observe(duration_s)

    def collect(self) -> Iterator[Metric]:
        """Yield what Prometheus reads."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        def counter(name: str, text: str, values: dict[str, float], label: str = "") -> Metric:
            family = CounterMetricFamily(
                f"ampforge_{name}", text, labels=[label] if label else None
            )
            for key, value in values.items():
                family.add_metric([key] if label else [], value)
            return family

        by_status = {str(status): float(count) for status, count in self.answers.items()}
        yield counter("http_answers", "Answers, by status.", by_status, "status")
        yield counter("http_connections", "Connections taken.", {"": self.connections})
        refused: dict[str, float] = {limit: self.refused[limit] for limit in ("all", "address")}
        yield counter("http_connections_refused", "Connections over a limit.", refused, "limit")
        failed = {"": float(self.failed_handshakes)}
        yield counter("tls_handshakes_failed", "TLS handshakes that came to nothing.", failed)
        yield counter("http_sent_bytes", "Sent on ended connections.", {"": self.sent_bytes})
        yield counter("http_rate_limited", "Requests answered 429.", {"": self.limited})
        outcomes: dict[str, float] = {outcome: self.reports[outcome] for outcome in REPORT_OUTCOMES}
        yield counter("device_reports", "Device reports, by outcome.", outcomes, "outcome")
        yield counter("device_report_commits", "Commits of reports.", {"": self.batches()})
        failed = {"": float(self.failed_reloads)}
        yield counter("reload_failures", "Files that could not be read again.", failed)
        lost = {"": float(self.lost_log_lines())}
        yield counter("access_log_lost_lines", "Lines that could not be written.", lost)
        yield GaugeMetricFamily(
            "ampforge_http_open_connections", "Connections now.", value=self.open_connections()
        )
        expires_at = self.timestamp_expiry()
        yield GaugeMetricFamily(
            "ampforge_timestamp_expires_seconds",
            "When the timestamp that is served expires, since 1970; 0 if none can be read.",
            value=0.0 if expires_at is None else expires_at.timestamp(),
        )
        yield GaugeMetricFamily(
            "ampforge_device_reports_failing",
            "1 while device reports cannot be stored.",
            value=float(self.are_reports_failing()),
        )
        yield GaugeMetricFamily(
            "ampforge_report_database_damaged",
            "1 once a check of the report database has found damage.",
            value=float(self.is_database_damaged()),
        )
        checked_at = self.database_checked_at()
        yield GaugeMetricFamily(
            "ampforge_report_database_checked_seconds",
            "When the last check of the report database ended, since 1970; 0 before the first.",
            value=0.0 if checked_at is None else checked_at.timestamp(),
        )
        histogram = HistogramMetricFamily(
            "ampforge_service_duration_seconds", "From request to answer.", labels=["path"]
        )
        for path, durations in self.durations.items():
            histogram.add_metric([path], durations.cumulated(), durations.sum_s)
        yield histogram


class MetricsApp:
    """Answers `GET /metrics`, as an RSGI application.

    Args:
        counts: What is told, with the process's memory, CPU time and descriptors.
    """

    def __init__(self, counts: ServerCounts) -> None:
        self._counts = counts
        self._registry: Any = None

    async def __rsgi__(self, scope: Any, exchange: Any) -> None:
        """Answer one request."""
        if scope.path != METRICS_PATH or scope.method not in {"GET", "HEAD"}:
            body, status, content_type = b"GET /metrics is here\n", HTTPStatus.NOT_FOUND, TEXT
        else:
            body, content_type = self._render()
            status = HTTPStatus.OK
        headers = [
            ("content-type", content_type),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
        ]
        exchange.response_bytes(status.value, headers, body)

    def _render(self) -> tuple[bytes, str]:
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            self._registry.register(self._counts)
            ProcessCollector(registry=self._registry)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class Stopwatch:
    """Observes how long a block took, as a context manager."""

    __slots__ = ("_counts", "_path", "_start_s")

    def __init__(self, counts: ServerCounts, path: str) -> None:
        self._counts = counts
        self._path = path
        self._start_s = 0.0

    def __enter__(self) -> None:
        self._start_s = time.perf_counter()

    def __exit__(self, *failure: object) -> None:
        self._counts.observe(self._path, time.perf_counter() - self._start_s)
