"""A station that is killed around the readings of its check standard releases nothing too early."""

from __future__ import annotations

import shutil
import signal

import pytest

from provisioning.check_history import read_checks
from provisioning.ledger import Ledger
from provisioning.ledger_values import SerialState, UnitState
from provisioning.simulator.faults import AnalogFault, FaultPlan
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from tests.conftest import IS_SOAK
from tests.provisioning.check_bench import STANDARD_SECTION, standing
from tests.provisioning.station_bench import SEED, STATION, make_bench, open_bench, slot_configs
from tests.provisioning.test_station_kill import COMMITS_OF_ONE_UNIT, Killer

SECTION = {"check_standard": STANDARD_SECTION}
SETTINGS = StationSettings.model_validate(SECTION)
COMMITS = COMMITS_OF_ONE_UNIT + 2
"""Those of a unit, with a reading before the first and one after the last of them."""
EVERY = [[edge, commit] for commit in range(1, COMMITS + 1) for edge in ("before", "after")]
AROUND_READINGS = [
    ["before", 1], ["after", 1], ["before", COMMITS - 1], ["before", COMMITS], ["after", COMMITS]
]  # fmt: skip
MOMENTS = EVERY if IS_SOAK else AROUND_READINGS
RELEASED = (UnitState.PASS.value, SerialState.RELEASED.value)
WAITS = (UnitState.PASS.value, SerialState.ASSIGNED.value)
HELD = (UnitState.HOLD.value, SerialState.ASSIGNED.value)


@pytest.fixture(scope="module")
def killer():
    with Killer() as killer:
        yield killer


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


def look(folder):
    """Return the readings that are told, whether each is good, and where the units stand."""
    ledger = Ledger.open(folder / STATION / "ledger.sqlite3")
    ledger.verify_chains()
    with ledger.database.reading() as connection:
        told = [check.entry.is_good for check in read_checks(connection, "station-1")]
    units = list(standing(ledger).values())
    ledger.close()
    return told, units


def run_again(folder, line):
    station = open_bench(folder, SETTINGS)
    (result,) = run_slots(station, slot_configs(line))
    station.close()
    return result


def is_told(moment, commit):
    """Whether a commit was there when the process died."""
    return moment[1] > commit or moment == ["after", commit]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: "-".join(map(str, moment)))
def test_a_unit_is_released_with_its_closing_reading_or_not_at_all(
    moment, template, killer, tmp_path
):
    folder = shutil.copytree(template, tmp_path / "bench")
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        assert killer.run(folder, line, moment, SECTION) == -signal.SIGKILL
        told, units = look(folder)
        closed = is_told(moment, COMMITS)
        assert told == [True] * (is_told(moment, 1) + closed)
        if is_told(moment, COMMITS - 1):
            assert units == [RELEASED if closed else WAITS]
        else:
            assert RELEASED not in units
        assert run_again(folder, line).error is None
        assert look(folder)[1] == [RELEASED]


@pytest.mark.parametrize("edge", ["before", "after"])
def test_a_bad_closing_reading_holds_the_unit_with_it_or_the_next_reading_does(
    edge, template, killer, tmp_path
):
    """The fixture drifts while the unit is measured; the process dies around the bad reading."""
    folder = shutil.copytree(template, tmp_path / "bench")
    drifting = {0: FaultPlan(analog=frozenset({AnalogFault.FIXTURE_DRIFT}))}
    with SimulatedLine(folder / "line", board_count=1, seed=SEED, faults=drifting) as line:
        assert killer.run(folder, line, ["after", COMMITS - 1], SECTION) == -signal.SIGKILL
        assert look(folder) == ([True], [WAITS])
        line.slots[0].board.output.time_s += 3600
        # The next start reads it first, which is now the closing reading of that unit.
        assert killer.run(folder, line, [edge, 1], SECTION) == -signal.SIGKILL
        assert look(folder) == (([True, False], [HELD]) if edge == "after" else ([True], [WAITS]))
        assert "check standard failed" in str(run_again(folder, line).error)
        assert look(folder)[1] == [HELD]
