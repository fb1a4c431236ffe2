"""esptool's second opinion: silence where both read the same, an error for each difference."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from firmware_images.errors import EspImageError
from firmware_images.esp_image import ImageSegment, inspect_image
from firmware_images.esp_image_check import check_with_esptool
from tests.firmware_images.release_parts import APP_1_4_0
from tests.firmware_images.test_esp_image import CODE, build_image

CONTENT = APP_1_4_0.read_bytes()
IMAGE = inspect_image(CONTENT, where="app.bin")


@pytest.mark.parametrize(
    "content",
    [CONTENT, build_image(CODE), build_image(CODE, has_digest=False), build_image(CODE, chip_id=9)],
)
def test_both_read_the_same_in_an_image_that_is_whole(content):
    check_with_esptool(content, inspect_image(content, where="app.bin"), where="app.bin")


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"entry_point": IMAGE.entry_point + 4}, "another entry point"),
        ({"min_chip_revision": 301}, "another lowest chip revision"),
        ({"max_chip_revision": 301}, "another highest chip revision"),
        ({"appended_sha256": None}, "another appended SHA-256"),
        ({"appended_sha256": bytes(32)}, "another appended SHA-256"),
        ({"segments": IMAGE.segments[:-1]}, "another list of segments"),
        (
            {"segments": (ImageSegment(address=0, size_bytes=4), *IMAGE.segments[1:])},
            "another list of segments",
        ),
    ],
)
def test_what_we_would_read_alone_is_refused(changes, telling):
    with pytest.raises(EspImageError, match=telling) as caught:
        check_with_esptool(CONTENT, replace(IMAGE, **changes), where="app.bin")
    assert caught.value.where == "app.bin"
    assert "do not flash" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("at", "telling"),
    [(40, "another checksum"), (-1, "another calculated SHA-256|another appended SHA-256")],
)
def test_sums_that_we_would_not_have_judged_are_refused(at, telling):
    content = bytearray(CONTENT)
    content[at] ^= 1
    with pytest.raises(EspImageError, match=telling):
        check_with_esptool(bytes(content), IMAGE, where="app.bin")


def test_what_esptool_alone_refuses_is_refused():
    with pytest.raises(EspImageError, match="esptool refuses an image that we read"):
        check_with_esptool(CONTENT, replace(IMAGE, chip="esp32s3-of-tomorrow"), where="app.bin")


def test_verifying_a_release_does_not_ask_esptool():
    code = "import sys, firmware_images.bundle, firmware_images.image_input; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "esptool" not in done.stdout.split()
