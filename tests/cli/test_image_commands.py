"""`ampforge image inspect`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge
from firmware_images.esp_image import EspImage, inspect_image
from firmware_images.secure_boot import sign_image
from firmware_images.signature_sector import key_digest
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.firmware_images.test_esp_image import CODE, build_descriptor, build_image
from tests.firmware_images.test_image_input import write_build
from tests.firmware_images.tiny_elf import build_elf

ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "flare" / "firmware" / "images" / "flare-1.4.0.bin"


@pytest.fixture
def inspect(capsys):
    def call(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as exited:
            run_and_exit(ampforge, ["image", "inspect", *(str(a) for a in arguments)])
        printed = capsys.readouterr()
        assert exited.value.code == code, printed
        return printed.err if code else printed.out

    return call


def test_an_image_is_shown_with_its_descriptor_and_digests(inspect):
    text = inspect(APP)
    digest = hashlib.sha256(APP.read_bytes()).hexdigest()
    for part in ("esp32c3", "flare", "1.4.0", digest, "matches", "of padding"):
        assert part in text


def test_the_document_is_versioned(inspect):
    document = json.loads(inspect(APP, "--json"))
    assert document["schema"] == "ampforge.image/1"
    assert document["has_descriptor"] is True
    assert (document["project_name"], document["version"]) == ("flare", "1.4.0")
    assert document["segments"][0] == {"address": 0x3C000020, "size_bytes": 268}


def test_an_image_without_a_descriptor_says_so_clearly(inspect, tmp_path):
    path = tmp_path / "bare.bin"
    path.write_bytes(build_image(CODE, has_digest=False))
    text = inspect(path)
    assert "the image does not say its project, version" in text
    assert "built without one" in text
    assert json.loads(inspect(path, "--json"))["project_name"] is None


def test_a_signed_image_shows_its_signatures_and_a_false_one_is_refused(inspect, tmp_path):
    path = tmp_path / "signed.bin"
    key = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    signed = sign_image(build_image(CODE), [key], where="test")
    path.write_bytes(signed)
    digest = key_digest(key.public_key).hex()
    assert f"ecdsa-p256, verifies, key digest {digest}" in inspect(path)
    assert json.loads(inspect(path, "--json"))["signatures"][0]["key_digest"] == digest
    path.write_bytes(signed[:4096] + b"\xe7\x02" + bytes(4094))
    assert "signature block" in inspect(path, code=5)


def test_a_damaged_image_is_refused(inspect, tmp_path):
    path = tmp_path / "damaged.bin"
    content = bytearray(APP.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    message = inspect(path, code=5)
    assert "does not match" in message
    assert str(path) in message


def test_a_build_folder_or_an_elf_file_is_inspected_like_an_image(inspect, tmp_path):
    folder = write_build(tmp_path / "build")
    document = json.loads(inspect(folder, "--json"))
    assert document["build"]["app"]["path"] == str(folder / "flare.bin")
    assert document | {"build": None} == json.loads(inspect(APP, "--json"))
    elf = tmp_path / "app.elf"
    elf.write_bytes(build_elf("esp32s3", build_descriptor(page=0)))
    assert "esp32s3" in inspect(elf, "--chip", "esp32s3")
    assert "give --chip" in inspect(elf, code=5)


def test_an_image_that_we_read_wrongly_is_refused_because_esptool_is_asked(inspect, monkeypatch):
    def misread(content: bytes, *, where: str) -> EspImage:
        return replace(inspect_image(content, where=where), min_chip_revision=300)

    monkeypatch.setattr("firmware_images.image_input.inspect_image", misread)
    text = inspect(APP, code=5)
    assert "esptool reads another lowest chip revision in the image than we do" in text
    assert "do not flash this image" in text
