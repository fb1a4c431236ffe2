"""The gallery of messages and metadata that must be refused, each in its own words."""

from __future__ import annotations

import pytest

from tests.gallery import committed_files, read_expected, tell_outcome
from tests.manifests.golden_messages import build
from tests.manifests.rejected_messages import (
    GALLERY,
    certificate,
    gallery_trust,
    metadata,
    read,
    read_metadata,
)

EXPECTED = read_expected(GALLERY)
FILES = committed_files(GALLERY)


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_file_is_refused_in_exactly_these_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trust = gallery_trust()
    assert tell_outcome(lambda: read(name, FILES[name])) == EXPECTED[name]
    assert gallery_trust() == trust
    assert list(tmp_path.iterdir()) == []


def test_the_gallery_is_what_its_builder_writes_and_its_readme_names_each():
    assert GALLERY.build() == FILES
    assert set(EXPECTED) == set(FILES)
    assert "accepted" not in EXPECTED.values()


@pytest.mark.parametrize("name", ["manifest.cose", "assignment.cose", "freshness.cose"])
def test_the_same_check_accepts_the_golden_message(name):
    assert read(f"{name.removesuffix('.cose')}-golden", build()[name])


def test_the_same_check_accepts_the_golden_report_with_a_true_certificate():
    from signing.canonical_cbor import parse_cbor, serialize_cbor

    golden = parse_cbor(build()["report.cbor"], max_bytes=4096)
    assert read("report-golden", serialize_cbor({**golden, 1: certificate()}))


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp"])
def test_the_same_check_accepts_the_whole_metadata(name):
    assert read_metadata(f"tuf-{name}-whole.json", metadata()[name])
