"""A station that is killed at any moment goes on where it stopped, as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.simulator.line import SimulatedLine
from tests.conftest import IS_SOAK
from tests.provisioning.killed_station import EXCHANGES_NAME
from tests.provisioning.outcome import describe, finish
from tests.provisioning.station_bench import SEED, make_bench, slot_configs
from tests.untraced import untraced_environment

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

ROOT = Path(__file__).parents[2]
COMMITS_OF_ONE_UNIT = 19
COMMIT_MOMENTS = [
    [edge, commit] for commit in range(1, COMMITS_OF_ONE_UNIT + 1) for edge in ("before", "after")
]
# AMPFORGE_KILL_SAMPLE=38 tries every boundary; the seed makes a failure happen again.
SAMPLE = random.Random(20260210).sample(
    COMMIT_MOMENTS, int(os.environ.get("AMPFORGE_KILL_SAMPLE", "6"))
)
MOMENTS = [*SAMPLE, ["during", "flash", 0.5], ["during", "calibrate", 0.5]]
# Exchanges with flash loader and application, of a board that is new: all of them in soak.
EXCHANGES_SAMPLED = 4


class Killer:
    """The process whose children die."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.provisioning.killed_station"],
            cwd=ROOT, env=untraced_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_raised):
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def run(self, folder, line, moment, section=None, what="run"):
        slots = [[slot.name, slot.port, slot.meter] for slot in slot_configs(line)]
        line = [str(folder), slots, moment, section, what]
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def killer():
    with Killer() as killer:
        yield killer


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "bench"
    shutil.copytree(template, folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        finish(folder, line)
    return describe(folder)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: "-".join(map(str, moment)))
def test_a_kill_changes_nothing_about_the_outcome(moment, template, undisturbed, killer, tmp_path):
    folder = tmp_path / "bench"
    shutil.copytree(template, folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        assert killer.run(folder, line, moment) == -signal.SIGKILL
        finish(folder, line)
    assert describe(folder) == undisturbed


def test_a_station_that_is_killed_again_and_again_gets_there(
    template, undisturbed, killer, tmp_path
):
    """Each start is killed after one or two more steps than the last one confirmed."""
    folder = tmp_path / "bench"
    shutil.copytree(template, folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        deaths = 0
        while killer.run(folder, line, ["before", 7 + deaths % 2]) == -signal.SIGKILL:
            deaths += 1
            assert deaths < 20, "the station makes no progress"
        assert deaths > 1
    assert describe(folder) == undisturbed


def test_a_kill_after_any_exchange_on_the_link_changes_nothing(
    template, undisturbed, killer, tmp_path
):
    """The station dies with an answer in its hands, or before the next question is asked."""
    counted = shutil.copytree(template, tmp_path / "counted")
    with SimulatedLine(counted / "line", board_count=1, seed=SEED) as line:
        assert killer.run(counted, line, ["exchange", 1 << 30]) == 0
    count = int((counted / EXCHANGES_NAME).read_text())
    assert count > 100
    chosen = range(1, count + 1)
    if not IS_SOAK:
        chosen = random.Random(20261126).sample(chosen, EXCHANGES_SAMPLED)
    for number in chosen:
        folder = shutil.copytree(template, tmp_path / f"exchange-{number}")
        with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
            died = killer.run(folder, line, ["exchange", number])
            # A run may need an exchange or two less than the one that was counted.
            assert died == -signal.SIGKILL or number > count - 10
            finish(folder, line)
        assert describe(folder) == undisturbed, f"killed after exchange {number} of {count}"
        shutil.rmtree(folder)
