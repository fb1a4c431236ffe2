from __future__ import annotations

import hashlib
import random
import struct

import pytest
from esptool.bin_image import LoadFirmwareImage
from esptool.targets import CHIP_DEFS
from esptool.util import FatalError
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.errors import EspImageError
from firmware_images.esp_image import (
    CHIP_NAMES,
    IMAGE_MAX_BYTES,
    ImageSegment,
    inspect_image,
    load_image,
)
from firmware_images.esp_image_check import check_with_esptool
from firmware_images.esp_image_layout import measure_image
from tests.firmware_images.release_parts import APP_1_4_0, APP_1_5_0, FOREIGN_APP


def build_image(
    *segments: tuple[int, bytes],
    entry: int = 0x40380000,
    chip_id: int = 5,
    has_digest: bool = True,
) -> bytes:
    """An image written by struct and hashlib alone."""
    body = struct.pack("<BBBBI", 0xE9, len(segments), 2, 0x2F, entry)
    body += struct.pack("<BBBBHBHHBBBBB", 0xEE, 0, 0, 0, chip_id, 0, 0, 199, 0, 0, 0, 0, has_digest)
    checksum = 0xEF
    for address, content in segments:
        body += struct.pack("<II", address, len(content)) + content
        for byte in content:
            checksum ^= byte
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + (hashlib.sha256(body).digest() if has_digest else b"")


def build_descriptor(
    *, project: bytes = b"thing", version: bytes = b"1.0", page: int = 16
) -> bytes:
    return struct.pack(
        "<II8s32s32s16s16s32s32sHHB3s72s",
        *(0xABCD5432, 3, b"", version, project, b"12:00:00", b"Sep  1 2026", b"v5.5", bytes(32)),
        *(0, 65535, page, b"", b""),
    )


CODE = (0x40380000, bytes(range(64)))


def test_the_example_image_says_what_it_is():
    content, image = load_image(APP_1_5_0)
    assert (image.chip, image.project_name, image.version) == ("esp32c3", "flare", "1.5.0")
    assert image.image_sha256 == hashlib.sha256(content).digest()
    assert image.appended_sha256 == hashlib.sha256(content[:-32]).digest() == content[-32:]
    assert image.size_bytes == len(content) == measure_image(content, where="test")
    assert image.has_descriptor
    assert image.secure_version == 0
    assert image.mmu_page_size_bytes == 65536


def test_a_foreign_image_is_inspected_like_any_other():
    _, image = load_image(FOREIGN_APP)
    assert image.project_name == "hello_world"


def test_an_image_without_a_descriptor_is_still_an_image():
    image = inspect_image(build_image(CODE), where="test")
    assert not image.has_descriptor
    assert (image.project_name, image.version, image.secure_version) == (None, None, None)
    assert image.segments == (ImageSegment(address=0x40380000, size_bytes=64),)
    assert image.max_chip_revision == 199


def test_a_descriptor_is_read_from_the_first_segment():
    image = inspect_image(build_image((0x3C000020, build_descriptor()), CODE), where="test")
    assert (image.project_name, image.version, image.secure_version) == ("thing", "1.0", 3)
    assert image.build_date == "Sep  1 2026 12:00:00"
    assert image.idf_version == "v5.5"
    no_page = inspect_image(build_image((0x3C000020, build_descriptor(page=0)), CODE), where="test")
    assert no_page.mmu_page_size_bytes is None


def test_a_long_first_segment_without_magic_is_no_descriptor():
    image = inspect_image(build_image((0x3C000020, bytes(256)), CODE), where="test")
    assert not image.has_descriptor


def test_an_image_built_without_a_digest_says_so():
    image = inspect_image(build_image(CODE, has_digest=False), where="test")
    assert image.appended_sha256 is None


@pytest.mark.parametrize(("chip_id", "chip"), [(0, "esp32"), (9, "esp32s3"), (13, "esp32c6")])
def test_other_chips_are_named_as_esptool_names_them(chip_id, chip):
    assert inspect_image(build_image(CODE, chip_id=chip_id), where="test").chip == chip


def test_a_secure_boot_signature_sector_is_recognised_but_nothing_else():
    image = build_image(CODE)
    padded = image.ljust(4096, b"\xff")
    sector = b"\xe7\x02" + bytes(4094)
    assert inspect_image(padded + sector, where="test").signature_bytes == 8192 - len(image)
    for wrong in (
        padded,
        padded + sector + b"\x00",
        padded + b"\x00" * 4096,
        image.ljust(4096, b"\x00") + sector,
    ):
        with pytest.raises(EspImageError, match="something follows the image"):
            inspect_image(wrong, where="test")


def test_an_image_is_measured_inside_of_a_partition():
    content = APP_1_4_0.read_bytes()
    assert measure_image(content.ljust(0x180000, b"\xff"), where="ota_0") == len(content)


def test_a_missing_or_huge_file_is_refused(tmp_path):
    with pytest.raises(EspImageError, match="cannot be read"):
        load_image(tmp_path / "none.bin")
    with pytest.raises(EspImageError, match="too large"):
        inspect_image(bytes(IMAGE_MAX_BYTES + 1), where="test")


def test_every_truncation_of_an_image_is_refused():
    content = build_image((0x3C000020, build_descriptor()), CODE)
    for size_bytes in range(len(content)):
        with pytest.raises(EspImageError):
            inspect_image(content[:size_bytes], where="test")


def test_any_flipped_bit_of_a_small_image_is_refused():
    content = build_image((0x3C000020, build_descriptor()), CODE)
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EspImageError):
            inspect_image(bytes(changed), where="test")


def test_a_flipped_bit_of_a_real_image_is_refused():
    content = APP_1_4_0.read_bytes()
    generator = random.Random(2026)
    for bit in [*range(8 * 24), *generator.sample(range(8 * len(content)), 150)]:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EspImageError):
            inspect_image(bytes(changed), where="test")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_our_error(content):
    with pytest.raises(EspImageError):
        inspect_image(content, where="test")


@settings(deadline=None)
@given(data=st.data())
def test_an_image_with_arbitrary_changes_raises_only_our_error_or_is_whole(data):
    content = bytearray(build_image((0x3C000020, build_descriptor()), CODE))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=40))
    try:
        image = inspect_image(bytes(content), where="test")
    except EspImageError:
        return
    assert image.size_bytes == len(content)


def load_with_esptool(content: bytes, chip: str):
    """What esptool makes of an image, or `None` if it or its sums refuse it."""
    try:
        loaded = LoadFirmwareImage(chip, content)
    except (FatalError, RuntimeError, struct.error, IndexError, TypeError, ValueError):
        return None
    if loaded.checksum != loaded.calculate_checksum():
        return None
    if loaded.append_digest and loaded.stored_digest != loaded.calc_digest:
        return None
    return loaded


def test_chips_are_those_that_esptool_knows():
    known = {getattr(rom, "IMAGE_CHIP_ID", None): name for name, rom in CHIP_DEFS.items()}
    known.pop(None)
    assert dict(CHIP_NAMES) == known


@settings(deadline=None)
@given(data=st.data())
def test_esptool_reads_in_an_image_what_we_read(data):
    code = data.draw(st.binary(min_size=1, max_size=9000)) * 4
    content = bytearray(
        build_image(
            (0x3C000020, build_descriptor()),
            (0x40380000, code),
            chip_id=data.draw(st.sampled_from(sorted(CHIP_NAMES))),
            has_digest=data.draw(st.booleans()),
        )
    )
    for _ in range(data.draw(st.integers(0, 2))):
        content[data.draw(st.integers(0, 31))] = data.draw(st.integers(0, 255))
    try:
        image = inspect_image(bytes(content), where="test")
    except EspImageError as error:
        ours_alone = ("entry point", "something follows", "not known here", "is not text")
        if not any(words in error.what for words in ours_alone):
            # Which chip makes no difference to how esptool reads the bytes.
            assert load_with_esptool(bytes(content), "esp32c3") is None
        return
    check_with_esptool(bytes(content), image, where="test")
