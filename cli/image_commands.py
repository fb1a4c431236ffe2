"""`ampforge image`: what an ESP32 application image says about itself, and who signed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.image_merge_command import merge
from cli.image_signing_commands import sign, verify
from cli.output import print_result
from cli.params import EXISTING_PATH, json_option

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_images.esp_image import EspImage, ImageSegment


@click.group()
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
    """Read an image through esptool and say what it is; a damaged one is refused.

    IMAGE is a .bin, an .elf, or the build folder of an ESP-IDF project.
    """
    from firmware_images.image_input import load_image_input

    image = load_image_input(image_path, chip=chip).image
    print_result(_describe(image), _format(image), as_json=as_json)


def _describe(image: EspImage) -> dict[str, object]:
    from firmware_images.secure_version import FIELD_BITS

    return {
        "schema": "ampforge.image/1",
        "chip": image.chip,
        "size_bytes": image.size_bytes,
        "image_sha256": image.image_sha256.hex(),
        "appended_sha256": None if image.appended_sha256 is None else image.appended_sha256.hex(),
        "entry_point": image.entry_point,
        "min_chip_revision": image.min_chip_revision,
        "max_chip_revision": image.max_chip_revision,
        "signature_bytes": image.signature_bytes,
        "segments": [
            {"address": segment.address, "size_bytes": segment.size_bytes}
            for segment in image.segments
        ],
        "has_descriptor": image.has_descriptor,
        "project_name": image.project_name,
        "version": image.version,
        "secure_version": image.secure_version,
        "secure_version_bits": FIELD_BITS.get(image.chip),
        "idf_version": image.idf_version,
        "elf_sha256": None if image.elf_sha256 is None else image.elf_sha256.hex(),
        "build_date": image.build_date,
    }


def _format(image: EspImage) -> str:
    rows = [
        ("chip", image.chip),
        ("size", f"{image.size_bytes} bytes"),
        ("SHA-256", image.image_sha256.hex()),
        (
            "appended SHA-256",
            "none: the image was built without one"
            if image.appended_sha256 is None
            else f"{image.appended_sha256.hex()}, matches",
        ),
        ("entry point", f"{image.entry_point:#010x}"),
        ("chip revisions", f"{image.min_chip_revision} to {image.max_chip_revision}"),
    ]
    if image.signature_bytes:
        rows.append(
            ("Secure Boot", "a signature sector is there; `ampforge image verify` verifies it")
        )
    rows += [
        (f"segment {number}", _format_segment(segment))
        for number, segment in enumerate(image.segments)
    ]
    if image.has_descriptor:
        rows += [
            ("project", image.project_name or "(empty)"),
            ("version", image.version or "(empty)"),
            ("secure version", _format_secure_version(image)),
            ("ESP-IDF", image.idf_version or "(empty)"),
            ("built", image.build_date or "not stated"),
            ("ELF SHA-256", "not stated" if image.elf_sha256 is None else image.elf_sha256.hex()),
        ]
    else:
        rows.append(
            ("descriptor", "none: the image does not say its project, version or secure version")
        )
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _format_secure_version(image: EspImage) -> str:
    from firmware_images.secure_version import FIELD_BITS

    stated, bits = image.secure_version or 0, FIELD_BITS.get(image.chip)
    if bits is None:
        return f"{stated}; it is not known how far an {image.chip} can count"
    if stated > bits:
        return f"{stated}: the {image.chip} cannot count beyond {bits}"
    return f"{stated} of {bits}; {bits - stated} left"


def _format_segment(segment: ImageSegment) -> str:
    # elf2image fills up to a flash page with a segment for address 0; it is never loaded.
    place = f"at {segment.address:#010x}" if segment.address else "of padding"
    return f"{segment.size_bytes:7} bytes {place}"
