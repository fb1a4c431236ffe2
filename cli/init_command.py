"""`ampforge init`: copy the example product as a starting point."""

from __future__ import annotations

import shlex
import shutil
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import click

from cli.configuration import FILE_NAME, load_configuration
from cli.failures import UsageRefusal
from cli.output import print_result
from cli.params import FOLDER, json_option
from cli.signing_keys import open_signers
from signing.input_file import is_present

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

EXAMPLE_NAME = "flare"
_NOT_COPIED = shutil.ignore_patterns("build", "__pycache__", ".zig-cache", "*.pyc", "verifier")
"""What a build leaves, and the verifier: its vectors lie in the source tree, not in a product."""


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
    try:
        is_new = not is_present(folder)
        entry_count = 0 if is_new else sum(1 for _ in folder.iterdir())
    except OSError as error:
        raise _cannot_copy(folder, error) from error
    if entry_count:
        raise UsageRefusal(
            "the folder is not empty",
            expected="a new or empty folder",
            got=f"{entry_count} entries",
            where=folder,
            hint="name another folder: `ampforge init NAME`",
        )
    try:
        with example_folder() as source:
            shutil.copytree(source, folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
    except OSError as error:
        # Half an example would look like a whole one.
        for path in (folder,) if is_new else tuple(folder.iterdir()):
            shutil.rmtree(path, ignore_errors=True)
        raise _cannot_copy(folder, error) from error
    return tuple(_relative_files(folder))


def _cannot_copy(folder: Path, error: OSError) -> UsageRefusal:
    return UsageRefusal(
        "the example cannot be copied",
        got=error.strerror or str(error)[:200],
        where=folder,
        hint="name a folder that can be made and written: `ampforge init NAME`",
    )


def _relative_files(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())


def sign_first_trust_record(folder: Path) -> tuple[Path, ...]:
    """Make test keys for every role of a product folder and sign its first trust record.

    Returns:
        The files written.
    """
    from firmware_images.product import ProductSettings
    from signing.durable_file import create_durably
    from signing.roles import Role
    from signing.roles_settings import SigningSettings
    from signing.trial_keys import generate_test_keys
    from signing.trust import sign_trust_record
    from signing.trust_file import next_trust_record

    configuration = load_configuration(folder / FILE_NAME)
    settings = configuration.section("signing", SigningSettings)
    keys = generate_test_keys(settings, configuration.root)
    record = next_trust_record(
        None,
        product=configuration.section("product", ProductSettings).name,
        roles=settings.load_role_keys(configuration.root),
        boards_verify=settings.boards_verify,
    )
    signers = open_signers(Role.ROOT, configuration=configuration, passphrase=None)
    path = configuration.resolve(settings.trust_record)
    create_durably(path, sign_trust_record(record, signers), mode=0o644)
    return (*keys, path)


@click.command(
    epilog="Example: ampforge init flare --test-keys && cd flare && ampforge waveform check"
)
@click.argument("folder", type=FOLDER, default="flare")
@click.option(
    "--test-keys",
    is_flag=True,
    help="Make marked, unencrypted keys for every role, to try things out; never for products.",
)
@json_option
def init(*, folder: Path, test_keys: bool, as_json: bool) -> None:
    """Copy the example product `flare` into FOLDER (new or empty) as a starting point."""
    written = copy_example(folder)
    lines = [f"{len(written)} files in {folder}:", *(f"  {path}" for path in written)]
    key_paths: tuple[Path, ...] = ()
    if test_keys:
        key_paths = sign_first_trust_record(folder)
        lines.append(f"{len(key_paths) - 1} test keys and the trust record {key_paths[-1].name}")
    lines.append(f"next: cd {shlex.quote(str(folder))}; ampforge waveform check")
    document = {
        "schema": "ampforge.init/1",
        "folder": str(folder),
        "files": [str(path) for path in written],
        "test_keys": [str(path) for path in key_paths[:-1]],
    }
    print_result(document, "\n".join(lines), as_json=as_json)
