"""Runs `server_app.RepositoryApp` under granian: one worker process, HTTP/1.1.

`run_server` serves until it is interrupted, for `ampforge serve`. `serve_in_background` does the
same in a child process while a block runs, for demonstrations and tests; the child ends when its
parent does, whatever way that ends. Terminate TLS in front: what is served is signed, and what is
asked for is not secret.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from manifests.errors import ServerError, TransportError
from manifests.fleet import FleetStore
from manifests.http_transport import HttpTransport
from manifests.server_app import RepositoryApp
from manifests.transfer import Fetch
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.signers import SoftwareSigner
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
HEALTH_MAX_BYTES = 256
PLAN_MAX_BYTES = 1 << 20
_POLL_S = 0.01
_BACKLOG = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """What is served and where; only plain values, so that another process can be given it.

    Attributes:
        folder: The repository's folder.
        trust_record: The signed trust record; empty leaves the API out.
        freshness_key_der: PKCS #8 of the freshness role's key; empty leaves nonces out.
        reports_path: The report database; `None` leaves reports out.
        host: Address to listen on.
        port: TCP port; 0 takes a free one, in the background only.
    """

    folder: Path
    trust_record: bytes = b""
    freshness_key_der: bytes = field(default=b"", repr=False)
    reports_path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0


def build_app(plan: ServerPlan) -> RepositoryApp:
    """Return the application; called in the worker process.

    Raises:
        SigningError: Trust record or key cannot be used.
        FleetStoreError: The report database cannot be opened.
    """
    trust = verify_trust_record(plan.trust_record, current=None) if plan.trust_record else None
    signer = None
    if plan.freshness_key_der:
        signer = SoftwareSigner.from_pkcs8_der(
            plan.freshness_key_der, where="the key of the role freshness"
        )
    fleet = None if plan.reports_path is None else FleetStore(plan.reports_path)
    return RepositoryApp(plan.folder, trust=trust, freshness_signer=signer, fleet=fleet)


def run_server(plan: ServerPlan, *, is_port_reserved: bool = False) -> None:
    """Serve until this process is interrupted or terminated.

    Args:
        plan: What is served and where.
        is_port_reserved: Whether a parent process holds the port for this one.

    Raises:
        ServerError: The address cannot be listened on, or the worker failed.
        SigningError, FleetStoreError: The plan cannot be carried out.
    """
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces

    # Built once here so that a plan that cannot work is refused before anything listens.
    build_app(plan)
    if not is_port_reserved:
        # Two servers with SO_REUSEPORT would silently share the port.
        _reserve_port(plan.host, plan.port, is_shared=False).close()
    with closing(_reserve_port(plan.host, plan.port)):
        server = Granian(
            target="manifests.server_app",
            address=plan.host,
            port=plan.port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            workers=1,
            backlog=_BACKLOG,
            workers_kill_timeout=int(STOP_TIMEOUT_S),
            log_enabled=False,
        )
        try:
            # An object with __rsgi__ is an RSGI application; granian's annotation wants a function.
            loader: Any = partial(build_app, plan)
            server.serve(target_loader=loader, wrap_loader=False)
        except SystemExit as error:
            raise ServerError(
                "the server's worker ended by itself",
                got=f"exit code {error.code}",
                where=f"{plan.host}:{plan.port}",
                hint="see the messages above; start it again",
            ) from error


@contextmanager
def serve_in_background(plan: ServerPlan) -> Iterator[str]:
    """Serve in a child process while the block runs; gives the server's URL.

    Raises:
        ServerError: The address cannot be listened on, or the server does not answer.
    """
    with closing(_reserve_port(plan.host, plan.port)) as reserved:
        plan = replace(plan, port=reserved.getsockname()[1])
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "manifests.server"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdin is not None
        try:
            _send_plan(child.stdin, plan)
            url = f"http://{f'[{plan.host}]' if ':' in plan.host else plan.host}:{plan.port}"
            _await_health(url, child)
            yield url
        finally:
            child.stdin.close()
            child.terminate()
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                # The worker is of the child's session: neither may outlive the block.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _send_plan(stream: IO[bytes], plan: ServerPlan) -> None:
    content = serialize_cbor(
        {
            "folder": str(plan.folder.resolve()),
            "trust_record": plan.trust_record,
            "freshness_key_der": plan.freshness_key_der,
            "reports_path": str(plan.reports_path.resolve()) if plan.reports_path else None,
            "host": plan.host,
            "port": plan.port,
        }
    )
    stream.write(len(content).to_bytes(4, "big") + content)
    stream.flush()


def _receive_plan(stream: FileIO) -> ServerPlan:
    size_bytes = int.from_bytes(_read_exactly(stream, 4), "big")
    plan = parse_cbor(_read_exactly(stream, size_bytes), max_bytes=PLAN_MAX_BYTES)
    assert isinstance(plan, dict)
    reports_path = plan.pop("reports_path")
    return ServerPlan(
        folder=Path(plan.pop("folder")),
        reports_path=None if reports_path is None else Path(reports_path),
        **plan,
    )


def _read_exactly(stream: FileIO, size_bytes: int) -> bytes:
    received = b""
    while len(received) < size_bytes and (piece := stream.read(size_bytes - len(received))):
        received += piece
    return received


def _serve_for_parent() -> None:
    # Not sys.stdin: its lock, held by the waiting thread, would stop the worker's fork.
    stream = FileIO(sys.stdin.fileno(), closefd=False)
    plan = _receive_plan(stream)
    threading.Thread(target=_end_with_parent, args=(stream,), daemon=True).start()
    run_server(plan, is_port_reserved=True)


def _end_with_parent(stream: FileIO) -> None:
    # The parent never writes again: the pipe ends when the parent does, even by a kill.
    stream.read(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _reserve_port(host: str, port: int, *, is_shared: bool = True) -> socket.socket:
    # granian binds with SO_REUSEPORT: a bound socket that never listens keeps the port for it.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        option = socket.SO_REUSEPORT if is_shared else socket.SO_REUSEADDR
        reserved.setsockopt(socket.SOL_SOCKET, option, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        is_taken = error.errno == errno.EADDRINUSE
        raise ServerError(
            "the address cannot be listened on",
            expected=f"a free port at {host}",
            got=error.strerror,
            where=f"{host}:{port}",
            hint="another server uses the port: stop it, or choose one with --port"
            if is_taken
            else "choose an address of this machine with --host",
        ) from error
    return reserved


def _await_health(url: str, child: subprocess.Popen[bytes]) -> None:
    wish = Fetch(path="api/health", max_bytes=HEALTH_MAX_BYTES)
    failure: TransportError | None = None
    with closing(HttpTransport(url, timeout_s=START_TIMEOUT_S, attempts=1)) as transport:
        for _ in range(int(START_TIMEOUT_S / _POLL_S)):
            try:
                transport.fetch(wish)
            except TransportError as error:
                if error.__cause__ is None:
                    # It answered: 503 says that there is nothing to serve yet.
                    return
                failure = error
            else:
                return
            try:
                child.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue
            break
    raise ServerError(
        "the server did not start", got=failure, where=url, hint="look for messages above"
    )


if __name__ == "__main__":
    _serve_for_parent()
