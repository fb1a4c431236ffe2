"""Public keys and their names.

A public key has exactly one encoding: SubjectPublicKeyInfo in DER (RFC 5280 §4.1), P-256 with the
named curve and an uncompressed point, or Ed25519 (RFC 8410). Its *key id* is the SHA-256 of those
bytes (docs/spec/cose.md §3). So one key has one id, and cannot be counted twice under two.

RSA of 3072 bits is for Secure Boot alone (docs/spec/secure-boot.md): every reader of keys refuses
it unless its caller asks for it, so that it cannot enter a message, certificate or trust record.

Not here: the files that keys live in (`signing.key_files`) and private keys (`signing.signers`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from signing.errors import KeyFileError, SignatureError
from signing.key_encryption import serialize_pem

KEY_FILE_MAX_BYTES: Final = 16_384
SIGNATURE_BYTES: Final = 64

RSA_EXPONENT: Final = 65537

_COORDINATE_BYTES: Final = 32
_RSA_BYTES: Final = 384
_RSA_SALT_BYTES: Final = 32
_RSA_EXPONENT: Final = b"\x02\x03\x01\x00\x01"
PEM_BEGIN: Final = b"-----BEGIN "
_HINT_PUBLIC: Final = "give a P-256 or Ed25519 public key, as PEM or DER SubjectPublicKeyInfo"


class Algorithm(StrEnum):
    """The signature algorithms that we write and read, by the names people type."""

    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"
    RSA_3072 = "rsa-3072"


MESSAGE_ALGORITHMS: Final = frozenset({Algorithm.ECDSA_P256, Algorithm.ED25519})
"""What signs messages, certificates and repository metadata."""

SECURE_BOOT_ALGORITHMS: Final = frozenset({Algorithm.ECDSA_P256, Algorithm.RSA_3072})
"""What signs images for the chip's own boot ROM."""


_KINDS: Final = {
    Algorithm.ECDSA_P256: "P-256",
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
        spki_der: SubjectPublicKeyInfo, 91 bytes for P-256, 44 for Ed25519 or 422 for RSA.
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

    @cached_property
    def key_id(self) -> bytes:
        """SHA-256 of `spki_der`, 32 bytes."""
        return hashlib.sha256(self.spki_der).digest()

    @property
    def raw(self) -> bytes:
        """The numbers of the key, big-endian: x and y, 32 bytes, or a modulus of 384 bytes."""
        prefix, _ = _SPKI_SHAPES[self.algorithm]
        end = -len(_RSA_EXPONENT) if self.algorithm is Algorithm.RSA_3072 else None
        return self.spki_der[len(prefix) : end]

    @property
    def signature_bytes(self) -> int:
        """How long this key's signatures are."""
        return _RSA_BYTES if self.algorithm is Algorithm.RSA_3072 else SIGNATURE_BYTES

    def pem(self) -> bytes:
        """Return the key as a PEM block."""
        return serialize_pem("PUBLIC KEY", self.spki_der)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if the signature is this key's over the message.

        Args:
            message: The signed bytes.
            signature: 64 bytes: r and s big-endian (RFC 9053 §2.1), or Ed25519 (RFC 8032); 384
                bytes: RSASSA-PSS with SHA-256 and 32 bytes of salt (RFC 8017 §8.1).

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
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256

        r = int.from_bytes(signature[:_COORDINATE_BYTES], "big")
        s = int.from_bytes(signature[_COORDINATE_BYTES:], "big")
        self._loaded.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))


def rsa_padding() -> tuple[Any, Any]:
    """Return the padding and the hash that RSA signs with here, as `cryptography` names them."""
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
    from cryptography.hazmat.primitives.hashes import SHA256

    return PSS(mgf=MGF1(SHA256()), salt_length=_RSA_SALT_BYTES), SHA256()


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
    if algorithm not in allowed:
        raise KeyFileError(
            "a key is of a kind that is not used here",
            expected=" or ".join(_KINDS[each] for each in Algorithm if each in allowed),
            got=_describe_kind(loaded),
            where=where,
            hint="make one with `ampforge key generate`",
        )
    assert algorithm is not None
    public: Any = loaded
    spki_der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(algorithm=algorithm, spki_der=spki_der)


def _algorithm_of(loaded: object) -> Algorithm | None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(loaded, EllipticCurvePublicKey) and isinstance(loaded.curve, SECP256R1):
        return Algorithm.ECDSA_P256
    if isinstance(loaded, Ed25519PublicKey):
        return Algorithm.ED25519
    if (
        isinstance(loaded, RSAPublicKey)
        and loaded.key_size == 8 * _RSA_BYTES
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
