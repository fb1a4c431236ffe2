"""`ampforge init --test-keys` and `ampforge trust`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.failures import UsageRefusal
from cli.init_command import copy_example, init, sign_first_trust_record
from cli.trust_commands import group
from signing.certificate_issuing import create_ca_certificate
from signing.errors import CertificateError, DurableFileError, KeyFileError, SigningError
from signing.key_files import is_test_key
from signing.keys import Algorithm
from signing.roles import Role
from signing.signers import SoftwareSigner
from signing.trust_file import load_trust_record
from tests.cli.moments import NOON


@pytest.fixture
def product(tmp_path, monkeypatch):
    folder = tmp_path / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    return folder


def _run(*arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def test_init_makes_marked_keys_for_every_role_and_a_trust_record(tmp_path):
    folder = tmp_path / "flare"
    done = CliRunner().invoke(init, [str(folder), "--test-keys", "--json"])
    assert done.exit_code == 0
    document = json.loads(done.output)
    assert len(document["test_keys"]) == 12
    for path in folder.glob("keys/*.pem"):
        assert is_test_key(path)
    record = load_trust_record(folder / "trust.cose")
    assert record.product == "flare"
    assert record.version == 1
    assert record.roles[Role.ROOT].threshold == 2


def test_test_keys_never_replace_keys(product):
    before = {path: path.read_bytes() for path in product.rglob("*") if path.is_file()}
    with pytest.raises((KeyFileError, DurableFileError)):
        sign_first_trust_record(product)
    assert {path: path.read_bytes() for path in product.rglob("*") if path.is_file()} == before


def test_the_next_record_carries_the_factory_ca_and_keeps_what_was_not_given(product):
    signer = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    certificate = create_ca_certificate(signer, common_name="factory", not_before=NOON)
    path = product / "ca.der"
    path.write_bytes(certificate)
    done = _run("sign", "--factory-ca", path, "--minimum-policy-version", 1, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["version"] == 2
    again = _run("sign", "--json")
    assert again.exit_code == 0
    record = load_trust_record(product / "trust.cose")
    assert record.version == 3
    assert record.factory_ca_der == certificate
    assert record.minimum_policy_version == 1


def test_a_minimum_policy_version_never_goes_down_and_nothing_is_written(product):
    assert _run("sign", "--minimum-policy-version", 5).exit_code == 0
    before = (product / "trust.cose").read_bytes()
    refused = _run("sign", "--minimum-policy-version", 4)
    assert isinstance(refused.exception, SigningError)
    assert (product / "trust.cose").read_bytes() == before


def test_show_says_who_may_sign_what(product):
    done = _run("show")
    assert done.exit_code == 0
    assert "root         2 of 3" in done.output
    assert "none yet" in done.output


def test_a_changed_record_is_refused_by_show(product):
    path = product / "trust.cose"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error = _run("show", path).exception
    assert isinstance(error, SigningError)
    assert error.where.startswith(str(path))


def test_a_copy_of_the_example_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fill_disk(*_arguments, **_options):
        (tmp_path / "flare" / "keys").mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cli.init_command.shutil.copytree", fill_disk)
    with pytest.raises(UsageRefusal, match="No space left") as refused:
        copy_example(tmp_path / "flare")
    assert refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_certificate_is_not_signed_as_the_factory_ca(product):
    before = (product / "trust.cose").read_bytes()
    for name, error in (
        ("keys/root-1.pem", CertificateError),
        ("/dev/null", CertificateError),
        ("waveforms.toml", CertificateError),
        ("/dev/zero", UsageRefusal),  # longer than any certificate of ours
    ):
        refused = _run("sign", "--factory-ca", name)
        assert isinstance(refused.exception, error), name
        assert refused.exception.where.startswith(name)
    assert (product / "trust.cose").read_bytes() == before
