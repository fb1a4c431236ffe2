"""`ampforge image sign` and `image verify`."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge
from signing.key_files import generate_key, public_key_path
from signing.keys import Algorithm
from tests.firmware_images.espsecure_command import espsecure_accepts
from tests.firmware_images.test_esp_image import CODE, build_image

APP = Path(__file__).parents[2] / "examples/flare/firmware/images/flare-1.4.0.bin"
RSA, ECDSA = Algorithm.RSA_3072, Algorithm.ECDSA_P256


@pytest.fixture
def image(capsys):
    def call(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as exited:
            run_and_exit(ampforge, ["image", *(str(a) for a in arguments)])
        printed = capsys.readouterr()
        assert exited.value.code == code, printed
        return printed.out + printed.err

    return call


def make_key(folder: Path, name: str, algorithm: Algorithm = RSA) -> Path:
    path = folder / f"{name}.pem"
    generate_key(path, algorithm, passphrase=None)
    return path


@pytest.fixture
def app(tmp_path):
    return Path(shutil.copy(APP, tmp_path / "app.bin"))


def write_c6(folder: Path) -> Path:
    path = folder / "c6.bin"
    path.write_bytes(build_image(CODE, chip_id=13))
    return path


def openssl(*arguments: str | Path, folder: Path) -> None:
    command = ["openssl", *map(str, arguments)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_an_image_is_signed_verified_and_accepted_by_espsecure(image, app, tmp_path):
    key = make_key(tmp_path, "boot")
    signed = tmp_path / "out" / "signed.bin"
    before = app.read_bytes()
    text = image("sign", app, "--key", key, "--chip-revision", "0.3", "-o", signed)
    assert "rsa-3072" in text
    assert app.read_bytes() == before
    assert espsecure_accepts(signed, public_key_path(key))
    document = json.loads(image("verify", signed, "--key", public_key_path(key), "--json"))
    assert document["schema"] == "ampforge.image-signatures/1"
    assert [entry["algorithm"] for entry in document["signatures"]] == ["rsa-3072"]


def test_boards_without_the_key_are_named(image, app, tmp_path):
    key = make_key(tmp_path, "boot")
    image("sign", app, "--key", key, "--chip-revision", "v0.3")
    digest = json.loads(image("verify", app, "--json"))["signatures"][0]["key_digest"]
    boards = tmp_path / "boards.txt"
    boards.write_text(f"A1 {digest}\nA2 {'00' * 32}\n")
    text = image("verify", app, "--efuse-digests", boards, code=3)
    assert "A1  accepts" in text
    assert "A2  REFUSES" in text
    assert "1 of 2 boards" in text
    boards.write_text(f"A1 {digest}\n")
    assert "0 of 1 boards" in image("verify", app, "--efuse-digests", boards)


def test_an_rsa_signature_is_made_elsewhere(image, app, tmp_path):
    key = make_key(tmp_path, "boot")
    text = image("sign", app, "--export-digest", tmp_path / "digest")
    assert (tmp_path / "digest").read_bytes().hex() in text
    openssl(
        *("pkeyutl", "-sign", "-inkey", key, "-in", "digest", "-out", "signature"),
        *("-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss"),
        *("-pkeyopt", "rsa_pss_saltlen:32"),
        folder=tmp_path,
    )
    imported = ("--import-signature", tmp_path / "signature", "--public-key", public_key_path(key))
    image("sign", app, *imported, "--chip-revision", "0.3")
    assert espsecure_accepts(app, public_key_path(key))


def test_an_ecdsa_signature_in_der_is_made_elsewhere(image, tmp_path):
    path, key = write_c6(tmp_path), make_key(tmp_path, "boot", ECDSA)
    image("sign", path, "--export-digest", tmp_path / "digest")
    padded = path.read_bytes().ljust(4096, b"\xff")
    assert (tmp_path / "digest").read_bytes() == hashlib.sha256(padded).digest()
    openssl(
        *("pkeyutl", "-sign", "-inkey", key, "-in", "digest", "-out", "signature"),
        folder=tmp_path,
    )
    imported = ("--import-signature", tmp_path / "signature", "--public-key", public_key_path(key))
    image("sign", path, *imported)
    assert espsecure_accepts(path, public_key_path(key))


def test_a_p384_key_signs_another_digest_elsewhere(image, tmp_path):
    """No chip has a sound P-384 scheme today: the answer is verified and then refused for that."""
    path, key = tmp_path / "c5.bin", make_key(tmp_path, "boot", Algorithm.ECDSA_P384)
    path.write_bytes(build_image(CODE, chip_id=23))
    before = path.read_bytes()
    export = ("--export-digest", tmp_path / "digest", "--public-key", public_key_path(key))
    document = json.loads(image("sign", path, *export, "--json"))
    padded = before.ljust(4096, b"\xff")
    assert (tmp_path / "digest").read_bytes() == hashlib.sha384(padded).digest()
    assert document["hash"] == "sha384"
    assert document["sha384"] == hashlib.sha384(padded).hexdigest()
    assert "ECDSA P-384" in image("sign", path, *export)
    assert "at most one" in image("sign", path, *export, "--public-key", key, code=2)
    openssl(
        *("pkeyutl", "-sign", "-inkey", key, "-in", "digest", "-out", "signature"),
        folder=tmp_path,
    )
    imported = ("--import-signature", tmp_path / "signature", "--public-key", public_key_path(key))
    assert "AR2026-006" in image("sign", path, *imported, code=5)
    (tmp_path / "signature").write_bytes(bytes(96))
    assert "does not match" in image("sign", path, *imported, code=3)
    assert path.read_bytes() == before


def test_a_signature_of_something_else_is_not_imported(image, tmp_path):
    path, key = write_c6(tmp_path), make_key(tmp_path, "boot", ECDSA)
    before = path.read_bytes()
    imported = ("--import-signature", tmp_path / "signature", "--public-key", public_key_path(key))
    for wrong, part in ((bytes(64), "does not match"), (b"-----BEGIN", "10 bytes")):
        (tmp_path / "signature").write_bytes(wrong)
        assert part in image("sign", path, *imported, code=3)
    (tmp_path / "signature").write_bytes(b"\x30\x06\x02\x01\x01\x02\x01\x01")
    assert "does not match" in image("sign", path, *imported, code=3)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("algorithm", "revision", "part"),
    [(ECDSA, "0.3", "esp32c3 does not have"), (RSA, "0.2", "revision v0.3 or later")],
)
def test_a_scheme_that_the_chip_lacks_is_refused(image, app, algorithm, revision, part):
    before, key = app.read_bytes(), make_key(app.parent, "k", algorithm)
    assert part in image("sign", app, "--key", key, "--chip-revision", revision, code=5)
    assert app.read_bytes() == before


def test_a_second_key_is_added_and_asked_for(image, app, tmp_path):
    first, second = make_key(tmp_path, "a"), make_key(tmp_path, "b")
    image("sign", app, "--key", first, "--chip-revision", "0.3")
    keys = ("--key", public_key_path(first), "--key", public_key_path(second))
    assert "not signed by this key" in image("verify", app, *keys, code=3)
    image("sign", app, "--key", second, "--append", "--chip-revision", "0.3")
    image("verify", app, *keys)


def test_an_unsigned_image_is_not_verified(image, app):
    assert "not signed" in image("verify", app, code=3)


def test_it_must_be_clear_how_to_sign(image, app, tmp_path):
    key = make_key(tmp_path, "boot")
    assert "0 of them" in image("sign", app, code=2)
    both = ("--key", key, "--export-digest", tmp_path / "d")
    assert "2 of them" in image("sign", app, *both, code=2)
    assert "public key" in image("sign", app, "--import-signature", key, code=2)
    assert "no chip revision" in image("sign", app, "--key", key, "--chip-revision", "3", code=2)
