from __future__ import annotations

import pytest

from signing.errors import KeyFileError
from signing.key_files import generate_key
from signing.key_inventory import describe_key_file, find_key_files, private_sibling
from signing.keys import Algorithm


def test_a_folder_s_keys_are_found_once_each(tmp_path):
    generate_key(tmp_path / "b.pem", Algorithm.ED25519, passphrase=None)
    generate_key(tmp_path / "a.pem", Algorithm.ED25519, passphrase=None)
    (tmp_path / "a.pem").rename(tmp_path / "c.pem")
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in find_key_files(tmp_path)] == ["a.pub.pem", "b.pem", "c.pem"]
    with pytest.raises(KeyFileError, match="folder of keys cannot be read"):
        find_key_files(tmp_path / "none")


def test_an_encrypted_key_is_described_by_its_public_sibling(tmp_path):
    path = tmp_path / "k.pem"
    key = generate_key(path, Algorithm.ECDSA_P256, passphrase=b"pw", is_test_key=True)
    facts = describe_key_file(path)
    assert (facts.is_private, facts.is_encrypted, facts.is_test_key) == (True, True, True)
    assert facts.public_key == key
    assert facts.algorithm is Algorithm.ECDSA_P256
    assert facts.problem is None
    path.chmod(0o644)
    assert describe_key_file(path).problem == f"open to other users: run chmod 600 {path}"
    path.chmod(0o600)
    (tmp_path / "k.pub.pem").unlink()
    facts = describe_key_file(path)
    assert facts.public_key is None
    assert facts.algorithm is None
    assert "k.pub.pem" in (facts.problem or "")


def test_problems_are_described_instead_of_raised(tmp_path):
    path = tmp_path / "k.pem"
    generate_key(path, Algorithm.ED25519, passphrase=None)
    generate_key(tmp_path / "other.pem", Algorithm.ED25519, passphrase=None)
    assert describe_key_file(path).problem is None
    (tmp_path / "other.pub.pem").replace(tmp_path / "k.pub.pem")
    assert "does not belong to the private key beside it" in (describe_key_file(path).problem or "")
    path.chmod(0o640)
    assert f"chmod 600 {path}" in (describe_key_file(path).problem or "")
    (tmp_path / "broken.pem").write_text("nothing")
    assert "cannot be read" in (describe_key_file(tmp_path / "broken.pem").problem or "")
    assert "No such file" in (describe_key_file(tmp_path / "none.pem").problem or "")


def test_the_private_file_stands_for_the_pair_where_it_is(tmp_path):
    generate_key(tmp_path / "k.pem", Algorithm.ED25519, passphrase=None)
    public_path = tmp_path / "k.pub.pem"
    assert private_sibling(public_path) == tmp_path / "k.pem"
    (tmp_path / "k.pem").unlink()
    assert private_sibling(public_path) == public_path
