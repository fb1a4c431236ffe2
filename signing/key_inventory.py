"""What key files there are: algorithm, key id, mark, encryption, without opening private keys.

An encrypted private key is described by its `.pub.pem` sibling. Nothing here asks for a passphrase
or signs; a file that cannot be used is described with its problem instead of ending the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signing.errors import KeyFileError
from signing.input_file import is_present
from signing.key_files import (
    PUBLIC_SUFFIX,
    has_test_key_mark,
    load_public_key,
    public_key_path,
    read_key_file,
)
from signing.key_uris import OTHERS, is_encrypted_key, load_software_signer
from signing.value_class import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from signing.keys import Algorithm, PublicKey

PRIVATE_SUFFIX: Final = ".pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What is known of one key file.

    Attributes:
        path: The file.
        is_private: Whether it holds a private key.
        is_encrypted: Whether that needs a passphrase.
        is_test_key: Whether it is marked as never for products.
        public_key: The key; `None` if it cannot be told.
        problem: Why the file cannot be used as it is; `None` if it can.
    """

    path: Path
    is_private: bool
    is_encrypted: bool
    is_test_key: bool
    public_key: PublicKey | None
    problem: str | None

    @property
    def algorithm(self) -> Algorithm | None:
        """The key's algorithm, if it can be told."""
        return None if self.public_key is None else self.public_key.algorithm


def find_key_files(folder: Path) -> tuple[Path, ...]:
    """Return the private key files of a folder, and the public ones that have no private sibling.

    Raises:
        KeyFileError: The folder cannot be read.
    """
    try:
        names = {path.name: path for path in folder.iterdir() if path.suffix == PRIVATE_SUFFIX}
    except OSError as error:
        raise KeyFileError(
            "a folder of keys cannot be read",
            got=error.strerror,
            where=folder,
            hint="check the path and its permissions",
        ) from error
    return tuple(
        path
        for name, path in sorted(names.items())
        if not name.endswith(PUBLIC_SUFFIX)
        or f"{name.removesuffix(PUBLIC_SUFFIX)}{PRIVATE_SUFFIX}" not in names
    )


def describe_key_file(path: Path) -> KeyFacts:
    """Describe a key file, private or public, without asking for a passphrase."""
    content, public_key, problem = b"", None, None
    is_private = is_encrypted = False
    try:
        content, mode = read_key_file(path)
        is_private = b"PRIVATE KEY-----" in content
        is_encrypted = is_private and is_encrypted_key(content)
        public_key = _public_key_of_file(path, is_private=is_private, is_encrypted=is_encrypted)
        if is_encrypted and mode & OTHERS:
            problem = f"open to other users: run chmod 600 {path}"
    except KeyFileError as error:
        problem = str(error) if error.hint is None else f"{error}; {error.hint}"
    return KeyFacts(
        path=path,
        is_private=is_private,
        is_encrypted=is_encrypted,
        is_test_key=has_test_key_mark(content),
        public_key=public_key,
        problem=problem,
    )


def private_sibling(public_path: Path) -> Path:
    """Return the private key's file beside a public one, if it is there, else the public one."""
    name = f"{public_path.name.removesuffix(PUBLIC_SUFFIX)}{PRIVATE_SUFFIX}"
    private_path = public_path.with_name(name)
    return private_path if is_present(private_path) else public_path


def refuse_foreign_sibling(path: Path, key: PublicKey) -> None:
    """Refuse a private key file whose `.pub.pem` sibling belongs to another key.

    Raises:
        KeyFileError: The two do not belong together.
    """
    sibling = public_key_path(path)
    if not is_present(sibling):
        return
    other = load_public_key(sibling)
    if other != key:
        raise KeyFileError(
            "a public key file does not belong to the private key beside it",
            expected=f"key {key.key_id.hex()}",
            got=f"key {other.key_id.hex()}",
            where=sibling,
            hint="restore the right file; what is signed verifies with the private key's own",
        )


def _public_key_of_file(path: Path, *, is_private: bool, is_encrypted: bool) -> PublicKey:
    if not is_private:
        return load_public_key(path)
    if not is_encrypted:
        key = load_software_signer(f"file:{path}").public_key
        refuse_foreign_sibling(path, key)
        return key
    return load_public_key(public_key_path(path))
