"""Digests as SUIT names them: `[algorithm, bytes]`, over the encoded byte string around a thing.

draft-ietf-suit-manifest-37: the digest of the manifest, and of a severable member, is over the CBOR
byte string that wraps it, head included; that of an image is over the image.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from manifests.errors import SuitError
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError

SHA_256: Final = -16
_HASHES: Final = {SHA_256: "sha256", -43: "sha384", -44: "sha512"}
DIGEST_ENCODED_MAX_BYTES: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitDigest:
    """A digest.

    Attributes:
        algorithm_id: COSE's number of the hash.
        value: As long as that hash's.
    """

    algorithm_id: int
    value: bytes

    def is_of(self, wrapped: bytes) -> bool:
        """Whether it is the digest of the byte string around these bytes."""
        hasher = hashlib.new(_HASHES[self.algorithm_id], serialize_cbor(wrapped))
        return hasher.digest() == self.value

    def to_cbor(self) -> list[object]:
        """The array that is encoded."""
        return [self.algorithm_id, self.value]


def digest_of(wrapped: bytes) -> SuitDigest:
    """Return the SHA-256 of the byte string around these bytes."""
    return SuitDigest(algorithm_id=SHA_256, value=hashlib.sha256(serialize_cbor(wrapped)).digest())


def read_digest(value: object, *, where: str) -> SuitDigest:
    """Return a decoded digest.

    Raises:
        SuitError: It is no pair of a known algorithm and as many bytes as it has.
    """
    match value:
        case [int(algorithm_id), bytes(digest)] if (
            algorithm_id in _HASHES
            and len(digest) == hashlib.new(_HASHES[algorithm_id]).digest_size
        ):
            return SuitDigest(algorithm_id=int(algorithm_id), value=digest)
    raise SuitError(
        "a digest in a SUIT envelope is not readable",
        expected=f"[algorithm, bytes] with {', '.join(map(str, _HASHES))} as algorithm",
        got=repr(value)[:80],
        where=where,
    )


def parse_digest(untrusted_bytes: bytes, *, where: str) -> SuitDigest:
    """Return an encoded digest.

    Raises:
        SuitError: It is not one.
    """
    try:
        value = parse_cbor(untrusted_bytes, max_bytes=DIGEST_ENCODED_MAX_BYTES)
    except CborError as error:
        raise SuitError(
            "a digest in a SUIT envelope is not readable", got=error, where=where
        ) from error
    return read_digest(value, where=where)
