"""Private keys that stay in a hardware module, behind the same interface as those in files.

Implements docs/spec/trust.md §10. ECDSA is CKM_ECDSA over a SHA-256 made here, which every token
with P-256 has; Ed25519 is CKM_EDDSA. Both give the raw form that we use everywhere. Each signature
is verified before it leaves: a token that errs, or holds a public key of another pair, is found
here and not by a device. Unlike those of key files, a token's ECDSA signatures differ each time.

Not here: making or moving keys in a token, which is its maker's tools' business.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from pkcs11 import Attribute, KeyType, Mechanism

from signing.errors import PassphraseError, Pkcs11Error, SignatureError
from signing.keys import Algorithm, PublicKey, public_key_of
from signing.pkcs11_token import (
    find_public_key_object,
    find_token,
    load_module,
    open_key,
    translated,
)
from signing.pkcs11_uri import as_module_path, parse_pkcs11_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from signing.pkcs11_uri import Pkcs11Uri

MODULE_VARIABLE: Final = "AMPFORGE_PKCS11_MODULE"
PIN_VARIABLE: Final = "AMPFORGE_PKCS11_PIN"

# CKA_EC_PARAMS: the named curve's object identifier (RFC 5480 §2.1.1.1, RFC 8410 §3), or for
# Ed25519 the printable string "edwards25519" (PKCS#11 v3.1 §6.3.5).
_CURVES: Final = {
    bytes.fromhex("06082a8648ce3d030107"): Algorithm.ECDSA_P256,
    bytes.fromhex("06032b6570"): Algorithm.ED25519,
    bytes.fromhex("130c") + b"edwards25519": Algorithm.ED25519,
}
_POINT_BYTES: Final = {Algorithm.ECDSA_P256: 65, Algorithm.ED25519: 32}
_MECHANISMS: Final = {
    Algorithm.ECDSA_P256: Mechanism.ECDSA,
    Algorithm.ED25519: Mechanism.EDDSA,
}
_OCTET_STRING: Final = 0x04
_HEADER_BYTES: Final = 2


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

    def __repr__(self) -> str:
        return f"Pkcs11Signer({self._where}, {self._public_key.key_id.hex()})"

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Have the token sign, and return the 64-byte raw signature.

        Raises:
            Pkcs11Error: The token was removed, refused, or gave a signature that does not verify.
        """
        algorithm = self._public_key.algorithm
        is_ecdsa = algorithm is Algorithm.ECDSA_P256
        with translated("a message cannot be signed", self._where):
            signature: bytes = self._private_key.sign(
                hashlib.sha256(message).digest() if is_ecdsa else message,
                mechanism=_MECHANISMS[algorithm],
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
        public_key = _parse_public_key(public_object, where)
        may_sign = bool(private_key[Attribute.SIGN])
        asks_each_time = _asks_each_time(private_key)
        mechanisms = token.slot.get_mechanisms()
    mechanism = _MECHANISMS[public_key.algorithm]
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


def _parse_public_key(public_object: Any, where: str) -> PublicKey:
    if public_object.key_type not in (KeyType.EC, KeyType.EC_EDWARDS):
        raise _unusable(public_object.key_type.name, where)
    params = bytes(public_object[Attribute.EC_PARAMS])
    algorithm = _CURVES.get(params)
    if algorithm is None:
        raise _unusable(f"a curve with parameters {params.hex()[:40]}", where)
    return parse_ec_point(bytes(public_object[Attribute.EC_POINT]), algorithm, where=where)


def parse_ec_point(untrusted_bytes: bytes, algorithm: Algorithm, *, where: str) -> PublicKey:
    """Read CKA_EC_POINT: the point in a DER octet string, or bare, as some tokens give it.

    Raises:
        Pkcs11Error: It is not a point of the curve.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    size_bytes = _POINT_BYTES[algorithm]
    point = untrusted_bytes
    if len(point) == size_bytes + _HEADER_BYTES and point[0] == _OCTET_STRING:
        point = point[_HEADER_BYTES:]
    try:
        if len(point) != size_bytes or len(untrusted_bytes) - size_bytes not in (0, _HEADER_BYTES):
            raise _unusable(f"a point of {len(untrusted_bytes)} bytes", where)
        if algorithm is Algorithm.ED25519:
            return public_key_of(Ed25519PublicKey.from_public_bytes(point), where=where)
        loaded = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except ValueError as error:
        raise _unusable("a point that is not on the curve", where) from error
    return public_key_of(loaded, where=where)


def _unusable(got: str, where: str) -> Pkcs11Error:
    return Pkcs11Error(
        "a key in the token is of a kind that is not used here",
        expected="P-256 or Ed25519",
        got=got,
        where=where,
        hint="make a P-256 key in the token (devices verify ECDSA P-256)",
    )
