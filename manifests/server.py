"""Runs the server: in this process, or in the background of a block.

`run_server` serves until it is interrupted, for `ampforge serve`. `serve_in_background` does the
same in a child process while a block runs, for demonstrations and tests; the child ends when its
parent does, whatever way that ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from io import FileIO
from typing import IO, TYPE_CHECKING

from manifests.errors import ServerError
from manifests.running_server import RunningServer
from manifests.server_plan import ServerPlan, parse_plan, serialize_plan
from signing.refusal import REFUSAL_PARTS, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ServerPlan", "run_server", "serve_in_background"]

START_TIMEOUT_S = 20.0
_ANNOUNCEMENT_MAX_BYTES = 16 << 10


def run_server(plan: ServerPlan, *, on_ready: Callable[[str], None]) -> None:
    """Serve until this process is interrupted or terminated, or another takes its place.

    Then running downloads are finished, for at most `plan.drain_s`; a second signal cuts it short.
    SIGHUP reads the TLS files and the list of denied devices again, and goes on in a new log.

    Args:
        plan: What is served and where.
        on_ready: Called with the server's URL once it takes connections.

    Raises:
        ServerError: The address cannot be listened on, or a file cannot be used.
        SigningError, FleetStoreError: The plan cannot be carried out.
    """
    running = RunningServer(plan)
    try:
        running.listen()
        running.run(on_ready)
    finally:
        running.close()


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
            child.wait(plan.drain_s + 1)
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
    content = serialize_plan(plan)
    stream.write(len(content).to_bytes(4, "big") + content)
    stream.flush()


def _receive_plan(stream: FileIO) -> ServerPlan:
    size_bytes = int.from_bytes(_read_exactly(stream, 4), "big")
    return parse_plan(_read_exactly(stream, size_bytes))


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
        print(json.dumps({name: getattr(error, name) for name in REFUSAL_PARTS}), flush=True)  # noqa: T201 - as above
        sys.exit(1)


def _end_with_parent(stream: FileIO) -> None:
    # The parent never writes again: the pipe ends when the parent does, even by a kill.
    stream.read(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve_for_parent()
