"""The UDI in the record: given with the first PASS, and the same for ever after."""

from __future__ import annotations

import datetime as dt
import json
import shutil

import pytest

from provisioning.errors import StationError, UdiError
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_report import load_reported_unit
from provisioning.station_settings import SerialSettings, StationSettings
from provisioning.udi import Udi
from provisioning.unit_export_checking import verify_export
from provisioning.unit_exports import export_unit
from provisioning.unit_records import describe_unit
from provisioning.unit_udi import find_udi
from tests.provisioning.station_bench import (
    SEED,
    STATION,
    make_bench,
    open_bench,
    outside,
    slot_configs,
)

GTIN = "09506000134352"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(folder, line, *, lot=None, gtin=GTIN, again=False):
    station = open_bench(folder, StationSettings(lot=lot), gtin=gtin)
    try:
        (result,) = run_slots(station, slot_configs(line), again=again)
    finally:
        station.close()
    assert result.error is None, result.error
    return result.report


def test_a_unit_keeps_lot_and_date_of_its_first_pass_with_a_gtin_for_ever(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        without = run(folder, line, lot="L4710", gtin=None)
        first = run(folder, line, lot="L4711", again=True)
        left_alone = run(folder, line, lot="L4712")
        again = run(folder, line, lot="L4713", again=True)
    today = dt.datetime.now(dt.UTC).date()
    assert without.udi is None
    assert first.udi == Udi(gtin=GTIN, production_date=today, lot="L4711", serial=without.serial)
    assert left_alone.udi == again.udi == first.udi
    station = open_bench(folder)
    shown = describe_unit(station.ledger, first.serial)
    assert shown["udi"] == first.udi.document()
    assert shown["lot"] == "L4713", "what the last job was made in"
    exported = export_unit(
        station.ledger, first.serial, keys=station.keys, station="station-1", now=outside().now()
    )
    page_unit = load_reported_unit(station.ledger, first.serial)
    assert page_unit.udi == first.udi.human_readable
    ca_der = station.keys.ca_der
    station.close()
    events = verify_export(json.dumps(exported).encode(), ca_der, now=outside().now(), where="x")
    assert find_udi(events) == first.udi
    finals = [event.data for event in events if event.step == "final"]
    assert [data["lot"] for data in finals] == ["L4710", "L4711", "L4713"]
    assert ["udi" in data for data in finals] == [False, True, True]


def test_a_gtin_that_is_none_stops_the_station_before_the_first_board(folder):
    with pytest.raises(UdiError, match="check digit"):
        open_bench(folder, gtin="09506000134353")


def test_a_station_whose_format_is_not_the_ledgers_is_refused_and_nothing_changes(folder):
    before = (folder / STATION / "ledger.sqlite3").read_bytes()
    settings = StationSettings(serials=SerialSettings(format="PPPMMMYYWWSSSSS"))
    with pytest.raises(StationError, match="another format") as refusal:
        open_bench(folder, settings)
    assert refusal.value.expected == "PPPMMMYYWWSSSSSC"
    assert "its own ledger" in refusal.value.hint
    assert (folder / STATION / "ledger.sqlite3").read_bytes() == before
