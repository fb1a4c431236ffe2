"""A release that was signed once must verify for as long as format 1 is supported."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive, serialize_archive
from firmware_images.bundle_building import sign_bundle
from firmware_images.bundle_inspection import inspect_bundle
from firmware_images.bundle_statement import count_signatures
from signing.trust_file import load_trust_record
from tests.firmware_images.release_parts import signer

GOLDEN = Path(__file__).parents[1] / "golden" / "bundle"
BUNDLE = (GOLDEN / "thing-1.0.0.bundle.zip").read_bytes()
DIGEST = "204ca7c0c0fdd8943dbbdc8e2f794a8f5f60fe0dd6e1d157a600803af4aafb85"


def test_the_golden_release_verifies():
    bundle = verify_bundle(BUNDLE, load_trust_record(GOLDEN / "thing.trust.cose"))
    assert bundle.digest.hex() == DIGEST
    assert (bundle.statement.product, bundle.statement.version) == ("thing", "1.0.0")
    assert (len(bundle.signed_by), bundle.threshold) == (2, 2)
    assert bundle.sbom == b"{}\n"
    assert bundle.sources == {"limits.toml": b"# the policy's text\n"}


def test_the_documents_keys_are_the_ones_of_schema_1():
    document = inspect_bundle(BUNDLE)
    assert list(document) == [
        *("schema", "verified", "signed", "digest", "bundle_sha256", "size_bytes", "product"),
        *("version", "release_counter", "hardware_class", "hardware_revision_min"),
        *("hardware_revision_max", "chip", "flash_size_bytes", "minimum_current_counter"),
        *("support_ends_at", "app", "policy", "waivers"),
        *("parts", "waveform", "signatures", "problems"),
    ]
    assert document["digest"] == DIGEST
    assert document["problems"] == []
    assert [entry["algorithm"] for entry in document["signatures"]] in (
        ["ecdsa-p256", "ed25519"],
        ["ed25519", "ecdsa-p256"],
    )


def test_signatures_are_counted_against_the_threshold():
    trust = load_trust_record(GOLDEN / "thing.trust.cose")
    count = count_signatures(BUNDLE, trust)
    assert count.is_enough
    assert str(count) == "2 of 2 release signatures that are needed (3 keys hold the role)"


def test_a_further_signature_by_a_stranger_changes_nothing_about_the_count():
    trust = load_trust_record(GOLDEN / "thing.trust.cose")
    more = sign_bundle(BUNDLE, [signer("a-stranger")])
    assert count_signatures(more, trust) == count_signatures(BUNDLE, trust)
    assert verify_bundle(more, trust).signed_by == verify_bundle(BUNDLE, trust).signed_by


@pytest.mark.parametrize("part", ["app.bin", "waveform-table.bin"])
def test_what_is_wrong_inside_is_listed_and_not_raised(part):
    members = parse_archive(BUNDLE)
    document = inspect_bundle(serialize_archive(members | {part: b"changed"}))
    assert any("does not have the size that was signed" in text for text in document["problems"])
    changed = next(entry for entry in document["parts"] if entry["name"] == part)
    assert changed["matches"] is False
    assert (document["waveform"] is None) == (part == "waveform-table.bin")
