"""The services beside the files: nonces, reports, health, and the description of all three.

Nothing a client sends is trusted: bodies are bounded, a report is verified before it is stored, and
what costs a signature is limited for each client. No network here; `openapi` describes it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from manifests.assignment import verify_assignment
from manifests.carried_reports import CARRIED_MAX_BYTES, parse_carried_reports, serialize_outcomes
from manifests.client_address import limit_key
from manifests.device_report import REPORT_MAX_BYTES
from manifests.errors import DeviceMessageError
from manifests.freshness import Freshness, parse_freshness_request, sign_freshness
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.openapi import openapi_document
from manifests.report_intake import KNOWN, STORED, ReportIntake
from manifests.rsgi import (
    BAD_REQUEST,
    LENGTH_REQUIRED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    OK,
    TEXT,
    TOO_LARGE,
    TOO_MANY_REQUESTS,
    UNAVAILABLE,
    FixedHeaders,
    answer_text,
)
from manifests.server_health import HealthStatus, ReportsState, ServerHealth
from manifests.server_metrics import Stopwatch
from manifests.server_paths import (
    FRESHNESS_PATH,
    HEALTH_PATH,
    OPENAPI_PATH,
    REPORT_BATCHES_PATH,
    REPORTS_PATH,
)
from signing.errors import SigningError
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.report_intake import ReportOutcome
    from manifests.rsgi import Exchange, Headers, Scope
    from manifests.served_files import ServedFiles
    from manifests.service_parts import ServiceParts

BODY_MAX_BYTES = {
    FRESHNESS_PATH: MESSAGE_MAX_BYTES,
    REPORTS_PATH: REPORT_MAX_BYTES,
    REPORT_BATCHES_PATH: CARRIED_MAX_BYTES,
}
NO_STORE = ("cache-control", "no-store")
RETRY_AFTER_S = 5
_COSE, _JSON = "application/cose", "application/json"


def _prepare(outcome: ReportOutcome) -> tuple[int, FixedHeaders, bytes]:
    body = outcome.text.encode() + b"\n"
    length = ("content-length", str(len(body)))
    return outcome.status, FixedHeaders([("content-type", TEXT), length, NO_STORE]), body


_USUAL = {outcome: _prepare(outcome) for outcome in (STORED, KNOWN)}


class ServerServices:
    """Answers what is below `/api/`.

    Args:
        files: The repository's files: assignments in force are read from there.
        parts: What they work with.
    """

    def __init__(self, files: ServedFiles, parts: ServiceParts) -> None:
        self._files = files
        self._parts = parts
        self._reports: ReportIntake | None = None
        self._offered: set[str] = set()
        if parts.trust is not None and parts.fleet is not None:
            self._reports = ReportIntake(parts, parts.trust, parts.fleet)
            self._offered |= {REPORTS_PATH, REPORT_BATCHES_PATH}
        if parts.trust is not None and parts.freshness_signer is not None:
            self._offered.add(FRESHNESS_PATH)
        self._last_sequence = 0
        self._openapi = json.dumps(openapi_document()).encode()
        self._documents: dict[str, Callable[[], tuple[int, bytes]]] = {
            HEALTH_PATH: self._health,
            OPENAPI_PATH: lambda: (OK, self._openapi),
        }
        reports = None if self._reports is None else self._reports.batches
        health = self._judge = ServerHealth(
            files, reports, checks=parts.database_checks, clock=parts.clock
        )
        counts = parts.counts
        counts.timestamp_expiry = health.find_expiry
        if reports is not None:
            counts.batches = lambda: reports.commits
            counts.are_reports_failing = lambda: health.judge_reports() is ReportsState.FAILING
        if (checks := parts.database_checks) is not None:
            counts.is_database_damaged = health.is_database_damaged
            counts.database_checked_at = lambda: checks.checked_at

    def close(self) -> None:
        """Store the reports that wait."""
        if self._reports is not None:
            self._reports.close()

    async def answer(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        path = scope.path
        if path in self._documents:
            self._answer_document(scope, exchange)
            return
        if path not in self._offered:
            answer_text(exchange, NOT_FOUND, "this server offers no such service")
        elif scope.method != "POST":
            answer_text(exchange, METHOD_NOT_ALLOWED, "use POST", [("allow", "POST")])
        elif self._is_allowed(scope, exchange):
            with Stopwatch(self._parts.counts, path):
                await self._answer_body(scope, exchange)

    async def _answer_body(self, scope: Scope, exchange: Exchange) -> None:
        body = await _read_body(scope, exchange)
        if body is None:
            return
        if scope.path == REPORTS_PATH:
            await self._take_report(exchange, body)
            return
        try:
            if scope.path == FRESHNESS_PATH:
                self._answer_freshness(exchange, body)
            else:
                await self._take_carried(scope, exchange, body)
        except Refusal as error:
            answer_text(exchange, BAD_REQUEST, str(error), [NO_STORE])

    def _is_allowed(self, scope: Scope, exchange: Exchange) -> bool:
        if self._parts.limit is None:
            return True
        wait_s = self._parts.limit.take(self._client_of(scope))
        if wait_s:
            self._parts.counts.limited += 1
            retry = ("retry-after", str(wait_s))
            text = f"too many requests, try again in {wait_s} s"
            answer_text(exchange, TOO_MANY_REQUESTS, text, [NO_STORE, retry])
        return not wait_s

    def _client_of(self, scope: Scope) -> str:
        return limit_key(self._parts.addresses.find(scope.client, scope.headers))

    def _answer_document(self, scope: Scope, exchange: Exchange) -> None:
        if scope.method not in {"GET", "HEAD"}:
            answer_text(exchange, METHOD_NOT_ALLOWED, "use GET or HEAD", [("allow", "GET, HEAD")])
            return
        status, body = self._documents[scope.path]()
        _answer_fresh(exchange, status, _JSON, body)

    def _health(self) -> tuple[int, bytes]:
        status, document = self._judge.describe()
        body = json.dumps(document).encode()
        return OK if status is HealthStatus.OK else UNAVAILABLE, body

    def _answer_freshness(self, exchange: Exchange, body: bytes) -> None:
        assert self._parts.freshness_signer is not None
        assert self._parts.trust is not None
        request = parse_freshness_request(body)
        now = self._parts.clock()
        expires_at = self._judge.read_expiry()
        if expires_at is not None and expires_at <= now:
            # A copy that stands still, or a clock far ahead, which devices would hold against every
            # later answer: what is in force now is not known here.
            text = "the repository's timestamp has expired: run `ampforge repo status`"
            answer_text(exchange, UNAVAILABLE, text, [NO_STORE])
            return
        now_s = int(now.timestamp())
        # Never falls while this server runs, even when the clock is set back.
        self._last_sequence = max(self._last_sequence, now_s)
        served = self._files.find(f"/device/{request.hardware_class}/assignment.cose")
        sequence = 0
        if served is not None and served.content is not None:
            try:
                sequence = verify_assignment(served.content, self._parts.trust).sequence
            except (SigningError, DeviceMessageError):
                # Its key was revoked, and it is not signed again yet: not the device's doing.
                text = "the assignment in force is not verified: run `ampforge repo status`"
                answer_text(exchange, UNAVAILABLE, text, [NO_STORE])
                return
        message = sign_freshness(
            Freshness(
                nonce=request.nonce,
                sequence=self._last_sequence,
                time_s=now_s,
                hardware_class=request.hardware_class,
                assignment_sequence=sequence,
            ),
            self._parts.freshness_signer,
        )
        _answer_fresh(exchange, OK, _COSE, message)

    async def _take_report(self, exchange: Exchange, body: bytes) -> None:
        assert self._reports is not None
        outcome = await self._reports.take(body)
        usual = _USUAL.get(outcome)
        if usual is not None:
            exchange.response_bytes(*usual)
            return
        headers: Headers = [NO_STORE]
        if outcome.status == UNAVAILABLE:
            headers.append(("retry-after", str(RETRY_AFTER_S)))
        answer_text(exchange, outcome.status, outcome.text, headers)

    async def _take_carried(self, scope: Scope, exchange: Exchange, body: bytes) -> None:
        assert self._reports is not None
        try:
            bodies = parse_carried_reports(body)
        except DeviceMessageError:
            # As one: how many it was to be nobody knows.
            self._parts.counts.reports["refused"] += 1
            raise
        if self._parts.limit is not None:
            self._parts.limit.charge(self._client_of(scope), len(bodies) - 1)
        outcomes = await self._reports.take_all(bodies)
        content = serialize_outcomes((one.status, one.text) for one in outcomes)
        _answer_fresh(exchange, OK, _JSON, content)


def _answer_fresh(exchange: Exchange, status: int, content_type: str, body: bytes) -> None:
    """Answer with bytes that nobody may keep."""
    length = ("content-length", str(len(body)))
    exchange.response_bytes(status, [("content-type", content_type), length, NO_STORE], body)


async def _read_body(scope: Scope, exchange: Exchange) -> bytes | None:
    limit_bytes = BODY_MAX_BYTES[scope.path]
    length = scope.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        answer_text(exchange, LENGTH_REQUIRED, "a Content-Length is needed")
        return None
    received = bytearray()
    if int(length[:18]) <= limit_bytes:
        async for piece in exchange:
            received += piece
            if len(received) > limit_bytes or not piece:
                break
    if int(length[:18]) > limit_bytes or len(received) > limit_bytes:
        answer_text(exchange, TOO_LARGE, f"at most {limit_bytes} bytes")
        return None
    return bytes(received)
