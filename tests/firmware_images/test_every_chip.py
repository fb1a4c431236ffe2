"""An image of each chip family, made by esptool, is read to the last field, and signed."""

from __future__ import annotations

import hashlib
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

from cli.main import ampforge
from firmware_images.secure_boot import sign_image
from firmware_images.signature_sector import key_digest
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.espressif_tools import esptool
from tests.firmware_images.espsecure_command import espsecure_accepts
from tests.firmware_images.test_esp_image import build_descriptor
from tests.firmware_images.tiny_elf import CHIPS, build_elf

# The chip id of ESP-IDF's esp_chip_id_t, and the bits that the chip's secure version has.
FACTS = {
    "esp32": (0, 32),
    "esp32s2": (2, 16),
    "esp32s3": (9, 16),
    "esp32c3": (5, 16),
    "esp32c6": (13, 16),
    "esp32h2": (16, 16),
}
KEY = SoftwareSigner.generate(Algorithm.RSA_3072)
OPTIONS = ("--flash-mode", "dio", "--min-rev-full", "3", "--max-rev-full", "199")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """What `esptool elf2image` makes for each chip, and one padded for Secure Boot."""
    folder = tmp_path_factory.mktemp("chips")

    def make(name: str, chip: str, *options: str) -> None:
        elf = folder / f"{name}.elf"
        elf.write_bytes(build_elf(chip, build_descriptor(page=0)))
        command = ["--chip", chip, "elf2image", *OPTIONS, *options]
        esptool(*command, "--output", f"{name}.bin", elf.name, folder=folder)

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(make, chip, chip) for chip in FACTS]
        jobs.append(pool.submit(make, "padded", "esp32c3", "--secure-pad-v2"))
        for job in jobs:
            job.result()
    return folder


def inspect(path, *options):
    done = CliRunner().invoke(ampforge, ["image", "inspect", str(path), *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_these_are_the_families_that_the_product_names():
    assert FACTS.keys() == CHIPS.keys()


@pytest.mark.parametrize("chip", sorted(FACTS))
def test_every_field_is_the_one_that_lies_in_the_file(images, chip):
    path = images / f"{chip}.bin"
    content = path.read_bytes()
    chip_id, bits = FACTS[chip]
    document = json.loads(inspect(path, "--json"))
    # The header, read here by struct alone.
    magic, count, entry = struct.unpack_from("<BB2xI", content)
    stored_chip, _, lowest, highest = struct.unpack_from("<HBHH", content, 12)
    assert (magic, stored_chip, content[23]) == (0xE9, chip_id, 1)
    assert document["chip"] == chip
    assert document["entry_point"] == entry == CHIPS[chip][2]
    assert (document["min_chip_revision"], document["max_chip_revision"]) == (lowest, highest)
    assert (lowest, highest) == (3, 199)
    segments, at = [], 24
    for _ in range(count):
        address, size = struct.unpack_from("<II", content, at)
        segments.append({"address": address, "size_bytes": size})
        at += 8 + size
    assert document["segments"] == segments
    assert {each["address"] for each in segments} > {CHIPS[chip][2]}
    assert document["appended_sha256"] == content[-32:].hex()
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()
    assert (document["project_name"], document["version"]) == ("thing", "1.0")
    assert (document["secure_version"], document["secure_version_bits"]) == (3, bits)
    assert (
        document["elf_sha256"] == hashlib.sha256(path.with_suffix(".elf").read_bytes()).hexdigest()
    )
    assert document["signatures"] == []
    text = inspect(path)
    for part in (
        chip,
        "v0.3 to v1.99",
        f"{content[-32:].hex()}, matches",
        f"3 of {bits}; {bits - 3} left",
        "none for the chip",
        f"at {CHIPS[chip][2]:#010x}",
    ):
        assert part in text


@pytest.mark.parametrize("name", [*sorted(FACTS), "padded"])
def test_a_signed_image_shows_its_signature_blocks(images, tmp_path, name):
    path = tmp_path / "signed.bin"
    unsigned = (images / f"{name}.bin").read_bytes()
    path.write_bytes(sign_image(unsigned, [KEY], where=name))
    document = json.loads(inspect(path, "--json"))
    assert document["signatures"] == [
        {
            "algorithm": "rsa-3072",
            "key_id": KEY.public_key.key_id.hex(),
            "key_digest": key_digest(KEY.public_key).hex(),
        }
    ]
    assert document["signature_bytes"] == len(path.read_bytes()) - len(unsigned)
    assert "signature 0" in inspect(path)


def test_an_image_padded_for_secure_boot_is_signed_at_the_64_kib_boundary(images, tmp_path):
    """As ESP-IDF builds an app for Secure Boot: its signature sector begins there."""
    path = tmp_path / "signed.bin"
    path.write_bytes(sign_image((images / "padded.bin").read_bytes(), [KEY], where="padded"))
    assert len(path.read_bytes()) == 64 * 1024 + 4096
    (tmp_path / "key.pub.pem").write_bytes(KEY.public_key.pem())
    assert espsecure_accepts(path, tmp_path / "key.pub.pem")
