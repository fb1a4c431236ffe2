"""Private keys behind one narrow interface, named by URI.

A `Signer` gives its public key and signs bytes; nothing that uses one can see the private key.
Signatures are raw: r and s big-endian, 32 bytes each (RFC 9053 §2.1), or Ed25519 (RFC 8032).
ECDSA by a key file is deterministic (RFC 6979): the same key over the same bytes gives the same
signature, and a bad source of randomness cannot give the key away. Keys in hardware modules are in
`signing.pkcs11_signer`.
"""

from __future__ import annotations

import os
import stat
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from signing.errors import KeyFileError, PassphraseError
from signing.input_file import is_present, read_input_and_mode
from signing.keys import (
    KEY_FILE_MAX_BYTES,
    MESSAGE_ALGORITHMS,
    RSA_EXPONENT,
    SECURE_BOOT_ALGORITHMS,
    Algorithm,
    PublicKey,
    has_test_key_mark,
    public_key_of,
    rsa_padding,
)
from signing.pkcs11_uri import is_pkcs11_uri, parse_pkcs11_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COORDINATE_BYTES: Final = 32
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""Permission bits that a private key file must not have."""

_PRIVATE_MARK: Final = b"PRIVATE KEY-----"
_HINT_PRIVATE: Final = "give a PEM private key, P-256 or Ed25519, as `ampforge key generate` makes"


class Signer(Protocol):
    """A private key that signs, wherever it lives."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature over a message: 64 bytes, or 384 if the key is an RSA key."""
        ...


class SoftwareSigner:
    """A private key in this process's memory.

    Args:
        private_key: A private key object of `cryptography`.
        where: Where it came from, for errors.
        is_test_key: Whether its file is marked as one for tests.
        allowed: Which algorithms it may have.
    """

    def __init__(
        self,
        private_key: Any,
        *,
        where: str,
        is_test_key: bool = False,
        allowed: frozenset[Algorithm] = MESSAGE_ALGORITHMS,
    ) -> None:
        public_half = getattr(private_key, "public_key", None)
        self._public_key = public_key_of(
            public_half() if public_half else None, where=where, allowed=allowed
        )
        self._private_key = private_key
        self.is_test_key = is_test_key

    def __repr__(self) -> str:
        return f"SoftwareSigner({self._public_key.algorithm}, {self._public_key.key_id.hex()})"

    @classmethod
    def generate(cls, algorithm: Algorithm) -> SoftwareSigner:
        """Make a new private key from the system's randomness."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        if algorithm is Algorithm.ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate(), where="a new key")
        if algorithm is Algorithm.RSA_3072:
            rsa_key = rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=3072)
            return cls(rsa_key, where="a new key", allowed=SECURE_BOOT_ALGORITHMS)
        return cls(ec.generate_private_key(ec.SECP256R1()), where="a new key")

    @classmethod
    def from_pkcs8_der(
        cls, untrusted_bytes: bytes, *, where: str = "a private key"
    ) -> SoftwareSigner:
        """Read an unencrypted PKCS #8 private key.

        Raises:
            KeyFileError: It is not a P-256 or Ed25519 private key.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        try:
            private_key = load_der_private_key(untrusted_bytes, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(
                "a private key cannot be read", got=type(error).__name__, where=where
            ) from error
        return cls(private_key, where=where)

    def to_pkcs8_der(self) -> bytes:
        """Return the private key, unencrypted: for a device's own storage, never for a log."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        der: bytes = self._private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        return der

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return self._public_key

    @property
    def private_key(self) -> Any:
        """The key object of `cryptography`, for certificates; used inside this package only."""
        return self._private_key

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature over a message: 64 bytes, or 384 if the key is an RSA key."""
        if self._public_key.algorithm is Algorithm.ED25519:
            signature: bytes = self._private_key.sign(message)
            return signature
        if self._public_key.algorithm is Algorithm.RSA_3072:
            pss_signature: bytes = self._private_key.sign(message, *rsa_padding())
            return pss_signature
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(self._private_key.sign(message, self._ecdsa))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    @cached_property
    def _ecdsa(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return ECDSA(SHA256(), deterministic_signing=True)


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
    """Open a private key that signs images for a chip's boot ROM: RSA-3072, or P-256.

    Args:
        uri: A path, `file:` and a path, or a `pkcs11:` URI.
        passphrase: Asked once, and only if the key is encrypted or its token needs a PIN.

    Raises:
        PassphraseError: The passphrase or PIN is missing or wrong.
        KeyFileError: The key cannot be opened, is open to others, or is not usable.
    """
    if is_pkcs11_uri(uri):
        return load_signer(uri, passphrase=passphrase)
    return load_software_signer(uri, passphrase=passphrase, allowed=SECURE_BOOT_ALGORITHMS)


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

    begin = content.find(b"-----BEGIN ")
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
            got=type(error).__name__,
            where=path,
            hint=_HINT_PRIVATE,
        ) from error
    is_test_key = has_test_key_mark(content)
    return SoftwareSigner(private_key, where=str(path), is_test_key=is_test_key, allowed=allowed)
