"""The board loses its power at any erase or write of the flash; the station's next runs heal it."""

from __future__ import annotations

import random
import shutil

import pytest

from provisioning.ledger_queries import list_jobs, list_units
from provisioning.simulator.faults import FaultPlan
from provisioning.simulator.flash import NorFlash
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from tests.conftest import IS_SOAK
from tests.provisioning.outcome import describe, finish
from tests.provisioning.station_bench import SEED, make_bench, open_bench, slot_configs

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

RECORDS = ("nvs", "otadata", "devrec", "keystore")
SAMPLED = 4
APP_CUTS_IN_SOAK = 40
RUNS_MAX = 4


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(template, tmp_path_factory):
    """The outcome, and each change of the flash: bytes changed before it, where, how many."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("undisturbed") / "bench")
    changes = []
    change = NorFlash._change

    def recording(flash, offset_bytes, content):
        changes.append((flash.written_bytes, offset_bytes, len(content)))
        change(flash, offset_bytes, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NorFlash, "_change", recording)
        with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
            finish(folder, line)
    return describe(folder), changes


def choose_cuts(folder, changes):
    """Return where the power fails, in bytes changed so far: at, in and just before the end."""
    station = open_bench(folder)
    table = station.bundle.partition_table
    station.close()
    partitions = [table.find(name) for name in RECORDS]
    of_records, of_others = [], []
    for written_bytes, offset_bytes, size_bytes in changes:
        is_record = any(
            one.offset_bytes <= offset_bytes < one.offset_bytes + one.size_bytes
            for one in partitions
        )
        moments = {0, size_bytes // 2, size_bytes - 1}
        (of_records if is_record else of_others).extend(
            written_bytes + moment for moment in sorted(moments)
        )
    chooser = random.Random(20261126)
    if IS_SOAK:
        return of_records + chooser.sample(of_others, min(APP_CUTS_IN_SOAK, len(of_others)))
    return [*chooser.sample(of_records, SAMPLED - 1), chooser.choice(of_others)]


def test_a_power_cut_on_the_board_is_healed_by_the_next_runs(template, undisturbed, tmp_path):
    outcome, changes = undisturbed
    cuts = choose_cuts(template, changes)
    assert len(cuts) >= SAMPLED
    for cut_after_bytes in cuts:
        folder = shutil.copytree(template, tmp_path / f"cut-{cut_after_bytes}")
        faults = {0: FaultPlan(power_cut_after_bytes=cut_after_bytes)}
        with SimulatedLine(folder / "line", board_count=1, seed=SEED, faults=faults) as line:
            for _ in range(RUNS_MAX):
                station = open_bench(folder)
                (result,) = run_slots(station, slot_configs(line))
                units = list_units(station.ledger.database)
                jobs = [list_jobs(station.ledger.database, unit.serial) for unit in units]
                station.close()
                # A cut is no fault of the unit: it is never judged for it.
                assert result.report is None or result.report.is_passed, result.report.reasons
                assert all(len(of_unit) == 1 for of_unit in jobs)
                if result.report is not None:
                    break
            assert line.slots[0].board.flash.written_bytes > cut_after_bytes
        assert describe(folder) == outcome, f"cut after {cut_after_bytes} bytes"
        shutil.rmtree(folder)
