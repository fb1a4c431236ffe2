"""One running server: its parts, its sockets and its signals, from start to end.

uvloop where it is installed, asyncio's own event loop elsewhere; one thread, and one for commits.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from manifests.access_log import AccessLog
from manifests.client_address import ClientAddresses
from manifests.denied_devices import DeniedDevices
from manifests.errors import ServerError
from manifests.fleet import FleetStore
from manifests.http_host import CONNECTIONS_MAX, HttpHost
from manifests.listening_socket import (
    bind_listening,
    check_same_address,
    raise_descriptor_limit,
)
from manifests.rate_limit import RateLimit
from manifests.report_database_check import ReportDatabaseChecks
from manifests.report_database_file import refuse_other_kind
from manifests.report_verifiers import ReportVerifiers, usual_processes
from manifests.server_app import RepositoryApp
from manifests.server_control import ControlSocket, Predecessor
from manifests.server_metrics import MetricsApp, ServerCounts
from manifests.server_paths import base_url_of
from manifests.server_tls import TlsFiles
from manifests.service_parts import ServiceParts
from signing.signers import SoftwareSigner
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from manifests.server_plan import ServerPlan

METRICS_CONNECTIONS_MAX = 16
METRICS_WAIT_S = 10.0
METRICS_RETRY_S = 0.02


def build_app(
    plan: ServerPlan,
    *,
    fleet: FleetStore | None = None,
    database_checks: ReportDatabaseChecks | None = None,
    denials: DeniedDevices | None = None,
    addresses: ClientAddresses | None = None,
    counts: ServerCounts | None = None,
) -> RepositoryApp:
    """Return the application.

    Args:
        plan: What is served.
        fleet: Where reports go; its owner closes it.
        database_checks: Look for damage there; their owner runs them.
        denials: Devices whose reports are refused.
        addresses: Says who the client is.
        counts: Takes note.

    Raises:
        SigningError: Trust record or key cannot be used.
    """
    trust = verify_trust_record(plan.trust_record, current=None) if plan.trust_record else None
    signer = None
    if plan.freshness_key_der:
        signer = SoftwareSigner.from_pkcs8_der(
            plan.freshness_key_der, where="the key of the role freshness"
        )
    verifiers = None
    if fleet is not None and plan.trust_record:
        verifiers = ReportVerifiers(plan.trust_record, processes=usual_processes())
    per_minute = plan.api_requests_per_minute
    return RepositoryApp(
        plan.folder,
        ServiceParts(
            trust=trust,
            freshness_signer=signer,
            fleet=fleet,
            database_checks=database_checks,
            verifiers=verifiers,
            denials=denials,
            limit=None if per_minute is None else RateLimit(per_minute),
            addresses=addresses or ClientAddresses(),
            counts=counts or ServerCounts(),
        ),
    )


class RunningServer:
    """A server by its plan.

    Args:
        plan: What is served, where, and within which limits.

    Raises:
        ServerError: A file or a network in the plan cannot be used.
        SigningError, FleetStoreError: The plan cannot be carried out.
    """

    def __init__(self, plan: ServerPlan) -> None:
        self._plan = plan
        self._parts = ExitStack()
        self._counts = ServerCounts()
        self._tls: TlsFiles | None = None
        self._log: AccessLog | None = None
        self._denials: DeniedDevices | None = None
        self._checks: ReportDatabaseChecks | None = None
        self._predecessor: Predecessor | None = None
        self._stop: asyncio.Event | None = None
        self._at_once: asyncio.Event | None = None
        self._is_replaced = False
        try:
            self._host = self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> HttpHost:
        plan = self._plan
        if plan.tls_certificate is not None and plan.tls_key is not None:
            self._tls = TlsFiles(plan.tls_certificate, plan.tls_key)
        if plan.access_log is not None:
            self._log = AccessLog(plan.access_log)
            self._parts.callback(self._log.close)
            log = self._log
            self._counts.lost_log_lines = lambda: log.lost_lines
        addresses = ClientAddresses(plan.trusted_proxies, header=plan.forwarded_header)
        fleet = None
        if plan.reports_path is not None:
            refuse_other_kind(plan.reports_path)
            fleet = FleetStore(plan.reports_path)
            self._parts.callback(fleet.close)
            self._checks = ReportDatabaseChecks(
                plan.reports_path,
                on_damage=lambda damage: _say(f"{damage}; {damage.hint}"),
                first_s=plan.first_check_s,
            )
        if plan.denied_devices is not None:
            self._denials = DeniedDevices(plan.denied_devices)
        app = build_app(
            plan,
            fleet=fleet,
            database_checks=self._checks,
            denials=self._denials,
            addresses=addresses,
            counts=self._counts,
        )
        self._parts.callback(app.close)
        return HttpHost(
            app,
            connections_max=min(CONNECTIONS_MAX, raise_descriptor_limit()),
            connections_per_address_max=plan.connections_per_address_max,
            addresses=addresses,
            counts=self._counts,
            access_log=self._log,
        )

    def listen(self) -> None:
        """Listen, on a socket of its own or on that of the server whose place is taken.

        Raises:
            ServerError: The address cannot be listened on, or there is no such server.
        """
        plan = self._plan
        if not plan.is_successor:
            self._listening = bind_listening(plan.host, plan.port)
        else:
            assert plan.control is not None, "checked by whoever made the plan"
            self._predecessor = Predecessor(plan.control)
            self._listening = self._predecessor.listening
            check_same_address(self._listening, plan)
        self._parts.callback(self._listening.close)

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve until a signal or a successor ends it; see `server.run_server`."""
        _runner()(self._serve(on_ready))

    def close(self) -> None:
        """Close what is open, whatever happened."""
        self._parts.close()

    async def _serve(self, on_ready: Callable[[str], None]) -> None:
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()
        self._take_signals()
        port = self._listening.getsockname()[1]
        # A copy: the one that is served from is closed first.
        handed_over = self._listening.dup()
        serving = asyncio.ensure_future(
            self._host.serve(
                self._listening, self._stop, tls=None if self._tls is None else self._tls.context
            )
        )
        others: list[asyncio.Future[None]] = []
        try:
            # One turn of the loop: from here on connections are taken.
            await asyncio.sleep(0)
            if self._predecessor is not None:
                await asyncio.to_thread(self._predecessor.replace)
            others = await self._serve_beside(handed_over)
            on_ready(self._url(port))
            await serving
        finally:
            handed_over.close()
            self._stop.set()
            await asyncio.gather(serving, return_exceptions=True)
            for other in others:
                other.cancel()
            await self._host.end_connections(
                self._plan.drain_s, at_once=self._at_once, is_replaced=self._is_replaced
            )

    async def _serve_beside(self, listening: socket.socket) -> list[asyncio.Future[None]]:
        plan = self._plan
        others: list[asyncio.Future[None]] = []
        assert self._stop is not None
        if plan.control is not None:
            control = ControlSocket(plan.control, listening, on_replaced=self._be_replaced)
            others.append(asyncio.ensure_future(control.serve()))
        if self._checks is not None:
            others.append(asyncio.ensure_future(self._checks.run()))
        if plan.metrics is not None and (socket_ := await self._bind_metrics(*plan.metrics)):
            metrics = HttpHost(MetricsApp(self._counts), connections_max=METRICS_CONNECTIONS_MAX)
            others.append(asyncio.ensure_future(metrics.serve(socket_, self._stop)))
        return others

    async def _bind_metrics(self, host: str, port: int) -> socket.socket | None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + METRICS_WAIT_S
        while True:
            try:
                return bind_listening(host, port, option="--metrics-port")
            except ServerError as error:
                if not self._plan.is_successor:
                    raise
                # The server whose place this one took is about to give the port back. If it is
                # another's, ending now would leave nobody to serve.
                if loop.time() > deadline_s:
                    _say(f"no metrics are offered: {error}")
                    return None
                await asyncio.sleep(METRICS_RETRY_S)

    def _url(self, port: int) -> str:
        return base_url_of(self._plan.host, port, scheme="http" if self._tls is None else "https")

    def _be_replaced(self) -> None:
        assert self._stop is not None
        self._is_replaced = True
        self._stop.set()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        if any(one is not None for one in (self._tls, self._log, self._denials)):
            loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _end(self) -> None:
        assert self._stop is not None
        assert self._at_once is not None
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    def _reload(self) -> None:
        if self._tls is not None:
            self._again(self._tls.reload)
        if self._log is not None:
            self._again(self._log.reopen)
        if self._denials is not None:
            self._again(self._denials.reload)

    def _again(self, read: Callable[[], None]) -> None:
        try:
            read()
        except ServerError as error:
            self._counts.failed_reloads += 1
            _say(f"not read again: {error}")


def _say(text: str) -> None:
    print(f"ampforge serve: {text}", file=sys.stderr, flush=True)  # noqa: T201 - there is no caller to tell


def _runner() -> Callable[..., object]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
