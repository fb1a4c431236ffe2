"""The golden patches, which device and detools apply alike; the rejected ones are elsewhere."""

from __future__ import annotations

import io

import detools
import pytest

from tests.firmware_images.rejected_patches import GOLDEN, build_golden, read


@pytest.mark.parametrize("name", ["plain.patch", "heatshrink.patch"])
def test_a_golden_patch_written_by_hand_makes_the_result_here_and_by_detools(name):
    golden = {path.name: path.read_bytes() for path in GOLDEN.iterdir() if path.suffix != ".md"}
    assert golden == build_golden()
    assert read(name, golden[name]) == golden["result.bin"]
    made = io.BytesIO()
    detools.apply_patch(io.BytesIO(golden["base.bin"]), io.BytesIO(golden[name]), made)
    assert made.getvalue() == golden["result.bin"]
