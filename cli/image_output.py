"""What `ampforge image inspect` prints: for scripts, and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.secure_boot_output import describe_blocks
from firmware_images.secure_boot_chips import format_revision
from firmware_images.secure_version import FIELD_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_images.build_folder import BuildFolder
    from firmware_images.esp_image import EspImage, ImageSegment
    from firmware_images.image_input import ImageInput
    from firmware_images.signature_sector import SignatureBlock

ANY_REVISION = 0xFFFF


def describe_image(taken: ImageInput, blocks: Sequence[SignatureBlock]) -> dict[str, object]:
    """Return what an image says, for scripts.

    Args:
        taken: The image and where it came from.
        blocks: Its verified signatures.
    """
    image = taken.image
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
        "signatures": describe_blocks(blocks),
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
        "build": None if taken.build is None else _describe_build(taken.build),
    }


def format_image(taken: ImageInput, blocks: Sequence[SignatureBlock]) -> str:
    """Return the same for people, a fact a line."""
    image = taken.image
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
        ("chip revisions", _format_revisions(image)),
    ]
    rows += [
        (
            f"signature {number}",
            f"{block.public_key.algorithm}, verifies, key digest {block.key_digest.hex()}",
        )
        for number, block in enumerate(blocks)
    ] or [("signatures", "none for the chip")]
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
    rows += [] if taken.build is None else _list_build(taken.build)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _format_revisions(image: EspImage) -> str:
    lowest = format_revision(image.min_chip_revision)
    if image.max_chip_revision == ANY_REVISION:
        return f"{lowest} and later"
    return f"{lowest} to {format_revision(image.max_chip_revision)}"


def _format_segment(segment: ImageSegment) -> str:
    # elf2image fills up to a flash page with a segment for address 0; it is never loaded.
    place = f"at {segment.address:#010x}" if segment.address else "of padding"
    return f"{segment.size_bytes:7} bytes {place}"


def _format_secure_version(image: EspImage) -> str:
    stated, bits = image.secure_version or 0, FIELD_BITS.get(image.chip)
    if bits is None:
        return f"{stated}; it is not known how far an {image.chip} can count"
    if stated > bits:
        return f"{stated}: the {image.chip} cannot count beyond {bits}"
    return f"{stated} of {bits}; {bits - stated} left"


def _describe_build(build: BuildFolder) -> dict[str, object]:
    table = build.partition_table
    return {
        "app": {"path": str(build.app.path), "offset_bytes": build.app.offset_bytes},
        "flash_size_bytes": build.flash_size_bytes,
        "bootloader": None
        if build.bootloader is None
        else {
            "path": str(build.bootloader.path),
            "offset_bytes": build.bootloader.offset_bytes,
            "size_bytes": len(build.bootloader.content),
            "image_sha256": build.bootloader.image.image_sha256.hex(),
        },
        "partitions": None
        if table is None
        else [
            {
                "name": partition.name,
                "type": partition.type,
                "subtype": partition.subtype,
                "offset_bytes": partition.offset_bytes,
                "size_bytes": partition.size_bytes,
            }
            for partition in table.partitions
        ],
    }


def _list_build(build: BuildFolder) -> list[tuple[str, str]]:
    rows = []
    if build.bootloader is not None:
        rows.append(
            (
                "bootloader",
                f"{len(build.bootloader.content)} bytes at {build.bootloader.offset_bytes:#x}",
            )
        )
    if build.partition_table is not None and build.app_partition is not None:
        left_bytes = build.app_partition.size_bytes - len(build.app.content)
        rows += [
            ("goes to", f"{build.app_partition.name}, {left_bytes} bytes to spare"),
            *(
                (
                    f"partition {partition.name}",
                    f"{partition.size_bytes:#9x} bytes at {partition.offset_bytes:#08x}",
                )
                for partition in build.partition_table.partitions
            ),
        ]
    return rows
