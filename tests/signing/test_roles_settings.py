from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from signing.errors import KeyFileError, PassphraseError, TrustError
from signing.key_files import generate_key
from signing.keys import Algorithm
from signing.roles import Role
from signing.roles_settings import SigningSettings
from signing.written_checks import UnfitTableError
from signing.written_table import read_table

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
trust_record = "trust.cose"
[roles.root]
threshold = 1
keys = ["keys/root-1.pub.pem", "keys/root-2.pub.pem"]
signer = ["keys/root-1.pem", "file:keys/root-2.pem"]
[roles.policy]
keys = ["keys/policy.pub.pem"]
signer = "keys/policy.pem"
[roles.release]
keys = ["keys/release.pub.pem"]
"""


def settings_of(toml: str) -> SigningSettings:
    return read_table(SigningSettings, tomllib.loads(toml))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    for name in ("root-1", "root-2", "release"):
        generate_key(tmp_path / "keys" / f"{name}.pem", Algorithm.ED25519, passphrase=None)
    generate_key(tmp_path / "keys" / "policy.pem", Algorithm.ECDSA_P256, passphrase=b"pw")
    return tmp_path


def test_role_keys_and_signers_are_loaded_from_beside_the_file(root: Path) -> None:
    settings = settings_of(TOML)
    assert settings.trust_record.name == "trust.cose"
    role_keys = settings.load_role_keys(root)
    assert set(role_keys) == {Role.ROOT, Role.POLICY, Role.RELEASE}
    signers = settings.load_signers(Role.ROOT, root)
    assert {signer.public_key for signer in signers} == set(role_keys[Role.ROOT].keys)
    (policy,) = settings.load_signers(Role.POLICY, root, passphrase=lambda _key: b"pw")
    assert (policy.public_key,) == role_keys[Role.POLICY].keys
    with pytest.raises(PassphraseError):
        settings.load_signers(Role.POLICY, root)


def test_absolute_paths_stay_as_they_are(root: Path) -> None:
    settings = settings_of(
        f'[roles.root]\nkeys = ["{root}/keys/root-1.pub.pem"]\nsigner = "file://{root}/keys/root-1.pem"'
    )
    (signer,) = settings.load_signers(Role.ROOT, root / "elsewhere")
    assert settings.load_role_keys(root / "elsewhere")[Role.ROOT].keys == (signer.public_key,)


def test_a_role_without_keys_or_without_a_private_key_is_named(root: Path) -> None:
    settings = settings_of(TOML)
    with pytest.raises(KeyFileError, match="no keys for the role campaign: expected a table"):
        settings.load_signers(Role.CAMPAIGN, root)
    with pytest.raises(KeyFileError, match="no private key for the role release"):
        settings.load_signers(Role.RELEASE, root)
    with pytest.raises(KeyFileError, match="object or id, to say which key"):
        settings_of('[roles.root]\nkeys = ["k"]\nsigner = "pkcs11:token=t"').load_signers(
            Role.ROOT, root
        )


def test_a_threshold_beyond_the_keys_is_refused(root: Path) -> None:
    settings = settings_of('[roles.root]\nthreshold = 2\nkeys = ["keys/root-1.pub.pem"]')
    with pytest.raises(TrustError, match="threshold cannot be met"):
        settings.load_role_keys(root)


@pytest.mark.parametrize(
    "toml",
    [
        "",
        "[roles.emperor]\nkeys = ['k']",
        "[roles.root]\nkeys = []",
        "[roles.root]\nthreshold = 0\nkeys = ['k']",
        "[roles.root]\nthreshold = '1'\nkeys = ['k']",
        "[roles.root]\nkeys = ['k']\nsigner = 3",
        "[roles.root]\nkeys = ['k']\npassphrase = 'secret'",
        "unknown = 1\n[roles.root]\nkeys = ['k']",
    ],
)
def test_a_section_of_another_shape_is_refused(toml: str) -> None:
    with pytest.raises(UnfitTableError):
        settings_of(toml)
