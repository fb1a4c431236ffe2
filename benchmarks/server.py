"""How fast the repository is served: `ampforge serve` against nginx, one worker each, with wrk.

Both serve the same folder of a real repository on the loopback interface, both with ETag and
Content-Length, nginx with sendfile and without access log. One wrk thread keeps the connections
busy. Each round measures both, in an order that flips; the ratio is ours/nginx's in requests a
second, so higher is better, and the median of the rounds counts. Before the first round every
answer is compared byte for byte; an answer that is not a 200, 206 or 304 ends the benchmark.

    apt-get install nginx wrk
    python benchmarks/server.py [--seconds N] [--connections N]

`--seconds` bounds the whole run. Exit code 1 if a median ratio misses its target.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from manifests.server import ServerPlan, serve_in_background

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 5
ARTIFACT_BYTES = 1 << 20
RANGE_BYTES = 64 << 10
START_TIMEOUT_S = 10.0
NGINX_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    etag on;
    keepalive_requests 1000000000;
    types {{ application/json json; application/cose cose; }}
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of request, and the ratio that was promised."""

    name: str
    path: str
    status: int
    target_ratio: float
    headers: tuple[tuple[str, str], ...] = ()
    has_etag_header: bool = False

    def request_headers(self, etag: str) -> dict[str, str]:
        """Return the headers to send to the server that gave this ETag."""
        headers = dict(self.headers)
        if self.has_etag_header:
            headers["If-None-Match"] = etag
        return headers


def make_folder(folder: Path) -> tuple[Case, ...]:
    """Write what is served: a timestamp of the usual size, and an artifact under its digest."""
    import hashlib
    import json
    import random

    (folder / "metadata").mkdir()
    (folder / "device" / "artifacts").mkdir(parents=True)
    signature = {"keyid": "0" * 64, "sig": "0" * 128}
    meta = {"snapshot.json": {"hashes": {"sha256": "0" * 64}, "length": 420, "version": 7}}
    signed = {"_type": "timestamp", "expires": "2026-01-01T00:00:00Z", "meta": meta}
    document = {"signatures": [signature], "signed": {**signed, "spec_version": "1.0.31"}}
    (folder / "metadata" / "timestamp.json").write_text(json.dumps(document))
    content = random.Random(1).randbytes(ARTIFACT_BYTES)
    artifact = f"/device/artifacts/{hashlib.sha256(content).hexdigest()}"
    (folder / artifact[1:]).write_bytes(content)
    timestamp = "/metadata/timestamp.json"
    span = ("Range", f"bytes={RANGE_BYTES}-{2 * RANGE_BYTES - 1}")
    return (
        Case(name="metadata GET", path=timestamp, status=200, target_ratio=0.6),
        Case(
            name="metadata 304",
            path=timestamp,
            status=304,
            target_ratio=0.6,
            has_etag_header=True,
        ),
        Case(name="1 MiB GET", path=artifact, status=200, target_ratio=0.9),
        Case(name="64 KiB range", path=artifact, status=206, target_ratio=0.3, headers=(span,)),
    )


@contextlib.contextmanager
def run_nginx(root: Path, folder: Path) -> Iterator[str]:
    """Run nginx over a folder while the block runs; gives its URL."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX_CONFIGURATION.format(folder=folder, port=port, root=root))
    nginx = subprocess.Popen(
        ["nginx", "-c", str(configuration), "-p", str(folder), "-g", "user root;"],
        stderr=subprocess.DEVNULL,
    )
    try:
        await_port(port, nginx)
        yield f"http://127.0.0.1:{port}"
    finally:
        nginx.terminate()
        nginx.wait(START_TIMEOUT_S)


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens on a port."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            break
    raise SystemExit("nginx did not start: see its error log")


def get(url: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Return one answer, its body read into `.content`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.content = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


def check_equal(case: Case, ours: str, theirs: str) -> tuple[str, str]:
    """Compare both answers; return the two ETags."""
    etags = tuple(get(url, case.path, {}).headers["ETag"] for url in (ours, theirs))
    first, second = (
        get(url, case.path, case.request_headers(etag))
        for url, etag in zip((ours, theirs), etags, strict=True)
    )
    for answer in (first, second):
        assert answer.status == case.status, (case.name, answer.status)
        assert answer.headers["ETag"], case.name
        assert case.status == 304 or answer.headers["Content-Length"], case.name
    assert first.content == second.content, case.name  # type: ignore[attr-defined]
    return etags[0], etags[1]


def run_wrk(url: str, case: Case, etag: str, *, seconds: float, connections: int) -> float:
    """Return requests a second."""
    headers = [
        part
        for name, value in case.request_headers(etag).items()
        for part in ("-H", f"{name}: {value}")
    ]
    # wrk takes whole seconds.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", *headers]
    output = subprocess.run(
        [*command, f"{url}{case.path}"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    if "Non-2xx or 3xx" in output or "Socket errors" in output:
        raise SystemExit(f"{case.name} at {url} failed:\n{output}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert rate is not None, output
    return float(rate.group(1))


def measure(case: Case, ours: str, theirs: str, *, seconds: float, connections: int) -> str:
    """Measure one case and return its row; the row says MISSED if it did."""
    our_etag, their_etag = check_equal(case, ours, theirs)
    pairs: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        order = [(ours, our_etag), (theirs, their_etag)]
        if number % 2:
            order.reverse()
        rates = {
            url: run_wrk(url, case, etag, seconds=seconds, connections=connections)
            for url, etag in order
        }
        pairs.append((rates[ours], rates[theirs]))
    ratios = [our_rate / their_rate for our_rate, their_rate in pairs]
    ratio = statistics.median(ratios)
    lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    verdict = "kept" if ratio >= case.target_ratio else "MISSED"
    our_rate, their_rate = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    return (
        f"| {case.name} | {our_rate:,.0f}/s | {their_rate:,.0f}/s "
        f"| **{ratio:.2f}** ({lower:.2f}-{upper:.2f}, {ROUNDS} rounds) "
        f"| ≥ {case.target_ratio} | {verdict} |"
    )


def main() -> int:
    """Measure, print the table, say by the exit code whether the targets are kept."""
    parser = argparse.ArgumentParser(description="Compare the repository's server with nginx.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for the whole run")
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed: apt-get install {tool}")
    with tempfile.TemporaryDirectory() as name:
        root, folder = Path(name) / "root", Path(name) / "nginx"
        root.mkdir()
        folder.mkdir()
        cases = make_folder(root)
        seconds = arguments.seconds / (len(cases) * ROUNDS * 2)
        with (
            serve_in_background(ServerPlan(folder=root)) as ours,
            run_nginx(root, folder) as theirs,
        ):
            rows = [
                measure(case, ours, theirs, seconds=seconds, connections=arguments.connections)
                for case in cases
            ]
    version = subprocess.run(["nginx", "-v"], check=True, capture_output=True, text=True).stderr
    print("| request | ampforge serve | nginx | ratio (middle half) | target | |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\n{version.strip()}, one worker each, {arguments.connections} connections of wrk.")
    return int(any(row.endswith("MISSED |") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
