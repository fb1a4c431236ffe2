"""`ampforge bundle diff`: a release explained to its reviewer."""

from __future__ import annotations

import json

import pytest

from firmware_images.bundle_building import build_bundle, sign_bundle
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import (
    APP_1_5_0,
    build_inputs,
    build_parts,
    build_trust,
    signer,
)

BILL = (
    b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": '
    b'[{"type": "library", "name": "\\u001b[31mred", "version": "2"}]}'
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    first = build_bundle(build_inputs())
    signed = sign_bundle(first, [signer("release-1"), signer("release-3")])
    parts = build_parts(app=APP_1_5_0, peak_na=120_000)
    table = build_inputs().partition_table
    (tmp_path / "one.zip").write_bytes(signed)
    (tmp_path / "two.zip").write_bytes(
        build_bundle(build_inputs(parts, release_counter=2, sbom=BILL, partition_table=table))
    )
    trust = sign_trust_record(build_trust(), [signer("root-1")])
    (tmp_path / "trust.cose").write_bytes(trust)
    return tmp_path


def test_a_reviewer_reads_who_signed_and_what_changed(folder, run):
    text = run("bundle", "diff", "one.zip", "two.zip", "--trust", "trust.cose")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0].startswith("from flare 1.4.0, release counter 1")
    assert lines[1].startswith("verified, signed by ")
    assert lines[3] == "NOT VERIFIED: nobody has signed it yet"
    assert "version 1.4.0 → 1.5.0" in lines
    assert "PULSE level 2" in lines
    assert any(line.startswith("peak 100 → 120 µA (+20, +20 %)") for line in lines)
    assert "sbom.json" in lines
    assert any(line.startswith("added: size_bytes ") for line in lines)
    assert "\ufffd[31mred" in lines
    assert "\x1b" not in text


def test_without_a_trust_record_the_keys_are_claims(folder, run):
    text = run("bundle", "diff", "one.zip", "one.zip")
    assert "NOT VERIFIED: there is no trust record" in text
    assert signer("release-1").public_key.key_id[:8].hex() in text
    assert text.endswith("the same release: nothing changed\n")


def test_scripts_get_one_versioned_document(folder, run):
    document = json.loads(
        run("bundle", "diff", "one.zip", "two.zip", "--trust", "trust.cose", "--json")
    )
    assert document["schema"] == "ampforge.bundle-diff/1"
    assert document["before"]["verified"] is True
    assert document["after"]["problems"] == ["nobody has signed it yet"]
    assert {"subject": "", "what": "version", "before": "1.4.0", "after": "1.5.0"} in document[
        "release"
    ]
    assert document["waveform"]


def test_what_is_no_bundle_is_refused(folder, run):
    (folder / "three.zip").write_bytes(b"hello")
    assert "three.zip" in run("bundle", "diff", "one.zip", "three.zip", code=5)


def test_the_configured_trust_record_is_used_from_anywhere_in_the_product(folder, run, monkeypatch):
    keys = ["release-1", "release-2-ed", "release-3"]
    for name in keys:
        (folder / f"{name}.pub.pem").write_bytes(signer(name).public_key.pem())
    listed = ", ".join(f'"{name}.pub.pem"' for name in keys)
    (folder / "ampforge.toml").write_text(
        f'[signing]\ntrust_record = "trust.cose"\n[signing.roles.release]\nthreshold = 2\n'
        f"keys = [{listed}]\n"
    )
    inside = folder / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    text = run("bundle", "diff", folder / "one.zip", folder / "one.zip")
    assert text.count("verified, signed by") == 2
    (folder / "trust.cose").unlink()
    assert "no trust record" in run("bundle", "diff", folder / "one.zip", folder / "one.zip")
    refusal = run("bundle", "extract", folder / "one.zip", "out", code=2)
    assert "there is no trust record to verify the bundle with" in refusal


def test_what_stays_the_same_is_said(folder, run):
    app = build_bundle(build_inputs(build_parts(app=APP_1_5_0), release_counter=2))
    (folder / "three.zip").write_bytes(app)
    text = run("bundle", "diff", "one.zip", "three.zip")
    assert "every mode and level as before" in text
    assert "nothing that keeps a board from going from the first to the second" in text
