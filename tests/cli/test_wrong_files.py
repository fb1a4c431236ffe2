"""Verbs that are given a wrong file say which, and what to do: no traceback, nothing is changed."""

from __future__ import annotations

import os
import re

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge

FILE = "FILE"
VERBS = (
    ("key", "inspect", FILE),
    ("key", "log", "show", FILE),
    ("trust", "show", FILE),
    ("trust", "sign", "--factory-ca", FILE),
    ("policy", "sign", FILE, "--output", "new"),
    ("policy", "approve", FILE, "--output", "new"),
    ("policy", "approve", "--limits", FILE, "--output", "new"),
    ("waveform", "check", FILE),
    ("waveform", "inspect", FILE),
    ("waveform", "import", FILE, "--output", "new"),
    ("waveform", "verify-slot", FILE),
    ("image", "inspect", FILE),
    ("image", "verify", FILE),
    ("bundle", "build", "--approval", FILE, "--output", "new"),
    ("bundle", "build", "--partitions", FILE, "--output", "new"),
    ("bundle", "inspect", FILE),
    ("bundle", "verify", FILE),
    ("bundle", "diff", FILE, FILE),
    ("delta", "create", FILE, FILE, "--output", "new"),
    ("repo", "publish", FILE),
    ("repo", "verify-suit", FILE),
    ("ledger", "restore", FILE, "--reason", "why", "--station", "new"),
    ("unit", "verify", FILE, "--factory-ca", FILE),
    ("calibration", "fit", FILE),
    ("gauge", "rr", FILE),
    ("capability", "study", FILE, "--upper", "1"),
    ("bundle", "verify", "--config", FILE),
)
NOT_WRONG = {("key", "key", "inspect"), ("empty", "key", "log"), ("pipe", "key", "log")}
"""A key is one, and a log may have no line yet; a pipe that nobody writes to reads as empty."""
KINDS = ("missing", "folder", "empty", "bytes", "text", "key", "circle", "pipe")


@pytest.fixture
def prepared(approved_example):
    return approved_example


def read_tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_file_is_refused_by_its_name_and_with_the_next_step(product, capsys, kind):
    key = (product / "keys" / "release-1.pem").read_bytes()
    wrong = product / "wrong"
    content = {"empty": b"", "bytes": bytes(range(256)) * 20, "text": b"hello\n", "key": key}
    if kind == "folder":
        wrong.mkdir()
    elif kind == "circle":
        wrong.symlink_to("wrong")
    elif kind == "pipe":
        os.mkfifo(wrong)
    elif kind in content:
        wrong.write_bytes(content[kind])
    before = read_tree(product)
    for verb in VERBS:
        if (kind, *verb[:2]) in NOT_WRONG:
            continue
        with pytest.raises(SystemExit) as exited:
            run_and_exit(ampforge, [str(wrong) if word == FILE else word for word in verb])
        told = capsys.readouterr().err
        assert exited.value.code in {2, 3, 4, 5, 6}, (verb, told)
        assert str(wrong) in told, verb
        assert "\n  next: " in told, told
        assert not re.search(r"Traceback|Errno|\b[A-Z]\w+(Error|Exception)\b", told), told
    assert read_tree(product) == before
