"""Public keys and their names.

A public key has exactly one encoding: SubjectPublicKeyInfo in DER (RFC 5280 §4.1): P-256 or P-384
with the named curve and an uncompressed point, Ed25519 (RFC 8410), or RSA of 3072 bits with the
exponent 65537. Its *key id* is the SHA-256 of those bytes (docs/spec/cose.md §3). So one key has
one id, and cannot be counted twice under two.

Not here: the files that keys live in (`signing.key_files`), private keys (`signing.signers`), and
which algorithms a role may use (`signing.role_algorithms`).
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from typing import Any, Final

from signing.algorithms import (
    MESSAGE_ALGORITHMS,
    SECURE_BOOT_ALGORITHMS,
    SIGNATURE_BYTES,
    Algorithm,
    rsa_padding,
    signed_hash,
)
from signing.ecdsa_form import to_der
from signing.errors import KeyFileError, SignatureError
from signing.key_encryption import serialize_pem
from signing.value_class import dataclass

__all__ = [
    "KEY_FILE_MAX_BYTES",
    "MESSAGE_ALGORITHMS",
    "PEM_BEGIN",
    "RSA_EXPONENT",
    "SECURE_BOOT_ALGORITHMS",
    "Algorithm",
    "PublicKey",
    "parse_public_key",
    "public_key_from_raw",
    "public_key_of",
    "refuse_kind",
]

KEY_FILE_MAX_BYTES: Final = 16_384
RSA_EXPONENT: Final = 65537

_RSA_BITS: Final = 3072
_RSA_EXPONENT: Final = b"\x02\x03\x01\x00\x01"
PEM_BEGIN: Final = b"-----BEGIN "
_ED25519_PRIME: Final = 2**255 - 19
_ED25519_Y_BITS: Final = 2**255 - 1
_HINT_PUBLIC: Final = "give a public key, as PEM or DER SubjectPublicKeyInfo"


_KINDS: Final = {
    Algorithm.ECDSA_P256: "P-256",
    Algorithm.ECDSA_P384: "P-384",
    Algorithm.ED25519: "Ed25519",
    Algorithm.RSA_3072: "RSA-3072 with exponent 65537",
}
# The fixed bytes before the key itself, and the length of the whole (RFC 5480 §2, RFC 8410 §4,
# RFC 3279 §2.3.1 with a modulus of 3072 bits and the exponent 65537).
_SPKI_SHAPES: Final = {
    Algorithm.ECDSA_P256: (
        bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
        91,
    ),
    Algorithm.ECDSA_P384: (
        bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"),
        120,
    ),
    Algorithm.ED25519: (bytes.fromhex("302a300506032b6570032100"), 44),
    Algorithm.RSA_3072: (
        bytes.fromhex("308201a2300d06092a864886f70d01010105000382018f003082018a0282018100"),
        422,
    ),
}


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A public key in its one encoding.

    Attributes:
        algorithm: What it verifies.
        spki_der: SubjectPublicKeyInfo: 91 bytes for P-256, 120 for P-384, 44 for Ed25519, 422
            for RSA.
    """

    algorithm: Algorithm
    spki_der: bytes

    def __post_init__(self) -> None:
        prefix, size_bytes = _SPKI_SHAPES[self.algorithm]
        if len(self.spki_der) != size_bytes or not self.spki_der.startswith(prefix):
            raise KeyFileError(
                "a public key is not in its one encoding",
                expected=f"{size_bytes} bytes of {self.algorithm} SubjectPublicKeyInfo",
                got=f"{len(self.spki_der)} bytes, {self.spki_der[: len(prefix)].hex()}…",
                hint=_HINT_PUBLIC,
            )
        # RFC 8032 §5.1.3: y is below p. A larger one is another encoding of the same point, and
        # with it a second key id.
        y = int.from_bytes(self.spki_der[len(prefix) :], "little") & _ED25519_Y_BITS
        if self.algorithm is Algorithm.ED25519 and y >= _ED25519_PRIME:
            raise KeyFileError(
                "a public key is not in its one encoding",
                expected="an Ed25519 point whose y is below 2^255-19",
                got=self.raw.hex(),
                hint=_HINT_PUBLIC,
            )

    @cached_property
    def key_id(self) -> bytes:
        """SHA-256 of `spki_der`, 32 bytes."""
        return hashlib.sha256(self.spki_der).digest()

    @property
    def raw(self) -> bytes:
        """The numbers of the key, big-endian: x and y, or what Ed25519 has, or the modulus."""
        prefix, _ = _SPKI_SHAPES[self.algorithm]
        end = -len(_RSA_EXPONENT) if self.algorithm is Algorithm.RSA_3072 else None
        return self.spki_der[len(prefix) : end]

    @property
    def signature_bytes(self) -> int:
        """How long this key's signatures are."""
        return SIGNATURE_BYTES[self.algorithm]

    def pem(self) -> bytes:
        """Return the key as a PEM block."""
        return serialize_pem("PUBLIC KEY", self.spki_der)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if the signature is this key's over the message.

        Args:
            message: The signed bytes.
            signature: ECDSA's r and s, big-endian (RFC 9053 §2.1), Ed25519's 64 bytes (RFC 8032),
                or RSASSA-PSS with SHA-256 and 32 bytes of salt (RFC 8017 §8.1).

        Raises:
            SignatureError: It is not.
        """
        from cryptography.exceptions import InvalidSignature

        if len(signature) != self.signature_bytes:
            raise SignatureError(
                "a signature has the wrong length",
                expected=f"{self.signature_bytes} bytes",
                got=f"{len(signature)} bytes",
                where=f"key {self.key_id.hex()}",
            )
        try:
            self._verify(message, signature)
        except InvalidSignature as error:
            raise SignatureError(
                "a signature does not match the signed bytes",
                where=f"key {self.key_id.hex()}",
                hint="the content or the signature was changed after signing: get it again",
            ) from error

    @cached_property
    def _loaded(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        return load_der_public_key(self.spki_der)

    def _verify(self, message: bytes, signature: bytes) -> None:
        if self.algorithm is Algorithm.ED25519:
            self._loaded.verify(signature, message)
            return
        if self.algorithm is Algorithm.RSA_3072:
            pss, sha256 = rsa_padding()
            self._loaded.verify(signature, message, pss, sha256)
            return
        self._loaded.verify(to_der(signature), message, _ecdsa(self.algorithm))


@cache
def _ecdsa(algorithm: Algorithm) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA(signed_hash(algorithm))


def public_key_from_raw(algorithm: Algorithm, raw: bytes, *, where: str) -> PublicKey:
    """Return the key of the numbers that `PublicKey.raw` gives.

    Raises:
        KeyFileError: There is no such key, for example because the point is not on the curve.
    """
    prefix, _ = _SPKI_SHAPES[algorithm]
    suffix = _RSA_EXPONENT if algorithm is Algorithm.RSA_3072 else b""
    return parse_public_key(prefix + raw + suffix, where=where, allowed=frozenset({algorithm}))


def parse_public_key(
    untrusted_bytes: bytes, *, where: str, allowed: frozenset[Algorithm] = MESSAGE_ALGORITHMS
) -> PublicKey:
    """Read a public key.

    Args:
        untrusted_bytes: PEM or DER SubjectPublicKeyInfo; text before a PEM block is skipped.
        where: The file or field, for the error.
        allowed: Which algorithms the key may have.

    Raises:
        KeyFileError: It is not a public key of such an algorithm.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if len(untrusted_bytes) > KEY_FILE_MAX_BYTES:
        raise KeyFileError(
            "a public key is too long",
            expected=f"at most {KEY_FILE_MAX_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
            hint=_HINT_PUBLIC,
        )
    if b"PRIVATE KEY-----" in untrusted_bytes:
        raise KeyFileError(
            "this is a private key, and a public key is wanted",
            where=where,
            hint="give the file that ends in .pub.pem, and keep the private one to yourself",
        )
    try:
        if PEM_BEGIN in untrusted_bytes:
            block = untrusted_bytes[untrusted_bytes.index(PEM_BEGIN) :]
            loaded: object = serialization.load_pem_public_key(block)
        else:
            loaded = serialization.load_der_public_key(untrusted_bytes)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            "a public key cannot be read",
            expected="one whole PEM block, or the DER alone",
            got=f"{len(untrusted_bytes)} bytes of another kind",
            where=where,
            hint=_HINT_PUBLIC,
        ) from error
    return public_key_of(loaded, where=where, allowed=allowed)


def public_key_of(
    loaded: object, *, where: str, allowed: frozenset[Algorithm] = MESSAGE_ALGORITHMS
) -> PublicKey:
    """Return a public key object of `cryptography` as ours.

    Raises:
        KeyFileError: It is of an algorithm, or on a curve, that we do not use.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    algorithm = _algorithm_of(loaded)
    if algorithm is None:
        raise _unused_kind(_describe_kind(loaded), allowed, where)
    refuse_kind(algorithm, allowed, where=where)
    public: Any = loaded
    spki_der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key = PublicKey(algorithm=algorithm, spki_der=spki_der)
    vars(key)["_loaded"] = loaded  # reading the encoding again costs half of a verification
    return key


def refuse_kind(algorithm: Algorithm, allowed: frozenset[Algorithm], *, where: str) -> None:
    """Refuse a key whose algorithm is not among those that are used in a place.

    Raises:
        KeyFileError: It is not.
    """
    if algorithm not in allowed:
        raise _unused_kind(_KINDS[algorithm], allowed, where)


def _unused_kind(got: str, allowed: frozenset[Algorithm], where: str) -> KeyFileError:
    return KeyFileError(
        "a key is of a kind that is not used here",
        expected=" or ".join(_KINDS[each] for each in Algorithm if each in allowed),
        got=got,
        where=where,
        hint="make one with `ampforge key generate`",
    )


def _algorithm_of(loaded: object) -> Algorithm | None:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        SECP256R1,
        SECP384R1,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(loaded, EllipticCurvePublicKey):
        if isinstance(loaded.curve, SECP256R1):
            return Algorithm.ECDSA_P256
        return Algorithm.ECDSA_P384 if isinstance(loaded.curve, SECP384R1) else None
    if isinstance(loaded, Ed25519PublicKey):
        return Algorithm.ED25519
    if (
        isinstance(loaded, RSAPublicKey)
        and loaded.key_size == _RSA_BITS
        and loaded.public_numbers().e == RSA_EXPONENT
    ):
        return Algorithm.RSA_3072
    return None


def _describe_kind(loaded: object) -> str:
    curve = getattr(getattr(loaded, "curve", None), "name", None)
    size_bits = getattr(loaded, "key_size", None)
    if curve is None and size_bits is not None:
        return f"{type(loaded).__name__} of {size_bits} bits"
    return curve or type(loaded).__name__
