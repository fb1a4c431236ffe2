"""`ampforge ledger` and `ampforge station join`, as a person types them."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from cli.failures import describe_error
from cli.main import ampforge
from provisioning.ledger import Ledger
from signing.refusal import Refusal
from tests.ordinary_rights import ordinary_rights
from tests.provisioning.ledger_sites import MAC, a_writer, reserve


def run(*arguments, code=0):
    result = CliRunner().invoke(ampforge, [*arguments, "--json"])
    if isinstance(result.exception, Refusal):
        return describe_error(result.exception)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def factory(tmp_path, monkeypatch):
    from cli.configuration import FILE_NAME
    from cli.init_command import copy_example

    copy_example(tmp_path / "product")
    monkeypatch.chdir(tmp_path / "product")
    run("station", "init", "--no-passphrase", "--test-keys")
    ledger = Ledger.open(tmp_path / "product" / "station" / "ledger.sqlite3")
    reserve(ledger, a_writer())
    ledger.close()
    assert (tmp_path / "product" / FILE_NAME).exists()
    return tmp_path / "product"


def test_verify_backup_and_restore_from_the_command_line(factory):
    verified = run("ledger", "verify")
    assert (verified["schema"], verified["event_count"]) == ("ampforge.ledger-verified/1", 1)
    written = run("ledger", "backup", "--output", "b.jsonl")
    assert written["rows"]["units"] == 1
    assert run("ledger", "backup", "--output", "b.jsonl")["what"].startswith("a file exists")
    restore = ("ledger", "restore", "b.jsonl", "--reason", "disk died")
    assert run(*restore)["what"] == "there is a ledger already"
    shutil.move("station/ledger.sqlite3", "lost.sqlite3")
    restored = run(*restore)
    assert restored["ledger"]["epoch"] == 2
    assert restored["voided"][0]["first"].startswith("AMPFLR")
    assert run("serials", "status")["voided_ranges"] == restored["voided"]
    told = CliRunner().invoke(ampforge, ["serials", "status"]).stdout
    assert f"{restored['voided'][0]['first']} to {restored['voided'][0]['last']} are never" in told
    assert run("ledger", "verify")["ledger"]["epoch"] == 2
    shutil.copy("lost.sqlite3", "station/ledger.sqlite3")
    assert "older than one" in run("ledger", "verify")["what"]


def test_upgrade_says_when_there_is_nothing_to_do(factory):
    upgraded = run("ledger", "upgrade", "--backup", "before.jsonl")
    assert (upgraded["from"], upgraded["backup"]) == (upgraded["to"], None)
    assert not (factory / "before.jsonl").exists()


def test_a_second_station_joins_and_a_station_without_a_shared_ledger_cannot(factory, postgres):
    refused = run("station", "join", "station", "--station", "two")
    assert "which ledger" in refused["what"]
    shutil.rmtree("station")
    url = postgres.url(postgres.create_database())
    text = (factory / "ampforge.toml").read_text()
    set_ledger = text.replace('folder = "station"', f'folder = "station"\nledger = "{url}"')
    (factory / "ampforge.toml").write_text(set_ledger)
    made = run("station", "init", "--no-passphrase", "--test-keys")
    assert made["ledger"]["path"] == url
    named = set_ledger.replace('name = "station-1"', 'name = "station-2"')
    (factory / "ampforge.toml").write_text(named)
    joined = run("station", "join", "station", "--station", "two")
    assert joined["ledger"]["uuid"] == made["ledger"]["uuid"]
    assert run("ledger", "verify", "--station", "two")["ledger"]["path"] == url
    leaky = named.replace("postgres@", "postgres:secret@")
    (factory / "ampforge.toml").write_text(leaky)
    refused = run("ledger", "verify")
    assert "password" in refused["what"]
    assert "secret" not in json.dumps(refused)


def test_a_ledger_in_a_folder_that_can_only_be_read_is_told_as_ever(factory):
    station = factory / "station"
    commands = (
        ("ledger", "verify"),
        ("serials", "status"),
        ("unit", "show", MAC.hex(":")),
        ("unit", "history", MAC.hex(":")),
        ("unit", "budget", MAC.hex(":")),
        ("instrument", "list"),
    )
    before = [run(*command) for command in commands]
    for one in station.iterdir():
        one.chmod(0o444)
    station.chmod(0o555)
    try:
        with ordinary_rights():
            assert [run(*command) for command in commands] == before
            assert run("ledger", "backup", "--output", "b.jsonl")["rows"]["units"] == 1
    finally:
        station.chmod(0o755)
