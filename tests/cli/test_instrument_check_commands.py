"""`ampforge instrument check` and `chart`, and what `station check` says of check standards."""

from __future__ import annotations

import json
import shutil

import pytest

from cli.failures import run_and_exit
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from provisioning.ledger import Ledger
from provisioning.ledger_journal import read_head
from provisioning.ledger_queries import awaits_check, list_serials
from provisioning.ledger_values import SerialState
from provisioning.ledger_witness import writing_as_station
from tests.provisioning.check_bench import BAD_NA, check, measure, standing
from tests.provisioning.ledger_sites import a_writer
from tests.provisioning.metrology_bench import MetrologyBench

METER = "SM0007"
SECTION = """
[station.check_standard]
name = "source 7"
channel = 105
resistance_ohm = 10_000
reference_na = {reference_na}
expanded_uncertainty_na = 50.0
limit_na = 400.0
sd_na = 20.0
every_units = 3
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    return folder


@pytest.fixture
def call(capsys):
    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as exited:
            run_and_exit(ampforge, list(arguments))
        captured = capsys.readouterr()
        assert int(exited.value.code or 0) == code, captured.err or captured.out
        return captured.out, captured.err

    return run


@pytest.fixture
def station(template, call, tmp_path, monkeypatch):
    folder = shutil.copytree(template, tmp_path / "flare")
    monkeypatch.chdir(folder)
    call("station", "init", "--no-passphrase", "--test-keys")
    return folder


@pytest.fixture
def meter():
    with MetrologyBench(index=7) as bench:
        bench.meter.close()
        yield bench


def watch(folder, *, reference_na=500_000.0):
    path = folder / "ampforge.toml"
    text = path.read_text().partition("\n[station.check_standard]\n")[0]
    path.write_text(text + SECTION.format(reference_na=reference_na))


def slot(meter):
    return "--slots", f"port=/dev/null,meter={meter.address},name=left"


def in_ledger(folder, work):
    """Write into the ledger as the station does that measures with this meter."""
    ledger = Ledger.open(folder / "station" / "ledger.sqlite3")
    try:
        with writing_as_station(folder / "station", ledger, station="station-1"):
            return work((ledger, a_writer()))
    finally:
        ledger.close()


def number_of(folder, serial):
    ledger = Ledger.open(folder / "station" / "ledger.sqlite3")
    states = {one.serial: one.state for one in list_serials(ledger.database)}
    is_waiting = awaits_check(ledger.database, serial)
    ledger.close()
    assert is_waiting == (states[serial] is SerialState.ASSIGNED)
    return states[serial]


def test_without_a_check_standard_or_a_slot_it_says_what_is_missing(call, station):
    assert "[station.check_standard]" in call("instrument", "check", code=2)[1]
    watch(station)
    assert "no slot to read in" in call("instrument", "check", code=2)[1]


def test_before_there_is_a_station_it_makes_no_folder(call, template, tmp_path, monkeypatch):
    folder = shutil.copytree(template, tmp_path / "flare")
    monkeypatch.chdir(folder)
    watch(folder)
    for simulated in ((), ("--simulate", "1")):
        assert "there is no station" in call("instrument", "check", *simulated, code=2)[1]
    assert not (folder / "station").exists()
    call("station", "init", "--no-passphrase", "--test-keys")


def test_slots_and_a_simulated_line_exclude_each_other(call, station, meter):
    watch(station)
    options = (*slot(meter), "--simulate", "1")
    assert "exclude each other" in call("instrument", "check", *options, code=2)[1]


def test_a_good_reading_says_what_it_holds(call, station, meter):
    watch(station, reference_na=490_000.0)
    out, _ = call("instrument", "check", *slot(meter), code=6)
    assert "no unit is concerned" in out
    serial = in_ledger(station, lambda at: measure(at, 1, meter=METER))
    watch(station)
    out, _ = call("instrument", "check", *slot(meter))
    assert f"on hold, measured behind a reading that was not good: {serial}" in out
    assert in_ledger(station, lambda at: standing(at[0])) == {1: ("hold", "assigned")}


def test_a_good_reading_releases_what_waits(call, station, meter):
    watch(station)
    serial = in_ledger(station, lambda at: measure(at, 1, meter=METER))
    assert number_of(station, serial) == SerialState.ASSIGNED
    out, _ = call("instrument", "check", *slot(meter))
    assert "slot left: good" in out
    assert number_of(station, serial) == SerialState.RELEASED
    assert f"released: {serial}" in out
    (found,) = json.loads(call("instrument", "check", *slot(meter), "--json")[0])["slots"]
    assert (found["instrument"], found["released"], found["error"]) == (METER, [], None)
    assert abs(found["deviation_na"]) < found["limit_na"] == 400.0
    in_ledger(station, lambda at: at[0].verify_chains())


def test_a_bad_reading_holds_and_gives_exit_code_6(call, station, meter):
    watch(station, reference_na=490_000.0)
    serial = in_ledger(station, lambda at: measure(at, 1, meter=METER))
    out, _ = call("instrument", "check", *slot(meter), code=6)
    assert "the check standard failed" in out
    assert f"1 unit is on hold ({serial})" in out
    out, _ = call("instrument", "impact", METER, "--since-check")
    assert f"{serial}  hold" in out


def test_a_meter_that_is_not_there_is_an_error_of_its_slot_alone(call, station, meter):
    watch(station)
    gone = "--slots", "port=/dev/null,meter=TCPIP0::127.0.0.1::1::SOCKET,name=gone"
    out, _ = call("instrument", "check", *gone, *slot(meter), "--json", code=6)
    first, second = json.loads(out)["slots"]
    assert first["error"]["what"] == "the connection to the instrument failed"
    assert second["error"] is None


def test_the_impact_since_the_last_good_reading_lists_each_unit_with_its_state(call, station):
    def work(at):
        before = measure(at, 1, meter=METER)
        check(at, instrument=METER)
        since = measure(at, 2, meter=METER)
        measure(at, 3, meter="another")
        return before, since

    _, since = in_ledger(station, work)
    (found,) = json.loads(call("instrument", "impact", METER, "--since-check", "--json")[0])[
        "units"
    ]
    assert (found["serial"], found["state"]) == (since, "pass")
    assert "about one instrument" in call("instrument", "impact", "--since-check", code=2)[1]
    two = ("instrument", "impact", METER, "--since-check", "--since", "2026-01-01")
    assert "about one instrument" in call(*two, code=2)[1]


def test_the_chart_shows_every_reading_and_is_drawn(call, station, tmp_path):
    assert "no reading" in call("instrument", "chart", METER)[0]
    picture = tmp_path / "chart.svg"
    plot = ("instrument", "chart", METER, "--plot", str(picture))
    assert "nothing to draw" in call(*plot, code=2)[1]
    assert not picture.exists()

    def work(at):
        for mean_na in (500_010.0, 500_020.0, 500_000.0, 500_030.0, BAD_NA):
            check(at, mean_na, instrument=METER)

    in_ledger(station, work)
    out, _ = call(*plot)
    assert "source 7, station station-1, slot left, certificate K-1: 5 readings" in out
    assert out.count("good") == 4
    assert "BAD: +1000.0 nA from the reference" in out
    assert picture.read_bytes().startswith(b"<?xml")
    (chart,) = json.loads(call("instrument", "chart", METER, "--json")[0])["charts"]
    assert [one["is_good"] for one in chart["readings"]] == [True] * 4 + [False]
    assert "no known kind" in call(*plot[:-1], "chart.txt", code=2)[1]


def test_station_check_says_when_the_standard_is_due_and_what_was_read_last(call, station, meter):
    watch(station)

    def look():
        out, _ = call("station", "check", *slot(meter), "--json", code=6)
        named = {one["name"]: one for one in json.loads(out)["checks"]}
        return named["slot left check standard"]

    found = look()
    assert (found["check_standard"]["is_due"], found["check_standard"]["last"]) == (True, None)
    assert "never read" in found["found"]
    call("instrument", "check", *slot(meter))
    found = look()["check_standard"]
    assert (found["is_due"], found["limit_na"], found["every_units"]) == (False, 400.0, 3)
    assert abs(found["last"]["deviation_na"]) < 400
    in_ledger(station, lambda at: check(at, BAD_NA, instrument=METER, certificate=None))
    found = look()
    assert found["error"]["what"] == "the last reading of the check standard was not good"
    assert "`ampforge instrument check`" in found["error"]["next"]
    assert not found["check_standard"]["last"]["is_good"]


def test_a_bad_reading_says_in_json_what_was_read_and_what_it_holds(call, station, meter):
    watch(station)
    call("instrument", "check", *slot(meter))
    serial = in_ledger(station, lambda at: measure(at, 1, meter=METER))
    watch(station, reference_na=490_000.0)
    out, _ = call("instrument", "check", *slot(meter), "--json", code=6)
    (found,) = json.loads(out)["slots"]
    assert found["is_good"] is False
    assert found["mean_na"] == pytest.approx(500_000.0, abs=400.0)
    assert found["deviation_na"] == pytest.approx(10_000.0, abs=400.0)
    assert (found["held"], found["released"]) == ([serial], [])
    assert "from the reference of 490000 nA" in found["reasons"][0]
    assert "the check standard failed" in json.dumps(found["error"])


def test_a_standard_that_cannot_be_read_is_no_reading_and_releases_nothing(call, station, meter):
    """An overload says that a lead is open; of what the meter read before it says nothing."""
    watch(station)
    call("instrument", "check", *slot(meter))
    serial = in_ledger(station, lambda at: measure(at, 1, meter=METER))
    before = in_ledger(station, lambda at: count_events(at[0]))
    watch(station, reference_na=50_000.0)  # on the range of 100 uA
    out, _ = call("instrument", "check", *slot(meter), "--json", code=6)
    (found,) = json.loads(out)["slots"]
    assert "overload" in json.dumps(found["error"]).lower()
    assert found["is_good"] is None
    assert "mean_na" not in found
    assert in_ledger(station, lambda at: standing(at[0])) == {1: ("pass", "assigned")}
    assert in_ledger(station, lambda at: count_events(at[0])) == before
    watch(station)  # the lead is in again: the next reading is judged like any other
    call("instrument", "check", *slot(meter))
    assert number_of(station, serial) is SerialState.RELEASED


def count_events(ledger):
    with ledger.database.reading() as connection:
        return read_head(connection, "station-1")
