"""Ctrl-C ends the command with 130 and one line, however early it comes."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from cli.entry import EXIT_INTERRUPTED, INTERRUPTED

# The process sends the signal to itself when it looks for a module: a sleep would hit another one
# on every machine.
SCRIPT = """
import os, signal, sys
handler, module, *arguments = sys.argv[1:]
signal.signal(signal.SIGINT, getattr(signal, handler))
class Finder:
    def find_spec(name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
sys.argv[1:] = arguments
from cli.entry import main
sys.exit(main())
"""


def interrupt(module: str, *arguments: str, handler: str = "default_int_handler"):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, handler, module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "module",
    ["cli.main", "click", "click.core", "cli.failures", "signing.errors", "cli.leaving"],
)
def test_ctrl_c_during_the_first_imports_ends_with_130_and_no_traceback(module):
    done = interrupt(module, "--help")
    assert (done.returncode, done.stdout) == (EXIT_INTERRUPTED, "")
    assert done.stderr == f"\n{INTERRUPTED}\n"


@pytest.mark.parametrize("module", ["cli.waveform_commands", "cli.waveform_options"])
def test_ctrl_c_while_a_noun_is_imported_is_told_in_the_same_way(module):
    done = interrupt(module, "waveform", "check", "absent.toml")
    assert (done.returncode, done.stdout) == (EXIT_INTERRUPTED, "")
    assert done.stderr == f"\n{INTERRUPTED}\n"


def test_who_ignores_ctrl_c_is_not_ended_by_it():
    done = interrupt("click", "--help", handler="SIG_IGN")
    assert (done.returncode, done.stderr) == (0, "")
    assert "waveform" in done.stdout


def test_the_installed_command_begins_here_and_nothing_slow_comes_first():
    (script,) = distribution("ampforge").entry_points.select(group="console_scripts")
    assert script.value == "cli.entry:main"
    loaded = (
        "import sys; before = set(sys.modules); import cli.entry; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.split()) <= {"cli", "cli.entry", "gc", "__future__"}


def test_the_readme_names_the_exit_code():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{EXIT_INTERRUPTED}\s+interrupted\b", text)
