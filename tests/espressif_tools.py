"""Espressif's own tools, run as their users run them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.untraced import untraced_environment

if TYPE_CHECKING:
    from pathlib import Path


def run_tool(
    tool: str, *arguments: str | Path, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run esptool, espefuse or espsecure to its end, whatever that is."""
    return subprocess.run(
        [sys.executable, "-m", tool, *map(str, arguments)],
        cwd=folder,
        env=untraced_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def esptool(*arguments: str | Path, folder: Path | None = None) -> str:
    """Return what esptool printed; it must succeed."""
    return _output_of(run_tool("esptool", *arguments, folder=folder))


def espefuse(efuse_path: Path, *arguments: str, chip: str = "esp32c3") -> str:
    """Return what espefuse printed about the eFuses in a file; it must succeed."""
    virtual = ["--chip", chip, "--virt", "--path-efuse-file", efuse_path, "--do-not-confirm"]
    return _output_of(run_tool("espefuse", *virtual, *arguments))


def summarise_efuses(efuse_path: Path, *, chip: str = "esp32c3") -> dict[str, dict[str, Any]]:
    """Return each eFuse as espefuse describes it."""
    text = espefuse(efuse_path, "summary", "--format", "json", chip=chip)
    fields: dict[str, dict[str, Any]] = json.loads(text[text.index("{") :])
    return fields


def _output_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
