"""A whole release with its keys in a hardware module: SoftHSM behind every verb that signs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from signing.errors import DurableFileError, KeyFileError, PassphraseError
from signing.key_files import generate_key, load_public_key, public_key_path
from signing.keys import Algorithm
from tests.firmware_images.espsecure_command import espsecure_accepts
from tests.firmware_images.test_esp_image import CODE, build_image
from tests.softhsm import PIN, make_token


@pytest.fixture
def token():
    return make_token()


@pytest.fixture
def product(tmp_path, monkeypatch, token):
    folder = tmp_path / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    return folder


def _invoke(*arguments, **options):
    return CliRunner().invoke(ampforge, [str(argument) for argument in arguments], **options)


def _run(*arguments, **options):
    done = _invoke(*arguments, **options)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def _move_keys(product, token):
    """Move every key that signs into the token, as the how-to says, and take the files away."""
    configuration = product / "ampforge.toml"
    text = configuration.read_text()
    for number, path in enumerate(sorted(product.glob("keys/*.pem"))):
        if path.name.endswith(".pub.pem"):
            continue
        uri = token.import_key(path, path.stem, f"{number:02x}")
        text = text.replace(f'"keys/{path.name}"', f'"{uri}"')
        path.unlink()
    assert ".pem" in text
    configuration.write_text(text)


def test_a_release_is_signed_and_published_without_a_private_key_on_the_disk(product, token):
    _move_keys(product, token)
    assert not [path for path in product.glob("keys/*") if not path.name.endswith(".pub.pem")]
    bundle = "build/flare-1.4.0.bundle.zip"
    for arguments in (
        ("policy", "approve"),
        ("bundle", "build"),
        ("bundle", "sign", bundle),
        ("bundle", "verify", bundle),
        ("trust", "sign"),
        ("repo", "init"),
        ("repo", "publish", bundle),
        ("repo", "status"),
        *(
            ("repo", "export-suit", "1.4.0", "--output", "flare.suit", "--vendor-domain", "a.bc"),
            ("repo", "verify-suit", "flare.suit"),
        ),
        ("key", "log", "verify"),
    ):
        _run(*arguments)


def test_a_uri_on_the_command_line_and_a_pin_from_a_file_or_the_terminal(
    product, token, tmp_path, monkeypatch
):
    uri = token.import_key(product / "keys" / "policy.pem", "policy")
    monkeypatch.delenv("AMPFORGE_PKCS11_PIN")
    secret = tmp_path / "pin"
    secret.write_text(f"{PIN}\n")
    secret.chmod(0o600)
    _run("policy", "approve", "--key", uri, "--passphrase-file", secret)
    other = make_token()  # nobody is logged in to it yet
    uri = other.import_key(product / "keys" / "policy.pem", "policy")
    asked = _run("policy", "sign", "--key", uri, input=f"{PIN}\n")
    assert f"Passphrase or PIN of the policy key, {uri}:" in asked
    assert PIN not in asked
    log = json.loads(_run("key", "log", "show", "--json"))
    assert [entry["role"] for entry in log["entries"]][-2:] == ["policy", "policy"]
    assert PIN not in (product / "sign-log.jsonl").read_text()


def test_a_key_made_in_a_token_takes_over_a_role(product, token):
    path = product / "made-in-the-token.pem"
    generate_key(path, Algorithm.ECDSA_P256, passphrase=None)
    uri = token.import_key(path, "policy-2")
    path.unlink()
    said = _run("key", "public", uri, "-o", "keys/policy-2.pub.pem")
    old = load_public_key(product / "keys/policy.pub.pem").key_id.hex()
    new = load_public_key(product / "keys/policy-2.pub.pem").key_id.hex()
    assert new in said
    assert "BEGIN PUBLIC KEY" in _run("key", "public", uri)
    _run("key", "rotate", old[:16], "keys/policy-2.pub.pem")
    approved = json.loads(_run("policy", "approve", "--key", uri, "--json"))
    assert approved["key_ids"] == [new]
    again = _invoke("key", "public", uri, "-o", "keys/policy-2.pub.pem")
    assert isinstance(again.exception, DurableFileError)


def test_an_image_signed_by_a_token_is_accepted_by_espsecure_and_logged(product, token):
    path = product / "boot.pem"
    generate_key(path, Algorithm.ECDSA_P256, passphrase=None)
    image = product / "c6.bin"
    image.write_bytes(build_image(CODE, chip_id=13))
    _run("image", "sign", image, "--key", token.import_key(path, "boot"))
    assert espsecure_accepts(image, public_key_path(path))
    _run("policy", "approve")
    uri = token.import_key(path, "slot", "02")
    _run("waveform", "sign-slot", "--chip", "esp32c6", "--key", uri)
    assert espsecure_accepts(product / "build" / "waveform.slot", public_key_path(path))
    log = json.loads(_run("key", "log", "show", "--json"))
    assert log["entries"][-1]["role"] == "secure-boot"
    assert log["entries"][-1]["key_id"] == load_public_key(public_key_path(path)).key_id.hex()


def test_refusals_change_nothing(product, token, monkeypatch):
    uri = token.import_key(product / "keys" / "policy.pem", "policy")
    before = {path: path.read_bytes() for path in product.rglob("*") if path.is_file()}
    refused = _invoke("policy", "approve", "--key", f"{uri}?pin-value={PIN}")
    assert isinstance(refused.exception, KeyFileError)
    monkeypatch.setenv("AMPFORGE_PKCS11_PIN", "161803")
    refused = _invoke("policy", "approve", "--key", uri)
    assert isinstance(refused.exception, PassphraseError)
    assert {path: path.read_bytes() for path in product.rglob("*") if path.is_file()} == before
