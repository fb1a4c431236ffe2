"""`ampforge waveform sign-slot` and `verify-slot`, and the release that carries the signature."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from signing.key_files import generate_key
from signing.keys import Algorithm
from tests.firmware_images.espsecure_command import espsecure_accepts
from tests.firmware_images.release_parts import build_waived_inputs

if TYPE_CHECKING:
    from pathlib import Path

SLOT = "build/waveform.slot"
BUNDLE = "build/flare-1.4.0.bundle.zip"
SIGN = ("waveform", "sign-slot", "--key", "keys/boot.pem")
BOARDS = ("--chip", "esp32c6")


@pytest.fixture(scope="module")
def prepared(approved_example, tmp_path_factory) -> Path:
    folder = shutil.copytree(approved_example, tmp_path_factory.mktemp("product") / "flare")
    for name in ("boot", "other"):
        generate_key(folder / "keys" / f"{name}.pem", Algorithm.ECDSA_P256, passphrase=None)
    return folder


def test_a_signed_slot_goes_into_the_release_and_into_the_factory_image(product, run_with_remarks):
    document = json.loads(run_with_remarks(*SIGN, *BOARDS, "--json"))
    assert document["schema"] == "ampforge.waveform-slot/1"
    assert espsecure_accepts(product / SLOT, product / "keys" / "boot.pub.pem")
    run_with_remarks("bundle", "build")
    run_with_remarks("bundle", "sign", BUNDLE)
    run_with_remarks("image", "merge", BUNDLE, "-o", "factory.bin")
    assert (product / "factory.bin").read_bytes()[0x320000:] == (product / SLOT).read_bytes()
    log = [json.loads(line) for line in (product / "sign-log.jsonl").read_bytes().splitlines()]
    assert [entry["role"] for entry in log if entry["digest"] == document["signed_sha256"]] == [
        "secure-boot"
    ]


def test_boards_without_the_key_are_named(product, run_with_remarks):
    run_with_remarks(*SIGN, *BOARDS)
    verified = json.loads(run_with_remarks("waveform", "verify-slot", SLOT, "--json"))
    digest = verified["signatures"][0]["key_digest"]
    (product / "boards.txt").write_text(f"A1 {digest}\nA2 {'00' * 32}\n")
    text = run_with_remarks(
        "waveform", "verify-slot", SLOT, "--efuse-digests", "boards.txt", code=3
    )
    assert "A1  accepts the waveform slot" in text
    assert "A2  REFUSES the waveform slot" in text
    keys = ("--key", "keys/boot.pub.pem", "--key", "keys/other.pub.pem")
    assert "not signed by this key" in run_with_remarks(
        "waveform", "verify-slot", SLOT, *keys, code=3
    )
    run_with_remarks(*SIGN[:3], "keys/other.pem", "--append", *BOARDS)
    run_with_remarks("waveform", "verify-slot", SLOT, *keys)


def test_a_signature_is_made_elsewhere(product, run_with_remarks):
    text = run_with_remarks("waveform", "sign-slot", "--export-digest", "digest")
    assert (product / "digest").read_bytes().hex() in text
    assert not (product / SLOT).exists()
    command = [
        *("openssl", "pkeyutl", "-sign", "-inkey", "keys/boot.pem", "-in", "digest"),
        *("-out", "signature"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    imported = ("--import-signature", "signature", "--public-key", "keys/boot.pub.pem")
    run_with_remarks("waveform", "sign-slot", *imported, *BOARDS)
    assert espsecure_accepts(product / SLOT, product / "keys" / "boot.pub.pem")
    # From a slot image, too: it brings its own approval.
    shutil.copy(product / SLOT, "first.slot")
    run_with_remarks("waveform", "sign-slot", "first.slot", "--key", "keys/other.pem", *BOARDS)
    assert espsecure_accepts(product / SLOT, product / "keys" / "other.pub.pem")


def test_a_p384_key_signs_another_digest_of_the_slot(product, run_with_remarks):
    """No chip has a sound P-384 scheme today: the answer is verified and then refused for that."""
    generate_key(product / "keys" / "p384.pem", Algorithm.ECDSA_P384, passphrase=None)
    key = ("--public-key", "keys/p384.pub.pem")
    export = (*SIGN[:2], "--export-digest", "digest", *key)
    document = json.loads(run_with_remarks(*export, "--json"))
    digest = (product / "digest").read_bytes()
    assert (document["hash"], document["sha384"], len(digest)) == ("sha384", digest.hex(), 48)
    assert "of the padded waveform slot\nsign it with ECDSA P-384" in run_with_remarks(*export)
    assert "at most one" in run_with_remarks(*export, *key, code=2)
    command = ["openssl", "pkeyutl", "-sign", "-inkey", "keys/p384.pem", "-in", "digest"]
    subprocess.run([*command, "-out", "signature"], check=True, capture_output=True)
    imported = (*SIGN[:2], "--import-signature", "signature", *key, "--chip", "esp32c5")
    assert "AR2026-006" in run_with_remarks(*imported, code=5)
    (product / "signature").write_bytes(bytes(96))
    assert "does not match" in run_with_remarks(*imported, code=3)
    assert not (product / SLOT).exists()


def test_a_slot_with_an_approval_that_has_expired_is_not_signed(
    run_with_remarks, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    generate_key(tmp_path / "boot.pem", Algorithm.ECDSA_P256, passphrase=None)
    command = (*SIGN[:2], "table.bin", "--approval", "approval.cose", "--key", "boot.pem")
    for issued_at, code in ((datetime(2020, 1, 1, tzinfo=UTC), 5), (datetime.now(UTC), 0)):
        inputs = build_waived_inputs(issued_at=issued_at)
        (tmp_path / "table.bin").write_bytes(inputs.table)
        (tmp_path / "approval.cose").write_bytes(inputs.approval)
        told = run_with_remarks(*command, *BOARDS, "-o", "wave.slot", code=code)
        assert ("approved with a waiver, and that has expired" in told) == bool(code)
        assert (tmp_path / "wave.slot").exists() == (not code)


@pytest.mark.parametrize(
    ("arguments", "telling", "code"),
    [
        ((*SIGN,), "esp32c3 does not have", 5),
        ((*SIGN, "--chip", "esp32h2"), "does not protect", 5),
        ((*SIGN, "--chip", "esp32h9"), "not known whether this chip", 5),
        ((*SIGN, "--approval", "trust.cose", *BOARDS), "trust.cose", 3),
        ((*SIGN, "--append", *BOARDS), "No such file", 5),
        ((*SIGN, "-o", "build/approval.cose", "--approval", "build/approval.cose"), "replace", 2),
        ((*SIGN, "-o", "waveforms.toml", *BOARDS), "replace what it is made from", 2),
        (("waveform", "sign-slot"), "0 of them", 2),
    ],
)
def test_what_is_refused_leaves_no_slot(product, run_with_remarks, arguments, telling, code):
    approval = (product / "build" / "approval.cose").read_bytes()
    assert telling in run_with_remarks(*arguments, code=code)
    assert not (product / SLOT).exists()
    assert (product / "build" / "approval.cose").read_bytes() == approval


def test_a_slot_of_an_earlier_table_is_not_carried(product, run_with_remarks):
    run_with_remarks(*SIGN, *BOARDS)
    waveforms = product / "waveforms.toml"
    text = waveforms.read_text(encoding="utf-8")
    waveforms.write_text(text.replace("400", "399"), encoding="utf-8")
    assert "for another" in run_with_remarks(*SIGN, *BOARDS, code=5)
    run_with_remarks("policy", "approve")
    message = run_with_remarks("bundle", "build", code=5)
    assert "signed waveform slot is not of this table" in message
    assert "waveform sign-slot" in message
    assert not (product / BUNDLE).exists()
    message = run_with_remarks(*SIGN, "--append", *BOARDS, code=3)
    assert "of another waveform slot" in message
    run_with_remarks(*SIGN, *BOARDS)
    run_with_remarks("bundle", "build")


def test_a_slot_without_a_configured_place_needs_one(product, run_with_remarks):
    path = product / "ampforge.toml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(x for x in lines if "waveform_slot" not in x), encoding="utf-8")
    assert "not said where the signed slot goes" in run_with_remarks(*SIGN, *BOARDS, code=2)
    run_with_remarks(*SIGN, *BOARDS, "-o", "my.slot")
    run_with_remarks("bundle", "build")
