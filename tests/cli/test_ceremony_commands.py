"""`ampforge key ceremony`: plan, run with typed passphrases, verify, and the words of refusals."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.failures import UsageRefusal
from cli.main import ampforge
from signing.errors import CeremonyError, DurableFileError, PassphraseError
from signing.key_uris import load_software_signer
from tests.signing.ceremony_bench import ENCRYPTED_PLAN, make_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_PASSPHRASE_FILE", raising=False)
    return make_folder(tmp_path / "ceremony", ENCRYPTED_PLAN)


def _invoke(*arguments, **options):
    return CliRunner().invoke(ampforge, ["key", "ceremony", *map(str, arguments)], **options)


def _run(*arguments, **options):
    done = _invoke(*arguments, **options)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_a_holder_types_a_passphrase_and_a_witness_checks_the_values(folder):
    said = _run("run", folder, "--one-step")
    assert "step 1 of 10: the plan is read" in said
    assert "step 2 is next" in said
    said = _run("run", folder, input="correct horse\ncorrect horse\ncorrect horse\ncorrect horse\n")
    assert "Ada: choose the passphrase of the new key root-1" in said
    assert "Ada: passphrase of root-1" in said
    assert "correct horse" not in said
    assert "all 10 steps are done" in said
    assert load_software_signer(
        str(folder / "media/root-1.pem"), passphrase=lambda: b"correct horse"
    )
    document = json.loads(_run("verify", folder, "--json"))
    assert document["schema"] == "ampforge.ceremony-verification/1"
    assert document["finished"]
    values = [f"--check={step}:{value}" for step, value in document["check_values"].items()]
    assert all(value.partition(":")[2] in said for value in values[1:])
    assert "10 of 10 check values are as the witness wrote them" in _run("verify", folder, *values)
    assert json.loads(_run("run", folder, "--json"))["done"] == []


def test_a_passphrase_from_a_file_is_one_keys_and_a_wrong_one_changes_nothing(folder, tmp_path):
    secrets = tmp_path / "secret"
    secrets.write_text("from a file\n")
    secrets.chmod(0o600)
    document = json.loads(
        _run("run", folder, f"--passphrase-file=root-1={secrets}", "--one-step", "--json")
    )
    assert document["next_step"] == 2
    assert document["done"][0]["content"]["witnesses"] == ["Wanda"]
    _run("run", folder, f"--passphrase-file=root-1={secrets}", "--one-step")
    for _ in range(4):
        _run("run", folder, "--one-step")
    before = (folder / "transcript.jsonl").read_bytes()
    refused = _invoke("run", folder, input="wrong\n")
    assert isinstance(refused.exception, PassphraseError)
    after = (folder / "transcript.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == before.count(b"\n") + 1, "INTENT alone"
    _run("run", folder, f"--passphrase-file=root-1={secrets}")


@pytest.mark.parametrize(
    ("arguments", "error", "telling"),
    [
        (("--root", "3-of-3"), CeremonyError, "needs 4 to 8, and the plan has 3"),
        (("--root", "two"), UsageRefusal, "threshold is not readable"),
        (("--no-passphrase",), UsageRefusal, "not left open"),
        (("--witness", "holder of root-1"), CeremonyError, "cannot witness"),
        (("--product", "caf\u00e9"), CeremonyError, "product is not one line of plain"),
        (("--witness", "\udcff"), CeremonyError, "a name is not text"),
    ],
)
def test_a_plan_that_would_be_unsafe_is_not_written(folder, tmp_path, arguments, error, telling):
    refused = _invoke("plan", tmp_path / "new", "--product", "flare", *arguments)
    assert isinstance(refused.exception, error)
    assert telling in str(refused.exception)
    assert not (tmp_path / "new").exists()


def test_a_plan_is_never_written_over(folder):
    before = (folder / "plan.toml").read_bytes()
    refused = _invoke("plan", folder, "--product", "flare")
    assert isinstance(refused.exception, DurableFileError)
    assert (folder / "plan.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (("verify", "ceremony"), "not finished"),
        (("verify", "ceremony", "--unfinished", "--check", "1:abcd"), "not in the transcript"),
        (("verify", "ceremony", "--check", "abcd"), "check value is not readable"),
        (("run", "ceremony", "--passphrase-file", "secret"), "not given for a key"),
        (("verify", "media"), "cannot be read"),
    ],
)
def test_refusals_say_what_is_wrong_and_change_nothing(folder, tmp_path, arguments, telling):
    (tmp_path / "media").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = _invoke(*arguments)
    assert telling in str(refused.exception)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_ceremony_that_goes_on_can_be_looked_at(folder):
    _run("run", folder, "--one-step")
    said = _run("verify", folder, "--unfinished")
    assert "verified so far; step 2 is next" in said
    assert "step  1" in said
