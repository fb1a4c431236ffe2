"""Private keys named by URI: opened from their files, or in hardware modules.

A key is named by its path, by `file:` and a path, or by a `pkcs11:` URI (docs/spec/trust.md §10).
A file that other users may read is refused. Keys in hardware modules are in
`signing.pkcs11_signer`, which needs a package that not every installation has.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signing.errors import KeyFileError, PassphraseError
from signing.input_file import is_present, read_input_and_mode
from signing.key_files import has_test_key_mark
from signing.keys import (
    KEY_FILE_MAX_BYTES,
    MESSAGE_ALGORITHMS,
    PEM_BEGIN,
    SECURE_BOOT_ALGORITHMS,
    Algorithm,
    refuse_kind,
)
from signing.pkcs11_uri import is_pkcs11_uri, parse_pkcs11_uri
from signing.signers import SoftwareSigner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from signing.signers import Signer

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""Permission bits that a private key file must not have."""

_PRIVATE_MARK: Final = b"PRIVATE KEY-----"
_HINT_PRIVATE: Final = "give a PEM private key, as `ampforge key generate` makes"


def load_signer(
    uri: str,
    *,
    passphrase: Callable[[], bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Signer:
    """Open the private key that a URI names, in a file or in a hardware module.

    Args:
        uri: A path, `file:` and a path, or a `pkcs11:` URI.
        passphrase: Asked once, and only if the key is encrypted or its token needs a PIN.
        environment: Where a token's module and PIN may be named; this process's own if `None`.

    Raises:
        PassphraseError: The passphrase or PIN is missing or wrong.
        KeyFileError: The key cannot be opened, is open to others, or is not usable.
    """
    if is_pkcs11_uri(uri):
        return _load_from_token(uri, passphrase, os.environ if environment is None else environment)
    return load_software_signer(uri, passphrase=passphrase)


def load_secure_boot_signer(uri: str, *, passphrase: Callable[[], bytes] | None = None) -> Signer:
    """Open a private key that signs images for a chip's boot ROM: RSA-3072, P-256 or P-384.

    Args:
        uri: A path, `file:` and a path, or a `pkcs11:` URI.
        passphrase: Asked once, and only if the key is encrypted or its token needs a PIN.

    Raises:
        PassphraseError: The passphrase or PIN is missing or wrong.
        KeyFileError: The key cannot be opened, is open to others, or is not usable.
    """
    if not is_pkcs11_uri(uri):
        return load_software_signer(uri, passphrase=passphrase, allowed=SECURE_BOOT_ALGORITHMS)
    signer = load_signer(uri, passphrase=passphrase)
    refuse_kind(signer.public_key.algorithm, SECURE_BOOT_ALGORITHMS, where=uri)
    return signer


def load_software_signer(
    uri: str,
    *,
    passphrase: Callable[[], bytes] | None = None,
    allowed: frozenset[Algorithm] = MESSAGE_ALGORITHMS,
) -> SoftwareSigner:
    """Open the private key of a file, where the key itself is needed in memory.

    Args:
        uri: A path, or `file:` and a path.
        passphrase: Asked once, and only if the key is encrypted.
        allowed: Which algorithms it may have.

    Returns:
        The signer; its `is_test_key` says whether the file is marked.

    Raises:
        PassphraseError: The key is encrypted and the passphrase is missing or wrong.
        KeyFileError: The file cannot be read, is open to others, or holds no usable key.
    """
    scheme, colon, rest = uri.partition(":")
    if colon and scheme == "file":
        path = Path(rest.removeprefix("//"))
    elif is_pkcs11_uri(uri):
        raise KeyFileError(
            "a key in a hardware module cannot be used here",
            expected="a PEM file",
            got="a pkcs11: URI",
            hint="this needs the private key itself; name its file",
        )
    elif colon and "/" not in scheme and not is_present(Path(uri)):
        raise KeyFileError(
            "a key is named by a URI of an unknown kind",
            expected="a path, file:PATH or pkcs11:…",
            got=f"{scheme}:",
        )
    else:
        path = Path(uri)
    return _parse_private_key(_read_private_file(path), path, passphrase, allowed)


def _load_from_token(
    uri: str, passphrase: Callable[[], bytes] | None, environment: Mapping[str, str]
) -> Signer:
    parse_pkcs11_uri(uri)  # what is wrong with the URI is wrong without the extra, too
    try:
        from signing.pkcs11_signer import load_pkcs11_signer
    except ModuleNotFoundError as error:
        if error.name != "pkcs11":
            raise
        raise KeyFileError(
            "keys in a hardware module are not supported by this installation",
            expected="the package python-pkcs11",
            got="not installed",
            hint="install Ampforge with it: pip install 'ampforge[hsm]'",
        ) from error
    return load_pkcs11_signer(uri, passphrase=passphrase, environment=environment)


def is_encrypted_key(untrusted_bytes: bytes) -> bool:
    """Whether the content of a private key file needs a passphrase."""
    return b"ENCRYPTED" in untrusted_bytes


def _read_private_file(path: Path) -> bytes:
    try:
        content, mode = read_input_and_mode(path, KEY_FILE_MAX_BYTES)
    except OSError as error:
        raise KeyFileError(
            "a private key file cannot be read",
            got=error.strerror or type(error).__name__,
            where=path,
            hint="check the path; `ampforge key generate` makes a new key",
        ) from error
    if mode & OTHERS:
        raise KeyFileError(
            "a private key file is open to other users",
            expected="mode 0600",
            got=f"mode {stat.S_IMODE(mode):04o}",
            where=path,
            hint=f"run `chmod 600 {path}`; if others may have read it, replace the key",
        )
    return content


def _parse_private_key(
    content: bytes,
    path: Path,
    passphrase: Callable[[], bytes] | None,
    allowed: frozenset[Algorithm],
) -> SoftwareSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    begin = content.find(PEM_BEGIN)
    if begin < 0 or len(content) > KEY_FILE_MAX_BYTES or _PRIVATE_MARK not in content:
        raise KeyFileError(
            "a file holds no private key", expected="PEM", where=path, hint=_HINT_PRIVATE
        )
    secret: bytes | None = None
    if is_encrypted_key(content):
        if passphrase is None:
            raise PassphraseError(
                "a private key is encrypted and no passphrase was given",
                where=path,
                hint="give --passphrase-file, or run where the passphrase can be asked for",
            )
        secret = passphrase()
    try:
        private_key = load_pem_private_key(content[begin:], password=secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if secret is not None:
            raise PassphraseError(
                "the passphrase does not open the private key",
                where=path,
                hint="check the passphrase and that it belongs to this key",
            ) from error
        raise KeyFileError(
            "a private key cannot be read",
            expected="one whole PEM block of PKCS #8",
            got=f"{len(content)} bytes of another kind",
            where=path,
            hint=_HINT_PRIVATE,
        ) from error
    is_test_key = has_test_key_mark(content)
    return SoftwareSigner(private_key, where=str(path), is_test_key=is_test_key, allowed=allowed)
