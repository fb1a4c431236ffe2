"""`ampforge image merge`: the flash image of a release, for whoever programs blank boards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.bundle_files import (
    OPTIONAL_BUNDLE_ARGUMENT,
    choose_bundle,
    read_bundle,
    require_trust,
    trust_option,
)
from cli.clock import utc_now
from cli.output import print_result
from cli.params import FILE, config_option, json_option, make_folder
from cli.waiver_options import format_waivers

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "merge", epilog="Example: ampforge image merge build/flare-1.4.0.bundle.zip -o factory.bin"
)
@OPTIONAL_BUNDLE_ARGUMENT
@click.option("-o", "--output", type=FILE, required=True, help="Flash image to write.")
@click.option("--fill-flash", is_flag=True, help="Go to the end of flash (default: of the parts).")
@trust_option
@config_option
@json_option
def merge(
    *,
    bundle_path: Path | None,
    output: Path,
    fill_flash: bool,
    trust_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Verify a bundle and merge what a factory writes to a blank board into one image.

    BUNDLE is the release (default: the only one that `bundle build` wrote). The image begins at
    offset 0 of flash. Written to a board that is in use, it erases that board's identity and
    calibration.
    """
    import hashlib

    from firmware_images.bundle import verify_bundle
    from firmware_images.factory_image import merge_regions
    from firmware_images.waiver_judging import refuse_out_of_force
    from signing.durable_file import save_durably
    from signing.refusal import refusing_in

    bundle_path = choose_bundle(bundle_path, config_path)
    trust = require_trust(config_path, trust_path)
    bundle = verify_bundle(read_bundle(bundle_path), trust, where=str(bundle_path))
    now = utc_now()
    with refusing_in(bundle_path):
        refuse_out_of_force(bundle.waivers, now=now)
    regions = bundle.flash_regions()
    content = merge_regions(
        regions, flash_size_bytes=bundle.statement.flash_size_bytes, fill_flash=fill_flash
    )
    make_folder(output.parent)
    save_durably(output, content)
    document = {
        "schema": "ampforge.factory-image/1",
        "path": str(output),
        "release": bundle.digest.hex(),
        "waivers": [waiver.to_json() for waiver in bundle.waivers],
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "has_bootloader": bundle.bootloader is not None,
        "regions": [
            {
                "name": region.name,
                "offset_bytes": region.offset_bytes,
                "size_bytes": len(region.content),
            }
            for region in regions
        ],
    }
    lines = [f"wrote {output}: {len(content)} bytes, SHA-256 {document['sha256']}"]
    lines += [f"  {line}" for line in format_waivers(bundle.waivers, now=now)]
    lines += [
        f"  {region.offset_bytes:#010x}  {len(region.content):>8} bytes  {region.name}"
        for region in regions
    ]
    if bundle.bootloader is None:
        lines.append("without a bootloader: a blank board does not boot from this image alone")
    lines.append("for blank boards: it erases the identity and calibration of a board in use")
    print_result(document, "\n".join(lines), as_json=as_json)
