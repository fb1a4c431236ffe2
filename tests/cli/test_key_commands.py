"""`ampforge key`: exit codes, what is printed, and what is left on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.failures import exit_code
from cli.key_commands import group
from signing.algorithms import Algorithm
from signing.key_uris import load_signer
from signing.refusal import Refusal

TOML = """
[signing.roles.root]
keys = ["keys/root-1.pub.pem", "keys/root-2.pub.pem"]
[signing.roles.release]
keys = ["keys/release.pub.pem"]
signer = "keys/release.pem"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    monkeypatch.delenv("AMPFORGE_PASSPHRASE_FILE", raising=False)
    return tmp_path


def run(*arguments, given=None):
    return CliRunner().invoke(group, list(arguments), input=given)


def done(*arguments, given=None):
    outcome = run(*arguments, given=given)
    assert outcome.exit_code == 0, outcome.output
    return outcome


def refused(*arguments, given=None) -> Refusal:
    error = run(*arguments, given=given).exception
    assert isinstance(error, Refusal), error
    return error


def test_a_key_is_made_shown_and_usable(folder):
    shown = done("generate", "keys/release.pem", "--no-passphrase").stdout
    key = load_signer("keys/release.pem").public_key
    assert key.key_id.hex() in shown
    assert "keys/release.pub.pem" in shown
    assert "no passphrase" in shown
    assert sorted(path.name for path in (folder / "keys").iterdir()) == [
        "release.pem",
        "release.pub.pem",
    ]


def test_a_test_key_says_so_everywhere():
    arguments = ("generate", "t.pem", "--test-key", "--no-passphrase", "--algorithm", "ed25519")
    assert "never for products" in done(*arguments).stdout
    assert "TEST KEY" in done("list", ".").stdout
    assert "test key: never for products" in done("inspect", "t.pub.pem").stdout
    assert json.loads(done("list", ".", "--json").stdout)["keys"][0]["test_key"] is True


@pytest.mark.parametrize("algorithm", sorted(Algorithm))
def test_each_algorithm_is_made_listed_inspected_and_its_public_key_told(algorithm):
    done("generate", "k.pem", "--no-passphrase", "--algorithm", str(algorithm))
    listed = json.loads(done("list", ".", "--json").stdout)["keys"][0]
    inspected = json.loads(done("inspect", "k.pem", "--json").stdout)
    told = json.loads(done("public", "k.pem", "--json").stdout)
    assert {listed["algorithm"], inspected["algorithm"], told["algorithm"]} == {algorithm}
    assert listed["key_id"] == inspected["key_id"] == told["key_id"]
    assert told["public_pem"] == Path("k.pub.pem").read_text()


def test_a_passphrase_is_asked_for_twice_and_never_printed():
    outcome = done("generate", "k.pem", given="hush hush\nhush hush\n")
    assert "hush" not in outcome.output
    assert "encrypted" in outcome.stdout
    assert load_signer("k.pem", passphrase=lambda: b"hush hush").public_key
    assert run("generate", "l.pem", given="one\ntwo\n").exit_code == 1


@pytest.mark.parametrize(("passphrase", "is_taken"), [("1234567", False), ("pässwörd", True)])
def test_a_new_key_takes_a_passphrase_of_eight_characters_or_more(folder, passphrase, is_taken):
    typed = run("generate", "k.pem", given=f"{passphrase}\n" * 2)
    (folder / "secret").write_text(f"{passphrase}\n")
    (folder / "secret").chmod(0o600)
    read = run("generate", "l.pem", "--passphrase-file", "secret")
    for outcome, name in ((typed, "k.pem"), (read, "l.pem")):
        assert (outcome.exit_code == 0) == is_taken == (folder / name).exists(), outcome.output
        if not is_taken:
            assert "passphrase of a new key is too short" in str(outcome.exception)
            assert passphrase not in f"{outcome.output} {outcome.exception}"


def test_a_passphrase_file_serves_unattended(folder):
    (folder / "secret").write_text("hush hush\n")
    (folder / "secret").chmod(0o600)
    done("generate", "k.pem", "--passphrase-file", "secret")
    assert "encrypted" in done("inspect", "k.pem", "--passphrase-file", "secret").stdout
    (folder / "secret").chmod(0o644)
    error = refused("generate", "l.pem", "--passphrase-file", "secret")
    assert exit_code(error) == 2
    assert "read by others" in str(error)
    assert not (folder / "l.pem").exists()


def test_two_ways_to_protect_a_key_exclude_each_other(folder):
    (folder / "secret").write_text("hush hush\n")
    error = refused("generate", "k.pem", "--no-passphrase", "--passphrase-file", "secret")
    assert exit_code(error) == 2
    assert list(folder.iterdir()) == [folder / "secret"]


def test_a_key_is_never_overwritten(folder):
    done("generate", "k.pem", "--no-passphrase")
    before = (folder / "k.pem").read_bytes()
    error = refused("generate", "k.pem", "--no-passphrase")
    assert exit_code(error) == 3
    assert "exists already" in str(error)
    assert (folder / "k.pem").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_a_usage_error(folder):
    (folder / "file").write_text("")
    error = refused("generate", "file/k.pem", "--no-passphrase")
    assert exit_code(error) == 2


def test_an_unknown_algorithm_is_a_usage_error():
    outcome = run("generate", "k.pem", "--algorithm", "rsa")
    assert outcome.exit_code == 2
    assert "ecdsa-p256" in outcome.output


def test_a_wrong_passphrase_is_refused_with_code_three():
    done("generate", "k.pem", given="right one\nright one\n")
    error = refused("inspect", "k.pem", given="wrong\n")
    assert exit_code(error) == 3
    assert "does not open" in str(error)


def test_a_key_open_to_others_is_refused_with_the_command_that_helps(folder):
    done("generate", "k.pem", "--no-passphrase")
    (folder / "k.pem").chmod(0o644)
    error = refused("inspect", "k.pem")
    assert exit_code(error) == 3
    assert error.hint is not None
    assert "chmod 600 k.pem" in error.hint
    assert "PROBLEM" in done("list", ".").stdout


def test_a_public_key_of_another_pair_is_refused(folder):
    done("generate", "a.pem", "--no-passphrase")
    done("generate", "b.pem", "--no-passphrase")
    (folder / "a.pub.pem").replace(folder / "b.pub.pem")
    assert "does not belong" in str(refused("inspect", "b.pem"))


def test_the_configuration_s_keys_are_listed_with_their_roles(folder):
    (folder / "ampforge.toml").write_text(TOML)
    for name in ("root-1", "release"):
        done("generate", f"keys/{name}.pem", "--no-passphrase")
    keys = json.loads(done("list", "--json").stdout)["keys"]
    assert [(key["role"], key["private"], bool(key["problem"])) for key in keys] == [
        ("root", True, False),
        ("root", False, True),
        ("release", True, False),
    ]
    table = done("list").stdout
    assert "root-2.pub.pem" in table
    assert "No such file" in table
    in_folder = json.loads(done("list", "keys", "--json").stdout)["keys"]
    assert {key["role"] for key in in_folder} == {"root", "release"}
    shown = json.loads(done("inspect", "keys/release.pem", "--json").stdout)
    assert shown["role"] == "release"
    assert shown["schema"] == "ampforge.key/1"
    assert shown["public_pem"] == (folder / "keys" / "release.pub.pem").read_text()
    assert shown["kid"] == shown["key_id"][:16]


def test_without_a_configuration_a_folder_is_needed(folder):
    error = refused("list")
    assert exit_code(error) == 2
    assert "ampforge.toml" in str(error)
    assert "no keys here" in done("list", ".").stdout
    (folder / "ampforge.toml").write_text("[product]\n")
    done("generate", "k.pem", "--no-passphrase")
    assert done("list", ".").stdout.splitlines()[1].startswith("-  ")


def test_an_encrypted_key_without_its_public_file_is_listed_as_a_problem(folder):
    done("generate", "k.pem", given="pass words\npass words\n")
    (folder / "k.pub.pem").unlink()
    (row,) = json.loads(done("list", ".", "--json").stdout)["keys"]
    assert row["key_id"] is None
    assert row["encrypted"] is True
    assert "k.pub.pem" in row["problem"]
