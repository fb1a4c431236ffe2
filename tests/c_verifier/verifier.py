"""Builds the C verifier with the system's compiler and mbedTLS, and asks it.

Tests that need it skip where compiler or library are missing; under
`AMPFORGE_REQUIRE_SYSTEM_TOOLS=1` they fail instead (Debian: `apt-get install gcc make
libmbedtls-dev`). It is built with AddressSanitizer and UBSan, which end the process at the first
finding: each question is therefore also a test of both.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system_tools import give_up

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = Path(__file__).parents[2] / "examples" / "flare" / "firmware" / "verifier"
GOLDEN = Path(__file__).parents[1] / "golden"


class CVerifier:
    """The program `verifier-cli` in its batch mode: one line asked, one line answered."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program, "batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0"},
        )

    def ask(self, command: str, words: Mapping[str, bytes | int | str]) -> dict[str, Any]:
        """Return what the program says of one case.

        Raises:
            AssertionError: The program ended, as at a sanitizer's finding, or could not read the
                case.
        """
        line = " ".join((command, *(f"{name}={_as_word(value)}" for name, value in words.items())))
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BaseException:
            process.kill()  # a timeout in between: no later question may get this one's answer
            raise
        if not answer:
            raise AssertionError(f"the C verifier ended: {process.stderr.read()}\n{line}")
        told: dict[str, Any] = json.loads(answer)
        assert "error" not in told, f"{told['error']}: {line}"
        return told

    def code(self, command: str, **words: bytes | int | str) -> str:
        """Return the code that the program answers with."""
        return str(self.ask(command, {n.replace("_", "-"): w for n, w in words.items()})["code"])

    def close(self) -> None:
        """Let the program end, and see that it ends well: leaks are told at its end."""
        _, told = self._process.communicate()
        assert self._process.returncode == 0, told


def build(folder: Path, target: str, setting: str = "") -> Path:
    """Build a program of the C verifier, once; give the test up where nothing can.

    Args:
        folder: One for all test processes.
        target: The program's name.
        setting: A variable of the Makefile, for a build of its own.
    """
    reason = missing()
    if reason:
        give_up(reason)
    with (folder / "c-verifier.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes build it once
        program = folder / f"c-verifier{setting.replace('=', '-')}" / target
        settings = [f"BUILD={program.parent}", *([setting] if setting else [])]
        done = subprocess.run(
            ["make", "-C", SOURCES, *settings, program],  # noqa: S607 - the system's own
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return program


@cache
def missing() -> str:
    """Return what is missing to build the C verifier; empty if nothing is."""
    for tool in ("cc", "make"):
        if shutil.which(tool) is None:
            return f"there is no {tool} (Debian: gcc make)"
    probe = subprocess.run(
        ["cc", "-fsyntax-only", "-x", "c", "-"],  # noqa: S607
        input="#include <mbedtls/ecdsa.h>\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if probe.returncode == 0 else "mbedTLS is not installed (Debian: libmbedtls-dev)"


def _as_word(value: bytes | int | str) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
