"""`ampforge image`: what an ESP32 application image says about itself, and who signed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.image_merge_command import merge
from cli.image_signing_commands import sign, verify
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import EXISTING_PATH, json_option

if TYPE_CHECKING:
    from pathlib import Path


@click.group(cls=NounGroup)
def group() -> None:
    """Inspect, sign and verify ESP32 images, and merge a release into one."""


group.add_command(sign)
group.add_command(verify)
group.add_command(merge)


@group.command("inspect", epilog="Example: ampforge image inspect firmware/images/flare-1.4.0.bin")
@click.argument("image_path", metavar="IMAGE", type=EXISTING_PATH)
@click.option("--chip", help="What an ELF file was linked for, such as esp32c3.")
@json_option
def inspect(*, image_path: Path, chip: str | None, as_json: bool) -> None:
    """Read an image, and again through esptool, and say what it is; a damaged one is refused.

    IMAGE is a .bin, an .elf, or the build folder of an ESP-IDF project, whose bootloader and
    partition table are then judged with it. Signatures for the chip are verified; whether boards
    hold the keys is for `image verify`.
    """
    from cli.image_output import describe_image, format_image
    from firmware_images.esp_image_check import check_with_esptool
    from firmware_images.image_input import load_image_input
    from firmware_images.secure_boot import verify_signed_image

    taken = load_image_input(image_path, chip=chip)
    check_with_esptool(taken.content, taken.image, where=str(taken.path))
    if taken.build is not None and taken.build.bootloader is not None:
        bootloader = taken.build.bootloader
        check_with_esptool(bootloader.content, bootloader.image, where=str(bootloader.path))
    blocks = (
        verify_signed_image(taken.content, where=str(taken.path)).blocks
        if taken.image.signature_bytes
        else ()
    )
    print_result(describe_image(taken, blocks), format_image(taken, blocks), as_json=as_json)
