"""`ampforge key log`: every signature of the command line is there, and no change goes unseen."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from signing.errors import ChainError


@pytest.fixture
def product(tmp_path, monkeypatch):
    folder = tmp_path / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    return folder


def _run(*arguments, code=0):
    done = CliRunner().invoke(ampforge, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_each_signature_of_a_release_is_in_the_log(product):
    for arguments in (
        ("policy", "approve"),
        ("bundle", "build"),
        ("bundle", "sign", "build/flare-1.4.0.bundle.zip"),
        ("trust", "sign"),
        ("repo", "init", "--insecure-test-keys"),
        ("repo", "publish", "build/flare-1.4.0.bundle.zip"),
    ):
        _run(*arguments)
    document = json.loads(_run("key", "log", "show", "--json"))
    signed = [(entry["role"], entry["content_type"]) for entry in document["entries"]]
    trust = ("root", "application/vnd.ampforge.trust+cbor")
    assert signed[:2] == [trust, trust]
    assert [role for role, _ in signed[2:4]] == ["policy", "release"]
    assert signed.count(trust) == 4
    assert ("root", "application/vnd.tuf.root+json") in signed
    assert ("release", "application/vnd.tuf.targets+json") in signed
    assert ("timestamp", "application/vnd.tuf.timestamp+json") in signed
    shown = _run("key", "log", "show")
    assert len(shown.splitlines()) == len(signed)
    assert "ampforge" in shown


def test_a_shortened_log_is_found_and_stops_signing(product):
    head = json.loads(_run("key", "log", "verify", "--json"))["head"]
    _run("trust", "sign")
    assert "it still has its head of 2 signatures" in _run("key", "log", "verify", "--head", head)
    path = product / "sign-log.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    before = (product / "trust.cose").read_bytes()
    for arguments in (("key", "log", "verify", path), ("key", "log", "show"), ("trust", "sign")):
        done = CliRunner().invoke(ampforge, [str(argument) for argument in arguments])
        assert isinstance(done.exception, ChainError)
    assert (product / "trust.cose").read_bytes() == before


def test_a_head_that_is_none_is_refused(product):
    done = CliRunner().invoke(ampforge, ["key", "log", "verify", "--head", "2"])
    assert isinstance(done.exception, ChainError)
    assert "COUNT:HASH" in str(done.exception)
