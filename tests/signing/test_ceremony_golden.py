"""The golden ceremony and the gallery of refused plans and transcripts."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from signing.ceremony_folder import save_files
from signing.ceremony_verify import verify_ceremony
from tests.gallery import committed_files, read_expected, tell_outcome
from tests.signing.ceremony_vectors import FOLDER, GALLERY, build_vectors, hold, read

SPECIFICATION = Path(__file__).parents[2] / "docs" / "spec" / "key-ceremony.md"
VECTORS = build_vectors()
EXPECTED = read_expected(GALLERY)
FILES = committed_files(GALLERY)


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_the_code_still_writes_these_bytes(name):
    assert VECTORS[name] == (FOLDER / name).read_bytes()


def test_no_golden_file_is_left_without_its_origin():
    assert {path.name for path in FOLDER.iterdir()} == {*VECTORS, "README.md"}


def test_the_golden_ceremony_verifies(tmp_path):
    for name in ("plan.toml", "transcript.jsonl", "transcript.md", "trust.cose"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    from signing.ceremony_folder import load_ceremony, published_files

    save_files(tmp_path, published_files(load_ceremony(tmp_path)))
    assert verify_ceremony(tmp_path).closed == ["root-1", "root-2"]


def test_the_specification_prints_the_golden_bytes():
    text = SPECIFICATION.read_text()
    for name in ("possession.cbor", "closing.cbor"):
        (block,) = re.findall(rf"`{name}`[^\n]*\n```\n([0-9a-f\n]+)```", text)
        assert bytes.fromhex(block) == VECTORS[name]
    for name in ("plan.toml", "transcript.jsonl", "transcript.md", "trust.cose"):
        assert hashlib.sha256(VECTORS[name]).hexdigest() in text, name
    assert hold().entries[1].check_value in text


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
    assert read("plan", VECTORS["plan.toml"])
    assert read("transcript", VECTORS["transcript.jsonl"])
