"""Marked, unencrypted keys for every role of a configuration: to try things out, never products.

Publishing refuses them unless the repository was made for them; each file says in its first line
that it is a test key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.errors import KeyFileError
from signing.key_files import PUBLIC_SUFFIX, generate_key, refuse_key_path
from signing.keys import Algorithm

if TYPE_CHECKING:
    from pathlib import Path

    from signing.roles_settings import SigningSettings


def generate_test_keys(settings: SigningSettings, root: Path) -> tuple[Path, ...]:
    """Make a test key for each public key that the configuration names.

    Args:
        settings: The section `[signing]`.
        root: Folder that its paths are relative to.

    Returns:
        The private key files, in the order of the configuration.

    Raises:
        KeyFileError: A public key's file is not named `NAME.pub.pem`, or exists.
        DurableFileError: A file cannot be written.
    """
    private_paths = tuple(
        _private_path(root / public_path)
        for role in settings.roles.values()
        for public_path in role.keys
    )
    for path in private_paths:
        refuse_key_path(path)
    for path in private_paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        generate_key(path, Algorithm.ECDSA_P256, passphrase=None, is_test_key=True)
    return private_paths


def _private_path(public_path: Path) -> Path:
    if not public_path.name.endswith(PUBLIC_SUFFIX):
        raise KeyFileError(
            "a public key file needs another name",
            expected=f"NAME{PUBLIC_SUFFIX}",
            got=public_path.name,
            where=public_path,
            hint="correct keys in [signing.roles]",
        )
    return public_path.with_name(public_path.name.removesuffix(PUBLIC_SUFFIX) + ".pem")
