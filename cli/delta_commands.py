"""`ampforge delta`: make the patch from one application to another, and prove it."""

from __future__ import annotations

from pathlib import Path

import click

from cli.bundle_files import find_configuration_anywhere, require_trust, trust_option
from cli.delta_files import load_encodings, read_application, refuse_other_chip
from cli.delta_output import describe_delta, format_delta
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.output_file import refuse_input_as_output
from cli.params import EXISTING_FILE, FILE, config_option, json_option, make_folder


@click.group(cls=NounGroup)
def group() -> None:
    """Make patches from one release to the next."""


@group.command(
    "create",
    epilog="Example: ampforge delta create build/flare-1.4.0.bundle.zip "
    "build/flare-1.5.0.bundle.zip",
)
@click.argument("base_path", metavar="BASE", type=EXISTING_FILE)
@click.argument("new_path", metavar="NEW", type=EXISTING_FILE)
@click.option(
    "-o", "--output", type=FILE, help="Patch to write (default: NEW.patch in this folder)."
)
@trust_option
@config_option
@json_option
def create(
    *,
    base_path: Path,
    new_path: Path,
    output: Path | None,
    trust_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Make the smallest patch that the device class can apply, apply it, and compare.

    BASE is what devices run and NEW what they are to run: signed bundles, which are verified
    first, or application images as they are flashed. [delta] declares what devices can apply.
    Above 60 % of the full image, that is better: this is said, and no patch is written.
    `ampforge repo publish --delta-from` publishes deltas.
    """
    from firmware_images.delta import create_delta
    from signing.durable_file import save_durably

    configuration = find_configuration_anywhere(config_path)
    encodings = load_encodings(configuration)
    stem = new_path.name.removesuffix(".bin").removesuffix(".bundle.zip")
    output = output or Path(f"{stem}.patch")
    refuse_input_as_output(output, base_path, new_path)
    base, new = (
        read_application(path, lambda: require_trust(config_path, trust_path))
        for path in (base_path, new_path)
    )
    refuse_other_chip(base, new)
    delta = create_delta(base.content, new.content, encodings)
    written = output if delta.is_worthwhile else None
    if written is not None:
        make_folder(written.parent)
        save_durably(written, delta.patch)
    document = {
        "schema": "ampforge.delta/1",
        "base": base.name,
        "result": new.name,
        **describe_delta(delta),
        "output": None if written is None else str(written),
    }
    human = format_delta(delta, base=base.name, new=new.name, output=written)
    print_result(document, human, as_json=as_json)
