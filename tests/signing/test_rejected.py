"""The gallery of messages, trust records and certificates that must be refused, as files."""

from __future__ import annotations

import pytest

from tests.gallery import committed_files, read_expected, tell_outcome
from tests.signing.golden_vectors import build_vectors
from tests.signing.rejected_vectors import GALLERY

EXPECTED = read_expected(GALLERY)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_file_is_refused_in_exactly_these_words(name):
    content = committed_files(GALLERY)[name]
    assert tell_outcome(lambda: GALLERY.read(name, content)) == EXPECTED[name]


def test_the_gallery_is_what_its_builder_writes():
    assert committed_files(GALLERY) == GALLERY.build()
    assert EXPECTED.keys() == GALLERY.build().keys()
    assert "accepted" not in EXPECTED.values()


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("one-", "sign1-p256.cose"),
        ("one-", "sign1-p384.cose"),
        ("one-", "sign1-rsa.cose"),
        ("two-", "sign-two.cose"),
        ("trust-", "trust-record-1.cose"),
        ("trust-", "trust-record-3.cose"),
        ("station-", "station.der"),
    ],
)
def test_the_same_check_accepts_the_golden_file(name, golden):
    assert GALLERY.read(name, build_vectors()[golden])
