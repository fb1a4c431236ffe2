"""`ampforge init`: copy the example product as a starting point."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import click

from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import FOLDER, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

EXAMPLE_NAME = "flare"
_BUILD_LEFTOVERS = shutil.ignore_patterns("build", "__pycache__", ".zig-cache", "*.pyc")


def example_folder() -> AbstractContextManager[Path]:
    """Return the folder of the example product, from the wheel or from the source tree."""
    packaged = files("cli").joinpath("examples", EXAMPLE_NAME)
    if packaged.is_dir():
        return as_file(packaged)
    return as_file(files("cli").joinpath("..", "examples", EXAMPLE_NAME))


def copy_example(folder: Path) -> tuple[Path, ...]:
    """Copy the example product into a folder that is new or empty.

    Returns:
        The files written, relative to the folder.

    Raises:
        UsageRefusal: The folder has something in it, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageRefusal(
            "the folder is not empty",
            expected="a new or empty folder",
            got=f"{sum(1 for _ in folder.iterdir())} entries",
            where=folder,
            hint="name another folder: `ampforge init NAME`",
        )
    try:
        with example_folder() as source:
            shutil.copytree(source, folder, ignore=_BUILD_LEFTOVERS, dirs_exist_ok=True)
    except OSError as error:
        raise UsageRefusal("the example cannot be copied", got=error, where=folder) from error
    return tuple(_relative_files(folder))


def _relative_files(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())


@click.command(
    epilog="Example: ampforge init my-product && cd my-product && ampforge waveform check"
)
@click.argument("folder", type=FOLDER, default="flare")
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Copy the example product `flare` into FOLDER (new or empty) as a starting point."""
    written = copy_example(folder)
    human = "\n".join(
        [
            f"{len(written)} files in {folder}:",
            *(f"  {path}" for path in written),
            f"next: cd {folder}; ampforge waveform check waveforms.toml",
        ]
    )
    document = {
        "schema": "ampforge.init/1",
        "folder": str(folder),
        "files": [str(path) for path in written],
    }
    print_result(document, human, as_json=as_json)
