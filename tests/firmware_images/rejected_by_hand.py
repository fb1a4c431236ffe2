"""The galleries of refused files that were made by hand; run as a module it writes their READMEs.

Waveforms and partition tables are text, as their authors write it. Images and archives were made
once, byte by byte, and have no builder: what is committed is the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.bundle_archive import parse_archive
from firmware_images.esp_image import inspect_image
from firmware_images.limits import judge_table, refuse_violations
from firmware_images.partition_csv import decode_partition_csv
from firmware_images.secure_boot import verify_signed_image
from firmware_images.waveform_compile import compile_table
from firmware_images.waveform_csv import load_csv_waveform, parse_csv_waveform
from firmware_images.waveform_source import parse_waveforms
from tests.gallery import FOLDER, Gallery, committed_files, write_gallery

from .waveform_builders import flare_policy

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKED = """The table below is written by
`python -m tests.firmware_images.rejected_by_hand`;
`tests/firmware_images/test_rejected_by_name.py` checks each error, word by word."""


def read_waveform(name: str, content: bytes) -> object:
    """Read a file as `ampforge waveform check` does."""
    if name.endswith(".csv"):
        return parse_csv_waveform(content, where=name)
    policy = flare_policy()
    source = parse_waveforms(
        content,
        where=name,
        load_csv=lambda csv_name: load_csv_waveform(FOLDER / "waveforms" / csv_name),
    )
    table = compile_table(source, policy, "flare-c3")
    refuse_violations(judge_table(table, policy), where=name)
    return table


def gallery(name: str, title: str, about: str, read: Callable[[str, bytes], object]) -> Gallery:
    """Return a gallery whose files are its own originals."""
    made: Gallery = Gallery(
        name=name,
        title=title,
        about=f"{about}\n{CHECKED}",
        build=lambda: committed_files(made),
        read=read,
    )
    return made


GALLERIES = (
    gallery(
        "waveforms",
        "Waveforms that are refused",
        """Each file has one thing wrong and is named after it. They are written by hand, as their
authors would: `.csv` files are read as `t_us,i_ua` rows, `.toml` files are compiled and judged by
the example product's limits.""",
        read_waveform,
    ),
    gallery(
        "partitions",
        "Rejected partition tables",
        "Written by hand: each CSV has one thing wrong and is named after it.",
        lambda name, content: decode_partition_csv(content, where=name),
    ),
    gallery(
        "images",
        "Rejected images",
        """Each file is one small ESP32-C3 image with one thing wrong, named after it. Made once
with `struct` and `hashlib`, by `build_image` and `build_descriptor` in
`tests/firmware_images/test_esp_image.py`, then changed by hand; checksum and digest are right
wherever they are not what is wrong.""",
        lambda name, content: inspect_image(content, where=name),
    ),
    gallery(
        "bundles",
        "Rejected bundle archives",
        """Each file is an archive with one thing wrong, named after it; written once with `struct`
and `zlib`, member by member. Bundles that are well packed and wrong inside are made in
`test_bundle.py`, because they need keys.""",
        lambda name, content: parse_archive(content, where=name),
    ),
    gallery(
        "secure-boot",
        "Rejected Secure Boot signatures",
        """Each file is one small ESP32-C6 image with one thing wrong in its signature sector, named
after it. Made once with `sign_image` and keys that nobody kept, then changed by hand; the CRC-32 of
a block is right wherever it is not what is wrong.""",
        lambda name, content: verify_signed_image(content, where=name),
    ),
)

if __name__ == "__main__":
    for each in GALLERIES:
        write_gallery(each)
