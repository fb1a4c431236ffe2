"""`ampforge image merge`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge
from firmware_images.bundle_building import build_bundle, sign_bundle
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import APP_1_4_0, build_inputs, build_trust, signer


@pytest.fixture
def merge(capsys, tmp_path):
    trust = build_trust()
    (tmp_path / "trust.cose").write_bytes(sign_trust_record(trust, [signer("root-1")]))

    def call(content: bytes, *arguments: str, code: int = 0) -> str:
        (tmp_path / "release.zip").write_bytes(content)
        options = ["-o", str(tmp_path / "out" / "factory.bin"), "--trust"]
        command = ["image", "merge", str(tmp_path / "release.zip"), *options]
        with pytest.raises(SystemExit) as exited:
            run_and_exit(ampforge, [*command, str(tmp_path / "trust.cose"), *arguments])
        printed = capsys.readouterr()
        assert exited.value.code == code, printed
        return printed.out + printed.err

    return call


def signed() -> bytes:
    signers = [signer("release-1"), signer("release-3")]
    return sign_bundle(build_bundle(build_inputs()), signers, trust=build_trust())


def test_a_verified_release_becomes_one_image(merge, tmp_path):
    document = json.loads(merge(signed(), "--json"))
    content = (tmp_path / "out" / "factory.bin").read_bytes()
    assert document["schema"] == "ampforge.factory-image/1"
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert content[0x20000:].startswith(APP_1_4_0.read_bytes())
    text = merge(signed(), "--fill-flash")
    assert "without a bootloader" in text
    assert "erases the identity" in text
    assert (tmp_path / "out" / "factory.bin").stat().st_size == 4 << 20


def test_a_bundle_that_does_not_verify_is_not_merged(merge, tmp_path):
    assert "not signed" in merge(build_bundle(build_inputs()), code=3)
    assert not Path(tmp_path / "out").exists()
