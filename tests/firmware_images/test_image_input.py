"""Images from `.bin`, `.elf` and ESP-IDF build folders."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_images.errors import EspImageError
from firmware_images.image_input import InputKind, load_image_input
from tests.espressif_tools import esptool
from tests.firmware_images.release_parts import APP_1_4_0
from tests.firmware_images.test_esp_image import build_descriptor
from tests.firmware_images.tiny_elf import build_elf

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTOR = build_descriptor(page=0)


def write_build(folder: Path, *, file: str = "flare.bin", chip: str = "esp32c3") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "flare.bin").write_bytes(APP_1_4_0.read_bytes())
    arguments = {
        "write_flash_args": ["--flash_mode", "dio", "--flash_size", "4MB"],
        "flash_settings": {"flash_mode": "dio", "flash_size": "4MB", "flash_freq": "80m"},
        "flash_files": {"0x0": "bootloader/bootloader.bin", "0x20000": file},
        "app": {"offset": "0x20000", "file": file, "encrypted": "false"},
        "extra_esptool_args": {"after": "hard_reset", "stub": True, "chip": chip},
    }
    (folder / "flasher_args.json").write_text(json.dumps(arguments))
    return folder


@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_an_elf_file_of_either_architecture_gives_the_image_that_esptool_makes(tmp_path, chip):
    elf = tmp_path / "app.elf"
    elf.write_bytes(build_elf(chip, DESCRIPTOR))
    loaded = load_image_input(elf, chip=chip)
    assert (loaded.kind, loaded.image.chip) == (InputKind.ELF, chip)
    assert (loaded.image.project_name, loaded.image.secure_version) == ("thing", 3)
    assert loaded.image.elf_sha256 == hashlib.sha256(elf.read_bytes()).digest()
    command = ["--chip", chip, "elf2image", "--flash-mode", "dio", "--output", "app.bin", "app.elf"]
    esptool(*command, folder=tmp_path)
    assert load_image_input(tmp_path / "app.bin", chip=chip).content == loaded.content


def test_an_elf_file_needs_the_chip_and_one_that_fits(tmp_path):
    elf = tmp_path / "app.elf"
    elf.write_bytes(build_elf("esp32c3", DESCRIPTOR))
    with pytest.raises(EspImageError, match="which chip"):
        load_image_input(elf)
    with pytest.raises(EspImageError, match="esptool cannot make"):
        load_image_input(elf, chip="esp99")


def test_a_damaged_elf_file_is_refused(tmp_path):
    elf = tmp_path / "app.elf"
    for content in (b"\x7fELF", build_elf("esp32c3", DESCRIPTOR)[:-8]):
        elf.write_bytes(content)
        with pytest.raises(EspImageError, match="not one that a build makes"):
            load_image_input(elf, chip="esp32c3")


def test_a_bin_is_taken_as_it_is():
    loaded = load_image_input(APP_1_4_0)
    assert loaded.kind is InputKind.BIN
    assert loaded.content == APP_1_4_0.read_bytes()
    with pytest.raises(EspImageError, match="another chip"):
        load_image_input(APP_1_4_0, chip="esp32s3")


def test_a_build_folder_names_its_image(tmp_path):
    loaded = load_image_input(write_build(tmp_path / "build"), chip="esp32c3")
    assert loaded.kind is InputKind.BUILD_FOLDER
    assert loaded.path == tmp_path / "build" / "flare.bin"
    assert loaded.content == APP_1_4_0.read_bytes()
    assert load_image_input(tmp_path / "build" / "flasher_args.json") == loaded


def test_a_build_folder_for_another_chip_than_its_image_is_refused(tmp_path):
    with pytest.raises(EspImageError, match="expected esp32s3, got esp32c3"):
        load_image_input(write_build(tmp_path / "build", chip="esp32s3"))


@pytest.mark.parametrize("file", ["../secret.bin", "/etc/passwd", "link.bin", "a\0b"])
def test_a_build_folder_cannot_name_a_file_outside_of_itself(tmp_path, file):
    (tmp_path / "secret.bin").write_bytes(APP_1_4_0.read_bytes())
    folder = write_build(tmp_path / "build", file=file)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(EspImageError, match="outside of itself"):
        load_image_input(folder)


def test_a_folder_that_is_no_build_is_refused(tmp_path):
    with pytest.raises(EspImageError, match="cannot be read"):
        load_image_input(tmp_path)
    (tmp_path / "flasher_args.json").write_text('{"app": {"file": 3}}')
    with pytest.raises(EspImageError, match="does not say which image"):
        load_image_input(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: json.dumps(text).encode()))
def test_arbitrary_flasher_arguments_raise_only_our_error(tmp_path, content):
    (tmp_path / "flasher_args.json").write_bytes(content)
    with pytest.raises(EspImageError):
        load_image_input(tmp_path)
