"""`ampforge delta create`, and the deltas that `ampforge repo publish` makes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_images.bundle_building import build_bundle, sign_bundle
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    APP_1_5_0,
    build_inputs,
    build_parts,
    build_trust,
    signer,
)

NOISE_TABLE = '[[delta.accepts]]\nkind = "sequential"\ncompression = "none"\n'
CHOICE = (
    '[[delta.accepts]]\nkind = "sequential"\ncompression = "heatshrink"\n'
    "window_bits = 8\nlookahead_bits = 4\n"
    '[[delta.accepts]]\nkind = "sequential"\ncompression = "heatshrink"\n'
    "window_bits = 8\nlookahead_bits = 7\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    (tmp_path / "old.bin").write_bytes(APP_1_4_0.read_bytes())
    (tmp_path / "new.bin").write_bytes(APP_1_5_0.read_bytes())
    return tmp_path


def test_the_patch_of_two_images_is_applied_by_detools_own_command(folder, run):
    text = run("delta", "create", "old.bin", "new.bin")
    assert text.startswith("a delta of 1.7 % of the full image (1.4.0 to 1.5.0)")
    assert "wrote new.patch" in text
    detools = str(Path(sys.executable).with_name("detools"))
    subprocess.run([detools, "apply_patch", "old.bin", "new.patch", "made.bin"], check=True)
    assert (folder / "made.bin").read_bytes() == APP_1_5_0.read_bytes()


def test_bundles_are_verified_first_and_the_smallest_declared_patch_is_kept(folder, run):
    both = [signer("release-1"), signer("release-3")]
    new = build_inputs(build_parts(app=APP_1_5_0), release_counter=2)
    (folder / "old.zip").write_bytes(sign_bundle(build_bundle(build_inputs()), both))
    (folder / "new.zip").write_bytes(sign_bundle(build_bundle(new), both))
    (folder / "unsigned.zip").write_bytes(build_bundle(new))
    (folder / "trust.cose").write_bytes(sign_trust_record(build_trust(), [signer("root-1")]))
    (folder / "ampforge.toml").write_text(CHOICE)
    trust = ("--trust", "trust.cose")
    document = json.loads(
        run("delta", "create", "old.zip", "new.zip", "--output", "a/p", *trust, "--json")
    )
    assert document["schema"] == "ampforge.delta/1"
    assert (document["base"], document["result"]) == ("1.4.0", "1.5.0")
    assert document["window_bits"] == 8
    assert document["lookahead_bits"] == 7
    sizes = [one["patch_size_bytes"] for one in document["tried"]]
    assert document["patch_size_bytes"] == sizes[1] < sizes[0]
    assert (folder / "a/p").stat().st_size == sizes[1]
    before = sorted(folder.rglob("*"))
    refused = run("delta", "create", "old.zip", "unsigned.zip", *trust, code=3)
    assert "not signed" in refused
    assert "trust record" in run("delta", "create", "old.zip", "new.zip", code=2)
    assert sorted(folder.rglob("*")) == before


def test_above_sixty_percent_the_full_image_is_better_and_that_is_no_error(folder, run):
    (folder / "ampforge.toml").write_text(NOISE_TABLE)
    text = run("delta", "create", "old.bin", "new.bin")
    assert text.startswith("the full image is better: the patch is 100.")
    assert "no patch was written" in text
    document = json.loads(run("delta", "create", "old.bin", "new.bin", "--json"))
    assert document["output"] is None
    assert document["is_worthwhile"] is False
    assert not list(folder.glob("*.patch"))


@pytest.mark.parametrize(
    ("base", "new", "telling"),
    [
        ("old.bin", "old.bin", "are the same"),
        ("old.bin", "text", "not an ESP32 image"),
        ("text", "new.bin", "not an ESP32 image"),
        ("old.bin", "torn.bin", "ends too early"),
        ("old.bin", "flipped.bin", "checksum does not match"),
        ("old.bin", "long.bin", "something follows the image"),
        ("old.bin", "other.bin", "for different chips"),
    ],
)
def test_what_has_no_patch_is_refused_and_nothing_is_written(folder, run, base, new, telling):
    image = APP_1_5_0.read_bytes()
    (folder / "text").write_bytes(b"no image at all, but long enough for a header")
    (folder / "torn.bin").write_bytes(image[:-40])
    (folder / "flipped.bin").write_bytes(image[:400] + bytes([image[400] ^ 1]) + image[401:])
    (folder / "long.bin").write_bytes(image + b"\xff")
    (folder / "other.bin").write_bytes(_for_another_chip(image))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert telling in run("delta", "create", base, new, code=5)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("table", "telling"),
    [
        ("[delta]\naccepts = []\n", "accepts must not be empty"),
        (CHOICE.replace("window_bits = 8", "window_bits = 15"), "window_bits 4 to 14"),
        (CHOICE.replace("heatshrink", "lzma"), "'none' or 'heatshrink'"),
        (CHOICE + "size = 3\n", "size is not a key"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(folder, run, table, telling):
    (folder / "ampforge.toml").write_text(table)
    assert telling in run("delta", "create", "old.bin", "new.bin", code=2)
    assert not list(folder.glob("*.patch"))


def test_a_patch_never_replaces_what_it_is_made_from(folder, run):
    refused = run("delta", "create", "old.bin", "new.bin", "--output", "old.bin", code=2)
    assert "replace what it is made from" in refused
    assert (folder / "old.bin").read_bytes() == APP_1_4_0.read_bytes()


def _for_another_chip(image: bytes) -> bytes:
    changed = image[:12] + b"\x09\x00" + image[14:-32]
    return changed + hashlib.sha256(changed).digest()
