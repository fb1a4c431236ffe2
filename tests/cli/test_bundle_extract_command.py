"""`ampforge bundle extract`: files from a bundle, verified first."""

from __future__ import annotations

import json

import pytest

from firmware_images.bundle_archive import parse_archive, serialize_archive
from firmware_images.bundle_building import build_bundle, sign_bundle
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import build_inputs, build_trust, signer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    unsigned = build_bundle(build_inputs(sources={"limits.toml": b"x"}))
    signed = sign_bundle(unsigned, [signer("release-1"), signer("release-3")])
    (tmp_path / "unsigned.zip").write_bytes(unsigned)
    (tmp_path / "signed.zip").write_bytes(signed)
    trust = sign_trust_record(build_trust(), [signer("root-1")])
    (tmp_path / "trust.cose").write_bytes(trust)
    return tmp_path


def test_a_verified_bundle_becomes_a_folder_of_its_members(folder, run_with_remarks):
    out = run_with_remarks("bundle", "extract", "signed.zip", "out", "--trust", "trust.cose")
    assert out.startswith("verified: ")
    members = parse_archive((folder / "signed.zip").read_bytes())
    written = {
        str(path.relative_to(folder / "out")): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }
    assert written == members
    assert "sources/limits.toml" in written


@pytest.mark.parametrize("name", ["unsigned.zip", "changed.zip"])
def test_what_does_not_verify_is_not_extracted(folder, run_with_remarks, name):
    members = parse_archive((folder / "signed.zip").read_bytes())
    changed = members | {"app.bin": members["app.bin"][:-1] + b"x"}
    (folder / "changed.zip").write_bytes(serialize_archive(changed))
    code = 3 if name == "unsigned.zip" else 5
    run_with_remarks("bundle", "extract", name, "out", "--trust", "trust.cose", code=code)
    assert not (folder / "out").exists()


def test_without_a_trust_record_nothing_is_extracted_unless_asked_loudly(folder, run_with_remarks):
    assert "ampforge.toml" in run_with_remarks("bundle", "extract", "signed.zip", "out", code=2)
    assert not (folder / "out").exists()
    out = run_with_remarks("bundle", "extract", "unsigned.zip", "out", "--unverified")
    assert out.startswith("NOT VERIFIED: anybody may have made these files")
    assert out.count("NOT VERIFIED") == 2
    assert (folder / "out" / "statement.cbor").is_file()
    printed = run_with_remarks("bundle", "extract", "unsigned.zip", "two", "--unverified", "--json")
    document = json.loads(printed[printed.index("{") :])
    assert (document["schema"], document["verified"]) == ("ampforge.bundle-extraction/1", False)


def test_a_member_that_climbs_out_is_refused_even_unverified(folder, run_with_remarks):
    raw = (folder / "unsigned.zip").read_bytes()
    (folder / "climbing.zip").write_bytes(
        raw.replace(b"sources/limits.toml", b"../../../../owned.x")
    )
    assert "name that is not acceptable" in run_with_remarks(
        *("bundle", "extract", "climbing.zip", "out", "--unverified"), code=5
    )
    assert not (folder / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(folder, run_with_remarks):
    (folder / "out").mkdir()
    (folder / "out" / "mine").write_text("mine")
    refusal = run_with_remarks("bundle", "extract", "signed.zip", "out", "--unverified", code=2)
    assert "not written over" in refusal
    assert [path.name for path in (folder / "out").iterdir()] == ["mine"]
