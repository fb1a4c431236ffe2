"""A ceremony that is killed at any boundary goes on where it stopped, with the keys that it had."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from signing.ceremony_folder import load_ceremony
from signing.ceremony_verify import verify_ceremony
from signing.errors import PassphraseError
from signing.key_uris import load_software_signer
from tests.conftest import IS_SOAK
from tests.signing.ceremony_bench import ENCRYPTED_PLAN, make_folder, run_steps
from tests.untraced import untraced_environment

ROOT = Path(__file__).parents[2]


class Killer:
    """The process whose children die."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.signing.killed_ceremony"],
            cwd=ROOT, env=untraced_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def run(self, folder, moment):
        self.process.stdin.write(json.dumps([str(folder), moment]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def killer():
    killer = Killer()
    yield killer
    killer.process.stdin.close()
    killer.process.wait(timeout=30)


def private_files(folder):
    return {
        path.name: path.read_bytes()
        for path in (folder / "media").glob("*.pem")
        if not path.name.endswith(".pub.pem")
    }


def open_keys(folder):
    return {
        name: load_software_signer(
            f"file:{folder / 'media' / name}", passphrase=lambda: b"passphrase of Ada"
        ).public_key
        for name in private_files(folder)
    }


def check_after_kill(folder):
    """The run after a kill keeps every line and key that is there, and ends as a whole ceremony."""
    transcript = folder / "transcript.jsonl"
    kept, keys = transcript.read_bytes() if transcript.exists() else b"", private_files(folder)
    run_steps(folder)
    assert transcript.read_bytes().startswith(kept)
    assert private_files(folder).items() >= keys.items()
    verified = verify_ceremony(folder)
    assert open_keys(folder) == {f"{name}.pem": key for name, key in verified.keys.items()}
    left = {path.name for path in (folder / "media").iterdir() if path.suffix == ".partial"}
    assert not [name for name in left if ".pub.pem." not in name], "a private key's draft is left"


def visible_files(folder):
    """What a ceremony has got done, without drafts, lock and sign log."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith((".", "sign-log"))
    }


def test_a_kill_at_every_boundary_leaves_a_ceremony_that_goes_on(killer, tmp_path):
    """One ceremony, killed right before and right after each time that a file takes its name.

    Each run starts from what the last kill left, so that every boundary is gone on from. A run that
    got nothing done but a line of the sign log may come one name further the next time.
    """
    folder = make_folder(tmp_path / "folder")
    deaths, name = 0, 1
    while True:
        before = visible_files(folder)
        is_over = killer.run(folder, ["before", name]) == 0
        if is_over:
            break
        assert killer.run(folder, ["after", name]) == -signal.SIGKILL
        after = visible_files(folder)
        transcript = folder / "transcript.jsonl"
        kept = before.get(transcript.relative_to(folder), b"")
        assert transcript.read_bytes().startswith(kept)
        assert all(
            after[path] == content for path, content in before.items() if path.suffix != ".jsonl"
        )
        assert load_ceremony(folder).entries or not kept
        name = name + 1 if after == before else 1
        deaths += 2
        assert deaths < 300, "the ceremony makes no progress"
    assert deaths > 60
    check_after_kill(folder)


@pytest.mark.skipif(not IS_SOAK, reason="each boundary from a fresh folder: make soak")
@pytest.mark.parametrize("edge", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 39))
def test_a_kill_at_each_boundary_of_an_undisturbed_ceremony(killer, tmp_path, edge, number):
    folder = make_folder(tmp_path / "folder")
    assert killer.run(folder, [edge, number]) == -signal.SIGKILL
    check_after_kill(folder)


def test_an_encrypted_key_is_taken_up_with_its_passphrase_after_a_kill(killer, tmp_path):
    folder = make_folder(tmp_path / "folder", ENCRYPTED_PLAN)
    assert killer.run(folder, ["after", 4]) == -signal.SIGKILL
    (key,) = set(private_files(folder)) - {"campaign.pem"}
    assert not (folder / "media" / "root-1.pub.pem").exists()
    before = (folder / "media" / key).read_bytes()
    asked = []
    with pytest.raises(PassphraseError, match="does not open"):
        run_steps(folder, 1, passphrase=lambda _planned, _is_new: b"another")
    assert (folder / "media" / key).read_bytes() == before

    def answer(planned, is_new):
        asked.append((planned.name, is_new))
        return b"passphrase of Ada"

    run_steps(folder, 1, passphrase=answer)
    assert asked == [("root-1", False)], "the passphrase was chosen before the kill"
    assert (folder / "media" / key).read_bytes() == before
    assert (folder / "media" / "root-1.pub.pem").exists()
