"""The gallery of keys that must be refused, word by word."""

from __future__ import annotations

import pytest

from tests.gallery import committed_files, read_expected, tell_outcome
from tests.signing import rejected_keys

GALLERY = rejected_keys.GALLERY
EXPECTED = read_expected(GALLERY)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_file_is_refused_in_exactly_these_words(name):
    content = committed_files(GALLERY)[name]
    assert tell_outcome(lambda: GALLERY.read(name, content)) == EXPECTED[name]


def test_the_gallery_is_what_its_builder_writes():
    assert committed_files(GALLERY).keys() == EXPECTED.keys() == GALLERY.build().keys()
    assert "accepted" not in EXPECTED.values()
