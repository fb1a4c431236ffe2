"""ESP-IDF build folders: app, bootloader and partition table, judged against each other."""

from __future__ import annotations

import pytest

from firmware_images.build_folder import load_build_folder
from firmware_images.errors import EspImageError, PartitionTableError
from firmware_images.partitions import parse_partition_csv, serialize_partition_table
from tests.firmware_images.idf_build import BOOTLOADER, TABLE, write_idf_build
from tests.firmware_images.release_parts import APP_1_4_0, FLARE
from tests.firmware_images.test_esp_image import CODE, build_image

CSV = (FLARE / "partitions.csv").read_text(encoding="utf-8")
TABLE_BIN = "partition_table/partition-table.bin"


def test_a_build_folder_gives_all_that_it_flashes(tmp_path):
    build = load_build_folder(write_idf_build(tmp_path))
    assert build.app.content == APP_1_4_0.read_bytes()
    assert build.bootloader is not None
    assert (build.bootloader.content, build.bootloader.offset_bytes) == (BOOTLOADER, 0)
    assert (build.partition_table, build.flash_size_bytes) == (TABLE, 4 << 20)
    assert build.app_partition == TABLE.find("ota_0")


def test_a_build_without_bootloader_table_or_flash_size_gives_its_app(tmp_path):
    changes = dict.fromkeys(("bootloader", "partition-table", "flash_settings"))
    build = load_build_folder(write_idf_build(tmp_path, **changes))
    assert (build.bootloader, build.partition_table, build.app_partition) == (None, None, None)
    assert build.flash_size_bytes is None
    detected = {"flash_settings": {"flash_size": "detect"}}
    assert load_build_folder(write_idf_build(tmp_path, **detected)).flash_size_bytes is None


def test_a_table_under_its_older_name_is_found(tmp_path):
    entry = {"offset": "0x8000", "file": TABLE_BIN}
    write_idf_build(tmp_path, **{"partition-table": None, "partition_table": entry})
    assert load_build_folder(tmp_path).partition_table == TABLE


def write_table(folder, old: str, new: str) -> None:
    assert old in CSV
    table = parse_partition_csv(CSV.replace(old, new), where="test")
    (folder / TABLE_BIN).write_bytes(serialize_partition_table(table))


@pytest.mark.parametrize(
    ("changes", "error", "telling"),
    [
        (
            {"bootloader": {"offset": "0x1000", "file": "bootloader/bootloader.bin"}},
            EspImageError,
            "bootloader where nothing looks for it: expected 0x0, got 0x1000",
        ),
        (
            {"partition-table": {"offset": "0x10000", "file": TABLE_BIN}},
            EspImageError,
            "partition table where nothing looks for it: expected 0x8000",
        ),
        (
            {"app": {"offset": "0x30000", "file": "flare.bin"}},
            EspImageError,
            r"no app: expected 0x20000 \(ota_0\), 0x1a0000 \(ota_1\), got 0x30000",
        ),
        ({"app": {"offset": "0x20000", "file": TABLE_BIN}}, EspImageError, "not an ESP32 image"),
        (
            {"bootloader": {"offset": "0x0", "file": "../flare.bin"}},
            EspImageError,
            "outside of itself",
        ),
        (
            {"partition-table": {"offset": "0x8000", "file": "/etc/passwd"}},
            EspImageError,
            "outside of itself",
        ),
        ({"app": {"offset": "-1", "file": "flare.bin"}}, EspImageError, "does not say which"),
        (
            {"flash_settings": {"flash_size": "2MB"}},
            PartitionTableError,
            "ota_1 ends after the flash",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, changes, error, telling):
    write_idf_build(tmp_path, **changes)
    with pytest.raises(error, match=telling):
        load_build_folder(tmp_path)


def test_an_app_that_does_not_fit_its_partition_is_refused(tmp_path):
    write_idf_build(tmp_path)
    write_table(tmp_path, "0x20000,  0x180000", "0x20000,  0x10000")
    with pytest.raises(PartitionTableError, match="does not fit in partition ota_0"):
        load_build_folder(tmp_path)


def test_a_bootloader_for_another_chip_is_refused(tmp_path):
    write_idf_build(tmp_path)
    (tmp_path / "bootloader/bootloader.bin").write_bytes(build_image(CODE, chip_id=9))
    with pytest.raises(EspImageError, match="another chip: expected esp32c3, got esp32s3"):
        load_build_folder(tmp_path)


def test_a_damaged_partition_table_is_refused(tmp_path):
    write_idf_build(tmp_path)
    path = tmp_path / TABLE_BIN
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(PartitionTableError, match="damaged"):
        load_build_folder(tmp_path)
