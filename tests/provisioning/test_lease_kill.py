"""SIGKILL at every durable boundary of a lease's life, then start again: the same end as ever."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.lease_folder import CLOSED_FOLDER, find_lease_files
from provisioning.ledger_backup import write_backup
from provisioning.ledger_leases import list_leases
from provisioning.ledger_quarantine import list_quarantines
from provisioning.ledger_queries import list_serials, list_units
from provisioning.ledger_restore import restore_for_station
from tests.conftest import IS_SOAK
from tests.provisioning.lease_bench import START, FactoryTemplate
from tests.provisioning.ledger_sites import BACK_ENDS
from tests.untraced import untraced_environment

ROOT = Path(__file__).parents[2]
STAGES = (("take", 0), ("work", 4), ("sync", 8), ("sync", 60))
"""What is done, and how many hours after the start; the last one finds the lease expired."""
SAMPLE = 2
BACKUP = "backup.jsonl"


class Children:
    """The process whose children do what they are told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.provisioning.killed_lease"], text=True, cwd=ROOT,
            env=untraced_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, factory, what, hours, boundary=None):
        line = [str(factory.root), str(factory.address), what, hours, boundary]
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        code, count = map(int, self._process.stdout.readline().split())
        return code, count

    def close(self) -> None:
        self._process.stdin.close()
        assert self._process.wait() == 0


@pytest.fixture(scope="module")
def children():
    process = Children()
    yield process
    process.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return FactoryTemplate(tmp_path_factory.mktemp("template"))


@pytest.fixture
def copy(template, tmp_path, request):
    """Return a function that sets up a factory of a name, on one back end or the other."""
    return lambda back_end, name: template.copy(back_end, tmp_path / name, request)


def end_of(factory):
    """Return all that must be the same, however often somebody was killed."""
    ledger = factory.open()
    chains = ledger.verify_chains()
    units = [(unit.serial, unit.mac, unit.state) for unit in list_units(ledger.database)]
    serials = [(one.serial, one.mac, one.state) for one in list_serials(ledger.database)]
    leases = [(one.name, one.count, one.given, one.voided, one.left) for one in list_leases(ledger)]
    quarantined = sorted(one.mac for one in list_quarantines(ledger))
    ledger.close()
    assert find_lease_files(factory.folder()) is None
    archived = sorted(path.suffix for path in (factory.folder() / CLOSED_FOLDER).iterdir())
    return units, serials, leases, quarantined, sorted(chains), archived


def live(children, factory, stages, *, killed_stage=None, boundary=None):
    """Live through all stages; in one of them be killed at a boundary and start again."""
    counts = []
    for number, (what, hours) in enumerate(stages):
        if what == "back-up":
            write_backup(factory.address, factory.root / BACKUP, now=factory.now())
            counts.append(0)
            continue
        if what == "lose":
            lose_and_restore(factory, hours)
            counts.append(0)
            continue
        if number == killed_stage:
            code, _ = children.run(factory, what, hours, boundary)
            assert code == -signal.SIGKILL
            hours += 1  # noqa: PLW2901 - time goes on
        code, count = children.run(factory, what, hours)
        assert code == 0
        counts.append(count)
    return counts


def lose_and_restore(factory, hours):
    factory.clock = START + dt.timedelta(hours=hours)
    factory.lose_ledger()
    restore_for_station(
        factory.root / BACKUP, factory.address, factory.writer(), folder=factory.folder(),
        opening="opening-2", reason="the server died",
    )  # fmt: skip


def points(counts, sampled=SAMPLE):
    every = [(stage, point) for stage, n in enumerate(counts) for point in range(1, n + 1)]
    # Right before the last file that is put away, and some more.
    return every if IS_SOAK else [every[-2], *random.Random(59).sample(every, sampled - 1)]


@pytest.mark.parametrize("back_end", BACK_ENDS if IS_SOAK else BACK_ENDS[:1])
def test_a_kill_at_any_durable_boundary_leads_to_the_same_end(back_end, children, copy):
    undisturbed = copy(back_end, "undisturbed")
    counts = live(children, undisturbed, STAGES)
    expected = end_of(undisturbed)
    assert [len(part) for part in expected] == [3, 3, 1, 0, 2, 3]
    assert expected[2] == [("station-1/1", 5, 3, 2, 0)]
    assert [state for _, _, state in expected[0]] == ["pass", "pass", "hold"]
    assert [state for _, _, state in expected[1]] == ["released", "released", "assigned"]
    assert len(counts) == len(STAGES)
    assert min(counts) >= 4
    for stage, boundary in points(counts):
        factory = copy(back_end, f"{stage}-{boundary}")
        live(children, factory, STAGES, killed_stage=stage, boundary=boundary)
        assert end_of(factory) == expected, f"killed in {STAGES[stage]} at boundary {boundary}"


RESTORED = {
    # The ledger has the lease open that ended since: its outbox is brought back.
    "recalled": (
        ("take", 0), ("back-up", 0), ("work", 4), ("sync", 60), ("lose", 61), ("sync", 62)
    ),
    # The ledger knows nothing of the lease: its outbox is put away, its boards are set aside.
    "given-up": (("back-up", 0), ("take", 0), ("work", 4), ("lose", 6), ("give-up", 8)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "back_end"),
    [*itertools.product(RESTORED, BACK_ENDS)]
    if IS_SOAK
    else [("recalled", "postgres"), ("given-up", "sqlite")],
)
def test_a_kill_after_a_restore_leads_to_the_same_end(scenario, back_end, children, copy):
    """The last stage is killed at each of its boundaries; the default tries the last but one."""
    stages = RESTORED[scenario]
    undisturbed = copy(back_end, "undisturbed")
    last = len(stages) - 1
    count = live(children, undisturbed, stages)[last]
    expected = end_of(undisturbed)
    units, _, leases, quarantined, _, archived = expected
    assert (len(units), len(quarantined)) == ((3, 0) if scenario == "recalled" else (0, 3))
    assert len(archived) == 3
    assert [left for *_, left in leases] == ([0] if scenario == "recalled" else [])
    assert count >= 10
    for boundary in range(1, count + 1) if IS_SOAK else [count - 1]:
        factory = copy(back_end, str(boundary))
        live(children, factory, stages, killed_stage=last, boundary=boundary)
        assert end_of(factory) == expected, f"killed at boundary {boundary} of {count}"
