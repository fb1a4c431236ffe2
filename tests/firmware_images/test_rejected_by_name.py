"""Waveforms, tables, partitions, images and archives that must be refused, word by word."""

from __future__ import annotations

import pytest

from tests.firmware_images import rejected_by_hand, rejected_tables
from tests.gallery import committed_files, read_expected, tell_outcome

GALLERIES = (*rejected_by_hand.GALLERIES, rejected_tables.GALLERY)
CASES = [(gallery, name) for gallery in GALLERIES for name in sorted(read_expected(gallery))]


@pytest.mark.parametrize(
    ("gallery", "name"), CASES, ids=[f"{gallery.name}/{name}" for gallery, name in CASES]
)
def test_the_file_is_refused_in_exactly_these_words(gallery, name):
    content = committed_files(gallery)[name]
    assert tell_outcome(lambda: gallery.read(name, content)) == read_expected(gallery)[name]


@pytest.mark.parametrize("gallery", GALLERIES, ids=lambda gallery: gallery.name)
def test_the_gallery_is_what_its_builder_writes(gallery):
    assert committed_files(gallery) == gallery.build()
    assert read_expected(gallery).keys() == gallery.build().keys()
    assert "accepted" not in read_expected(gallery).values()
