"""All that a release and a board's flash may hold and must be refused, word by word."""

from __future__ import annotations

import pytest

from tests.firmware_images import (
    nvs_parts,
    rejected_by_hand,
    rejected_efuses,
    rejected_nvs,
    rejected_patches,
    rejected_policies,
    rejected_records,
    rejected_secure_version,
    rejected_signed_slots,
    rejected_tables,
    rejected_waivers,
)
from tests.firmware_images.waveform_builders import GOLDEN
from tests.gallery import committed_files, read_expected, tell_outcome

GALLERIES = (
    *rejected_by_hand.GALLERIES,
    rejected_efuses.GALLERY,
    rejected_nvs.GALLERY,
    rejected_patches.GALLERY,
    rejected_records.GALLERY,
    rejected_secure_version.GALLERY,
    rejected_signed_slots.GALLERY,
    rejected_tables.GALLERY,
    rejected_waivers.GALLERY,
)
# Its approvals are signed anew each time: no two are the same bytes.
WITH_POLICIES = (*GALLERIES, rejected_policies.GALLERY)
CASES = [(gallery, name) for gallery in WITH_POLICIES for name in sorted(committed_files(gallery))]


# Built when they are asked for: signatures differ from process to process.
RIGHT = {
    "efuses/right.toml": lambda: rejected_efuses.PLAN,
    "nvs/plan-right.toml": lambda: nvs_parts.PLAN,
    "nvs/page-right.bin": rejected_nvs.build_page,
    "records/calibration-right.cbor": rejected_records.signed_calibration,
    "records/identity-right.cbor": (rejected_records.GOLDEN / "identity.cbor").read_bytes,
    "records/update-state-right.cbor": (rejected_records.GOLDEN / "update-state.cbor").read_bytes,
    "records/sectors-right.bin": (rejected_records.GOLDEN / "record.bin").read_bytes,
    "waivers/right.cose": (GOLDEN / "tighten.waiver.cose").read_bytes,
}


@pytest.mark.parametrize(
    ("gallery", "name"), CASES, ids=[f"{gallery.name}/{name}" for gallery, name in CASES]
)
def test_the_file_is_refused_in_exactly_these_words(gallery, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = committed_files(gallery)[name]
    assert tell_outcome(lambda: gallery.read(name, content)) == read_expected(gallery)[name]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gallery", GALLERIES, ids=lambda gallery: gallery.name)
def test_the_gallery_is_what_its_builder_writes(gallery):
    assert committed_files(gallery) == gallery.build()


@pytest.mark.parametrize("gallery", WITH_POLICIES, ids=lambda gallery: gallery.name)
def test_the_readme_names_each_file_and_none_is_accepted(gallery):
    files = committed_files(gallery)
    assert files.keys() == read_expected(gallery).keys() == gallery.build().keys()
    assert "accepted" not in read_expected(gallery).values()


@pytest.mark.parametrize("path", RIGHT)
def test_the_same_check_accepts_what_is_right(path):
    folder, name = path.split("/")
    (gallery,) = (gallery for gallery in GALLERIES if gallery.name == folder)
    assert gallery.read(name, RIGHT[path]())


def test_the_right_ledger_and_slot_are_read_to_the_end():
    right = rejected_secure_version.right()
    ledger = rejected_secure_version.read("right.jsonl", rejected_secure_version.follow(*right))
    assert ledger.entries == right
    slot = rejected_signed_slots.read("right.slot", rejected_signed_slots.right())
    assert slot.blocks
