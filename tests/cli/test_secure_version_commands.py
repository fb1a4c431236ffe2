"""What the secure-version ledger refuses and records, as people sign releases and images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import ampforge
from signing.key_files import generate_key
from signing.keys import Algorithm
from signing.logged_signer import SIGN_LOG_NAME
from tests.firmware_images.release_parts import APP_1_5_0, with_secure_version
from tests.firmware_images.test_esp_image import CODE, build_image

LEDGER = "secure-version-flare-c3.jsonl"
BUNDLE = "build/flare-1.5.0.bundle.zip"
SPEND = "--spend-secure-version"
REJECTED = Path(__file__).parents[1] / "rejected" / "secure-version"


@pytest.fixture(scope="module")
def prepared(approved_example, tmp_path_factory) -> Path:
    folder = shutil.copytree(approved_example, tmp_path_factory.mktemp("product") / "flare")
    config = ["--config", str(folder / "ampforge.toml")]
    for secure_version in (0, 1, 2, 17):
        image = with_secure_version(APP_1_5_0.read_bytes(), secure_version)
        (folder / f"app-{secure_version}.bin").write_bytes(image)
    generate_key(folder / "keys" / "boot.pem", Algorithm.RSA_3072, passphrase=None)
    build = ["bundle", "build", "--app", str(folder / "app-1.bin")]
    told = CliRunner().invoke(ampforge, [*build, *config])
    assert "0 of 16; 16 left; signing it spends one" in told.output
    return folder


def signature_count(product: Path) -> int:
    log = product / SIGN_LOG_NAME
    return len(log.read_bytes().splitlines()) if log.exists() else 0


def test_a_step_is_refused_when_signed_and_spent_with_a_reason(product, run):
    before, signatures = (product / BUNDLE).read_bytes(), signature_count(product)
    message = run("bundle", "sign", BUNDLE, code=5)
    assert "would spend an eFuse bit of every board" in message
    assert SPEND in message
    assert (product / BUNDLE).read_bytes() == before
    assert signature_count(product) == signatures
    assert not (product / LEDGER).exists()
    assert "secure_version 1 of 16; 15 left" in run("bundle", "sign", BUNDLE, SPEND, "1.4 leaks")
    assert signature_count(product) == signatures + 2
    status = run("bundle", "secure-version", "status")
    assert "flare-c3, esp32c3: secure_version 1 of 16; 15 left" in status
    assert "because: 1.4 leaks" in status
    document = json.loads(run("bundle", "secure-version", "status", "--json"))
    assert document["schema"] == "ampforge.secure-version/1"
    assert (document["highest"], document["bits"], document["left"]) == (1, 16, 15)
    (entry,) = document["entries"]
    signed = json.loads(run("bundle", "inspect", BUNDLE, "--json"))
    assert (entry["digest"], entry["app_version"]) == (signed["digest"], "1.5.0")
    # What is out there is revoked now: nobody signs the like again, nor builds it.
    message = run("bundle", "build", "--app", "app-0.bin", "--output", "old.zip", code=5)
    assert "lower than one that was signed before" in message
    assert not (product / "old.zip").exists()


@pytest.mark.parametrize(
    ("app", "telling"), [("app-2.bin", "would waste 1"), ("app-17.bin", "cannot count up to")]
)
def test_what_wastes_bits_is_not_even_built(product, run, app, telling):
    message = run("bundle", "build", "--app", app, "--output", "waste.zip", code=5)
    assert telling in message
    assert ("secure-version adopt" in message) is (app == "app-2.bin")
    assert not (product / "waste.zip").exists()


def test_a_second_engineer_signs_the_same_release_without_spending_again(product, run):
    run("bundle", "sign", BUNDLE, "--key", "keys/release-1.pem", SPEND, "1.4 leaks")
    lines = (product / LEDGER).read_bytes()
    document = json.loads(run("bundle", "sign", BUNDLE, "--key", "keys/release-3.pem", "--json"))
    assert document["secure_version_budget"]["left"] == 15
    assert (product / LEDGER).read_bytes() == lines
    run("bundle", "verify", BUNDLE)


def test_a_signer_that_dies_after_the_line_goes_on_where_it_was(product, run, monkeypatch):
    before = (product / BUNDLE).read_bytes()

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr("signing.signers.SoftwareSigner.sign", die)
        run("bundle", "sign", BUNDLE, SPEND, "1.4 leaks", code=130)
    assert (product / BUNDLE).read_bytes() == before
    line = (product / LEDGER).read_bytes()
    assert line.count(b"\n") == 1
    run("bundle", "sign", BUNDLE, SPEND, "1.4 leaks")
    assert (product / LEDGER).read_bytes() == line
    run("bundle", "verify", BUNDLE)


def test_a_damaged_ledger_stops_building_and_signing(product, run):
    shutil.copy(REJECTED / "line-changed.jsonl", product / LEDGER)
    before = (product / BUNDLE).read_bytes()
    for command in (("build",), ("sign", BUNDLE), ("secure-version", "status")):
        assert "does not match its hash" in run("bundle", *command, code=3)
    assert (product / BUNDLE).read_bytes() == before


def test_boards_that_were_made_before_are_adopted(product, run):
    assert "bundle secure-version adopt" in run("bundle", "secure-version", "status")
    adopted = run("bundle", "secure-version", "adopt", "1", "--reason", "read from ten boards")
    assert "secure_version 1 of 16; 15 left" in adopted
    assert "secure_version 1 of 16" in run("bundle", "sign", BUNDLE)
    head = json.loads(run("bundle", "secure-version", "status", "--json"))["head"]
    run("bundle", "secure-version", "status", "--head", head)
    (product / LEDGER).unlink()
    message = run("bundle", "secure-version", "status", "--head", head, code=3)
    assert "not the one that this head was taken from" in message
    message = run("bundle", "secure-version", "status", "--head", "2", code=3)
    assert "secure-version ledger is not readable" in message


def test_an_image_for_the_boot_rom_spends_from_the_same_budget(product, run):
    sign = ("image", "sign", "app-1.bin", "--key", "keys/boot.pem", "--chip-revision", "0.3")
    before = (product / "app-1.bin").read_bytes()
    assert "would spend an eFuse bit" in run(*sign, code=5)
    assert "would spend an eFuse bit" in run(*sign[:3], "--export-digest", "digest", code=5)
    assert (product / "app-1.bin").read_bytes() == before
    assert not (product / "digest").exists()
    document = json.loads(run(*sign, SPEND, "1.4 leaks", "--json"))
    assert document["secure_version_budget"]["left"] == 15
    # The release of that app costs nothing more.
    run("bundle", "sign", BUNDLE)
    acts = [json.loads(line)["act"] for line in (product / LEDGER).read_bytes().splitlines()]
    assert acts == ["sign-image", "sign-release"]


def test_a_digest_for_a_key_that_cannot_sign_images_spends_nothing(product, run):
    generate_key(product / "keys" / "ed.pem", Algorithm.ED25519, passphrase=None)
    generate_key(product / "keys" / "p384.pem", Algorithm.ECDSA_P384, passphrase=None)
    export = ("image", "sign", "app-1.bin", "--export-digest", "digest", SPEND, "1.4 leaks")
    assert "Ed25519" in run(*export, "--public-key", "keys/ed.pub.pem", code=3)
    assert not (product / LEDGER).exists()
    assert not (product / "digest").exists()
    run(*export, "--public-key", "keys/p384.pub.pem")
    assert len((product / "digest").read_bytes()) == 48
    (entry,) = [json.loads(line) for line in (product / LEDGER).read_bytes().splitlines()]
    assert (entry["act"], entry["secure_version"]) == ("sign-image", 1)


def test_an_image_of_nobodys_product_is_judged_by_its_chip_alone(product, run, monkeypatch):
    monkeypatch.chdir(product.parent)
    sign = ("--key", "flare/keys/boot.pem", "--chip-revision", "0.3", "-o", "signed.bin")
    assert "cannot count up to" in run("image", "sign", "flare/app-17.bin", *sign, code=5)
    message = run("image", "sign", "flare/app-2.bin", *sign, SPEND, "leaks", code=2)
    assert "no ledger to record it in" in message
    assert not Path("signed.bin").exists()
    run("image", "sign", "flare/app-2.bin", *sign)
    assert not (product / LEDGER).exists()


def test_an_image_without_a_descriptor_raises_nothing(product, run):
    (product / "boot.bin").write_bytes(build_image(CODE))
    sign = ("image", "sign", "boot.bin", "--key", "keys/boot.pem", "--chip-revision", "0.3")
    assert "without a secure_version" in run(*sign, SPEND, "leaks", code=2)
    assert json.loads(run(*sign, "--json"))["secure_version_budget"] is None
    assert not (product / LEDGER).exists()


def test_an_image_says_what_its_chip_has_left(product, run):
    assert "1 of 16; 15 left" in run("image", "inspect", "app-1.bin")
    assert "17: the esp32c3 cannot count beyond 16" in run("image", "inspect", "app-17.bin")
    document = json.loads(run("image", "inspect", "app-1.bin", "--json"))
    assert (document["secure_version"], document["secure_version_bits"]) == (1, 16)
