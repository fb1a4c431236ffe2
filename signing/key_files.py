"""The files that key pairs live in.

A pair lives in two files: `NAME.pem` (PKCS #8, mode 0600) and `NAME.pub.pem`. Keys that are made
for tests and demonstrations carry a line above the PEM block that says so.

Not here: opening a private key to sign with it, which is `signing.key_uris`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from signing.durable_file import create_durably
from signing.errors import DurableFileError, KeyFileError
from signing.input_file import is_present, read_input_and_mode
from signing.key_encryption import (
    INITIALISATION_VECTOR_BYTES,
    SALT_BYTES,
    encrypt_pkcs8_der,
    serialize_pem,
)
from signing.keys import (
    KEY_FILE_MAX_BYTES,
    MESSAGE_ALGORITHMS,
    PEM_BEGIN,
    Algorithm,
    PublicKey,
    parse_public_key,
)
from signing.signers import SoftwareSigner

if TYPE_CHECKING:
    from pathlib import Path

TEST_KEY_MARK: Final = b"# AMPFORGE TEST KEY: never for products\n"
PUBLIC_SUFFIX: Final = ".pub.pem"


def load_public_key(path: Path, *, allowed: frozenset[Algorithm] = MESSAGE_ALGORITHMS) -> PublicKey:
    """Read a public key from a file.

    Args:
        path: The file.
        allowed: Which algorithms the key may have.

    Raises:
        KeyFileError: The file cannot be read, or does not hold one.
    """
    return parse_public_key(read_key_file(path)[0], where=str(path), allowed=allowed)


def read_key_file(path: Path) -> tuple[bytes, int]:
    """Return the bytes of a key file, at most `KEY_FILE_MAX_BYTES` and one, and its mode.

    Raises:
        KeyFileError: The file cannot be read.
    """
    try:
        return read_input_and_mode(path, KEY_FILE_MAX_BYTES)
    except OSError as error:
        raise KeyFileError(
            "a key file cannot be read",
            got=error.strerror or type(error).__name__,
            where=path,
            hint="check the path; `ampforge key generate` makes a new key",
        ) from error


def is_test_key(path: Path) -> bool:
    """Whether a key file, private or public, is marked as one for tests.

    Raises:
        KeyFileError: The file cannot be read.
    """
    return has_test_key_mark(read_key_file(path)[0])


def has_test_key_mark(content: bytes) -> bool:
    """Whether the content of a key file carries the mark above its PEM block."""
    return TEST_KEY_MARK in content.partition(PEM_BEGIN)[0]


def public_key_path(path: Path) -> Path:
    """Return where the public key lies that belongs to a private key file."""
    return path.with_name(f"{path.stem}{PUBLIC_SUFFIX}")


def generate_key(
    path: Path, algorithm: Algorithm, *, passphrase: bytes | None, is_test_key: bool = False
) -> PublicKey:
    """Make a key pair in two new files: `path` (mode 0600) and its `.pub.pem` sibling.

    Args:
        path: The private key's file, `NAME.pem`; its folder exists.
        algorithm: What the key signs.
        passphrase: Encrypts the private key; `None` leaves it as it is.
        is_test_key: Mark both files as never for products.

    Returns:
        The public key.

    Raises:
        KeyFileError: The name is a public key's, or the passphrase is empty.
        DurableFileError: One of the files exists, or cannot be written.
    """
    refuse_key_path(path)
    public_path = public_key_path(path)
    signer = SoftwareSigner.generate(algorithm)
    mark = TEST_KEY_MARK if is_test_key else b""
    create_durably(path, mark + _serialize_private_key(signer.to_pkcs8_der(), passphrase, path))
    try:
        create_durably(public_path, mark + signer.public_key.pem(), mode=0o644)
    except DurableFileError:
        # Nobody has seen this key yet: without its public half it would only block the name.
        path.unlink()
        raise
    return signer.public_key


def refuse_key_path(path: Path) -> None:
    """Refuse a path that `generate_key` cannot use, before anything is asked or made.

    Raises:
        KeyFileError: The name is not a private key's, or one of the two files exists.
    """
    if path.suffix != ".pem" or path.name.endswith(PUBLIC_SUFFIX):
        raise KeyFileError(
            "a private key file needs another name",
            expected="NAME.pem",
            got=path.name,
            where=path,
            hint="give a name that ends in .pem; the public key goes to NAME.pub.pem",
        )
    for kind, taken in (("private", path), ("public", public_key_path(path))):
        if is_present(taken):
            raise KeyFileError(
                f"a {kind} key of that name exists already",
                where=taken,
                hint="choose another name; keys are never overwritten",
            )


def _serialize_private_key(pkcs8_der: bytes, passphrase: bytes | None, path: Path) -> bytes:
    if passphrase is None:
        return serialize_pem("PRIVATE KEY", pkcs8_der)
    if not passphrase:
        raise KeyFileError(
            "an empty passphrase protects nothing",
            where=path,
            hint="give a passphrase, or --no-passphrase for a key that needs no protection",
        )
    encrypted = encrypt_pkcs8_der(
        pkcs8_der,
        passphrase,
        salt=secrets.token_bytes(SALT_BYTES),
        initialisation_vector=secrets.token_bytes(INITIALISATION_VECTOR_BYTES),
    )
    return serialize_pem("ENCRYPTED PRIVATE KEY", encrypted)
