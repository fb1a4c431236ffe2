"""A release from an ESP-IDF build folder: its bootloader and partition table come with its app."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge
from firmware_images.bundle_archive import parse_archive
from firmware_images.secure_boot import sign_image
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.firmware_images.idf_build import BOOTLOADER, write_idf_build
from tests.firmware_images.test_esp_image import build_image

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE = "build/flare-1.4.0.bundle.zip"
TABLE_BIN = "idf/partition_table/partition-table.bin"


@pytest.fixture(scope="module")
def prepared(approved_example, tmp_path_factory) -> Path:
    folder = shutil.copytree(approved_example, tmp_path_factory.mktemp("product") / "flare")
    write_idf_build(folder / "idf")
    return folder


@pytest.fixture
def build(capsys, product):
    def call(*arguments: object, code: int = 0) -> str:
        command = ["bundle", "build", "--app", "idf", *(str(a) for a in arguments)]
        with pytest.raises(SystemExit) as exited:
            run_and_exit(ampforge, command)
        printed = capsys.readouterr()
        assert exited.value.code == code, printed
        assert (product / BUNDLE).exists() is (code == 0)
        return printed.err if code else printed.out

    return call


def members(product: Path) -> dict[str, bytes]:
    return dict(parse_archive((product / BUNDLE).read_bytes()))


def test_the_builds_bootloader_is_carried(build, product):
    assert "with the product's bootloader" in build()
    assert members(product)["bootloader.bin"] == BOOTLOADER
    assert "sources/partitions.csv" in members(product)


def test_the_builds_own_partition_table_may_be_named(build, product):
    build("--partitions", TABLE_BIN)
    parts = members(product)
    assert parts["partition-table.bin"] == (product / TABLE_BIN).read_bytes()
    assert "sources/partitions.csv" not in parts
    provenance = json.loads(parts["provenance.json"])["predicate"]["buildDefinition"]
    names = {each["name"] for each in provenance["resolvedDependencies"]}
    assert {"partitions", "bootloader", "app"} <= names


def test_another_partition_table_than_the_builds_is_refused(build, product):
    path = product / "partitions.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("devrec,   data", "devrec,   0x40"), encoding="utf-8")
    message = build(code=5)
    assert "not the one that the app was built with" in message
    assert "a difference in devrec" in message


def test_a_configured_bootloader_may_be_the_signed_one_and_no_other(build, product):
    path = product / "bootloader" / "bootloader.bin"
    key = SoftwareSigner.generate(Algorithm.RSA_3072)
    signed = sign_image(BOOTLOADER, [key], where="test")
    path.write_bytes(signed)
    build()
    assert members(product)["bootloader.bin"] == signed
    (product / BUNDLE).unlink()
    path.write_bytes(build_image((0x40380000, bytes(64))))
    assert "not the one of the build" in build(code=5)


def test_the_folder_is_inspected_with_what_it_flashes(product, capsys):
    with pytest.raises(SystemExit):
        run_and_exit(ampforge, ["image", "inspect", "idf"])
    text = capsys.readouterr().out
    assert "ota_0, 1506928 bytes to spare" in text
    assert f"{len(BOOTLOADER)} bytes at 0x0" in text
    assert "partition wave_1" in text
    with pytest.raises(SystemExit):
        run_and_exit(ampforge, ["image", "inspect", "idf", "--json"])
    document = json.loads(capsys.readouterr().out)["build"]
    assert document["flash_size_bytes"] == 4 << 20
    assert [each["name"] for each in document["partitions"]][:2] == ["nvs", "otadata"]
    assert document["bootloader"]["offset_bytes"] == 0
