"""Private keys that stay in a hardware module, behind the same interface as those in files.

Implements docs/spec/trust.md §10. ECDSA is CKM_ECDSA and RSA is CKM_RSA_PKCS_PSS, over a hash made
here, which every token with such keys has; Ed25519 is CKM_EDDSA. All give the raw form that we use
everywhere. Each signature is verified before it leaves: a token that errs, or holds a public key of
another pair, is found here and not by a device. Unlike those of key files, a token's ECDSA
signatures differ each time.

Not here: making or moving keys in a token, which is its maker's tools' business.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from pkcs11 import MGF, Attribute, Mechanism

from signing.algorithms import RSA_SALT_BYTES, Algorithm, hash_message
from signing.errors import PassphraseError, Pkcs11Error, SignatureError
from signing.pkcs11_public_key import read_public_key
from signing.pkcs11_token import (
    find_public_key_object,
    find_token,
    load_module,
    open_key,
    translated,
)
from signing.pkcs11_uri import as_module_path, parse_pkcs11_uri
from signing.pkcs11_variables import MODULE_VARIABLE, PIN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from signing.keys import PublicKey
    from signing.pkcs11_uri import Pkcs11Uri

# Each over a hash made here; Ed25519 takes the message itself. The parameters of PSS are the hash,
# the mask's hash and the bytes of salt (CK_RSA_PKCS_PSS_PARAMS, PKCS#11 v3.1 §6.1.9).
_MECHANISMS: Final[Mapping[Algorithm, tuple[Mechanism, object]]] = {
    Algorithm.ECDSA_P256: (Mechanism.ECDSA, None),
    Algorithm.ECDSA_P384: (Mechanism.ECDSA, None),
    Algorithm.ED25519: (Mechanism.EDDSA, None),
    Algorithm.RSA_3072: (Mechanism.RSA_PKCS_PSS, (Mechanism.SHA256, MGF.SHA256, RSA_SALT_BYTES)),
}


class Pkcs11Signer:
    """A private key in a token; only its signatures come out.

    Args:
        private_key: The key's object of `pkcs11`, logged in.
        public_key: The public key beside it.
        pin: The token's PIN, for keys that ask for it at each signature; else `None`.
        where: Token and key, for errors.
    """

    is_test_key = False

    def __init__(
        self, private_key: Any, public_key: PublicKey, *, pin: str | None, where: str
    ) -> None:
        self._private_key = private_key
        self._public_key = public_key
        self._pin = pin
        self._where = where
        self._lock = threading.Lock()  # a session does one thing at a time

    def __repr__(self) -> str:
        return f"Pkcs11Signer({self._where}, {self._public_key.key_id.hex()})"

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Have the token sign, and return the raw signature.

        Raises:
            Pkcs11Error: The token was removed, refused, or gave a signature that does not verify.
        """
        algorithm = self._public_key.algorithm
        mechanism, parameters = _MECHANISMS[algorithm]
        is_hashed_here = algorithm is not Algorithm.ED25519
        with self._lock, translated("a message cannot be signed", self._where):
            signature: bytes = self._private_key.sign(
                hash_message(algorithm, message) if is_hashed_here else message,
                mechanism=mechanism,
                mechanism_param=parameters,
                pin=self._pin,
            )
        try:
            self._public_key.verify(message, signature)
        except SignatureError as error:
            raise Pkcs11Error(
                "the token gave a signature that does not verify; it was thrown away",
                expected=f"a signature by key {self._public_key.key_id.hex()}",
                where=self._where,
                hint="the public key in the token may belong to another private key: check the ids",
            ) from error
        return signature


def load_pkcs11_signer(
    uri: str, *, passphrase: Callable[[], bytes] | None, environment: Mapping[str, str]
) -> Pkcs11Signer:
    """Open the private key that a `pkcs11:` URI names.

    Args:
        uri: The URI.
        passphrase: Gives the PIN where the environment does not; asked once at most.
        environment: `AMPFORGE_PKCS11_MODULE` and `AMPFORGE_PKCS11_PIN` are looked up here.

    Raises:
        PassphraseError: The PIN is missing, wrong or locked.
        KeyFileError: The URI does not name a key, or the token does not give it.
    """
    named = parse_pkcs11_uri(uri)
    token = find_token(load_module(_module_path(named, environment)), named)
    where = f"token={token.label};{named.describe_object()}"
    pin = _PinOnce(passphrase, environment, where=f"token={token.label}")
    session, private_key = open_key(token, named, pin)
    public_object = find_public_key_object(session, private_key, where=where)
    with translated("the key cannot be read", where):
        public_key = read_public_key(public_object, where=where)
        may_sign = bool(private_key[Attribute.SIGN])
        asks_each_time = _asks_each_time(private_key)
        mechanisms = token.slot.get_mechanisms()
    mechanism, _ = _MECHANISMS[public_key.algorithm]
    if not may_sign or mechanism not in mechanisms:
        raise Pkcs11Error(
            f"the token cannot sign with this {public_key.algorithm} key",
            expected=f"mechanism {mechanism.name}, and a key with CKA_SIGN",
            got="a key without CKA_SIGN" if not may_sign else "a token without the mechanism",
            where=where,
            hint="make a key for signatures, or use a token that has the mechanism",
        )
    return Pkcs11Signer(private_key, public_key, pin=pin() if asks_each_time else None, where=where)


class _PinOnce:
    """Gets the PIN from the environment or the caller, when it is first needed."""

    def __init__(
        self,
        passphrase: Callable[[], bytes] | None,
        environment: Mapping[str, str],
        *,
        where: str,
    ) -> None:
        self._passphrase = passphrase
        self._pin = environment.get(PIN_VARIABLE) or None
        self._where = where

    def __call__(self) -> str:
        if self._pin is None:
            if self._passphrase is None:
                raise PassphraseError(
                    "a token needs its PIN and none was given",
                    where=self._where,
                    hint=f"set {PIN_VARIABLE}, give --passphrase-file, or run where it can be "
                    "asked for",
                )
            try:
                self._pin = self._passphrase().decode()
            except UnicodeDecodeError as error:
                raise PassphraseError("a PIN is not UTF-8", where=self._where) from error
        return self._pin


def _module_path(named: Pkcs11Uri, environment: Mapping[str, str]) -> Path:
    if named.module_path is not None:
        return named.module_path
    text = environment.get(MODULE_VARIABLE)
    if not text:
        raise Pkcs11Error(
            "no PKCS#11 module is named",
            expected=f"{MODULE_VARIABLE}, or ?module-path=… in the URI",
            hint="give the file that came with the token, such as /usr/lib/softhsm/libsofthsm2.so",
        )
    return as_module_path(text, where=MODULE_VARIABLE)


def _asks_each_time(private_key: Any) -> bool:
    from pkcs11 import AttributeTypeInvalid

    try:
        return bool(private_key[Attribute.ALWAYS_AUTHENTICATE])
    except AttributeTypeInvalid:  # optional (PKCS#11 v3.1 §4.9); absent means no
        return False
