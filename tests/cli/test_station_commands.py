"""`ampforge station`, `unit` and `serials`, as a person at the line uses them."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from cli.failures import run_and_exit
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from cli.slot_outcome import next_action, summarize
from cli.station_display import LiveDisplay, PlainDisplay, SilentDisplay, choose_display
from cli.station_events import EventDisplay, EventStream
from provisioning.errors import BoardRefusalError, PortError
from provisioning.ledger_values import UnitState
from provisioning.simulator.line import SimulatedLine
from provisioning.station_values import (
    PLANNED_STEPS,
    Progress,
    SlotConfig,
    SlotResult,
    Step,
    UnitReport,
)

OWN_NAMES = {'name = "station-1"': 'name = "station-7"', 'prefix = "AMP"': 'prefix = "TST"'}
SLOT = SlotConfig(name="1", port="/dev/ttyUSB0", meter="TCPIP0::10.0.0.9::5025::SOCKET")


def call(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as exited:
        run_and_exit(ampforge, [str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert exited.value.code == code, captured.err or captured.out
    return captured.out if code != 2 and captured.out else captured.err


def edit_configuration(folder, changes):
    path = folder / "ampforge.toml"
    text = path.read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A product whose first two units were made on simulated boards."""
    from click.testing import CliRunner

    folder = tmp_path_factory.mktemp("product") / "flare"
    copy_example(folder)
    edit_configuration(folder, OWN_NAMES)
    sign_first_trust_record(folder)
    config = ["--config", str(folder / "ampforge.toml")]
    outputs = []
    for arguments in (
        ["station", "init", "--no-passphrase", "--test-keys", "--json"],
        ["trust", "sign", "--factory-ca", str(folder / "station" / "factory-ca.cert.der")],
        ["policy", "approve"],
        ["bundle", "build"],
        ["bundle", "sign", str(folder / "build" / "flare-1.4.0.bundle.zip")],
        ["station", "run", "--simulate", "2", "--json"],
    ):
        result = CliRunner().invoke(ampforge, [*arguments, *config])
        assert result.exit_code == 0, result.output
        outputs.append(result.stdout)
    return folder, json.loads(outputs[0]), json.loads(outputs[-1])


@pytest.fixture
def product(line, tmp_path, monkeypatch):
    folder = tmp_path / "flare"
    shutil.copytree(line[0], folder)
    monkeypatch.chdir(folder)
    for name in ("AMPFORGE_CONFIG", "AMPFORGE_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def serial(line):
    return line[2]["slots"][0]["serial"]


def test_init_says_what_it_made_and_what_comes_next(line):
    document = line[1]
    assert document["schema"] == "ampforge.station-init/1"
    assert document["station"] == "station-7"
    assert Path(document["factory_ca"]).is_file()
    assert document["ledger"]["epoch"] == 1


def test_init_again_is_refused_and_changes_nothing(product, capsys):
    before = (product / "station" / "ledger.sqlite3").read_bytes()
    message = call(capsys, "station", "init", "--no-passphrase", code=6)
    assert "set up already" in message
    assert (product / "station" / "ledger.sqlite3").read_bytes() == before


def test_run_reports_each_slot_with_its_figures(line):
    document = line[2]
    assert document["schema"] == "ampforge.station-run/1"
    assert (document["passed"], document["failed"], document["errors"]) == (2, 0, 0)
    pace = document["measuring"]
    assert pace["unit_s"] < 15
    assert pace["units_per_hour"] == pytest.approx(2 * 3_600 / pace["unit_s"], abs=0.2)
    first = document["slots"][0]
    assert first["serial"].startswith("TSTFL1")
    assert (first["state"], first["firmware_version"]) == ("pass", "1.4.0")
    assert {worst["mode"] for worst in first["verification"]["worst"]} == {
        "LIFT", "TIGHTEN", "INFUSE",
    }  # fmt: skip
    assert first["calibration"]["gain_ppm"] > 900_000


def test_run_again_leaves_passed_units_alone(product, capsys, serial):
    text = call(capsys, "station", "run", "--simulate", "1")
    assert f"{serial} pass before; left alone" in text
    assert "slot 1  detect: connecting" in text
    assert "worst error" in text


def test_slots_and_simulate_exclude_each_other(product, capsys):
    slot = "port=a,meter=b"
    message = call(capsys, "station", "run", "--simulate", "1", "--slots", slot, code=2)
    assert "exclude each other" in message


@pytest.mark.parametrize(
    "slot", ["port=a", "meter=b", "port=a,meter=", "port=a,meter=b,port=c", "nonsense", "x=1"]
)
def test_a_slot_that_cannot_be_read_is_a_usage_error(product, capsys, slot):
    message = call(capsys, "station", "run", "--slots", slot, code=2)
    assert "slots" in message


def test_run_without_slots_says_how_to_name_them(product, capsys):
    message = call(capsys, "station", "run", code=6)
    assert "--slots port=" in message


def test_a_dead_slot_is_reported_with_exit_code_6(product, capsys):
    text = call(
        capsys, "station", "run", "--json", "--slots",
        "port=rfc2217://127.0.0.1:1,meter=TCPIP0::127.0.0.1::2::SOCKET,name=left", code=6,
    )  # fmt: skip
    document = json.loads(text)
    assert document["errors"] == 1
    assert document["slots"][0]["slot"] == "left"
    assert document["slots"][0]["error"]["error"] == "PortError"


def test_a_controller_reads_one_object_for_each_thing_that_happens(product, capsys):
    nowhere = "TCPIP0::127.0.0.1::2::SOCKET"
    with SimulatedLine(product / "line", board_count=1, seed=3) as line:
        slot = line.slots[0]
        text = call(
            capsys, "station", "run", "--headless",
            "--slots", f"port={slot.port_url},meter={slot.meter_address},name=left",
            "--slots", f"port=usb:NOBODY,meter={nowhere},name=right", code=6,
        )  # fmt: skip
    events = [json.loads(row) for row in text.splitlines()]
    assert {event["schema"] for event in events} == {"ampforge.station-event/1"}
    assert [event["number"] for event in events] == list(range(len(events)))
    assert events[0]["event"] == "started"
    assert [entry["slot"] for entry in events[0]["slots"]] == ["left", "right"]
    results = {event["slot"]: event for event in events if event["event"] == "result"}
    assert results["left"]["outcome"] == "pass"
    assert results["left"]["next"].startswith("take it out")
    assert results["right"]["outcome"] == "error"
    assert results["right"]["error"]["what"] == "the slot's USB adapter is not plugged in"
    steps = [e["step"] for e in events if e["event"] == "progress" and e["slot"] == "left"]
    assert list(dict.fromkeys(steps)) == [step.value for step in Step if step not in PLANNED_STEPS]
    specification = (Path(__file__).parents[2] / "docs/spec/station-run-events.md").read_text()
    assert {key for event in events for key in event if f"`{key}`" not in specification} == set()
    end = events[-1]
    assert (end["event"], end["exit_code"]) == ("finished", 6)
    assert (end["passed"], end["failed"], end["errors"]) == (1, 0, 1)


def test_a_controller_is_told_why_nothing_was_begun(product, capsys):
    (product / "trust.cose").write_bytes(b"not a trust record")
    with pytest.raises(SystemExit) as exited:
        run_and_exit(ampforge, ["station", "run", "--headless", "--simulate", "1"])
    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event["event"] == "refused"
    assert event["error"]["exit_code"] == exited.value.code == 3


class TestEvents:
    def events(self, stream):
        return EventStream(stream, now=lambda: dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC))

    def told(self, news):
        """Return the fractions that were written, of news at stated times."""
        stream = io.StringIO()
        times = iter([at_s for at_s, _ in news])
        display = EventDisplay(
            self.events(stream), slot_document=lambda _result: {}, clock_s=lambda: next(times)
        )
        for _, (step, fraction) in news:
            display.on_progress(Progress(slot="1", step=step, fraction=fraction, text=""))
        rows = [json.loads(row) for row in stream.getvalue().splitlines()]
        return [(row["step"], row["fraction"]) for row in rows]

    def test_progress_is_written_at_each_step_and_at_most_twice_a_second(self):
        flash, final = Step.FLASH, Step.FINAL
        news = [
            (0.0, (flash, 0.0)), (0.1, (flash, 0.1)), (0.4, (flash, 0.2)), (0.6, (flash, 0.3)),
            (0.7, (flash, 1.0)), (0.7, (flash, 1.0)), (0.8, (final, 0.5)), (0.9, (final, 0.6)),
        ]  # fmt: skip
        assert self.told(news) == [
            ("flash", 0.0), ("flash", 0.3), ("flash", 1.0), ("final", 0.5),
        ]  # fmt: skip

    def test_a_line_is_as_the_specification_says(self):
        stream = io.StringIO()
        self.events(stream).write("progress", {"slot": "1", "text": "10 kΩ"})
        assert stream.getvalue() == (
            '{"schema": "ampforge.station-event/1", "event": "progress", "number": 0, '
            '"at": "2026-03-02T12:00:00.000Z", "slot": "1", "text": "10 k\\u03a9"}\n'
        )

    def test_a_reader_that_goes_away_stops_nothing(self):
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as stream:
            os.close(reader)
            events = self.events(stream)
            events.write("started", {})
            events.write("finished", {})
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    def test_an_operator_who_stops_the_station_is_said(self):
        stream = io.StringIO()
        with pytest.raises(KeyboardInterrupt), self.events(stream).ending():
            raise KeyboardInterrupt
        assert json.loads(stream.getvalue())["event"] == "interrupted"


def test_an_unclear_bundle_is_asked_for(product, capsys):
    shutil.copy(
        product / "build" / "flare-1.4.0.bundle.zip", product / "build" / "other.bundle.zip"
    )
    message = call(capsys, "station", "run", "--simulate", "1", code=2)
    assert "it is not clear which bundle is meant" in message


def test_a_changed_bundle_is_refused_before_any_board_is_touched(product, capsys):
    path = product / "build" / "flare-1.4.0.bundle.zip"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(SystemExit) as exited:
        run_and_exit(ampforge, ["station", "run", "--simulate", "1"])
    assert exited.value.code in {3, 5}
    assert "slot 1" not in capsys.readouterr().out


def test_a_failed_unit_gives_exit_code_10(product, capsys):
    """An impossible limit fails every unit; the verdict names its reasons."""
    edit_configuration(
        product,
        {
            "calibration_limit_na = 1500": "calibration_limit_na = 1",
            "calibration_limit_percent = 1.0": "calibration_limit_percent = 0.001\n"
            "test_uncertainty_ratio_min = 0.0",
        },
    )
    text = call(capsys, "station", "run", "--simulate", "1", "--again", "--json", code=10)
    document = json.loads(text)
    assert document["failed"] == 1
    assert document["slots"][0]["failed_step"] == "verify"
    assert document["slots"][0]["reasons"]
    shown = call(capsys, "unit", "show", document["slots"][0]["serial"])
    assert "reason " in shown


def test_check_looks_at_everything_and_names_what_is_wrong(product, capsys):
    text = call(capsys, "station", "check")
    assert text.count("ok     ") == 8
    assert "lease: none: without the ledger this station stops" in text
    assert "keys go into keystore" in text
    (product / "trust.cose").unlink()
    broken = call(
        capsys, "station", "check", "--slots",
        "port=rfc2217://127.0.0.1:1,meter=TCPIP0::127.0.0.1::2::SOCKET", code=3,
    )  # fmt: skip
    assert broken.count("ok     ") == 6
    assert broken.count("ERROR  ") == 4


def test_a_claim_over_loads_that_nobody_verifies_is_refused_before_a_board_is_touched(
    product, capsys
):
    serials = json.loads(call(capsys, "serials", "status", "--json"))["serials"]
    edit_configuration(product, {"claim_load_max_ohm = 10000": "claim_load_max_ohm = 20000"})
    for arguments in (["check"], ["run", "--simulate", "1"]):
        text = call(capsys, "station", *arguments, code=6)
        assert "claims loads that this station does not verify" in text
        assert "500 to 20000 ohm" in text
    assert json.loads(call(capsys, "serials", "status", "--json"))["serials"] == serials


def test_check_finds_a_trust_record_without_the_factory(product, capsys):
    shutil.rmtree(product / "station")
    call(capsys, "station", "init", "--no-passphrase")
    document = json.loads(call(capsys, "station", "check", "--json", code=6))
    assert document["ok"] is False
    (error,) = [entry["error"] for entry in document["checks"] if entry["error"]]
    assert "does not carry this factory's CA" in error["what"]


def test_check_asks_a_real_meter_and_port(product, capsys):
    from provisioning.simulator.line import SimulatedLine

    with SimulatedLine(product / "line", board_count=1, seed=3) as line:
        slot = line.slots[0]
        text = call(
            capsys, "station", "check", "--slots",
            f"port={slot.port_url},meter={slot.meter_address}",
        )  # fmt: skip
    assert text.count("ok     ") == 10


def test_encrypted_keys_are_opened_by_the_passphrase_file_or_by_asking(
    product, capsys, monkeypatch
):
    shutil.rmtree(product / "station")
    secret = product / "station.pass"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    call(capsys, "station", "init", "--passphrase-file", secret)
    call(
        capsys, "trust", "sign", "--factory-ca", product / "station" / "factory-ca.cert.der"
    )  # fmt: skip
    assert call(capsys, "station", "check", "--passphrase-file", secret).count("ok     ") == 8
    secret.write_text("wrong\n")
    message = call(capsys, "station", "check", "--passphrase-file", secret, code=3)
    assert "passphrase" in message


def test_a_new_passphrase_is_asked_for_twice(product):
    from click.testing import CliRunner

    answers = "correct horse battery\ncorrect horse battery\n"
    result = CliRunner().invoke(
        ampforge, ["station", "init", "--station", "other-station"], input=answers
    )
    assert result.exit_code == 0, result.output
    assert b"ENCRYPTED" in (product / "other-station" / "station.pem").read_bytes()
    check = ["station", "check", "--station", "other-station"]
    result = CliRunner().invoke(ampforge, check, input="correct horse battery\n")
    assert result.stderr.count("Passphrase of the station's keys") == 1


def test_a_station_without_its_own_section_uses_the_defaults(product, capsys):
    path = product / "ampforge.toml"
    before, section, _ = path.read_text().partition("[station]")
    assert section
    path.write_text(before)
    document = json.loads(call(capsys, "station", "check", "--json", code=6))
    assert document["station"] == "station-1"
    assert "another station" in document["checks"][1]["error"]["what"]


@pytest.mark.parametrize("content", [None, bytes(5000)])
def test_a_factory_ca_that_cannot_be_one_is_a_usage_error(product, capsys, content, serial):
    call(capsys, "unit", "export", serial)
    path = product / "ca.der"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    call(capsys, "unit", "verify", f"{serial}.unit.json", "--factory-ca", path, code=2)


def test_report_writes_a_page_for_the_line_and_for_a_unit(product, capsys, serial):
    text = call(capsys, "station", "report")
    assert "first-pass yield  100.0 % (2 of 2)" in text
    document = json.loads(call(capsys, "station", "report", "--json"))
    assert document["yield"]["passed"] == document["units"] == 2
    assert document["yield"]["first_pass_yield_percent"] == 100.0
    assert document["yield"]["reasons"] == document["yield"]["stops"] == []
    page = (product / "report.html").read_text()
    assert serial in page
    call(capsys, "station", "report", "--unit", serial.lower(), "--output", "unit.html")
    assert serial in (product / "unit.html").read_text()
    message = call(capsys, "station", "report", "--unit", "AMPFL1260700001P", code=6)
    assert "nothing to report" in message or "check character" in message


def test_report_verify_says_what_was_verified_and_by_what(product, capsys):
    document = json.loads(call(capsys, "station", "report", "--verify", "--json"))
    verified = document["verified"]
    assert verified["schema"] == "ampforge.ledger-verified/1"
    assert (verified["signatures_verified"], verified["witnessed"]) == (True, True)
    (chain,) = verified["chains"]
    assert chain["signed_count"] == chain["count"] - 1 > 20
    assert json.loads(call(capsys, "station", "report", "--json"))["verified"] is None
    text = call(capsys, "station", "report", "--verify")
    assert f"{chain['count']} events, {chain['signed_count']} of them signed" in text


@pytest.mark.parametrize(
    ("statements", "damage", "number"),
    [
        (["UPDATE events SET content = zeroblob(60) WHERE number = 7"], "edited", 7),
        (["UPDATE events SET at = 'x' WHERE number = 7"], "edited", 7),
        (["DELETE FROM events WHERE number = 9"], "deleted", 9),
        (["DELETE FROM events WHERE number > 11"], "truncated", 12),
        (
            ["UPDATE events SET number = -5 WHERE number = 5",
             "UPDATE events SET number = 5 WHERE number = 8",
             "UPDATE events SET number = 8 WHERE number = -5"], "reordered", 5,
        ),
    ],
)  # fmt: skip
def test_report_verify_names_the_first_wrong_event_and_writes_nothing(
    product, capsys, statements, damage, number
):
    with closing(sqlite3.connect(product / "station" / "ledger.sqlite3")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    for command in (
        ["station", "report", "--verify"],
        ["ledger", "verify"],
        ["station", "recover"],
    ):
        message = call(capsys, *command, code=6)
        assert f"station station-7, event {number}" in message
        assert f": {damage}" in message
        assert not (product / "report.html").exists()
    error = json.loads(call(capsys, "station", "report", "--verify", "--json", code=6))
    assert error["error"] == "LedgerDamageError"
    assert (error["event"]["station"], error["event"]["number"]) == ("station-7", number)
    assert error["event"]["damage"] == damage
    checked = call(capsys, "station", "check", code=6)
    assert f"event {number}" in checked


def test_report_verify_needs_the_factory_s_certificate(product, capsys):
    (product / "station" / "factory-ca.cert.der").unlink()
    assert "not set up" in call(capsys, "station", "report", "--verify", code=6)
    assert "signatures were not verified" in call(capsys, "ledger", "verify")


def test_a_second_run_in_one_folder_is_refused_while_the_first_is_at_work(product, capsys):
    from provisioning.station_lock import StationLock

    lock = StationLock(product / "station")
    before = events_of(product, capsys)
    message = call(capsys, "station", "run", "--simulate", "1", code=6)
    assert "the station is at work already" in message
    assert "end the other one first" in message
    assert events_of(product, capsys) == before
    lock.release()


def test_serials_status_lists_every_number(product, capsys, serial):
    document = json.loads(call(capsys, "serials", "status", "--json"))
    assert document["counts"]["released"] == 2
    assert serial in {entry["serial"] for entry in document["serials"]}
    text = call(capsys, "serials", "status")
    assert f"{serial}  released" in text


def test_a_wrong_folder_never_starts_a_second_series(product, capsys, tmp_path):
    message = call(capsys, "serials", "status", "--station", tmp_path / "elsewhere", code=6)
    assert "there is no ledger" in message
    assert not (tmp_path / "elsewhere").exists()


def test_a_unit_is_shown_by_serial_number_or_mac(product, capsys, serial):
    document = json.loads(call(capsys, "unit", "show", serial, "--json"))
    assert document["serial"] == serial
    typed = f"{serial[:3]}-{serial[3:].lower()}"
    assert call(capsys, "unit", "show", typed).startswith(serial)
    assert call(capsys, "unit", "show", document["mac"].replace(":", "-")).startswith(serial)
    assert "verified   PASS" in call(capsys, "unit", "show", serial)


def test_a_misread_serial_number_is_found_before_anything_is_looked_up(product, capsys, serial):
    other = "0" if serial[-1] != "0" else "1"
    assert "check character" in call(capsys, "unit", "show", serial[:-1] + other, code=6)
    assert "no such unit" in call(capsys, "unit", "show", "02:00:00:00:00:00", code=6)


def test_the_history_is_told_line_by_line(product, capsys, serial):
    text = call(capsys, "unit", "history", serial)
    assert text.count(" INTENT ") == 7
    document = json.loads(call(capsys, "unit", "history", serial, "--json"))
    assert document["events"][-1]["step"] == "final"


def test_an_export_is_verified_by_whoever_has_the_factory_ca(product, capsys, serial):
    call(capsys, "unit", "export", serial)
    path = product / f"{serial}.unit.json"
    ca_path = product / "station" / "factory-ca.cert.der"
    text = call(capsys, "unit", "verify", path, "--factory-ca", ca_path)
    assert "is unchanged" in text
    path.write_text(path.read_text().replace('"outcome": "pass"', '"outcome": "fail"', 1))
    exported = json.loads(path.read_text())
    exported["events"][0]["step"] = "final"
    path.write_text(json.dumps(exported))
    message = call(capsys, "unit", "verify", path, "--factory-ca", ca_path, code=6)
    assert "was changed" in message


def test_an_exported_record_is_judged_again_without_the_ledger(product, capsys, serial):
    ca_path = product / "station" / "factory-ca.cert.der"
    assert f"{serial}  agrees" in call(capsys, "unit", "replay", serial)
    call(capsys, "unit", "export", serial, "--output", product / "replayed.json")
    text = call(
        capsys, "unit", "replay", "--record", product / "replayed.json", "--factory-ca", ca_path,
        "--json",
    )  # fmt: skip
    assert json.loads(text)["agrees"] is True
    message = call(capsys, "unit", "replay", "--record", product / "replayed.json", code=2)
    assert "--factory-ca" in message


def test_the_budget_of_a_unit_is_a_table_and_its_points_have_one_covariance(
    product, capsys, serial
):
    text = call(capsys, "unit", "budget", serial)
    assert "gain-temperature" in text
    assert "rule ilac-g8" in text
    document = json.loads(call(capsys, "unit", "budget", serial, "--covariance", "--json"))
    points, matrix = document["points"], document["covariance_na2"]
    assert len(points) == len(matrix) == len(matrix[0])
    for index, point in enumerate(points):
        terms = [term["standard_uncertainty_na"] for term in point["terms"]]
        assert math.hypot(*terms) == pytest.approx(point["standard_uncertainty_na"])
        assert matrix[index][index] == pytest.approx(point["standard_uncertainty_na"] ** 2)
        assert point["guard_band_na"] == pytest.approx(point["expanded_uncertainty_na"])
        assert point["test_uncertainty_ratio"] >= 4
    assert "no such unit" in call(capsys, "unit", "budget", "02:00:00:00:00:00", code=6)


def test_a_replay_that_computes_another_gain_says_so_by_its_exit_code(
    product, capsys, serial, monkeypatch
):
    def recompute(result):
        fit = result.fit.model_copy(update={"gain_ppm": result.fit.gain_ppm + 1})
        return result.model_copy(update={"fit": fit})

    monkeypatch.setattr("provisioning.unit_replay.recompute_calibration", recompute)
    text = call(capsys, "unit", "replay", serial, code=10)
    assert "DIFFER" in text.splitlines()[0]
    for path in ("fit.gain_ppm", "gain_ppm", "record.gain_ppm"):
        assert f"    {path}: stored" in text, "the fit, the board's record, what was verified"


def test_a_certificate_is_the_same_from_ledger_and_export(product, capsys, serial):
    ca_path = product / "station" / "factory-ca.cert.der"
    export, page = product / "certified.json", product / "certificate.html"
    text = call(capsys, "unit", "certificate", serial, "--output", page)
    assert f"certificate {serial}-1, PASS" in text
    first = page.read_bytes()
    call(capsys, "unit", "export", serial, "--output", export)
    source = ("--record", export, "--factory-ca", ca_path)
    text = call(capsys, "unit", "certificate", *source, "--output", page, "--json")
    document = json.loads(text)
    assert document["schema"] == "ampforge.unit-certificate/1"
    assert document["recipe_sha256"].encode() in first
    assert page.read_bytes() == first
    content = export.read_bytes()
    message = call(capsys, "unit", "certificate", *source, "--output", export, code=2)
    assert "replace what it is made from" in message
    assert export.read_bytes() == content


def test_a_certificate_of_nothing_is_refused(product, capsys):
    assert "name one unit" in call(capsys, "unit", "certificate", code=2)


def test_a_report_is_of_one_unit_or_of_a_lot(product, capsys, serial):
    page = product / "no.html"
    message = call(
        capsys, "station", "report", "--unit", serial, "--lot", "L1", "--output", page, code=2
    )
    assert "one or the other" in message
    assert not page.exists()


def test_simulate_serves_until_it_is_interrupted(tmp_path):
    """A real process: it prints its addresses, answers on them, and ends cleanly on Ctrl-C."""
    process = subprocess.Popen(
        [
            sys.executable, "-c", "from cli.main import main; main()", "station", "simulate",
            "--boards", "2", "--folder", str(tmp_path / "line"), "--json",
        ],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        text = ""
        while not text.endswith("}\n") or text.count("{") != text.count("}"):
            line = process.stdout.readline()
            assert line, "the simulator ended by itself"
            text += line
        document = json.loads(text)
        assert len(document["slots"]) == 2
        from provisioning.serial_port import open_port

        open_port(document["slots"][1]["port"], timeout_s=1.0).close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


class TestDisplay:
    def report(self, **changes):
        values = {
            "slot": "1", "serial": "AMPFL1260700001P", "mac": bytes(6), "job": "j",
            "state": UnitState.PASS, "failed_step": None, "reasons": (),
            "firmware_version": "1.4.0", "calibration": None, "verification": None,
            "duration_s": 1.25,
        }  # fmt: skip
        return SlotResult(slot=SLOT, report=UnitReport(**(values | changes)), error=None)

    def news(self, step, text="x", fraction=0.0):
        return Progress(slot="1", step=step, fraction=fraction, text=text)

    def test_a_terminal_shows_one_row_for_each_slot_in_place(self):
        output = io.StringIO()
        console = Console(file=output, force_terminal=True, width=100, color_system=None)
        other = SlotConfig(name="2", port="b", meter="b")
        display = choose_display(console, [SLOT, other], as_json=False)
        assert isinstance(display, LiveDisplay)
        with display:
            display.on_progress(self.news(Step.RESERVE, "AMPFL1260700001P", 1.0))
            display.on_progress(self.news(Step.FLASH, "writing flash", 0.5))
            half = Console(width=100, record=True, file=io.StringIO())
            half.print(display._draw())
            display.on_result(self.report())
        drawn = half.export_text()
        assert "AMPFL1260700001P" in drawn
        assert "writing flash" in drawn
        assert "waiting" in drawn, "the other slot has its row from the beginning"
        assert "pass in 1.2 s" in output.getvalue()
        assert "next: take it out" in output.getvalue()

    @pytest.mark.parametrize("width", [60, 100])
    def test_what_a_board_says_cannot_move_the_cursor_or_leave_its_row(self, width):
        slot = SlotConfig(name="[red]1", port="a", meter="b")
        error = BoardRefusalError("the board refused: \x1b[2J\nslot 2  pass", code_name="7")
        console = Console(width=width, record=True, file=io.StringIO())
        display = LiveDisplay(console, [slot])
        display.on_result(SlotResult(slot=slot, report=None, error=error))
        console.print(display._draw())
        drawn = console.export_text()
        assert "\x1b" not in drawn
        assert "[red]1" in drawn
        assert "error" in drawn
        assert "next: start the slot again" in " ".join(drawn.split())

    def test_a_terminal_that_is_too_low_still_shows_a_row_for_every_slot(self):
        slots = [SlotConfig(name=f"place-{n}", port="a", meter="b") for n in range(1, 13)]
        console = Console(width=70, height=18, record=True, file=io.StringIO())
        display = LiveDisplay(console, slots)
        for slot in slots:
            report = self.report().report
            news = Progress(slot=slot.name, step=Step.RESERVE, fraction=1.0, text=report.serial)
            display.on_progress(news)
            display.on_result(SlotResult(slot=slot, report=report, error=None))
        table = display._draw()
        assert len(console.render_lines(table)) <= 18
        console.print(table)
        drawn = console.export_text()
        assert all(f"place-{n} " in drawn for n in range(1, 13))
        assert drawn.count("take it out") == 12
        assert drawn.count("AMPFL1260700001P") == 12, "what names a board is not cut off"

    def test_a_pipe_gets_one_line_for_each_step(self):
        output = io.StringIO()
        display = choose_display(Console(file=output), [SLOT], as_json=False)
        assert isinstance(display, PlainDisplay)
        with display:
            for fraction in (0.0, 0.5, 1.0):
                display.on_progress(self.news(Step.FLASH, "writing flash", fraction))
            display.on_result(self.report())
        assert output.getvalue().splitlines() == [
            "slot 1  flash: writing flash",
            "slot 1  AMPFL1260700001P pass in 1.2 s",
        ]

    def test_a_pipe_that_nobody_reads_stops_no_unit(self):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            display = PlainDisplay(Console(file=stream))
            display.on_progress(self.news(Step.FLASH))
            display.on_result(self.report())
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    def test_json_output_is_not_disturbed(self):
        output = io.StringIO()
        display = choose_display(Console(file=output), [SLOT], as_json=True)
        assert isinstance(display, SilentDisplay)
        with display:
            display.on_progress(self.news(Step.FLASH))
            display.on_result(self.report())
        assert output.getvalue() == ""

    def test_a_failure_says_where_and_why(self):
        result = self.report(
            state=UnitState.FAIL, failed_step=Step.VERIFY, reasons=("too much", "and more")
        )
        assert summarize(result) == (
            "fail",
            "AMPFL1260700001P fail at verify: too much (and 1 more)",
        )
        assert next_action(result).startswith("set it aside")
        dead = SlotResult(slot=SLOT, report=None, error=PortError("the serial port died"))
        assert next_action(dead).startswith("start the slot again")
        assert summarize(dead) == ("error", "error: the serial port died")


def events_of(product, capsys):
    return json.loads(call(capsys, "station", "check", "--json"))["checks"][0]["found"]


def test_a_copied_board_is_put_aside_and_let_back_in_by_a_supervisor(product, capsys, serial):
    boards = product / "station" / "simulated-line"
    shutil.copyfile(boards / "board-1" / "flash.bin", boards / "board-2" / "flash.bin")
    text = call(capsys, "station", "run", "--simulate", "2", code=6)
    assert f"it has the identity {serial} of chip" in text
    assert "ampforge unit release" in text
    (board,) = json.loads(call(capsys, "unit", "quarantine", "--json"))["boards"]
    assert (board["board_class"], board["closed_at"]) == ("clone", None)
    assert "in quarantine: 1" in call(capsys, "station", "recover")
    assert "QUARANTINE it has the identity" in call(capsys, "unit", "show", board["mac"])

    text = call(capsys, "unit", "release", board["mac"], "--reason", "copied on the bench")
    assert "is out of quarantine" in text
    assert "no board is in quarantine" in call(capsys, "unit", "quarantine")
    (board,) = json.loads(call(capsys, "unit", "quarantine", "--all", "--json"))["boards"]
    assert board["closed_at"] is not None
    document = json.loads(call(capsys, "station", "run", "--simulate", "2", "--json"))
    assert document["passed"] == 2
    call(capsys, "station", "check")


def test_a_board_that_a_restored_ledger_lost_gets_its_number_back(product, capsys):
    call(capsys, "ledger", "backup", "--output", "before.jsonl")
    with SimulatedLine(product / "another-line", board_count=1, seed=99) as simulated:
        (slot,) = simulated.slots
        chosen = f"port={slot.port_url},meter={slot.meter_address}"
        document = json.loads(call(capsys, "station", "run", "--slots", chosen, "--json"))
        serial = document["slots"][0]["serial"]
        for path in (product / "station").glob("ledger.sqlite3*"):
            path.unlink()
        call(capsys, "ledger", "restore", "before.jsonl", "--reason", "the disk died")
        refused = call(capsys, "unit", "adopt", "--reason", "lost", code=2)
        assert "--slot NAME or --port URL" in refused
        refused = call(capsys, "unit", "adopt", "--slot", "9", "--reason", "lost", code=2)
        assert "there is no such slot" in refused
        wrong = ("--port", slot.port_url, "--reason", "lost", "--key", "keys/release-1.pem")
        refused = call(capsys, "unit", "adopt", *wrong, code=3)
        assert f"to be signed: {serial} goes back to {slot.board.mac.hex(':')} (lost)" in refused
        assert "no key of the role" in refused
        adopt = ("unit", "adopt", "--port", slot.port_url, "--reason", "lost with the disk")
        document = json.loads(call(capsys, *adopt, "--json"))
        assert (document["schema"], document["act"]) == ("ampforge.supervised-act/1", "adopt")
        assert (document["serial"], document["loader"]) == (serial, "open")
        assert document["mac"] == slot.board.mac.hex(":")
        assert "there is nothing to adopt" in call(capsys, *adopt, code=6)
        shown = call(capsys, "unit", "show", serial)
        assert f"{serial}  rework" in shown
        assert "its number was lost: lost with the disk" in shown
        text = call(capsys, "serials", "check", serial)
        assert f"assigned, {document['mac']}" in text
    assert "station-7" in call(capsys, "station", "report", "--verify")
    call(capsys, "ledger", "verify")
    call(capsys, "unit", "export", serial, "--output", "unit.json")
    ca = product / "station" / "factory-ca.cert.der"
    assert "is unchanged" in call(capsys, "unit", "verify", "unit.json", "--factory-ca", ca)


def test_rework_takes_the_release_back_until_the_unit_passes_again(product, capsys, serial):
    document = json.loads(
        call(capsys, "unit", "rework", serial, "--reason", "new housing", "--json")
    )
    assert (document["schema"], document["act"]) == ("ampforge.supervised-act/1", "rework")
    assert f"{serial}  rework" in call(capsys, "unit", "show", serial)
    counts = json.loads(call(capsys, "serials", "status", "--json"))["counts"]
    assert (counts["released"], counts["assigned"]) == (1, 1)
    assert "supervise" in call(capsys, "unit", "history", serial)
    call(capsys, "station", "run", "--simulate", "1")
    counts = json.loads(call(capsys, "serials", "status", "--json"))["counts"]
    assert counts["released"] == 2


def test_a_replaced_module_leads_to_its_unit_and_the_number_is_explained(product, capsys, serial):
    old = json.loads(call(capsys, "unit", "show", serial, "--json"))["mac"]
    new = "7c:df:a1:00:00:ee"
    call(capsys, "unit", "rebind", serial, new, "--reason", "module replaced")
    for named in (serial, old, new):
        text = call(capsys, "unit", "show", named)
        assert f"{serial}  rework" in text
        assert f"replaced   module {old} by {new} on " in text
        assert "the old module is never accepted again" in text
    (module,) = json.loads(call(capsys, "unit", "show", old, "--json"))["replaced_modules"]
    assert (module["mac"], module["replaced_by"]) == (old, new)
    assert f"assigned, {new}" in call(capsys, "serials", "check", serial)


@pytest.mark.parametrize(
    "wrong",
    [
        (["release", "SERIAL", "--reason", "x"], 6, "not in quarantine"),
        (["rework", "00:00:00:00:00:00", "--reason", "x"], 6, "no unit has this MAC"),
        (["rework", "SERIAL", "--reason", ""], 6, "needs a reason"),
        (
            ["rework", "SERIAL", "--reason", "x", "--key", "keys/release-1.pem"],
            3,
            "no key of the role",
        ),
        (["rework", "SERIAL"], 2, "--reason"),
        (["rework", "nonsense", "--reason", "x"], 6, "serial number"),
        (["rebind", "SERIAL", "7c:df:a1", "--reason", "x"], 2, "not a MAC"),
        (["rebind", "SERIAL", "OTHER", "--reason", "x"], 6, "new module cannot be used"),
    ],
)
def test_an_order_that_does_not_fit_changes_nothing(product, capsys, line, wrong):
    arguments, code, telling = wrong
    names = ("SERIAL", line[2]["slots"][0]["serial"]), ("OTHER", line[2]["slots"][1]["mac"])
    before = events_of(product, capsys)
    arguments = [dict(names).get(each, each) for each in arguments]
    message = call(capsys, "unit", *arguments, code=code)
    assert telling in message
    assert events_of(product, capsys) == before


def test_recovery_lists_what_is_half_done_and_the_next_run_says_so(product, capsys):
    assert "no board is half-done" in call(capsys, "station", "recover")
    with SimulatedLine(product / "another-line", board_count=1, seed=99) as simulated:
        (slot,) = simulated.slots
        dead_meter = f"port={slot.port_url},meter=TCPIP0::127.0.0.1::2::SOCKET"
        call(capsys, "station", "run", "--slots", dead_meter, code=6)
        document = json.loads(call(capsys, "station", "recover", "--json"))
        (job,) = document["unfinished"]
        assert (job["mac"], job["step"]) == (slot.board.mac.hex(":"), "calibrate")
        assert job["is_uncertain"]
        assert "connection to the instrument failed" in job["error"]
        text = call(capsys, "station", "recover")
        assert "half-done: 1; put each on a fixture" in text
        assert "calibrate was being done" in text
        whole = f"port={slot.port_url},meter={slot.meter_address}"
        with pytest.raises(SystemExit):
            run_and_exit(ampforge, ["station", "run", "--slots", whole])
        assert "half-done: 1" in capsys.readouterr().err
    assert "no board is half-done" in call(capsys, "station", "recover")


@pytest.mark.filterwarnings("ignore:'parser:DeprecationWarning")
def test_an_efuse_plan_is_shown_against_a_board_and_burns_nothing(product, capsys, serial):
    message = call(capsys, "station", "efuse-plan", "--dry-run", code=2)
    assert "nothing is ever burned" in message
    plan = product / "efuses.toml"
    plan.write_text('user_data = "{serial}"\ndisable_jtag = true\n')
    with SimulatedLine(product / "station" / "simulated-line", board_count=1, seed=1) as line:
        board = line.slots[0].board
        before = board.efuse_path.read_bytes()
        slot = f"port={line.slots[0].port_url},meter=none"
        arguments = ("station", "efuse-plan", "--dry-run", "--plan", plan, "--slots", slot)
        text = call(capsys, *arguments)
        document = json.loads(call(capsys, *arguments, "--json"))
        assert board.efuse_path.read_bytes() == before
        assert board.application is not None, "the board runs its application again"
    assert f"slot 1: {board.mac.hex(':')}, {serial}" in text
    assert "DIS_PAD_JTAG" in text
    assert text.rstrip().endswith("nothing was burned")
    (shown,) = document["slots"]
    user_data = next(field for field in shown["fields"] if field["field"] == "BLOCK_USR_DATA")
    assert bytes.fromhex(user_data["wanted"]).rstrip(b"\0").decode() == serial
    assert {field["status"] for field in shown["fields"]} == {"burn"}


def test_an_efuse_plan_for_a_chip_that_is_not_known_is_refused_with_those_that_are(product, capsys):
    (product / "efuses.toml").write_text('user_data = "{serial}"\n')
    path = product / "ampforge.toml"
    path.write_text(path.read_text().replace('chip = "esp32c3"', 'chip = "esp32p4"'))
    arguments = ("--plan", product / "efuses.toml", "--slots", "port=rfc2217://127.0.0.1:1,meter=x")
    message = call(capsys, "station", "efuse-plan", *arguments, code=5)
    assert "not known for this chip" in message
    assert "esp32s3" in message
