from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from signing.errors import KeyFileError
from signing.key_files import is_test_key, public_key_path
from signing.key_uris import load_signer
from signing.roles import Role
from signing.roles_settings import SigningSettings
from signing.trial_keys import generate_test_keys
from signing.written_table import read_table

if TYPE_CHECKING:
    from pathlib import Path


def settings(**keys: list[str]) -> SigningSettings:
    roles = {role.replace("_", "-"): {"keys": names} for role, names in keys.items()}
    return read_table(SigningSettings, {"roles": roles})


def test_every_key_that_is_named_is_made_marked_private_and_of_its_own(tmp_path):
    configured = settings(
        root=["keys/root-1.pub.pem", "keys/root-2.pub.pem"], policy=["quality/policy.pub.pem"]
    )
    paths = generate_test_keys(configured, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "keys/root-1.pem",
        "keys/root-2.pem",
        "quality/policy.pem",
    ]
    signers = [load_signer(str(path)) for path in paths]
    assert len({signer.public_key.key_id for signer in signers}) == 3
    for path, signer in zip(paths, signers, strict=True):
        assert signer.is_test_key
        assert is_test_key(path)
        assert is_test_key(public_key_path(path))
        assert path.stat().st_mode & 0o777 == 0o600
    held = configured.load_role_keys(tmp_path)
    assert held[Role.POLICY].keys == (signers[2].public_key,)


def test_a_public_key_file_of_another_name_is_refused_before_any_key_is_made(tmp_path):
    with pytest.raises(KeyFileError, match=r"expected NAME\.pub\.pem"):
        generate_test_keys(settings(root=["keys/a.pub.pem", "keys/b.pem"]), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["b.pem", "b.pub.pem"])
def test_a_key_that_is_there_is_never_replaced_and_none_is_made_beside_it(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"a key of somebody")
    with pytest.raises(KeyFileError, match="exists already"):
        generate_test_keys(settings(root=["a.pub.pem", "b.pub.pem"]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"a key of somebody"
