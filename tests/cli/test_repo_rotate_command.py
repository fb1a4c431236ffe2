"""`ampforge repo rotate`: after `key rotate`, gateways follow from the root that they have."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from manifests.errors import RepositoryError
from manifests.folder_client import FolderClient
from signing.key_files import generate_key, load_public_key
from signing.keys import Algorithm


@pytest.fixture
def product(tmp_path, monkeypatch):
    folder = tmp_path / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    _run("repo", "init", "--insecure-test-keys")
    return folder


def _invoke(*arguments):
    return CliRunner().invoke(ampforge, [str(argument) for argument in arguments])


def _run(*arguments):
    done = _invoke(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def _replace(product, old, new, *arguments):
    generate_key(product / "keys" / f"{new}.pem", Algorithm.ECDSA_P256, passphrase=None)
    key_id = load_public_key(product / "keys" / f"{old}.pub.pem").key_id.hex()
    _run("key", "rotate", key_id, f"keys/{new}.pub.pem", "--revoke", *arguments)
    path = product / "ampforge.toml"
    path.write_text(path.read_text().replace(f"keys/{old}.", f"keys/{new}."))


def _client(product, tmp_path):
    root = (product / "repository/metadata/1.root.json").read_bytes()
    return FolderClient(root, tmp_path / "cache")


def test_a_new_online_key_and_then_a_new_root_key_take_over(product, tmp_path):
    _replace(product, "timestamp", "timestamp-2")
    assert isinstance(_invoke("repo", "renew").exception, RepositoryError)
    said = _run("repo", "rotate")
    assert "root 2 is published" in said
    assert "trust record version 2" in said
    _run("repo", "renew")
    keys = [part for name in ("root-2", "root-3") for part in ("--key", f"keys/{name}.pem")]
    new = ("--key", "keys/root-4.pem")
    _replace(product, "root-1", "root-4", *keys, *new)
    refused = _invoke("repo", "rotate")
    assert "too few keys of the role root" in str(refused.exception)
    document = json.loads(_run("repo", "rotate", "--old-key", "keys/root-3.pem", "--json"))
    assert document["schema"] == "ampforge.repo-rotation/1"
    assert (document["root_version"], document["thresholds"]["root"]) == (3, 2)
    assert '"version": 3' in _run("repo", "status", "--json")
    with pytest.raises(RepositoryError, match="lists no such target"):
        _client(product, tmp_path).read_target(product / "repository", "manifests/none")
    log = json.loads(_run("key", "log", "show", "--json"))
    assert "application/vnd.tuf.root+json" in {entry["content_type"] for entry in log["entries"]}
