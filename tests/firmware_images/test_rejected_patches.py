"""The gallery of patches that no device applies, each in its own words, and the golden ones."""

from __future__ import annotations

import io

import detools
import pytest

from tests.firmware_images.rejected_patches import GALLERY, GOLDEN, build_golden, read
from tests.gallery import committed_files, read_expected, tell_outcome

EXPECTED = read_expected(GALLERY)
FILES = committed_files(GALLERY)


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_file_is_refused_in_exactly_these_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tell_outcome(lambda: read(name, FILES[name])) == EXPECTED[name]
    assert list(tmp_path.iterdir()) == []


def test_the_gallery_is_what_its_builder_writes_and_its_readme_names_each():
    assert GALLERY.build() == FILES
    assert set(EXPECTED) == set(FILES)
    assert "accepted" not in EXPECTED.values()


@pytest.mark.parametrize("name", ["plain.patch", "heatshrink.patch"])
def test_a_golden_patch_written_by_hand_makes_the_result_here_and_by_detools(name):
    golden = {path.name: path.read_bytes() for path in GOLDEN.iterdir() if path.suffix != ".md"}
    assert golden == build_golden()
    assert read(name, golden[name]) == golden["result.bin"]
    made = io.BytesIO()
    detools.apply_patch(io.BytesIO(golden["base.bin"]), io.BytesIO(golden[name]), made)
    assert made.getvalue() == golden["result.bin"]
