"""`ampforge instrument`, and what the register does to a station that is at work."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from cli.failures import run_and_exit
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from provisioning.ledger import Ledger
from tests.provisioning.metrology_bench import MetrologyBench

TODAY = dt.datetime.now(dt.UTC).date()
BY = ("--by", "M. Curie")


def day(days: int) -> str:
    return (TODAY + dt.timedelta(days=days)).isoformat()


def by_hand(serial: str, *, calibrated: int = -30, due: int = 335, certificate: str = "K-1"):
    return (
        "instrument", "add", "--serial-number", serial, "--maker", "Ampforge", "--model", "SM-6500",
        "--certificate", certificate, "--calibrated", day(calibrated), "--due", day(due), *BY,
    )  # fmt: skip


@pytest.fixture
def station(tmp_path, monkeypatch):
    folder = tmp_path / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    monkeypatch.chdir(folder)
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


def make_station(call, folder):
    call("station", "init", "--no-passphrase", "--test-keys")
    call("trust", "sign", "--factory-ca", "station/factory-ca.cert.der")
    return folder / "station" / "ledger.sqlite3"


def count_events(path) -> int:
    ledger = Ledger.open(path)
    heads = ledger.verify_chains()
    ledger.close()
    return sum(count for count, _ in heads.values())


def test_an_instrument_says_itself_who_it_is(call, station):
    make_station(call, station)
    with MetrologyBench(index=7) as bench:
        bench.meter.close()
        arguments = ("--certificate", "K-7", "--calibrated", day(-1), "--due", day(364), *BY)
        out, _ = call("instrument", "add", bench.address, *arguments)
    assert "Ampforge SM-6500, serial SM0007 is in the register" in out
    (found,) = json.loads(call("instrument", "list", "--json")[0])["instruments"]
    assert (found["serial_number"], found["read_from"]) == ("SM0007", "*IDN?")
    assert (found["days_left"], found["is_due_soon"], found["is_overdue"]) == (364, False, False)


def test_the_list_warns_in_words(call, station):
    make_station(call, station)
    assert "no instrument is in the register" in call("instrument", "list")[0]
    call(*by_hand("GOOD", due=31))
    call(*by_hand("SOON", due=30))
    call(*by_hand("LATE", calibrated=-400, due=-1))
    out, _ = call("instrument", "list")
    assert "good for 31 days" in out
    assert "DUE SOON, in 30 days" in out
    assert "OVERDUE by 1 day: no station measures with it" in out


@pytest.mark.parametrize(
    ("arguments", "code", "telling"),
    [
        (("instrument", "add", *by_hand("A")[4:]), 2, "which instrument is meant"),
        (by_hand("A", calibrated=1), 6, "in the future"),
        (by_hand("A", due=-31), 6, "not 1 to 3660 days"),
        (by_hand("A\x07"), 6, "not an entry"),
        ((*by_hand("A"), "--accuracy", "keysight-truevolt"), 2, "states no accuracy"),
        ((*by_hand("A"), "--accuracy", "fluke"), 6, "no such description"),
        ((*by_hand("A"), "--accuracy", "no.toml"), 6, "cannot be read"),
        (("instrument", "impact"), 2, "which measurements are meant"),
        (("instrument", "impact", "SM0O07001"), 6, "the ledger knows no such instrument"),
    ],
)
def test_what_cannot_be_entered_is_refused_and_nothing_is_written(
    call, station, arguments, code, telling
):
    path = make_station(call, station)
    before = count_events(path)
    _, err = call(*arguments, code=code)
    assert telling in err
    assert count_events(path) == before


def test_certificates_in_the_configuration_are_told_where_they_belong(call, station):
    make_station(call, station)
    call("bundle", "build", "--test-keys") if False else None
    path = station / "ampforge.toml"
    path.write_text(
        path.read_text()
        + '\n[[station.metrology.instruments]]\nserial_number = "A"\ncertificate = "K"\n'
        f"due = {day(9)}\n"
    )
    slot = "port=/dev/null,meter=TCPIP0::127.0.0.1::1::SOCKET"
    out, err = call("station", "check", "--slots", slot, code=2)
    assert "not in the configuration" in out + err


def test_an_unknown_instrument_stops_calibration_and_the_job_goes_on_when_it_is_entered(
    call, station
):
    make_station(call, station)
    call("policy", "approve")
    call("bundle", "build")
    call("bundle", "sign", "build/flare-1.4.0.bundle.zip")
    call(*by_hand("ELSEWHERE"))
    run = ("station", "run", "--simulate", "1", "--seed", "7", "--json")
    out, _ = call(*run, code=6)
    (slot,) = json.loads(out)["slots"]
    assert "no calibration certificate on file" in json.dumps(slot)
    serial = "SM0007001"
    call(*by_hand(serial))
    out, _ = call(*run)
    assert json.loads(out)["slots"][0]["state"] == "pass"
    (unit,) = json.loads(call("instrument", "impact", serial, "--json")[0])["units"]
    assert (unit["state"], unit["certificates"]) == ("pass", ["K-1"])
    assert unit["calibration_readings"] > 40
    assert unit["verification_readings"] > 50
    assert call("instrument", "impact", "--since", day(1))[0].strip() == "no unit was measured"
    assert "1 unit, by 1 instrument" in call("instrument", "impact", "--since", day(-1))[0]
