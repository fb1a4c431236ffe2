"""What tests of commands share: the example product, a copy to work in, and a way to run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cli.failures import run_and_exit
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def approved_example(tmp_path_factory) -> Path:
    """The example product with test keys and an approved table: to copy, not to work in."""
    folder = tmp_path_factory.mktemp("example") / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    approve = ["policy", "approve", "--config", str(folder / "ampforge.toml")]
    assert CliRunner().invoke(ampforge, approve).exit_code == 0
    return folder


@pytest.fixture
def in_a_copy(tmp_path, monkeypatch) -> Callable[[Path], Path]:
    """Return a function that copies a product and goes into the copy."""

    def enter(prepared: Path) -> Path:
        folder = shutil.copytree(prepared, tmp_path / "flare")
        monkeypatch.chdir(folder)
        monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
        return folder

    return enter


@pytest.fixture
def product(in_a_copy, prepared) -> Path:
    """The product that the module prepared, in a copy."""
    return in_a_copy(prepared)


@pytest.fixture
def run(capsys) -> Callable[..., str]:
    """Return a function that runs a command as a user would, and returns what it printed.

    That is the result, or what was said where it is refused. The exit code must be the stated one.
    """

    def call(*arguments: object, code: int = 0) -> str:
        printed = _run(capsys, arguments, code=code)
        return printed.err if code else printed.out

    return call


@pytest.fixture
def run_with_remarks(capsys) -> Callable[..., str]:
    """The same, but what it returns begins with what was said beside the result."""

    def call(*arguments: object, code: int = 0) -> str:
        printed = _run(capsys, arguments, code=code)
        return printed.err + printed.out

    return call


def _run(capsys, arguments, *, code):
    with pytest.raises(SystemExit) as exited:
        run_and_exit(ampforge, [str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert exited.value.code == code, printed
    return printed
