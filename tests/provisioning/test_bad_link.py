"""A cable that drops, doubles, changes and delays bytes, or hangs, never makes a wrong verdict.

The board is good. So whatever the cable does, the unit passes, or the station reports an error and
leaves the job open; and the next run, on a good cable, finishes it under the same serial number.
"""

from __future__ import annotations

import shutil
from random import Random

import pytest

from provisioning.ledger_queries import list_jobs, list_serials, list_units
from provisioning.ledger_values import JobState, SerialState, UnitState
from provisioning.simulator.faults import FaultPlan, LinkFault, LinkFaults
from provisioning.simulator.line import SimulatedLine
from provisioning.simulator.link_noise import LinkNoise
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from tests.conftest import IS_SOAK
from tests.provisioning.station_bench import SEED, make_bench, open_bench, slot_configs

BYTES_OF_ONE_UNIT = 170_000
"""About what travels in one run, both directions: where a cable may hang."""


def noisy(seed):
    """A cable of one kind of fault, or of all; from hopeless to nearly good."""
    draw = Random(seed)
    kinds = draw.choice([frozenset({kind}) for kind in LinkFault] + [frozenset(LinkFault)] * 4)
    mean_bytes = int(10 ** draw.uniform(3, 5.3))
    return LinkFaults(seed=seed, kinds=kinds, mean_bytes_between=mean_bytes)


def hanging(seed):
    return LinkFaults(hang_after_bytes=Random(seed).randrange(BYTES_OF_ONE_UNIT))


CABLES = [
    *(pytest.param(noisy(seed), id=f"noise-{seed}") for seed in range(60 if IS_SOAK else 2)),
    *(pytest.param(hanging(seed), id=f"hang-{seed}") for seed in range(40 if IS_SOAK else 1)),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


def run(folder, faults=None):
    """Work on the one board; return the slot's result."""
    with SimulatedLine(folder / "line", board_count=1, seed=SEED, faults=faults) as line:
        station = open_bench(folder)
        try:
            (result,) = run_slots(station, slot_configs(line))
        finally:
            station.close()
    return result, line.slots[0].board.mac


@pytest.mark.parametrize("cable", CABLES)
def test_a_good_board_on_a_bad_cable_passes_or_stays_open(cable, template, tmp_path):
    folder = tmp_path / "bench"
    shutil.copytree(template, folder)
    result, mac = run(folder, {0: FaultPlan(link=cable)})
    station = open_bench(folder)
    database = station.ledger.database
    units = list_units(database)
    if result.error is None:
        assert result.report.is_passed, result.report.reasons
    else:
        assert result.error.hint
        for unit in units:
            assert (unit.mac, unit.state) == (mac, UnitState.IN_WORK)
            assert [job.state for job in list_jobs(database, unit.serial)] == [JobState.OPEN]
    station.close()

    again, _ = run(folder)
    assert again.error is None, again.error
    assert again.report.is_passed
    station = open_bench(folder)
    (unit,) = list_units(station.ledger.database)
    (serial,) = list_serials(station.ledger.database)
    station.ledger.verify_chains()
    station.close()
    assert (unit.mac, serial.serial, serial.state) == (mac, unit.serial, SerialState.RELEASED)
    assert {before.serial for before in units} <= {unit.serial}


def test_a_cable_that_dies_at_the_start_of_the_application_is_no_fault_of_the_unit(
    template, tmp_path
):
    """Silence is a verdict only while the chip's ROM still answers on the same cable."""
    folder = tmp_path / "bench"
    shutil.copytree(template, folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        slot = line.slots[0]
        noise = LinkNoise(LinkFaults(hang_after_bytes=0), wait=lambda _seconds: None)

        def cut(progress):
            if progress.text == "starting the application":
                slot.uart._noise = noise

        station = open_bench(folder, StationSettings(boot_timeout_s=0.3))
        (result,) = run_slots(station, slot_configs(line), on_progress=cut)
        (unit,) = list_units(station.ledger.database)
        station.close()
    assert result.report is None
    assert "download mode" in str(result.error)
    assert unit.state is UnitState.IN_WORK


def test_a_board_on_its_own_usb_plug_passes_though_it_leaves_the_bus(template, tmp_path):
    folder = tmp_path / "bench"
    shutil.copytree(template, folder)
    faults = {0: FaultPlan(link=LinkFaults(leaves_bus_at_reset=True))}
    with SimulatedLine(
        folder / "line", board_count=1, seed=SEED, faults=faults, has_usb_plug=True
    ) as line:
        station = open_bench(folder)
        (result,) = run_slots(station, slot_configs(line))
        station.close()
    assert result.error is None, result.error
    assert result.report.is_passed


class TestNoise:
    CONTENT = bytes(range(256)) * 40

    def carry(self, piece_bytes=512, **plan):
        waits = []
        noise = LinkNoise(LinkFaults(**plan), wait=waits.append)
        arrived = b"".join(
            noise.carry(self.CONTENT[start : start + piece_bytes], baud=115_200)
            for start in range(0, len(self.CONTENT), piece_bytes)
        )
        return arrived, noise.fault_count, waits

    def test_without_a_plan_everything_arrives(self):
        assert self.carry() == (self.CONTENT, 0, [])

    @pytest.mark.parametrize(
        ("kind", "sign"),
        [(LinkFault.DROP, -1), (LinkFault.DUPLICATE, 1), (LinkFault.CORRUPT, 0)],
    )
    def test_each_kind_does_what_it_says(self, kind, sign):
        arrived, count, _ = self.carry(seed=1, kinds=frozenset({kind}), mean_bytes_between=1000)
        assert count > 3
        assert arrived != self.CONTENT
        growth = len(arrived) - len(self.CONTENT)
        assert (growth > 0) - (growth < 0) == sign

    def test_a_delay_loses_nothing(self):
        kinds = frozenset({LinkFault.DELAY})
        arrived, count, waits = self.carry(seed=1, kinds=kinds, mean_bytes_between=1000)
        assert arrived == self.CONTENT
        assert len(waits) == count > 3
        assert all(0 <= wait_s <= 0.25 for wait_s in waits)

    def test_the_same_seed_is_the_same_cable_and_faults_come_to_an_end(self):
        plan = {"mean_bytes_between": 500, "fault_count_max": 5}
        assert self.carry(seed=1, **plan) == self.carry(seed=1, **plan)
        assert self.carry(seed=1, **plan)[0] != self.carry(seed=2, **plan)[0]
        assert self.carry(seed=1, **plan)[1] == 5

    def test_what_hangs_hangs_until_the_port_is_opened_again_and_once(self):
        noise = LinkNoise(LinkFaults(hang_after_bytes=5), wait=lambda _seconds: None)
        carry = [noise.carry(b"abc", baud=1) for _ in range(3)]
        noise.reseat()
        carry += [noise.carry(b"abc", baud=1) for _ in range(3)]
        assert carry == [b"abc", b"ab", b"", b"abc", b"abc", b"abc"]

    def test_above_its_rate_a_cable_carries_noise(self):
        noise = LinkNoise(LinkFaults(max_baud=500_000), wait=lambda _seconds: None)
        assert noise.carry(self.CONTENT, baud=460_800) == self.CONTENT
        assert noise.carry(self.CONTENT, baud=921_600) != self.CONTENT
