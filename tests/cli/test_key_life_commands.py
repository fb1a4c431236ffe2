"""`ampforge key revoke` and `key rotate`: what root signs, and what is refused and unchanged."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.failures import UsageRefusal
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from signing.errors import TrustError
from signing.key_files import generate_key, load_public_key
from signing.keys import Algorithm
from signing.roles import Role
from signing.trust_file import load_trust_record


@pytest.fixture
def product(tmp_path, monkeypatch):
    folder = tmp_path / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    return folder


def _invoke(*arguments):
    return CliRunner().invoke(ampforge, [str(argument) for argument in arguments])


def _run(*arguments):
    done = _invoke(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def _id(product, name):
    return load_public_key(product / "keys" / f"{name}.pub.pem").key_id.hex()


def test_revoke_takes_a_key_out_and_says_what_to_change_in_the_settings(product):
    gone = _id(product, "release-1")
    said = _run("key", "revoke", gone[:16])
    assert "take keys/release-1.pub.pem out of [signing.roles.release] keys" in said
    record = load_trust_record(product / "trust.cose")
    assert record.version == 2
    assert {key_id.hex() for key_id in record.revoked_key_ids} == {gone}
    assert len(record.roles[Role.RELEASE].keys) == 2
    log = json.loads(_run("key", "log", "show", "--json"))
    assert [entry["role"] for entry in log["entries"]] == ["root"] * 4
    station = json.loads(_run("key", "revoke", "ab" * 32, "--json"))
    assert station["role"] is None
    assert "a station's or a device's" in _run("key", "revoke", "cd" * 32)


def test_rotate_puts_a_new_key_in_the_place_of_the_old(product):
    path = product / "keys" / "policy-2.pem"
    new = generate_key(path, Algorithm.ECDSA_P256, passphrase=None)
    old = _id(product, "policy")
    arguments = ("key", "rotate", old[:8], "keys/policy-2.pub.pem", "--revoke")
    document = json.loads(_run(*arguments, "--json"))
    assert document["role"] == "policy"
    assert document["revoked"] is True
    record = load_trust_record(product / "trust.cose")
    assert record.roles[Role.POLICY].keys == (new,)
    refused = _invoke("key", "rotate", _id(product, "policy-2"), "keys/policy.pub.pem")
    assert "a key is revoked" in str(refused.exception)
    generate_key(product / "keys" / "policy-3.pem", Algorithm.ECDSA_P256, passphrase=None)
    said = _run("key", "rotate", _id(product, "policy-2"), "keys/policy-3.pub.pem")
    assert "put keys/policy-3.pub.pem in" in said


def test_a_root_key_is_replaced_with_old_and_new_keys_signing(product):
    new = generate_key(product / "keys" / "root-4.pem", Algorithm.ECDSA_P256, passphrase=None)
    old = _id(product, "root-1")
    before = (product / "trust.cose").read_bytes()
    refused = _invoke("key", "rotate", old, "keys/root-4.pub.pem", "--revoke")
    assert "too few of the keys that root has in the next record" in str(refused.exception)
    assert (product / "trust.cose").read_bytes() == before
    keys = [
        part for name in ("root-1", "root-2", "root-4") for part in ("--key", f"keys/{name}.pem")
    ]
    _run("key", "rotate", old, "keys/root-4.pub.pem", "--revoke", *keys)
    record = load_trust_record(product / "trust.cose")
    assert new in record.roles[Role.ROOT].keys


def test_what_would_break_a_threshold_is_refused_before_anything_is_signed(product):
    before = {path: path.read_bytes() for path in product.rglob("*") if path.is_file()}
    refused = _invoke("key", "revoke", _id(product, "policy"))
    assert isinstance(refused.exception, TrustError)
    assert "too few" in str(refused.exception)
    refused = _invoke("key", "revoke", "1234")
    assert "not named well enough" in str(refused.exception)
    refused = _invoke(*("key", "revoke", _id(product, "release-1"), "--key", "keys/release-2.pem"))
    assert isinstance(refused.exception, UsageRefusal)
    assert {path: path.read_bytes() for path in product.rglob("*") if path.is_file()} == before
