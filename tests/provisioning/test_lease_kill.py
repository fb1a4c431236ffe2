"""SIGKILL at every durable boundary of a lease's life, then start again: the same end as ever."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.lease_folder import CLOSED_FOLDER, find_lease_files
from provisioning.ledger_leases import list_leases
from provisioning.ledger_queries import list_serials, list_units
from tests.conftest import IS_SOAK
from tests.provisioning.lease_bench import Factory
from tests.provisioning.ledger_sites import BACK_ENDS, empty_site

ROOT = Path(__file__).parents[2]
STAGES = (("take", 0), ("work", 4), ("sync", 8), ("sync", 60))
"""What is done, and how many hours after the start; the last one finds the lease expired."""
SAMPLE = 2


class Children:
    """The process whose children do what they are told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.provisioning.killed_lease"], text=True, cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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
def begun(tmp_path_factory):
    root = tmp_path_factory.mktemp("begun")
    Factory(root / "stations", root / "server" / "ledger.sqlite3").begin()
    return root


def make(back_end, folder, begun, request):
    if back_end == "sqlite":
        shutil.copytree(begun, folder)
        return Factory(folder / "stations", folder / "server" / "ledger.sqlite3")
    site = empty_site(back_end, folder, request)
    return Factory(folder / "stations", site.address).begin()


def end_of(factory):
    """Return all that must be the same, however often somebody was killed."""
    ledger = factory.open()
    chains = ledger.verify_chains()
    units = [(unit.serial, unit.mac, unit.state) for unit in list_units(ledger.database)]
    serials = [(one.serial, one.mac, one.state) for one in list_serials(ledger.database)]
    leases = [(one.name, one.count, one.given, one.voided, one.left) for one in list_leases(ledger)]
    ledger.close()
    assert find_lease_files(factory.folder()) is None
    archived = sorted(path.suffix for path in (factory.folder() / CLOSED_FOLDER).iterdir())
    return units, serials, leases, sorted(chains), archived


def live(children, factory, *, killed_stage=None, boundary=None):
    """Live through all stages; in one of them be killed at a boundary and start again."""
    counts = []
    for number, (what, hours) in enumerate(STAGES):
        if number == killed_stage:
            code, _ = children.run(factory, what, hours, boundary)
            assert code == -signal.SIGKILL
            hours += 1  # noqa: PLW2901 - time goes on
        code, count = children.run(factory, what, hours)
        assert code == 0
        counts.append(count)
    return counts


def points(counts):
    every = [(stage, point) for stage, n in enumerate(counts) for point in range(1, n + 1)]
    # Right before the last file that is put away, and some more.
    return every if IS_SOAK else [every[-2], *random.Random(59).sample(every, SAMPLE - 1)]


@pytest.mark.parametrize("back_end", BACK_ENDS if IS_SOAK else BACK_ENDS[:1])
def test_a_kill_at_any_durable_boundary_leads_to_the_same_end(
    back_end, children, begun, tmp_path, request
):
    undisturbed = make(back_end, tmp_path / "undisturbed", begun, request)
    counts = live(children, undisturbed)
    expected = end_of(undisturbed)
    assert [len(part) for part in expected] == [3, 3, 1, 2, 3]
    assert expected[2] == [("station-1/1", 5, 3, 2, 0)]
    assert [state for _, _, state in expected[0]] == ["pass", "pass", "hold"]
    assert [state for _, _, state in expected[1]] == ["released", "released", "assigned"]
    assert len(counts) == len(STAGES)
    assert min(counts) >= 4
    for stage, boundary in points(counts):
        factory = make(back_end, tmp_path / f"{stage}-{boundary}", begun, request)
        live(children, factory, killed_stage=stage, boundary=boundary)
        assert end_of(factory) == expected, f"killed in {STAGES[stage]} at boundary {boundary}"
