"""Espressif's own signing tool, run as its users run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.espressif_tools import run_tool

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


def espsecure(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_tool("espsecure", *arguments, folder=folder)


def sign_with_espsecure(image: Path, signed: Path, *keys: Path, append: bool = False) -> None:
    options = [part for key in keys for part in ("--keyfile", key)]
    if append:
        options.append("--append-signatures")
    command = ("sign-data", "--version", "2", *options, "--output", signed, image)
    done = espsecure(*command, folder=image.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def espsecure_accepts(image: Path, public_key: Path) -> bool:
    command = ("verify-signature", "--version", "2", "--keyfile", public_key, image)
    return espsecure(*command, folder=image.parent).returncode == 0
