"""A guided gauge study: planned in random order, measured on the station, resumed where it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.failures import run_and_exit
from cli.gauge_commands import group
from provisioning.errors import GaugeDataError
from provisioning.gauge_sheet import parse_sheet, plan_sheet, serialize_sheet
from provisioning.ledger_queries import list_units
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from tests.provisioning.station_bench import SEED, make_bench, open_bench, slot_configs

NAMES = st.lists(
    st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8),
    min_size=2, max_size=4, unique=True,
)  # fmt: skip


@given(NAMES, NAMES, st.integers(2, 4), st.integers())
def test_a_plan_has_every_reading_once_and_reads_back_as_it_was(parts, appraisers, trials, seed):
    sheet = plan_sheet(parts, appraisers, trial_count=trials, seed=seed)
    rows = {(row.part, row.appraiser, row.trial) for row in sheet.rows}
    assert len(rows) == len(sheet.rows) == len(parts) * len(appraisers) * trials
    assert [row.trial for row in sheet.rows] == sorted(row.trial for row in sheet.rows)
    assert sheet.open_rows() == tuple(range(len(rows)))
    assert parse_sheet(serialize_sheet(sheet), where="-") == sheet
    filled = sheet.with_value(1, "0.5")
    assert parse_sheet(serialize_sheet(filled), where="-") == filled
    assert filled.open_rows() == (0, *range(2, len(rows)))


def test_the_seed_draws_the_order():
    parts, people = [str(n) for n in range(10)], ["a", "b", "c"]
    first, again, other = (
        plan_sheet(parts, people, trial_count=3, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert [row.part for row in first.rows[:10]] != parts


@pytest.mark.parametrize(
    ("parts", "people", "telling"),
    [
        (["a"], ["x", "y"], "more than one part"),
        (["a", "b"], ["x"], "more than one appraiser"),
        (["a", "a"], ["x", "y"], "there twice"),
        (["a", " "], ["x", "y"], "usable name"),
    ],
)
def test_a_plan_that_is_no_study_is_refused(parts, people, telling):
    with pytest.raises(GaugeDataError, match=telling):
        plan_sheet(parts, people, trial_count=2, seed=1)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Two calibrated units, each in its slot."""
    folder = tmp_path_factory.mktemp("bench")
    make_bench(folder)
    station = open_bench(folder)
    with SimulatedLine(folder / "line", board_count=2, seed=SEED) as line:
        results = run_slots(station, slot_configs(line))
        assert all(result.report.is_passed for result in results)
        units = list_units(station.ledger.database)
        station.close()
        yield line, [unit.serial for unit in units]


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ampforge.toml").write_text("[station]\n")

    def run(*arguments):
        with pytest.raises(SystemExit) as exited:
            run_and_exit(group, arguments)
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out, captured.err

    return run


def slots_of(line, *names):
    options = []
    for slot, name in zip(line.slots, names, strict=False):
        options += ["--slots", f"port={slot.port_url},meter={slot.meter_address},name={name}"]
    return options


def planned(call, serials, *appraisers, trials="2"):
    named = [text for serial in serials for text in ("--part", serial)]
    named += [text for name in appraisers for text in ("--appraiser", name)]
    return call("plan", "-o", "study.csv", *named, "--trials", trials, "--json")


def test_a_study_is_guided_to_its_figures(call, line, tmp_path):
    line, serials = line
    code, out, _ = planned(call, serials, "anna", "ben")
    assert (code, json.loads(out)["readings"]) == (0, 8)
    slots = slots_of(line, "left", "right")
    code, out, _ = call("measure", "study.csv", "--current-ua", "100", "--no-prompt", *slots)
    assert code == 0, out
    assert "8 of 8: " in out
    raw = (tmp_path / "study.csv.readings.jsonl").read_text().splitlines()
    first = json.loads(raw[0])
    assert (len(raw), first["current_na"], first["load_ohm"]) == (8, 100_000, 5_000)
    assert "serial" in first["instrument"]
    values = [row.split(",")[3] for row in (tmp_path / "study.csv").read_text().splitlines()[1:]]
    assert float(values[0]) == pytest.approx(sum(first["samples_na"]) / 4000, abs=1e-6)
    assert all(90 < float(value) < 110 for value in values)
    assert "µA" not in out, "the value must not be told to the appraiser"
    code, out, _ = call("rr", "study.csv", "--json")
    assert code == 0
    assert json.loads(out)["pv"] > 10 * json.loads(out)["grr"] > 0


def test_a_study_goes_on_where_it_stopped_and_keeps_what_was_read(call, line, tmp_path):
    line, serials = line
    planned(call, serials, "anna", "ben")
    path = tmp_path / "study.csv"
    alone = slots_of(line, "only")
    code, _, err = call("measure", "study.csv", "--current-ua", "80", "--no-prompt", *alone)
    assert code == 6
    assert "the part is not in its place" in err
    before = path.read_text()
    count = sum(not row.endswith(",") for row in before.splitlines()[1:])
    both = slots_of(line, "left", "right")
    code, out, _ = call(
        "measure", "study.csv", "--current-ua", "80", "--no-prompt", "--json", *both
    )
    assert (code, json.loads(out)["measured"]) == (0, 8 - count)
    kept = [row for row in before.splitlines()[1:] if not row.endswith(",")]
    assert set(kept) <= set(path.read_text().splitlines())
    after = path.read_bytes()
    code, out, _ = call(
        "measure", "study.csv", "--current-ua", "80", "--no-prompt", "--json", *both
    )
    assert (code, json.loads(out)["measured"], path.read_bytes()) == (0, 0, after)


@pytest.mark.parametrize(
    ("last", "telling"),
    [
        ('{"current_na": 80000, "load_ohm": 5000}', "begun under other conditions"),
        ('{"current_na": 100000, "load_ohm": 1000}', "begun under other conditions"),
        ('{"current_na": 100000', "are damaged"),
        ("[]", "are damaged"),
    ],
)
def test_a_sheet_is_not_mixed_from_two_conditions(call, line, tmp_path, last, telling):
    line, serials = line
    planned(call, serials, "anna", "ben")
    before = (tmp_path / "study.csv").read_bytes()
    (tmp_path / "study.csv.readings.jsonl").write_text(last + "\n")
    slots = slots_of(line, "left", "right")
    code, out, err = call("measure", "study.csv", "--current-ua", "100", "--no-prompt", *slots)
    assert (code, out, telling in err) == (2, "", True)
    assert (tmp_path / "study.csv").read_bytes() == before


def test_an_appraiser_that_is_a_slot_is_where_the_part_must_be(call, line, tmp_path):
    line, serials = line
    planned(call, serials, "left", "right")
    both = slots_of(line, "left", "right")
    code, _, err = call("measure", "study.csv", "--current-ua", "80", "--no-prompt", *both)
    assert (code, "the part is not in its place" in err) == (6, True)


def test_a_plan_never_replaces_a_sheet(call, tmp_path):
    assert planned(call, ["1", "2"], "a", "b")[0] == 0
    before = (tmp_path / "study.csv").read_bytes()
    code, out, _ = planned(call, ["1", "2", "3"], "a", "b")
    assert (code != 0, out, (tmp_path / "study.csv").read_bytes()) == (True, "", before)


@pytest.mark.parametrize(
    ("current", "telling"),
    [
        ("0", "whole nanoamps, not 0"),
        ("0.0001", "whole nanoamps, not 0"),
        ("nan", "not a finite number"),
        ("1e300", "outside what units are measured with"),
        ("-650.001", "outside what units are measured with"),
    ],
)
def test_a_current_that_cannot_be_asked_for_is_refused(call, line, tmp_path, current, telling):
    line, serials = line
    planned(call, serials, "a", "b")
    before = (tmp_path / "study.csv").read_bytes()
    slots = slots_of(line, "left", "right")
    code, out, err = call("measure", "study.csv", "--current-ua", current, "--no-prompt", *slots)
    assert (code in {2, 6}, out, telling in err) == (True, "", True), err
    assert (tmp_path / "study.csv").read_bytes() == before


def test_without_a_slot_nothing_is_measured(call):
    planned(call, ["1", "2"], "a", "b")
    code, _, err = call("measure", "study.csv", "--current-ua", "100")
    assert (code, "no slot to measure in" in err) == (2, True)
