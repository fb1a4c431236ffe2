"""How many device reports are stored a second: `ampforge serve` against the bare database.

Devices of a factory CA post signed reports over HTTP; a report counts when its answer is 201, which
the server gives after the commit. The peer is the database's bare rate: the same rows into the same
tables with the same durability (SQLite, WAL, `synchronous=FULL`), inserted by one statement a row
in transactions of as many rows as the server put into one, with nothing verified and nobody asked.

Three ratios: against SQLite as it comes, in the server's own batches; against the same with the
server's longer journal (`manifests.fleet.CHECKPOINT_PAGES`); and against SQLite as it comes in
transactions of as many rows as reports can be under way, which no server that answers after the
commit can gather.

A row costs more in a database that has many, for both sides. So everything is measured with an
empty database, and with one that has `--stored` reports: a fleet's after some years.

The last columns are the processor time for one report, of all of the server's processes, and for
one bare row: they say the same on a machine that does other work as well.

Each round is a new server with a new database, and new bare databases beside it. *New devices*
are ones whose certificate this server has not seen: two signatures are verified for each report.
*Known devices* report again: one signature. Gateways and other servers carry reports of known
devices, `--carried` in a request (docs/spec/device-report.md §6); every verifying process has seen
devices before.

    python benchmarks/reports.py [--rounds N] [--devices N] [--connections N] [--carriers N]
        [--carried N] [--stored N] [--parts]

`--parts` says what one report costs inside of the server, step by step, instead. Exit code 1 if a
median ratio misses its target.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from benchmarks.pairing import middle_half
from benchmarks.processes import free_port, list_children, processor_s
from benchmarks.report_load import NOW, Fleet, make_fleet, post_all
from benchmarks.report_rows import insert_bare, make_stored, read_like, read_rows
from manifests.device_report import REPORT_CONTENT_TYPE, verify_device_report
from manifests.fleet import CHECKPOINT_PAGES, FleetStore
from manifests.message_fields import MESSAGE_MAX_BYTES
from manifests.received_report import receive_report
from manifests.server import ServerPlan, serve_in_background
from manifests.server_paths import METRICS_PATH
from signing.canonical_cbor import parse_cbor
from signing.certificate_fields import CertificateKind
from signing.certificate_memory import CertificateMemory
from signing.cose import verify_one
from signing.trust import verify_trust_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TARGET_RATIO: Final = 0.5
_COMMITS: Final = "ampforge_device_report_commits_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one kind of report, in rows a second.

    Attributes:
        batch: Rows in one of the server's transactions, on average.
        served: Reports that the server stored.
        bare: SQLite as it comes, with the same batch.
        bare_journal: The same with the server's journal.
        bare_full: SQLite as it comes, with a batch of all that can be under way.
        served_us: Processor time of the server's processes for one report, microseconds.
        bare_us: Processor time for one row of `bare`.
    """

    batch: float
    served: float
    bare: float
    bare_journal: float
    bare_full: float
    served_us: float
    bare_us: float


def measure_round(
    fleet: Fleet, folder: Path, stored: Path, *, connections: int, carriers: int, carried: int
) -> list[Measured]:
    """Measure new devices, known ones and gateways, by a server that begins with a copy of this."""
    (folder / "root").mkdir(parents=True)
    names = ("served", "bare", "journal", "full")
    served_path, bare_path, journal_path, full_path = (folder / f"{name}.sqlite" for name in names)
    for path in (served_path, bare_path, journal_path, full_path):
        shutil.copyfile(stored, path)
    metrics_port = free_port()
    plan = ServerPlan(
        folder=folder / "root",
        trust_record=fleet.trust_record,
        reports_path=served_path,
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
    rows = read_rows(served_path, fleet)
    rounded = [max(1, round(batch)) for batch in batches]
    bare = insert_bare(bare_path, rows, rounded)
    journal = insert_bare(journal_path, rows, rounded, checkpoint_pages=CHECKPOINT_PAGES)
    full = insert_bare(full_path, rows, [count * max(1, together) for _, count, together in kinds])
    shutil.rmtree(folder)
    return [
        Measured(
            batch=batches[kind],
            served=len(bodies) / served_s[kind],
            bare=len(bodies) / bare[kind].wall_s,
            bare_journal=len(bodies) / journal[kind].wall_s,
            bare_full=len(bodies) / full[kind].wall_s,
            served_us=used_s[kind] * 1e6 / len(bodies),
            bare_us=bare[kind].processor_s * 1e6 / len(bodies),
        )
        for kind, (bodies, _, _) in enumerate(kinds)
    ]


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
    lower, upper = middle_half(ratios)
    journal = statistics.median(one.served / one.bare_journal for one in rounds)
    full = statistics.median(one.served / one.bare_full for one in rounds)
    batch, served, bare, served_us, bare_us = (
        statistics.median(getattr(one, field) for one in rounds)
        for field in ("batch", "served", "bare", "served_us", "bare_us")
    )
    return (
        f"| {name} | {served:,.0f}/s | {bare:,.0f}/s in commits of {batch:.0f} "
        f"| **{ratio:.2f}** ({lower:.2f}-{upper:.2f}, {len(rounds)} rounds) | ≥ {TARGET_RATIO} "
        f"| {'kept' if ratio >= TARGET_RATIO else 'MISSED'} | {journal:.2f} | {full:.2f} "
        f"| {served_us:.0f} / {bare_us:.0f} µs |"
    )


def main() -> int:
    """Measure, print the table, say by the exit code whether the target is kept."""
    parser = argparse.ArgumentParser(description="Compare stored reports with bare commits.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--devices", type=int, default=1500)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--carriers", type=int, default=4, help="connections of gateways")
    parser.add_argument("--carried", type=int, default=32, help="reports in a gateway's request")
    parser.add_argument("--stored", type=int, default=100_000, help="reports that are there before")
    parser.add_argument("--parts", action="store_true", help="what one report costs, by steps")
    arguments = parser.parse_args()
    fleet = make_fleet(arguments.devices)
    rows = []
    with tempfile.TemporaryDirectory(prefix="ampforge-reports-") as name:
        folder = Path(name)
        if arguments.parts:
            print_parts(fleet, folder)
            return 0
        like = read_like(fleet, folder)
        for count in (0, arguments.stored):
            stored = folder / f"stored-{count}.sqlite"
            make_stored(stored, like, count)
            rounds = [
                measure_round(
                    fleet,
                    folder / str(number),
                    stored,
                    connections=arguments.connections,
                    carriers=arguments.carriers,
                    carried=arguments.carried,
                )
                for number in range(arguments.rounds + 1)
            ][1:]
            titles = ("new devices", "known devices", "known devices, carried")
            rows += [
                format_row(f"{title}; {count:,} before", [one[kind] for one in rounds])
                for kind, title in enumerate(titles)
            ]
    print(
        "| reports of | stored by the server | SQLite as it comes | ratio (middle half) | target | "
        "| with the server's journal | in commits of all under way | processor, report / row |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\n{arguments.connections} connections; load {os.getloadavg()[0]:.1f} at the end.")
    return int(any("MISSED" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
