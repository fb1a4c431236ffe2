"""The gallery of data files that a study must refuse, each in its own words."""

from __future__ import annotations

import pytest

from tests.gallery import committed_files, read_expected, tell_outcome
from tests.provisioning.aiag_study import TEXT
from tests.provisioning.rejected_studies import GALLERY, read

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


@pytest.mark.parametrize(
    ("name", "content"), [("gauge", TEXT), ("capability", "value\n0.1\n0.3\n-0.2\n")]
)
def test_the_same_check_accepts_what_is_right(name, content):
    assert read(f"{name}-right.csv", content.encode())
