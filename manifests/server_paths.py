"""Where the services are that are no files, and the file that shows a repository is there."""

from __future__ import annotations

from typing import Final

FRESHNESS_PATH: Final = "/api/freshness"
REPORTS_PATH: Final = "/api/reports"
REPORT_BATCHES_PATH: Final = "/api/report-batches"
HEALTH_PATH: Final = "/api/health"
OPENAPI_PATH: Final = "/api/openapi.json"
TIMESTAMP_PATH: Final = "/metadata/timestamp.json"
METRICS_PATH: Final = "/metrics"
SERVICE_PATHS: Final = frozenset(
    {FRESHNESS_PATH, REPORTS_PATH, REPORT_BATCHES_PATH, HEALTH_PATH, OPENAPI_PATH}
)


def base_url_of(host: str, port: int, *, scheme: str = "http") -> str:
    """Return the URL of a server at an address; an IPv6 address is put in brackets."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
