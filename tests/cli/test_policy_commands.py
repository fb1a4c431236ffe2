"""`ampforge policy`: who may sign, what is judged first, and what a refusal leaves behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge
from firmware_images.approval import verify_approval, verify_policy
from firmware_images.waveform_table import serialize_waveform_table
from signing.key_files import generate_key
from signing.keys import Algorithm
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record
from signing.trust_record import TrustRecord
from tests.firmware_images.waveform_builders import flare_policy, flare_table
from tests.signing.fixed_keys import fixed_signer

ROOT = Path(__file__).parents[2]
FLARE = ROOT / "examples" / "flare"
REJECTED = ROOT / "tests" / "rejected" / "waveforms"


@pytest.fixture
def product(tmp_path, monkeypatch):
    """The example product's files, with two policy keys and a trust record that names them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    for name in ("ampforge.toml", "waveforms.toml", "limits.toml"):
        shutil.copy(FLARE / name, tmp_path)
    (tmp_path / "keys").mkdir()
    keys = {
        name: generate_key(
            tmp_path / "keys" / f"{name}.pem", Algorithm.ED25519, passphrase=None, is_test_key=True
        )
        for name in ("policy", "policy-2", "release-1")
    }
    save_trust(tmp_path, keys, threshold=1)
    return tmp_path, keys


def save_trust(folder, keys, *, threshold, minimum_policy_version=1):
    root = (fixed_signer("root"), fixed_signer("root-2"))
    record = TrustRecord(
        product="flare",
        version=1,
        roles={
            Role.ROOT: RoleKeys(threshold=1, keys=tuple(key.public_key for key in root)),
            Role.POLICY: RoleKeys(threshold=threshold, keys=(keys["policy"], keys["policy-2"])),
        },
        minimum_policy_version=minimum_policy_version,
    )
    (folder / "trust.cose").write_bytes(sign_trust_record(record, root))
    return record


@pytest.fixture
def run(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            run_and_exit(ampforge, ["policy", *map(str, arguments)])
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


def test_approve_judges_compiles_and_signs_what_the_configuration_names(run, product):
    folder, keys = product
    record = save_trust(folder, keys, threshold=1)
    code, out, err = run("approve", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["signatures"], document["hardware_class"]) == (1, "flare-c3")
    approval = verify_approval(
        (folder / "build" / "approval.cose").read_bytes(),
        record,
        table_bytes=serialize_waveform_table(flare_table()),
        hardware_class="flare-c3",
    )
    assert approval.table_digest.hex() == document["table_digest"]


def test_a_second_key_is_added_until_the_threshold_is_met(run, product):
    folder, keys = product
    record = save_trust(folder, keys, threshold=2)
    code, out, _ = run("approve")
    assert (code, "of the 2 that the role needs" in out) == (0, True)
    code, out, _ = run("approve", "--add", "--key", "keys/policy-2.pem")
    assert (code, "2 signatures, in" in out) == (0, True)
    verify_approval(
        (folder / "build" / "approval.cose").read_bytes(),
        record,
        table_bytes=serialize_waveform_table(flare_table()),
        hardware_class="flare-c3",
    )
    code, _, err = run("approve", "--add", "--key", "keys/policy-2.pem")
    assert (code, "error:" in err) == (3, True)


def edit_limits(folder, change):
    """Change what the limits say."""
    head, tail = (folder / "limits.toml").read_text().split("[limits.JDC]")
    changed = tail.replace("value = 0.5", f"value = {change}", 1)
    (folder / "limits.toml").write_text(f"{head}[limits.JDC]{changed}")


def raise_version(folder, version):
    path = folder / "limits.toml"
    text = path.read_text()
    assert text.count("\nversion = 1\n") == 1
    path.write_text(text.replace("\nversion = 1\n", f"\nversion = {version}\n"))


@pytest.mark.parametrize("before", ["approve", "sign"])
@pytest.mark.parametrize("verb", ["approve", "sign"])
def test_a_version_that_other_limits_were_signed_under_is_refused(run, product, before, verb):
    folder, _ = product
    assert run(before)[0] == 0
    files = {path: path.read_bytes() for path in (folder / "build").iterdir()}
    edit_limits(folder, 0.6)
    code, out, err = run(verb)
    assert (code, out) == (5, "")
    assert "other limits were signed under this policy version before" in err
    assert "set version = 2 in the limits" in err
    assert {path: path.read_bytes() for path in (folder / "build").iterdir()} == files
    raise_version(folder, 2)
    assert run(verb)[0] == 0


def test_the_free_version_that_is_named_is_free_in_every_place(run, product):
    folder, _ = product
    assert run("approve")[0] == 0
    text = (folder / "limits.toml").read_text()
    raise_version(folder, 7)
    assert run("sign")[0] == 0
    (folder / "limits.toml").write_text(text)
    edit_limits(folder, 0.6)
    code, _, err = run("approve", "-o", "elsewhere.cose")
    assert (code, "set version = 8 in the limits" in err) == (5, True)
    assert not (folder / "elsewhere.cose").exists()


def test_a_version_is_looked_for_where_the_signature_is_to_lie(run, product):
    folder, _ = product
    for verb, name in (("approve", "a.cose"), ("sign", "p.cose")):
        assert run(verb, "-o", name)[0] == 0
    edit_limits(folder, 0.6)
    for verb, name in (("approve", "a.cose"), ("sign", "p.cose"), ("approve", "p.cose")):
        code, _, err = run(verb, "-o", name)
        assert (code, "set version = 2" in err, name in err) == (5, True, True)


def test_the_same_limits_are_signed_again_and_what_is_no_signature_is_refused(run, product):
    folder, _ = product
    for verb in ("approve", "sign", "approve", "sign"):
        assert run(verb)[0] == 0
    text = (folder / "limits.toml").read_text()
    (folder / "limits.toml").write_text(f"# the same, in other bytes\n{text}")
    assert run("approve")[0] == 0
    (folder / "build" / "approval.cose").write_bytes(b"no message")
    assert run("approve")[0] == 3


def test_a_compiled_table_is_approved_as_it_is(run, product):
    folder, _ = product
    (folder / "flare.table").write_bytes(serialize_waveform_table(flare_table()))
    code, out, _ = run("approve", "flare.table", "-o", "a.cose", "--json")
    assert code == 0
    assert json.loads(out)["policy_digest"] == flare_policy().digest.hex()


def test_a_dangerous_waveform_is_not_approved(run, product):
    folder, _ = product
    code, out, err = run("approve", REJECTED / "balanced_mode_carrying_6_ua_of_dc.toml")
    assert (code, out) == (5, "")
    assert "BALANCE" in err
    assert not (folder / "build").exists()


def test_a_table_of_another_policy_is_not_approved(run, product):
    folder, _ = product
    (folder / "flare.table").write_bytes(serialize_waveform_table(flare_table()))
    text = (folder / "limits.toml").read_text().replace("version = 1", "version = 2")
    (folder / "limits.toml").write_text(text)
    code, _, err = run("approve", "flare.table")
    assert (code, "another policy" in err) == (5, True)


def test_a_key_of_another_role_is_refused_before_anything_is_written(run, product):
    folder, _ = product
    for verb in ("approve", "sign"):
        code, out, err = run(verb, "--key", "keys/release-1.pem", "-o", "x.cose")
        assert (code, out) == (3, "")
        assert "no key of the role policy" in err
    assert not (folder / "x.cose").exists()


def test_sign_writes_a_policy_that_verifies(run, product):
    folder, keys = product
    record = save_trust(folder, keys, threshold=1)
    code, out, _ = run("sign")
    assert (code, "signed flare-limits version 1" in out) == (0, True)
    signed = (folder / "build" / "limits.cose").read_bytes()
    assert verify_policy(signed, record) == flare_policy()
    code, out, _ = run("sign", "limits.toml", "-o", "p.cose", "--json")
    assert json.loads(out)["digest"] == flare_policy().digest.hex()


def test_signatures_are_added_only_to_a_file_that_is_there(run, product):
    folder, _ = product
    code, _, err = run("sign", "--add", "-o", "none.cose")
    assert (code, "cannot be read" in err) == (5, True)
    assert not (folder / "none.cose").exists()


def test_without_a_configuration_everything_is_given(run, product):
    folder, _ = product
    for name in ("ampforge.toml", "trust.cose"):
        (folder / name).unlink()
    (folder / "flare.table").write_bytes(serialize_waveform_table(flare_table()))
    options = ("--limits", "limits.toml", "--key", "keys/release-1.pem", "-o", "a.cose")
    code, _, _ = run("approve", "flare.table", *options)
    assert code == 0
    code, _, err = run("approve", "waveforms.toml", *options)
    assert (code, "no ampforge.toml" in err) == (2, True)


def test_a_readable_key_and_a_missing_one_are_refused(run, product):
    folder, _ = product
    (folder / "keys" / "policy.pem").chmod(0o644)
    assert run("approve")[0] == 3
    (folder / "keys" / "policy.pem").unlink()
    assert run("sign")[0] == 3
    assert not (folder / "build" / "approval.cose").exists()


def test_neither_verb_replaces_what_it_reads(run, product):
    folder, _ = product
    table = flare_table()
    (folder / "t").write_bytes(serialize_waveform_table(table))
    key, limits = ("--key", "keys/policy.pem"), ("--limits", "limits.toml")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for command in (
        ("sign", "limits.toml", *key, "-o", "limits.toml"),
        ("sign", "limits.toml", *key, "-o", "keys/policy.pem"),
        ("approve", "t", *limits, *key, "-o", "t"),
        ("approve", "t", *limits, *key, "-o", "limits.toml"),
        ("approve", "t", *limits, "--key", "file:keys/policy.pem", "-o", "keys/policy.pem"),
    ):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        is_key = command[-1] == "keys/policy.pem"
        telling = "the place of a private key" if is_key else "would replace what it is made from"
        assert telling in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_approval_that_others_signed_is_not_replaced(run, product):
    folder, keys = product
    save_trust(folder, keys, threshold=2)
    assert run("approve")[0] == 0
    assert run("approve", "--add", "--key", "keys/policy-2.pem")[0] == 0
    path = folder / "build" / "approval.cose"
    before = path.read_bytes()
    code, out, err = run("approve")
    assert (code, out) == (5, "")
    assert "their signatures would be lost" in err
    assert "--add" in err
    assert path.read_bytes() == before


def test_signing_again_alone_loses_nothing_and_signatures_over_another_table_are_told(run, product):
    folder, _ = product
    assert run("approve")[0] == run("approve")[0] == 0
    text = (folder / "limits.toml").read_text().replace("version = 1", "version = 2")
    (folder / "limits.toml").write_text(text)
    code, out, _ = run("approve")
    assert (code, "in place of 1 signature over something else" in out) == (0, True)


def test_nothing_of_another_kind_is_replaced(run, product):
    folder, _ = product
    assert run("sign", "-o", "limits.cose")[0] == 0
    (folder / "notes.txt").write_text("not a message")
    before = {path: path.read_bytes() for path in folder.glob("*.*") if path.suffix != ".jsonl"}
    for name in ("limits.cose", "notes.txt"):
        code, out, err = run("approve", "-o", name)
        assert (code, out) == (3, ""), err
        assert name in err
    for path in (folder / "limits.cose", folder / "notes.txt"):
        assert path.read_bytes() == before[path]


def test_a_policy_below_the_trust_records_minimum_is_neither_signed_nor_used(run, product):
    folder, keys = product
    save_trust(folder, keys, threshold=1, minimum_policy_version=2)
    why = ("--reason=r", "--requested-by=e")
    for command in (
        ("sign",),
        ("approve",),
        ("waive", "--rule=JDC", "--mode=INFUSE", "--level=4", "--until=2999-01-01", *why),
    ):
        code, out, err = run(*command)
        assert (code, out) == (5, "")
        assert "no longer counts" in err
    assert not (folder / "build").exists()
