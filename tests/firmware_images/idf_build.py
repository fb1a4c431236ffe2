"""The build folder of an ESP-IDF project, as `idf.py build` leaves it, with one thing to change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from firmware_images.partitions import load_partition_table, serialize_partition_table
from tests.firmware_images.release_parts import APP_1_4_0, FLARE
from tests.firmware_images.test_esp_image import CODE, build_image

if TYPE_CHECKING:
    from pathlib import Path

BOOTLOADER = build_image(CODE)
TABLE = load_partition_table(FLARE / "partitions.csv")


def write_idf_build(folder: Path, **changes: Any) -> Path:
    """Write the folder; a change names an entry of `flasher_args.json`, `None` leaves it out."""
    for name in ("bootloader", "partition_table"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "bootloader/bootloader.bin").write_bytes(BOOTLOADER)
    binary = serialize_partition_table(TABLE)
    (folder / "partition_table/partition-table.bin").write_bytes(binary)
    (folder / "flare.bin").write_bytes(APP_1_4_0.read_bytes())
    entries: dict[str, Any] = {
        "write_flash_args": ["--flash-mode", "dio", "--flash-size", "4MB", "--flash-freq", "80m"],
        "flash_settings": {"flash_mode": "dio", "flash_size": "4MB", "flash_freq": "80m"},
        "flash_files": {
            "0x0": "bootloader/bootloader.bin",
            "0x20000": "flare.bin",
            "0x8000": "partition_table/partition-table.bin",
        },
        "bootloader": {
            "offset": "0x0",
            "file": "bootloader/bootloader.bin",
            "encrypted": "false",
        },
        "app": {"offset": "0x20000", "file": "flare.bin", "encrypted": "false"},
        "partition-table": {
            "offset": "0x8000",
            "file": "partition_table/partition-table.bin",
            "encrypted": "false",
        },
        "extra_esptool_args": {"after": "hard_reset", "stub": True, "chip": "esp32c3"},
    }
    entries |= changes
    kept = {name: value for name, value in entries.items() if value is not None}
    (folder / "flasher_args.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder
