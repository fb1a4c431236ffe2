"""The merged flash image of a release, beside the one that esptool merges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.bundle import FlashRegion, verify_bundle
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.errors import BundleError
from firmware_images.factory_image import merge_regions
from tests.espressif_tools import esptool
from tests.firmware_images.release_parts import build_inputs, build_trust, signer
from tests.firmware_images.test_esp_image import CODE, build_image

if TYPE_CHECKING:
    from pathlib import Path

FLASH_BYTES = 4 << 20


def region(name: str, offset_bytes: int, size_bytes: int) -> FlashRegion:
    return FlashRegion(name=name, offset_bytes=offset_bytes, content=b"\x5a" * size_bytes)


def merge_with_esptool(regions: tuple[FlashRegion, ...], folder: Path, *options: str) -> bytes:
    parts = []
    for part in regions:
        (folder / part.name).write_bytes(part.content)
        parts += [hex(part.offset_bytes), part.name]
    command = ["--chip", "esp32c3", "merge-bin", "--output", "merged", *options, *parts]
    esptool(*command, folder=folder)
    return (folder / "merged").read_bytes()


@pytest.mark.parametrize("has_bootloader", [True, False])
def test_a_release_is_merged_as_esptool_merges_it(tmp_path, has_bootloader):
    trust = build_trust()
    bootloader = build_image(CODE) if has_bootloader else None
    unsigned = build_bundle(build_inputs(bootloader=bootloader))
    signed = sign_bundle(unsigned, [signer("release-1"), signer("release-3")], trust=trust)
    regions = verify_bundle(signed, trust).flash_regions()
    merged = merge_regions(regions, flash_size_bytes=FLASH_BYTES)
    assert merged == merge_with_esptool(regions, tmp_path)
    for part in regions:
        assert merged[part.offset_bytes :].startswith(part.content)
    full = merge_regions(regions, flash_size_bytes=FLASH_BYTES, fill_flash=True)
    assert full == merge_with_esptool(regions, tmp_path, "--pad-to-size", "4MB")
    assert len(full) == FLASH_BYTES


@pytest.mark.parametrize(
    ("regions", "match"),
    [
        ([("app", 0x1000, 0x1001), ("next", 0x2000, 1)], "app reaches into next"),
        ([("app", 0x1000, 1), ("twin", 0x1000, 1)], "app reaches into twin"),
        ([("outer", 0x1000, 0x4000), ("inner", 0x2000, 1)], "outer reaches into inner"),
        ([("app", 0x1001, 1)], "does not begin at a flash sector"),
        ([("app", -0x1000, 1)], "does not begin at a flash sector"),
        ([("app", FLASH_BYTES - 0x1000, 0x1001)], "does not end inside of flash"),
    ],
)
def test_regions_that_cannot_lie_in_one_flash_are_refused(regions, match):
    with pytest.raises(BundleError, match=match):
        merge_regions([region(*each) for each in regions], flash_size_bytes=FLASH_BYTES)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(1, 0x3000)), max_size=5))
def test_every_byte_of_a_merged_image_is_a_region_s_or_erased(places):
    regions = [region(str(n), sector << 12, size) for n, (sector, size) in enumerate(places)]
    try:
        merged = merge_regions(regions, flash_size_bytes=0x20000)
    except BundleError:
        return
    assert merged.count(b"\x5a") == sum(len(each.content) for each in regions)
    assert set(merged) <= {0x5A, 0xFF}
