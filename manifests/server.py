"""Runs `server_app.RepositoryApp`: one process, HTTP/1.1.

`run_server` serves until it is interrupted, for `ampforge serve`. `serve_in_background` does the
same in a child process while a block runs, for demonstrations and tests; the child ends when its
parent does, whatever way that ends. Terminate TLS in front: what is served is signed, and what is
asked for is not secret.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from manifests.errors import ServerError
from manifests.fleet import FleetStore
from manifests.http_host import BACKLOG, STOP_TIMEOUT_S, serve_until_signalled
from manifests.server_app import RepositoryApp
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.refusal import Refusal
from signing.signers import SoftwareSigner
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_TIMEOUT_S = 20.0
PLAN_MAX_BYTES = 1 << 20
_ANNOUNCEMENT_MAX_BYTES = 16 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """What is served and where; only plain values, so that another process can be given it.

    Attributes:
        folder: The repository's folder.
        trust_record: The signed trust record; empty leaves the API out.
        freshness_key_der: PKCS #8 of the freshness role's key; empty leaves nonces out.
        reports_path: The report database; `None` leaves reports out.
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
    """

    folder: Path
    trust_record: bytes = b""
    freshness_key_der: bytes = field(default=b"", repr=False)
    reports_path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0


def build_app(plan: ServerPlan) -> RepositoryApp:
    """Return the application.

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


def run_server(plan: ServerPlan, *, on_ready: Callable[[str], None]) -> None:
    """Serve until this process is interrupted or terminated.

    Args:
        plan: What is served and where.
        on_ready: Called with the server's URL once it takes connections.

    Raises:
        ServerError: The address cannot be listened on.
        SigningError, FleetStoreError: The plan cannot be carried out.
    """
    app = build_app(plan)
    listening = _bind(plan.host, plan.port)
    port = listening.getsockname()[1]
    host = f"[{plan.host}]" if ":" in plan.host else plan.host
    serve_until_signalled(app, listening, on_ready=lambda: on_ready(f"http://{host}:{port}"))


@contextmanager
def serve_in_background(plan: ServerPlan) -> Iterator[str]:
    """Serve in a child process while the block runs; gives the server's URL.

    Raises:
        ServerError: The server did not start: address, key, trust record or database.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "manifests.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        _send_plan(child.stdin, plan)
        yield _read_announcement(child.stdout, where=f"{plan.host}:{plan.port}")
    finally:
        child.stdin.close()
        child.stdout.close()
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S + 1)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _read_announcement(stream: IO[bytes], *, where: str) -> str:
    readable, _, _ = select.select([stream], [], [], START_TIMEOUT_S)
    line = stream.readline(_ANNOUNCEMENT_MAX_BYTES) if readable else b""
    said = json.loads(line) if line.endswith(b"\n") else {}
    if "url" not in said:
        raise ServerError(
            f"the server did not start: {said.get('what', 'it ended, or said nothing in time')}",
            expected=said.get("expected"),
            got=said.get("got"),
            where=said.get("where") or where,
            hint=said.get("hint") or "look for messages above",
        )
    return str(said["url"])


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
    stream = FileIO(sys.stdin.fileno(), closefd=False)
    plan = _receive_plan(stream)
    threading.Thread(target=_end_with_parent, args=(stream,), daemon=True).start()
    try:
        run_server(plan, on_ready=lambda url: print(json.dumps({"url": url}), flush=True))  # noqa: T201 - the parent reads it
    except Refusal as error:
        parts = ("what", "expected", "got", "where", "hint")
        print(json.dumps({name: getattr(error, name) for name in parts}), flush=True)  # noqa: T201 - as above
        sys.exit(1)


def _end_with_parent(stream: FileIO) -> None:
    # The parent never writes again: the pipe ends when the parent does, even by a kill.
    stream.read(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Not SO_REUSEPORT: two servers would silently share the port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        # Before it is said that the server is ready: who reads that may connect at once.
        bound.listen(BACKLOG)
    except (OSError, OverflowError, TypeError, ValueError) as error:
        bound.close()
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise ServerError(
            "the address cannot be listened on",
            expected=f"a free port at {host}",
            got=getattr(error, "strerror", None) or error,
            where=f"{host}:{port}",
            hint="another server uses the port: stop it, or choose one with --port"
            if is_taken
            else "choose an address of this machine with --host",
        ) from error
    return bound


if __name__ == "__main__":
    _serve_for_parent()
