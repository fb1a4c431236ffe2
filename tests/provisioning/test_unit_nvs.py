"""The station writes each board's NVS partition, and reads it back."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from firmware_images.errors import FirmwareImageError
from firmware_images.nvs import parse_nvs
from firmware_images.nvs_building import parse_nvs_keys
from firmware_images.nvs_plan import parse_nvs_plan
from firmware_images.nvs_values import NvsType
from firmware_images.partition_csv import parse_partition_csv
from provisioning.ledger_queries import list_serials
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_values import Step
from tests.firmware_images.nvs_parts import PLAN, entry
from tests.provisioning.station_bench import (
    SEED,
    make_bench,
    open_bench,
    slot_configs,
    stop_before,
)

NVS_AT, NVS_BYTES, KEYS_AT = 0x9000, 0x4000, 0xD000
ENCRYPTED = b'keys_partition = "nvs_key"\n' + PLAN
WITH_KEYS = """nvs, data, nvs, 0x9000, 0x4000
nvs_key, data, nvs_keys, 0xd000, 0x1000
otadata, data, ota, 0xe000, 0x2000
devrec, data, 0x40, 0x10000, 0x8000
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def open_with_plan(folder, content):
    """Open the station; an encrypted plan gets a partition table that has a place for the key."""
    if content is PLAN:
        return open_bench(folder, nvs_plan=parse_nvs_plan(PLAN, where="nvs.toml"))
    station = open_bench(folder)
    table = parse_partition_csv(WITH_KEYS, where="partitions.csv")
    others = [p for p in station.bundle.partition_table.partitions if p.type == 0 or p.subtype > 0x40]  # fmt: skip  # noqa: E501
    table = replace(table, partitions=(*table.partitions, *others))
    plan = parse_nvs_plan(content, where="nvs.toml")
    plan.check(table)
    bundle = replace(station.bundle, partition_table=table)
    return replace(station, bundle=bundle, nvs_plan=plan)


def read_nvs(line, content):
    flash = line.slots[0].board.flash
    if content is PLAN:
        return parse_nvs(flash.read(NVS_AT, 0x5000))
    key = parse_nvs_keys(flash.read(KEYS_AT, 4096))
    return parse_nvs(flash.read(NVS_AT, NVS_BYTES), key=key)


@pytest.mark.parametrize("content", [PLAN, ENCRYPTED], ids=["plain", "encrypted"])
def test_a_unit_gets_its_own_values_once_and_a_new_start_leaves_them_as_they_are(folder, content):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        for _ in range(2):
            station = open_with_plan(folder, content)
            (result,) = run_slots(station, slot_configs(line), **stop_before(Step.IDENTITY))
            assert "the operator stopped the station" in result.error.what
            (serial,) = list_serials(station.ledger.database)
            events = list(station.ledger.events(serial=serial.serial))
            station.close()
        steps = [(chained.event.step, chained.event.phase.value) for chained in events]
        found = read_nvs(line, content)
        assert steps.count(("nvs", "INTENT")) == steps.count(("nvs", "CONFIRM")) == 1
        assert steps.index(("nvs", "CONFIRM")) < steps.index(("flash", "INTENT"))
        assert found["factory", "serial"] == entry("serial", NvsType.STRING, serial.serial)
        assert found["factory", "mac"] == entry("mac", NvsType.BLOB, board.mac)
        assert len(found) == 4
        (intent,) = (e.event.data for e in events if (e.event.step, e.event.phase) == ("nvs", "INTENT"))  # fmt: skip  # noqa: E501
        assert "factory/serial" in intent["entries"]
        first = board.flash.read(NVS_AT, 0x5000)
        board.flash.erase(NVS_AT, 0x1000)
        station = open_with_plan(folder, content)
        run_slots(station, slot_configs(line), **stop_before(Step.IDENTITY))
        station.close()
        assert board.flash.read(NVS_AT, 0x5000) == first, "the key that was there was used again"


def test_a_plan_that_does_not_fit_is_refused_before_the_first_board_is_touched(folder):
    plan = parse_nvs_plan(PLAN + b'lot = { blob = "' + b"00" * 20_000 + b'" }\n', where="nvs.toml")
    with pytest.raises(FirmwareImageError, match="do not fit in the NVS partition"):
        open_bench(folder, nvs_plan=plan)
    station = open_bench(folder)
    assert list(station.ledger.events()) == []
    station.close()


def test_without_a_plan_the_partition_stays_as_it_was(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        flash = line.slots[0].board.flash
        flash.write(NVS_AT, b"as it was")
        station = open_bench(folder)
        run_slots(station, slot_configs(line), **stop_before(Step.IDENTITY))
        station.close()
        assert flash.read(NVS_AT, 9) == b"as it was"
