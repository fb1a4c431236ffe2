"""The how-to pages are true: each command is run, and what they show is what is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.free_port import find_free_port
from tests.untraced import untraced_environment

PAGES = Path(__file__).resolve().parents[1] / "docs" / "how-to"
# A page's name, and at least how many commands it has.
COMMAND_COUNTS = {
    "getting-started": 20,
    "release-in-ten-minutes": 10,
    "set-up-a-station-in-15-minutes": 15,
    "key-ceremony": 6,
    "compromise-drill": 4,
    "publish-a-delta": 15,
    "publish-releases": 17,
    "rotate-a-lost-key": 14,
    "audit-walk-through": 20,
}
EXIT_CODE = "echo $?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command of the page, and the lines that it shows below it."""

    command: str
    shown: tuple[str, ...]


def read_steps(page: str) -> tuple[Step, ...]:
    """Return the commands of all console blocks, in order."""
    steps: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            steps.append(Step(command=command, shown=tuple(shown)))
    return tuple(steps)


def shown_pattern(shown: tuple[str, ...]) -> str:
    """Return what the output must match: `…` is anything in a line, a line of `…` any lines."""
    lines = [
        r"(?:.*\n)*"
        if line == "…"
        else r".*".join(re.escape(piece.strip()) for piece in line.split("…")) + r" *\n"
        for line in shown
    ]
    return r"(?:.*\n)*?" + r" *".join(lines) + r"(?:.*\n)*"


class Shell:
    """Runs the page's commands, one process each, and keeps what runs in the background."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.exit_code = 0
        self._stack = stack
        scripts = Path(sys.executable).parent
        self._environment = {
            **{k: v for k, v in untraced_environment().items() if not k.startswith("AMPFORGE_")},
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUTF8": "1",
        }

    def run(self, command: str) -> str:
        """Run one command and return what it printed, errors last."""
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
            return ""
        if command == EXIT_CODE:
            return f"{self.exit_code}\n"
        if command.endswith(" &"):
            return self._start(command.removesuffix(" &"))
        done = subprocess.run(
            ("/bin/sh", "-c", command),
            cwd=self.folder,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.exit_code = done.returncode
        return done.stdout + done.stderr

    def _start(self, command: str) -> str:
        process = subprocess.Popen(
            ("/bin/sh", "-c", f"exec {command}"),
            cwd=self.folder,
            env={**self._environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._stack.callback(process.wait, timeout=30)
        self._stack.callback(process.terminate)
        assert process.stdout is not None
        return process.stdout.readline()


@pytest.mark.parametrize(
    ("shown", "printed", "is_shown"),
    [
        (("one", "three"), "one\nthree\n", True),
        (("one", "three"), "one\ntwo\nthree\n", False),
        (("one", "…", "three"), "one\ntwo\nthree\n", True),
        (("size … bytes",), "zero\nsize 12 bytes\nthree\n", True),
        (("size … bytes",), "size 12\nbytes\n", False),
        ((), "anything\n", True),
    ],
)
def test_what_is_shown_may_leave_out_only_what_it_says(
    shown: tuple[str, ...], printed: str, *, is_shown: bool
) -> None:
    assert (re.fullmatch(shown_pattern(shown), printed) is not None) == is_shown


@pytest.mark.parametrize("name", COMMAND_COUNTS)
def test_every_command_of_the_page_does_what_the_page_shows(tmp_path: Path, name: str) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8").replace("8470", str(find_free_port()))
    steps = read_steps(page)
    assert len(steps) >= COMMAND_COUNTS[name]
    following = [step.command for step in steps[1:]] + [""]
    with ExitStack() as stack:
        shell = Shell(tmp_path, stack)
        for step, next_command in zip(steps, following, strict=True):
            printed = shell.run(step.command)
            where = f"$ {step.command}\n{printed}"
            assert shell.exit_code == 0 or EXIT_CODE in (step.command, next_command), where
            assert re.fullmatch(shown_pattern(step.shown), printed), where
