"""The gallery of eFuse plans that must be refused, each in its own words."""

from __future__ import annotations

import pytest

from tests.firmware_images.rejected_efuses import GALLERY, PLAN, read
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


def test_the_same_check_accepts_what_is_right():
    assert read("right.toml", PLAN)
