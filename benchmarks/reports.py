"""How many device reports are stored a second: `ampforge serve` against the bare database.

Devices of a factory CA post signed reports over HTTP; a report counts when its answer is 201, which
the server gives after the commit. The peer is the database's bare rate: the same rows into the same
tables with the same durability (SQLite, WAL, `synchronous=FULL`), inserted by one statement a row
in transactions of as many rows as the server put into one, with nothing verified and nobody asked.
The rate in transactions of as many rows as there are connections is shown as well: no server that
answers after the commit can gather more.

The last columns are the processor time for one report, of all of the server's processes, and for
one bare row: they say the same on a machine that does other work as well.

Each round is a new server with a new database, and a new bare database beside it. *New devices*
are ones whose certificate this server has not seen: two signatures are verified for each report.
*Known devices* report again: one signature.

Gateways and other servers carry reports of known devices, `--carried` in a request (docs/spec/
device-report.md §6); every verifying process has seen the devices before.

    python benchmarks/reports.py [--rounds N] [--devices N] [--connections N] [--carriers N]
        [--carried N] [--parts]

`--parts` says what one report costs inside of the server, step by step, instead. Exit code 1 if a
median ratio misses its target.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from benchmarks.processes import free_port, list_children, processor_s
from manifests.carried_reports import serialize_carried_reports
from manifests.device_report import (
    REPORT_CONTENT_TYPE,
    DeviceReport,
    ReportedResult,
    sign_device_report,
    verify_device_report,
)
from manifests.fleet import FleetStore
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.received_report import receive_report
from manifests.server import ServerPlan, serve_in_background
from manifests.server_paths import METRICS_PATH, REPORT_BATCHES_PATH, REPORTS_PATH
from signing.algorithms import Algorithm
from signing.canonical_cbor import parse_cbor
from signing.certificate_fields import CertificateKind
from signing.certificate_issuing import create_ca_certificate, issue_certificate
from signing.certificate_memory import CertificateMemory
from signing.certificate_requests import create_csr
from signing.cose import verify_one
from signing.roles import Role, RoleKeys
from signing.signers import SoftwareSigner
from signing.trust import sign_trust_record, verify_trust_record
from signing.trust_record import TrustRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TARGET_RATIO: Final = 0.5
REPORTS_AGAIN: Final = 3
WARM_UP: Final = 64
NOW: Final = dt.datetime.now(dt.UTC).replace(microsecond=0)
BEFORE: Final = NOW - dt.timedelta(days=1)
_COMMITS: Final = "ampforge_device_report_commits_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the devices send.

    Attributes:
        trust_record: The signed record that names the devices' factory CA.
        warm_up: Reports that are not measured.
        first: One report of each device.
        again: More of each.
        carried: More of each, which gateways carry.
        carried_before: One of each, after which every verifying process knows the devices.
    """

    trust_record: bytes
    warm_up: tuple[bytes, ...]
    first: tuple[bytes, ...]
    again: tuple[bytes, ...]
    carried: tuple[bytes, ...]
    carried_before: tuple[bytes, ...]


def make_fleet(devices: int) -> Fleet:
    """Make a factory CA, devices with keys and certificates of their own, and their reports."""
    ca, *roots = (SoftwareSigner.generate(Algorithm.ECDSA_P256) for _ in range(3))
    ca_der = create_ca_certificate(ca, common_name="Flare CA", not_before=BEFORE)
    record = TrustRecord(
        product="flare",
        version=1,
        roles={Role.ROOT: RoleKeys(threshold=1, keys=tuple(root.public_key for root in roots))},
        minimum_policy_version=1,
        factory_ca_der=ca_der,
    )
    bodies: list[list[bytes]] = [[] for _ in range(2 + 2 * REPORTS_AGAIN)]
    for number in range(devices + WARM_UP):
        key = SoftwareSigner.generate(Algorithm.ECDSA_P256)
        serial, mac = f"FL26A{number:06d}", (0x02A1B2000000 + number).to_bytes(6, "big").hex(":")
        certificate = issue_certificate(
            ca,
            ca_der,
            create_csr(key, serial_number=serial, mac=mac, job_id="job-1"),
            expected_serial_number=serial,
            expected_mac=mac,
            expected_job_id="job-1",
            not_before=BEFORE,
        )
        for attempt, sent in enumerate(bodies):
            sent.append(sign_device_report(_report(serial, attempt), key, certificate))
    return Fleet(
        trust_record=sign_trust_record(record, roots[:1]),
        warm_up=tuple(bodies[0][devices:]),
        first=tuple(bodies[0][:devices]),
        again=tuple(body for sent in bodies[1 : 1 + REPORTS_AGAIN] for body in sent[:devices]),
        carried=tuple(body for sent in bodies[2 + REPORTS_AGAIN :] for body in sent[:devices]),
        carried_before=tuple(bodies[1 + REPORTS_AGAIN][:devices]),
    )


def _report(serial: str, attempt: int) -> DeviceReport:
    return DeviceReport(
        serial_number=serial,
        hardware_class="flare-c3",
        result=ReportedResult.INSTALLED,
        release_counter=7,
        app_sha256=bytes(range(32)),
        table_sha256=bytes(range(32, 64)),
        manifest_sha256=bytes(range(64, 96)),
        assignment_sequence=12,
        freshness_sequence=1_800_000_000 + attempt,
        reason="",
    )


class _Poster(asyncio.Protocol):
    """One device's or gateway's connection: posts the next body when one is answered."""

    def __init__(
        self, bodies: Iterable[Sequence[bytes]], on_end: Callable[[str], None], *, is_carrying: bool
    ) -> None:
        self._bodies = iter(bodies)
        self._on_end = on_end
        self._is_carrying = is_carrying
        self._expected = 0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or not body.endswith(b"\n"):
            return
        if self._is_carrying:
            is_stored = body.count(b'{"status": 201, "text": "stored"}') == self._expected
        else:
            is_stored = head.startswith(b"HTTP/1.1 201 ")
        if not is_stored:
            self._on_end(f"the server answered {self._answer[:300]!r}")
            return
        self._answer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end(f"a connection ended: {exc}")

    def _next(self) -> None:
        bodies = next(self._bodies, None)
        if bodies is None:
            self._on_end("")
            return
        self._expected = len(bodies)
        path, body = REPORTS_PATH, bodies[0]
        if self._is_carrying:
            path, body = REPORT_BATCHES_PATH, serialize_carried_reports(bodies)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: ampforge\r\nContent-Type: application/cbor\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)  # type: ignore[attr-defined]


async def post_all(
    url: str, bodies: Sequence[bytes], *, connections: int, carried: int = 0
) -> float:
    """Post bodies over so many connections; return how long it took until all were stored.

    Args:
        url: The server's root.
        bodies: Reports.
        connections: How many.
        carried: Reports in one request; 0 for devices that report themselves.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    address = (parts.hostname, parts.port)
    step = carried or 1
    shared = iter([bodies[begin : begin + step] for begin in range(0, len(bodies), step)])
    ended = [loop.create_future() for _ in range(connections)]

    def end(number: int) -> Callable[[str], None]:
        return lambda text: None if ended[number].done() else ended[number].set_result(text)

    start_s = time.perf_counter()
    opened = [
        await loop.create_connection(
            lambda number=number: _Poster(shared, end(number), is_carrying=bool(carried)), *address
        )
        for number in range(connections)
    ]
    failures = [text for text in await asyncio.gather(*ended) if text]
    duration_s = time.perf_counter() - start_s
    for transport, _ in opened:
        transport.close()
    if failures:
        raise SystemExit(failures[0])
    return duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one kind of report, in rows a second.

    Attributes:
        batch: Rows in one of the server's transactions, on average.
        served: Reports that the server stored.
        bare: The bare database with the same batch.
        bare_full: The bare database with a batch as large as there are connections.
        served_us: Processor time of the server's processes for one report, microseconds.
        bare_us: Processor time for one bare row.
    """

    batch: float
    served: float
    bare: float
    bare_full: float
    served_us: float
    bare_us: float


def measure_round(
    fleet: Fleet, folder: Path, *, connections: int, carriers: int, carried: int
) -> list[Measured]:
    """Measure new devices, known ones and gateways, by a server that starts with no reports."""
    (folder / "root").mkdir(parents=True)
    metrics_port = free_port()
    plan = ServerPlan(
        folder=folder / "root",
        trust_record=fleet.trust_record,
        reports_path=folder / "served.sqlite",
        metrics=("127.0.0.1", metrics_port),
    )
    kinds = (
        (fleet.first, connections, 0),
        (fleet.again, connections, 0),
        (fleet.carried, carriers, carried),
    )
    served_s, batches, used_s = [], [], []
    with serve_in_background(plan) as url:
        # What is started by the first report is there before anything is measured.
        uvloop.run(post_all(url, fleet.warm_up, connections=1))
        commits_before = _read_commits(metrics_port)
        for bodies, count, together in kinds:
            if together:
                before = fleet.carried_before
                uvloop.run(post_all(url, before, connections=count, carried=together))
                commits_before = _read_commits(metrics_port)
            used_before_s = _processor_below_s(os.getpid())
            posting = post_all(url, bodies, connections=count, carried=together)
            served_s.append(uvloop.run(posting))
            used_s.append(_processor_below_s(os.getpid()) - used_before_s)
            commits = _read_commits(metrics_port)
            batches.append(len(bodies) / (commits - commits_before))
            commits_before = commits
    rows = read_rows(folder / "served.sqlite", fleet)
    bare = insert_bare(folder / "bare.sqlite", rows, [max(1, round(batch)) for batch in batches])
    full = insert_bare(
        folder / "full.sqlite", rows, [count * max(1, together) for _, count, together in kinds]
    )
    return [
        Measured(
            batch=batches[kind],
            served=len(bodies) / served_s[kind],
            bare=len(bodies) / bare[kind].wall_s,
            bare_full=len(bodies) / full[kind].wall_s,
            served_us=used_s[kind] * 1e6 / len(bodies),
            bare_us=bare[kind].processor_s * 1e6 / len(bodies),
        )
        for kind, (bodies, _, _) in enumerate(kinds)
    ]


def read_rows(path: Path, fleet: Fleet) -> tuple[list[tuple[object, ...]], ...]:
    """Return the rows that the server wrote, in the order in which they were sent.

    Every report that was acknowledged must be there, as it was sent.
    """
    with closing(sqlite3.connect(path)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(report)")]
        place = columns.index("message")
        by_message = {row[place]: row for row in database.execute("SELECT * FROM report")}
    kinds = (fleet.first, fleet.again, fleet.carried)
    unmeasured = len(fleet.warm_up) + len(fleet.carried_before)
    assert len(by_message) == unmeasured + sum(map(len, kinds))
    return tuple([by_message[body] for body in bodies] for bodies in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long something took, in seconds."""

    wall_s: float
    processor_s: float


def insert_bare(
    path: Path, kinds: tuple[list[tuple[object, ...]], ...], batches: Sequence[int]
) -> list[Durations]:
    """Insert rows in transactions of so many, by the driver alone; return the durations."""
    FleetStore(path).close()  # the tables
    durations = []
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        for rows, batch in zip(kinds, batches, strict=True):
            statement = f"INSERT INTO report VALUES ({', '.join('?' * len(rows[0]))})"  # noqa: S608 - marks only
            start_s, used_s = time.perf_counter(), time.process_time()
            for begin in range(0, len(rows), batch):
                database.execute("BEGIN IMMEDIATE")
                database.executemany(statement, rows[begin : begin + batch])
                database.execute("COMMIT")
            durations.append(
                Durations(
                    wall_s=time.perf_counter() - start_s,
                    processor_s=time.process_time() - used_s,
                )
            )
    return durations


def _processor_below_s(pid: int) -> float:
    """Return the processor time of the processes below one."""
    return sum(processor_s(child) + _processor_below_s(child) for child in list_children(pid))


def _read_commits(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{METRICS_PATH}", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{_COMMITS} "))
    return int(float(line.split()[1]))


def print_parts(fleet: Fleet, folder: Path) -> None:
    """Print what one report costs in one process, step by step; medians of 5 rounds.

    Processor time for what computes, wall time for what waits for the disk.
    """
    trust = verify_trust_record(fleet.trust_record, current=None)
    bodies = fleet.first[:500]
    envelopes = [parse_cbor(body, max_bytes=len(body)) for body in bodies]
    certificates = [
        trust.verify_certificate(envelope[1], now=NOW, kind=CertificateKind.DEVICE)  # type: ignore[index]
        for envelope in envelopes
    ]

    def verify_message(number: int) -> None:
        verify_one(
            envelopes[number][2],  # type: ignore[index]
            [certificates[number].public_key],
            content_type=REPORT_CONTENT_TYPE,
            max_bytes=MESSAGE_MAX_BYTES,
        )

    memory = CertificateMemory(trust)
    steps: dict[str, Callable[[int], object]] = {
        "envelope parsed": lambda number: parse_cbor(bodies[number], max_bytes=4096),
        "certificate chain verified": lambda number: trust.verify_certificate(
            envelopes[number][1],  # type: ignore[index]
            now=NOW,
            kind=CertificateKind.DEVICE,
        ),
        "report's signature verified": verify_message,
        "all of a new device's report": lambda number: verify_device_report(
            bodies[number], trust, now=NOW
        ),
        "all of a known device's report": lambda number: verify_device_report(
            bodies[number], memory, now=NOW
        ),
    }
    print("| step | one report |")
    print("|---|---|")
    for name, step in steps.items():
        print(f"| {name} | {_median_us(step, len(bodies)):.0f} µs |")
    received = [
        receive_report(verify_device_report(body, trust, now=NOW), body, now=NOW) for body in bodies
    ]
    for batch in (16, 64, 256):
        with closing(FleetStore(folder / f"{batch}.sqlite")) as store:
            start_s = time.perf_counter()
            for begin in range(0, len(received), batch):
                store.add_reports(received[begin : begin + batch])
            duration_us = (time.perf_counter() - start_s) * 1e6 / len(received)
        print(f"| stored, {batch} in a commit | {duration_us:.0f} µs |")


def _median_us(step: Callable[[int], object], count: int) -> float:
    rounds = []
    for _ in range(5):
        start_s = time.process_time()
        for number in range(count):
            step(number)
        rounds.append((time.process_time() - start_s) * 1e6 / count)
    return statistics.median(rounds)


def format_row(name: str, rounds: Sequence[Measured]) -> str:
    """Return the row of one kind of report; it says MISSED if the median did."""
    ratios = [one.served / one.bare for one in rounds]
    ratio = statistics.median(ratios)
    lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    full = statistics.median(one.served / one.bare_full for one in rounds)
    batch, served, bare, served_us, bare_us = (
        statistics.median(getattr(one, field) for one in rounds)
        for field in ("batch", "served", "bare", "served_us", "bare_us")
    )
    return (
        f"| {name} | {served:,.0f}/s | {bare:,.0f}/s in commits of {batch:.0f} "
        f"| **{ratio:.2f}** ({lower:.2f}-{upper:.2f}, {len(rounds)} rounds) | ≥ {TARGET_RATIO} "
        f"| {'kept' if ratio >= TARGET_RATIO else 'MISSED'} | {full:.2f} "
        f"| {served_us:.0f} µs | {bare_us:.0f} µs |"
    )


def main() -> int:
    """Measure, print the table, say by the exit code whether the target is kept."""
    parser = argparse.ArgumentParser(description="Compare stored reports with bare commits.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--carriers", type=int, default=4, help="connections of gateways")
    parser.add_argument("--carried", type=int, default=32, help="reports in a gateway's request")
    parser.add_argument("--parts", action="store_true", help="what one report costs, by steps")
    arguments = parser.parse_args()
    fleet = make_fleet(arguments.devices)
    with tempfile.TemporaryDirectory(prefix="ampforge-reports-") as name:
        if arguments.parts:
            print_parts(fleet, Path(name))
            return 0
        rounds = [
            measure_round(
                fleet,
                Path(name) / str(number),
                connections=arguments.connections,
                carriers=arguments.carriers,
                carried=arguments.carried,
            )
            for number in range(arguments.rounds + 1)
        ][1:]
    titles = ("new devices", "known devices", "known devices, carried by gateways")
    rows = [format_row(title, [one[kind] for one in rounds]) for kind, title in enumerate(titles)]
    print(
        "| reports of | stored by the server | bare database | ratio (middle half) | target | "
        f"| against commits of {arguments.connections} | processor, report | row |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\n{arguments.connections} connections; load {os.getloadavg()[0]:.1f} at the end.")
    return int(any("MISSED" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
