"""The public key object of a token, as one of our public keys.

Implements docs/spec/trust.md §10.6. What a token says of a key is not trusted further than that the
signatures verify with it, which `signing.pkcs11_signer` tries each time.
"""

from __future__ import annotations

from typing import Any, Final

from pkcs11 import Attribute, KeyType

from signing.algorithms import Algorithm
from signing.errors import KeyFileError, Pkcs11Error
from signing.keys import RSA_EXPONENT, PublicKey, public_key_from_raw, public_key_of

# CKA_EC_PARAMS: the named curve's object identifier (RFC 5480 §2.1.1.1, RFC 8410 §3), or for
# Ed25519 the printable string "edwards25519" (PKCS#11 v3.1 §6.3.5).
_CURVES: Final = {
    bytes.fromhex("06082a8648ce3d030107"): Algorithm.ECDSA_P256,
    bytes.fromhex("06052b81040022"): Algorithm.ECDSA_P384,
    bytes.fromhex("06032b6570"): Algorithm.ED25519,
    bytes.fromhex("130c") + b"edwards25519": Algorithm.ED25519,
}
_POINT_BYTES: Final = {
    Algorithm.ECDSA_P256: 65,
    Algorithm.ECDSA_P384: 97,
    Algorithm.ED25519: 32,
}
_OCTET_STRING: Final = 0x04
_HEADER_BYTES: Final = 2
_MODULUS_BYTES: Final = 384


def read_public_key(public_object: Any, *, where: str) -> PublicKey:
    """Return the key of a public key object of `pkcs11`.

    Raises:
        Pkcs11Error: It is of a kind that is not used here, or no key.
    """
    if public_object.key_type is KeyType.RSA:
        return parse_rsa_numbers(
            bytes(public_object[Attribute.MODULUS]),
            bytes(public_object[Attribute.PUBLIC_EXPONENT]),
            where=where,
        )
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
    from cryptography.hazmat.primitives.asymmetric import ec
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
        curve = ec.SECP384R1() if algorithm is Algorithm.ECDSA_P384 else ec.SECP256R1()
        loaded = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    except ValueError as error:
        raise _unusable("a point that is not on the curve", where) from error
    return public_key_of(loaded, where=where)


def parse_rsa_numbers(modulus: bytes, exponent: bytes, *, where: str) -> PublicKey:
    """Read CKA_MODULUS and CKA_PUBLIC_EXPONENT, big-endian; zeros may stand in front.

    Raises:
        Pkcs11Error: It is not an RSA key of 3072 bits with the exponent 65537.
    """
    size_bits = int.from_bytes(modulus, "big").bit_length()
    if size_bits != 8 * _MODULUS_BYTES or int.from_bytes(exponent, "big") != RSA_EXPONENT:
        raise _unusable(f"RSA of {size_bits} bits, exponent {exponent.hex()[:16]}", where)
    raw = modulus[-_MODULUS_BYTES:]
    try:
        return public_key_from_raw(Algorithm.RSA_3072, raw, where=where)
    except KeyFileError as error:
        raise _unusable("numbers that are no RSA key", where) from error


def _unusable(got: str, where: str) -> Pkcs11Error:
    return Pkcs11Error(
        "a key in the token is of a kind that is not used here",
        expected="P-256, P-384, Ed25519, or RSA-3072 with exponent 65537",
        got=got,
        where=where,
        hint="make a P-256 key in the token: every board verifies ECDSA P-256",
    )
