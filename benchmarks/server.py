"""How fast the repository is served: `ampforge serve` against nginx, one worker each, with wrk.

Both serve the same folder of a real repository on the loopback interface, both with Date, ETag,
Cache-Control, Content-Type and Content-Length, nginx with sendfile and without access log. One wrk
thread keeps the connections busy. Each round measures both, in an order that flips; the ratio is
ours/nginx's in requests a second, so higher is better, and the median of the rounds counts. Before
the first round every answer is compared byte for byte; an answer that is not a 200, 206 or 304 ends
the benchmark. Beside it stands the processor time of each server for one request, which says the
same on a machine that does other work as well.

Last, the server's memory: after all those requests, and after 200,000 more, a quarter of each kind.

    apt-get install nginx wrk
    python benchmarks/server.py [--seconds N] [--connections N]

`--seconds` bounds the run but for the memory's part. Exit code 1 if a median ratio, or the growth
of memory, misses its target.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.pairing import middle_half
from benchmarks.processes import free_port, list_children, processor_s
from manifests.server import ServerPlan, serve_in_background

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 5
MEMORY_REQUESTS = 200_000
MEMORY_GROWTH_MAX = 0.1
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
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location /metadata/ {{ add_header Cache-Control no-cache; }}
        location /device/ {{ add_header Cache-Control "public, max-age=31536000, immutable"; }}
    }}
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
        Case(name="metadata GET", path=timestamp, status=200, target_ratio=0.7),
        Case(
            name="metadata 304",
            path=timestamp,
            status=304,
            target_ratio=0.7,
            has_etag_header=True,
        ),
        Case(name="1 MiB GET", path=artifact, status=200, target_ratio=0.95),
        Case(name="64 KiB range", path=artifact, status=206, target_ratio=0.35, headers=(span,)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server.

    Attributes:
        url: Where it answers.
        pid: Its one process.
    """

    url: str
    pid: int

    def processor_s(self) -> float:
        """Return the processor time that it has used, seconds."""
        return processor_s(self.pid)

    def resident_bytes(self) -> int:
        """Return its memory."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def run_ours(root: Path) -> Iterator[Server]:
    """Run `ampforge serve`'s server over a folder while the block runs."""
    with serve_in_background(ServerPlan(folder=root)) as url:
        (child,) = list_children(os.getpid())
        yield Server(url=url, pid=child)


@contextlib.contextmanager
def run_nginx(root: Path, folder: Path) -> Iterator[Server]:
    """Run nginx over a folder while the block runs."""
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX_CONFIGURATION.format(folder=folder, port=port, root=root))
    nginx = subprocess.Popen(
        ["nginx", "-c", str(configuration), "-p", str(folder), "-g", "user root;"],
        stderr=subprocess.DEVNULL,
    )
    try:
        await_port(port, nginx)
        yield Server(url=f"http://127.0.0.1:{port}", pid=nginx.pid)
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
        assert all(answer.headers[name] for name in ("Date", "ETag", "Cache-Control")), case.name
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one server did in one round: requests a second, and its processor time for one."""

    per_second: float
    processor_us: float


def measure_rate(
    server: Server, case: Case, etag: str, *, seconds: float, connections: int
) -> Rate:
    """Measure one server for one round."""
    before_s, start_s = server.processor_s(), time.monotonic()
    rate = run_wrk(server.url, case, etag, seconds=seconds, connections=connections)
    used_s, duration_s = server.processor_s() - before_s, time.monotonic() - start_s
    return Rate(per_second=rate, processor_us=used_s / (rate * duration_s) * 1e6)


def measure(case: Case, ours: Server, theirs: Server, *, seconds: float, connections: int) -> str:
    """Measure one case and return its row; the row says MISSED if it did."""
    our_etag, their_etag = check_equal(case, ours.url, theirs.url)
    pairs: list[tuple[Rate, Rate]] = []
    for number in range(ROUNDS):
        order = [(ours, our_etag), (theirs, their_etag)]
        if number % 2:
            order.reverse()
        rates = {
            server.url: measure_rate(server, case, etag, seconds=seconds, connections=connections)
            for server, etag in order
        }
        pairs.append((rates[ours.url], rates[theirs.url]))
    ratios = [our.per_second / their.per_second for our, their in pairs]
    ratio = statistics.median(ratios)
    lower, upper = middle_half(ratios)
    verdict = "kept" if ratio >= case.target_ratio else "MISSED"
    our_rate, their_rate = (
        statistics.median(one.per_second for one in rates) for rates in zip(*pairs, strict=True)
    )
    our_us, their_us = (
        statistics.median(one.processor_us for one in rates) for rates in zip(*pairs, strict=True)
    )
    return (
        f"| {case.name} | {our_rate:,.0f}/s | {their_rate:,.0f}/s "
        f"| **{ratio:.2f}** ({lower:.2f}-{upper:.2f}, {ROUNDS} rounds) "
        f"| ≥ {case.target_ratio} | {verdict} | {our_us:.1f} µs | {their_us:.1f} µs |"
    )


def measure_memory(cases: tuple[Case, ...], ours: Server, *, connections: int) -> str:
    """Say how the server's memory grows over many requests; says MISSED if it does."""
    before = ours.resident_bytes()
    asked = 0
    while asked < MEMORY_REQUESTS:
        for case in cases:
            etag = get(ours.url, case.path, {}).headers["ETag"]
            wanted = MEMORY_REQUESTS // len(cases)
            done = 0.0
            while done < wanted:
                done += run_wrk(ours.url, case, etag, seconds=1, connections=connections)
            asked += round(done)
    after = ours.resident_bytes()
    growth = after / before - 1
    verdict = "kept" if abs(growth) <= MEMORY_GROWTH_MAX else "MISSED"
    return (
        f"Memory: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after {asked:,} more "
        f"requests: **{growth:+.1%}**, target within {MEMORY_GROWTH_MAX:.0%}: {verdict}"
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
            run_ours(root) as ours,
            run_nginx(root, folder) as theirs,
        ):
            rows = [
                measure(case, ours, theirs, seconds=seconds, connections=arguments.connections)
                for case in cases
            ]
            memory = measure_memory(cases, ours, connections=arguments.connections)
    version = subprocess.run(["nginx", "-v"], check=True, capture_output=True, text=True).stderr
    print(
        "| request | ampforge serve | nginx | ratio (middle half) | target | "
        "| ours, processor | nginx's |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\n{memory}")
    print(
        f"\n{version.strip()}, one worker each, {arguments.connections} connections of wrk; "
        f"load {os.getloadavg()[0]:.1f} at the end."
    )
    return int(any("MISSED" in line for line in (*rows, memory)))


if __name__ == "__main__":
    sys.exit(main())
