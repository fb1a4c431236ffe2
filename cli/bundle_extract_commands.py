"""`ampforge bundle extract`: the members of a bundle as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.bundle_files import BUNDLE_ARGUMENT, read_bundle, require_trust, trust_option
from cli.clock import utc_now
from cli.output import print_result
from cli.params import FOLDER, config_option, json_option

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "ampforge.bundle-extraction/1"


@click.command(
    "extract", epilog="Example: ampforge bundle extract flare-1.4.0.bundle.zip flare-1.4.0"
)
@BUNDLE_ARGUMENT
@click.argument("folder", type=FOLDER)
@click.option("--unverified", is_flag=True, help="Only read the archive: trust nothing of it.")
@trust_option
@config_option
@json_option
def extract(
    *,
    bundle_path: Path,
    folder: Path,
    unverified: bool,
    trust_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Write what a bundle holds into FOLDER (new or empty), after it was verified.

    All files or none: the folder is there only when it is whole.
    """
    from firmware_images.bundle import verify_bundle
    from firmware_images.bundle_archive import parse_archive
    from firmware_images.release_waivers import describe_waivers
    from firmware_images.waiver_text import format_waiver
    from signing.durable_folder import create_folder_durably

    untrusted_bytes = read_bundle(bundle_path)
    if not unverified:
        trust = require_trust(config_path, trust_path)
        verify_bundle(untrusted_bytes, trust, where=str(bundle_path))
    members = parse_archive(untrusted_bytes, where=str(bundle_path))
    create_folder_durably(folder, members)
    waivers = describe_waivers(members)
    document: dict[str, object] = {
        "schema": SCHEMA,
        "verified": not unverified,
        "folder": str(folder),
        "waivers": waivers,
        "files": [{"name": name, "size_bytes": len(content)} for name, content in members.items()],
    }
    if unverified:
        click.echo(
            "NOT VERIFIED: anybody may have made these files; flash, sign or publish none of them",
            err=True,
        )
    lines = [f"{'NOT VERIFIED' if unverified else 'verified'}: {bundle_path}, in {folder}"]
    lines += [f"  {format_waiver(waiver, now=utc_now())}" for waiver in waivers]
    lines += [f"  {len(content):>9}  {name}" for name, content in members.items()]
    print_result(document, "\n".join(lines), as_json=as_json)
