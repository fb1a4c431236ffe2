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
