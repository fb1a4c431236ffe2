"""`ampforge serials lease` and `station sync`, as a person without a server uses them."""

from __future__ import annotations

import json
import shutil

import pytest

from cli.failures import run_and_exit
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge


def call(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as exited:
        run_and_exit(ampforge, [str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert exited.value.code == code, captured.err or captured.out
    return captured.out, captured.err


@pytest.fixture
def product(tmp_path, monkeypatch, capsys):
    """A station whose ledger lies outside its folder, where it can be taken away."""
    folder = tmp_path / "flare"
    copy_example(folder)
    path = folder / "ampforge.toml"
    named = 'name = "station-1"'
    text = path.read_text()
    assert text.count(named) == 1
    path.write_text(text.replace(named, f'{named}\nledger = "server/ledger.sqlite3"'))
    sign_first_trust_record(folder)
    monkeypatch.chdir(folder)
    for name in ("AMPFORGE_CONFIG", "AMPFORGE_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    call(capsys, "station", "init", "--no-passphrase", "--test-keys")
    return folder


@pytest.fixture
def release(product, capsys):
    return sign_release(product, capsys)


def sign_release(product, capsys):
    ca = product / "station" / "factory-ca.cert.der"
    for arguments in (
        ["trust", "sign", "--factory-ca", ca],
        ["policy", "approve"],
        ["bundle", "build"],
        ["bundle", "sign", product / "build" / "flare-1.4.0.bundle.zip"],
    ):
        call(capsys, *arguments)
    return product


def test_a_station_whose_server_is_gone_goes_on_and_brings_its_work_back(release, capsys):
    text, _ = call(capsys, "serials", "lease", "--count", 3)
    assert "lease station-1/1: 3 serial numbers for this station alone" in text
    call(capsys, "station", "run", "--simulate", 1, "--json")
    (release / "server").rename(release / "away")
    text, _ = call(capsys, "serials", "status")
    assert "OFFLINE: the ledger cannot be reached; working under lease station-1/1" in text
    assert "3 of 3 numbers left" in text
    text, errors = call(capsys, "station", "run", "--simulate", 1, code=6)
    assert "OFFLINE" in errors
    assert "this board must wait for the ledger" in text
    lines, _ = call(capsys, "station", "run", "--simulate", 2, "--headless", code=6)
    started = json.loads(lines.splitlines()[0])
    assert (started["offline"]["lease"], started["offline"]["left"]) == ("station-1/1", 3)
    document = json.loads(call(capsys, "serials", "status", "--json")[0])
    assert document["offline"]["left"] == 2
    (release / "away").rename(release / "server")
    text, _ = call(capsys, "station", "recover")
    assert "synchronised: " in text
    assert "1 given, 0 void, 2 left" in text
    document = json.loads(call(capsys, "serials", "status", "--json")[0])
    assert (document["counts"]["released"], document["counts"]["leased"]) == (2, 2)
    call(capsys, "ledger", "verify")
    text, _ = call(capsys, "serials", "lease", "--give-back")
    assert "ended: lease station-1/1 given back" in text
    text, _ = call(capsys, "station", "sync")
    assert "holds no lease" in text
    call(capsys, "ledger", "verify")


def test_a_station_without_a_lease_stops_when_its_server_is_gone(product, capsys):
    (product / "server").rename(product / "away")
    for command in (("serials", "status"), ("serials", "lease"), ("station", "sync")):
        _, errors = call(capsys, *command, code=6)
        assert "there is no ledger" in errors


@pytest.mark.parametrize(
    "options",
    [
        ("--count", 3, "--give-back"),
        ("--close", "station-1/1"),
        ("--close", "station-1/1", "--lost"),
        ("--lost",),
        ("--reason", "why"),
        ("--close", "station-1/1", "--lost", "--reason", "fire", "--days", 2),
        ("--count", 0),
        ("--days", 32),
    ],
)
def test_options_that_contradict_each_other_change_nothing(product, capsys, options):
    before = (product / "server" / "ledger.sqlite3").read_bytes()
    call(capsys, "serials", "lease", *options, code=2)
    assert (product / "server" / "ledger.sqlite3").read_bytes() == before
    call(capsys, "station", "sync", "--give-up", code=2)


def test_leases_are_told_as_json_and_refused_with_what_to_do_next(product, capsys):
    document = json.loads(call(capsys, "serials", "lease", "--json")[0])
    assert (document["schema"], document["count"], document["left"]) == (
        "ampforge.lease/1",
        100,
        100,
    )
    _, errors = call(capsys, "serials", "lease", code=6)
    assert "the station holds a lease already" in errors
    assert "--give-back" in errors
    lost = ("--lost", "--reason", "fire")
    _, errors = call(capsys, "serials", "lease", "--close", "station-1/1", *lost, code=6)
    assert "still in force" in errors
    document = json.loads(call(capsys, "station", "sync", "--json")[0])
    assert (document["events"], document["lease"]["lease"]) == (0, "station-1/1")
    # An empty reason to give up what can be taken over: it is taken over.
    document = json.loads(
        call(capsys, "station", "sync", "--give-up", "--reason", "x", "--json")[0]
    )
    assert document["schema"] == "ampforge.sync/1"


def test_an_outbox_that_the_ledger_never_knew_is_given_up(product, capsys):
    call(capsys, "ledger", "backup", "--output", "before.jsonl")
    call(capsys, "serials", "lease", "--count", 2)
    (product / "server").rename(product / "lost")
    call(capsys, "ledger", "restore", "before.jsonl", "--reason", "the disk died")
    _, errors = call(capsys, "station", "sync", code=6)
    assert "the ledger does not know this lease" in errors
    text, _ = call(capsys, "station", "sync", "--give-up", "--reason", "restored")
    assert "given up: 0 boards are in quarantine" in text
    assert (product / "station" / "closed-leases").is_dir()
    call(capsys, "serials", "lease", "--count", 2)


def test_a_folder_that_was_restored_takes_a_new_lease_once_the_old_one_is_given_up(product, capsys):
    call(capsys, "serials", "lease", "--count", 2)
    shutil.copytree(product / "station", product / "restored")
    (product / "station").rename(product / "died")
    (product / "restored").rename(product / "station")
    text, _ = call(capsys, "station", "sync")
    assert "this folder is a copy" in text
    _, errors = call(capsys, "serials", "lease", code=6)
    assert "holds a lease already" in errors
    text, _ = call(capsys, "station", "sync", "--give-up", "--reason", "disk died")
    assert "given up: 0 boards" in text
    text, _ = call(capsys, "serials", "lease", "--count", 2)
    assert "lease station-1/2" in text
    document = json.loads(call(capsys, "serials", "status", "--json")[0])
    assert [lease["left"] for lease in document["leases"]] == [2, 2], "the old one expires first"
    call(capsys, "ledger", "verify")


def test_checks_say_how_it_stands_with_a_lease_and_what_to_do(release, capsys):
    call(capsys, "serials", "lease", "--count", 3)
    number = json.loads(call(capsys, "serials", "status", "--json")[0])["leases"][0]["first"]
    text, _ = call(capsys, "serials", "check", number)
    assert "leased, station-1/1 may give it until" in text
    lines = call(capsys, "station", "check")[0].splitlines()
    (line,) = [line for line in lines if " lease: " in line]
    assert line.startswith("ok     lease: station-1/1, 3 of 3 numbers left, running until ")
    assert "not synchronised" not in line
    (release / "server").rename(release / "away")
    call(capsys, "station", "run", "--simulate", 1)
    text, _ = call(capsys, "station", "check", code=6)
    assert "2 of 3 numbers left, running until" in text
    assert "the ledger is out of reach" in text
    (release / "away").rename(release / "server")
    text, _ = call(capsys, "station", "check")
    assert "events not synchronised: `ampforge station sync`" in text
    call(capsys, "station", "sync")
    assert "not synchronised" not in call(capsys, "station", "check")[0]


def test_a_release_without_a_place_for_keys_is_refused_before_there_is_a_board(product, capsys):
    """Else each board failed, one by one, at the step that encrypts its key storage."""
    path = product / "partitions.csv"
    text = path.read_text()
    path.write_text("".join(line for line in text.splitlines(True) if "keystore" not in line))
    sign_release(product, capsys)
    text, _ = call(capsys, "station", "check", code=5)
    assert "ERROR  release: the release has no partition in which a board could encrypt" in text
    assert "keystore, data, nvs" in text
    before = (product / "server" / "ledger.sqlite3").read_bytes()
    _, errors = call(capsys, "station", "run", "--simulate", 1, code=5)
    assert "no partition in which a board could encrypt its key" in errors
    assert (product / "server" / "ledger.sqlite3").read_bytes() == before


def test_an_nvs_plan_that_does_not_fit_the_release_is_found_by_the_check(release, capsys):
    config = release / "ampforge.toml"
    named = 'name = "station-1"'
    config.write_text(config.read_text().replace(named, f'{named}\nnvs = "nvs.toml"'))
    plan = release / "nvs.toml"
    assert "NVS plan: 4 entries" in call(capsys, "station", "check")[0]
    plan.write_text(plan.read_text().replace('partition = "nvs"', 'partition = "devrec"'))
    text, _ = call(capsys, "station", "check", code=5)
    assert "ERROR  NVS plan" in text


def test_a_damaged_outbox_is_given_up_on_the_command_line(product, capsys):
    call(capsys, "serials", "lease", "--count", 3)
    (outbox,) = (product / "station").glob("lease-*.sqlite3")
    outbox.write_bytes(b"what a failing disk left" * 100)
    for command in (("station", "sync"), ("serials", "lease", "--give-back")):
        _, errors = call(capsys, *command, code=6)
        assert "the lease's outbox cannot be used" in errors
        assert "--give-up --reason TEXT" in errors
    text, _ = call(capsys, "station", "check", code=6)
    assert "ERROR  lease: the lease's outbox cannot be used" in text
    text, _ = call(capsys, "station", "sync", "--give-up", "--reason", "disk")
    assert "nobody can say which boards it had" in text
    text, _ = call(capsys, "station", "check", "--json", code=6)
    (lease,) = [one for one in json.loads(text)["checks"] if one["name"] == "lease"]
    assert "the ledger keeps 3 numbers for station-1/1, whose outbox is not here" in lease["found"]
    call(capsys, "ledger", "verify")
    assert "station-1/2" in call(capsys, "serials", "lease", "--count", 3)[0]
