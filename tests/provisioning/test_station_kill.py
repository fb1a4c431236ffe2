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

from provisioning.ledger_queries import count_serials, list_jobs, list_serials, list_units
from provisioning.ledger_values import SerialState
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from tests.provisioning.station_bench import SEED, STEPS, make_bench, open_bench, slot_configs

ROOT = Path(__file__).parents[2]
COMMITS_OF_ONE_UNIT = 17
COMMIT_MOMENTS = [
    [edge, commit] for commit in range(1, COMMITS_OF_ONE_UNIT + 1) for edge in ("before", "after")
]
# AMPFORGE_KILL_SAMPLE=34 tries every boundary; the seed makes a failure happen again.
SAMPLE = random.Random(20260210).sample(
    COMMIT_MOMENTS, int(os.environ.get("AMPFORGE_KILL_SAMPLE", "6"))
)
MOMENTS = [*SAMPLE, ["during", "flash", 0.5], ["during", "calibrate", 0.5]]


class Killer:
    """The process whose children die."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.provisioning.killed_station"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, folder, line, moment):
        slots = [[slot.name, slot.port, slot.meter] for slot in slot_configs(line)]
        self.process.stdin.write(json.dumps([str(folder), slots, moment]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def killer():
    killer = Killer()
    yield killer
    killer.process.stdin.close()
    killer.process.wait(timeout=30)


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


def finish(folder, line):
    station = open_bench(folder)
    results = run_slots(station, slot_configs(line))
    station.close()
    assert [result.error for result in results] == [None] * len(results)


def describe(folder):
    """Everything that must be the same whether the station was killed or not."""
    station = open_bench(folder)
    database = station.ledger.database
    description = {}
    for unit in list_units(database):
        (job,) = list_jobs(database, unit.serial)
        events = [chained.event for chained in station.ledger.events(serial=unit.serial)]
        confirmed = {event.step: event.data for event in events if event.phase == "CONFIRM"}
        assert set(confirmed) == {step.value for step in STEPS} - {"detect"}
        for step in confirmed:
            if step not in {"reserve", "final"}:
                first_intent = [(event.step, event.phase) for event in events].index(
                    (step, "INTENT")
                )
                first_confirm = [(e.step, e.phase) for e in events].index((step, "CONFIRM"))
                assert first_intent < first_confirm, f"{step} was confirmed before it was intended"
        records = {e.data["record"] for e in events if (e.step, e.phase) == ("record", "INTENT")}
        assert confirmed["record"]["stored"] in records
        description[unit.mac] = {
            "serial": unit.serial,
            "state": unit.state,
            "bundle": unit.bundle_digest,
            "job": (job.number, job.state, job.outcome),
            "trust_version": confirmed["identity"]["trust_version"],
            "release_counter": confirmed["identity"]["release_counter"],
            "record_generations": len(records),
            "app": confirmed["flash"]["app_sha256"],
            "outcome": confirmed["final"]["outcome"],
        }
    counts = count_serials(database)
    assert len(list_serials(database)) == counts[SerialState.RELEASED] == len(description)
    station.ledger.verify_chains()
    station.close()
    return description


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
