"""A whole release by keys of every algorithm, in files and in a token; and what boards cannot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp

from cli.init_command import copy_example
from cli.main import ampforge
from manifests.manifest import verify_manifest
from signing.algorithms import Algorithm
from signing.errors import TrustError
from signing.key_encryption import serialize_pem
from signing.key_files import load_public_key
from signing.trust_file import load_trust_record
from tests.firmware_images.espsecure_command import espsecure_accepts
from tests.firmware_images.test_esp_image import CODE, build_image
from tests.signing.fixed_keys import fixed_signer
from tests.softhsm import make_token

if TYPE_CHECKING:
    from pathlib import Path

P256, P384, ED25519, RSA = Algorithm
BUNDLE = "build/flare-1.4.0.bundle.zip"
# One RSA key of the release role is all that a device message has room for.
ALGORITHMS = {
    "root-1": P384,
    "root-2": P256,
    "root-3": P384,
    "policy": P384,
    "supervisor": P256,
    "release-1": RSA,
    "release-2": P256,
    "release-3": P256,
    "campaign": P384,
    "freshness": ED25519,
    "timestamp": P384,
    "snapshot": P256,
}


@pytest.fixture
def product(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "flare"
    copy_example(folder)
    (folder / "keys").mkdir(exist_ok=True)
    for name, algorithm in ALGORITHMS.items():
        write_key(folder / "keys" / f"{name}.pem", name, algorithm)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    return folder


def write_key(path: Path, name: str, algorithm: Algorithm) -> None:
    signer = fixed_signer(name, algorithm)
    path.write_bytes(serialize_pem("PRIVATE KEY", signer.to_pkcs8_der()))
    path.chmod(0o600)
    path.with_name(f"{path.stem}.pub.pem").write_bytes(signer.public_key.pem())


def let_boards_verify(folder: Path, *algorithms: str) -> None:
    path = folder / "ampforge.toml"
    said = f"[signing]\nboards_verify = {json.dumps(algorithms)}\n"
    path.write_text(path.read_text().replace("[signing]\n", said, 1))


def invoke(*arguments: object):
    return CliRunner().invoke(ampforge, [str(argument) for argument in arguments])


def run(*arguments: object) -> str:
    done = invoke(*arguments)
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.output


def test_a_release_by_every_algorithm_verifies_everywhere(product, monkeypatch):
    token = make_token()
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    text = (product / "ampforge.toml").read_text()
    for number, name in enumerate(("release-1", "policy"), 1):
        path = product / "keys" / f"{name}.pem"
        uri = token.import_key(path, name, f"{number:02x}")
        text = text.replace(f'"keys/{name}.pem"', f'"{uri}"')
        path.unlink()
    (product / "ampforge.toml").write_text(text)
    let_boards_verify(product, "ecdsa-p384", "rsa-3072")
    assert "boards also verify ecdsa-p384, rsa-3072" in run("trust", "sign")
    shown = json.loads(run("trust", "show", "--json"))
    assert shown["boards_verify"] == ["ecdsa-p384", "rsa-3072"]
    run("policy", "approve")
    run("bundle", "build")
    run("bundle", "sign", BUNDLE)
    signatures = json.loads(run("bundle", "inspect", BUNDLE, "--json"))["signatures"]
    assert {entry["algorithm"] for entry in signatures} == {"rsa-3072", "ecdsa-p256"}
    run("bundle", "verify", BUNDLE)
    changed = bytearray((product / BUNDLE).read_bytes())
    changed[len(changed) // 2] ^= 1
    (product / "changed.zip").write_bytes(changed)
    assert invoke("bundle", "verify", "changed.zip").exit_code != 0

    for arguments in (("repo", "init"), ("repo", "publish", BUNDLE), ("repo", "status")):
        run(*arguments)
    trust = load_trust_record(product / "trust.cose")
    (manifest,) = product.rglob("device/manifests/*.cose")
    assert len(manifest.read_bytes()) <= 1024
    assert verify_manifest(manifest.read_bytes(), trust).version == "1.4.0"
    assert_tuf_verifies(product)
    log = json.loads(run("key", "log", "show", "--json"))["entries"]
    logged = {entry["key_id"] for entry in log}
    for name in ("root-1", "release-1", "policy", "timestamp", "campaign"):
        key = load_public_key(product / "keys" / f"{name}.pub.pem")
        assert key.key_id.hex() in logged, name
    run("key", "log", "verify")


def assert_tuf_verifies(product: Path) -> None:
    """By python-tuf and securesystemslib alone."""
    (root_path,) = product.rglob("1.root.json")
    root = Metadata[Root].from_file(str(root_path))
    root.verify_delegate(Root.type, root)
    schemes = {key.scheme for key in root.signed.keys.values()}
    assert schemes == {
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "rsassa-pss-sha256",
    }
    timestamp = Metadata[Timestamp].from_file(str(root_path.with_name("timestamp.json")))
    root.verify_delegate(Timestamp.type, timestamp)
    newest = max(
        root_path.parent.glob("*.snapshot.json"), key=lambda path: int(path.name.split(".")[0])
    )
    root.verify_delegate(Snapshot.type, Metadata[Snapshot].from_file(str(newest)))
    newest = max(
        root_path.parent.glob("*.targets.json"), key=lambda path: int(path.name.split(".")[0])
    )
    root.verify_delegate("targets", Metadata.from_file(str(newest)))


def test_keys_that_boards_cannot_verify_are_refused_before_root_signs(product):
    before = {path: path.read_bytes() for path in product.rglob("*") if path.is_file()}
    refused = invoke("trust", "sign")
    assert isinstance(refused.exception, TrustError)
    assert "a key of the role root is of an algorithm" in str(refused.exception)
    assert 'boards_verify = ["ecdsa-p384"]' in str(refused.exception.hint)
    assert {path: path.read_bytes() for path in product.rglob("*") if path.is_file()} == before


def test_a_key_is_rotated_to_p384_once_boards_verify_it_and_revoked(product):
    for name in ALGORITHMS:
        write_key(product / "keys" / f"{name}.pem", name, P256)
    run("trust", "sign")
    write_key(product / "keys" / "policy-2.pem", "policy-2", P384)
    old = load_public_key(product / "keys/policy.pub.pem").key_id.hex()
    before = (product / "trust.cose").read_bytes()
    refused = invoke("key", "rotate", old[:16], "keys/policy-2.pub.pem")
    assert isinstance(refused.exception, TrustError)
    assert "expected ecdsa-p256 or ed25519" in str(refused.exception)
    assert (product / "trust.cose").read_bytes() == before
    let_boards_verify(product, "ecdsa-p384")
    run("trust", "sign")
    run("key", "rotate", old[:16], "keys/policy-2.pub.pem", "--revoke")
    record = load_trust_record(product / "trust.cose")
    assert record.boards_verify == {P384}
    approved = json.loads(run("policy", "approve", "--key", "keys/policy-2.pem", "--json"))
    assert approved["key_ids"] == [fixed_signer("policy-2", P384).public_key.key_id.hex()]


def test_an_rsa_key_in_a_token_signs_an_image_that_espsecure_accepts(product, monkeypatch):
    token = make_token()
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    path = product / "boot.pem"
    write_key(path, "boot", RSA)
    image = product / "c6.bin"
    image.write_bytes(build_image(CODE, chip_id=13))
    uri = token.import_key(path, "boot")
    path.unlink()
    assert "rsa-3072" in run("image", "sign", image, "--key", uri)
    assert espsecure_accepts(image, product / "boot.pub.pem")
    told = json.loads(run("key", "public", uri, "--json"))
    assert told["algorithm"] == "rsa-3072"
    entry = json.loads(run("key", "log", "show", "--json"))["entries"][-1]
    assert (entry["role"], entry["key_id"]) == ("secure-boot", told["key_id"])
