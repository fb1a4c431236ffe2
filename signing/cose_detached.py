"""COSE_Sign1 over bytes that lie beside the message, as other formats carry it (RFC 9052 §4.2).

The message is `18([protected, unprotected, null, signature])`: its payload is nil, and both sides
know the signed bytes. Ours has `{1: algorithm, 4: kid}` as protected header and nothing
unprotected. From others a kid may be missing, or stand in the unprotected header: it is a hint, and
the key decides the algorithm. Any other header is refused, `crit` among them.

Implements docs/spec/suit-export.md §3; our own messages carry their payload (`signing.cose`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose_message import ALGORITHM_IDS, SIGN1_TAG, kid_of, sign1_structure
from signing.errors import AlgorithmError, CborError, CoseError, SignatureError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signing.keys import PublicKey
    from signing.signers import Signer

DETACHED_MAX_BYTES: Final = 2048
KID_MAX_BYTES: Final = 64
_ALGORITHM, _KID = 1, 4
_HINT: Final = "get the file again from its origin; it was changed or is of another kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedSignature:
    """A signature whose shape was checked; it is not verified.

    Attributes:
        protected: The protected header, encoded.
        unprotected_kid: The key that the unprotected header names; empty if none.
        algorithm_id: COSE algorithm number that the message claims.
        kid: The key that it names, in either header; empty if none.
        signature: The bytes.
    """

    protected: bytes
    unprotected_kid: bytes
    algorithm_id: int
    kid: bytes
    signature: bytes


def sign_detached(payload: bytes, signer: Signer) -> bytes:
    """Sign bytes that the message will not carry.

    Args:
        payload: The bytes.
        signer: The private key.
    """
    key = signer.public_key
    protected = serialize_cbor({_ALGORITHM: ALGORITHM_IDS[key.algorithm], _KID: kid_of(key)})
    signature = signer.sign(sign1_structure(protected, payload))
    return SIGN1_TAG + serialize_cbor([protected, {}, None, signature])


def parse_detached(untrusted_bytes: bytes, *, where: str) -> DetachedSignature:
    """Check the shape of a detached signature; nothing in the result is verified.

    Raises:
        CoseError: It is no COSE_Sign1 without payload, or has a header that is not known here.
    """
    if untrusted_bytes[:1] != SIGN1_TAG:
        raise _misshapen("tag 18 (d2…)", f"{untrusted_bytes[:1].hex() or 'nothing'}…", where)
    try:
        match parse_cbor(untrusted_bytes[1:], max_bytes=DETACHED_MAX_BYTES):
            case [bytes(protected), dict(unprotected), None, bytes(signature)]:
                header = parse_cbor(protected, max_bytes=DETACHED_MAX_BYTES)
            case _:
                raise _misshapen("[protected, unprotected, nil, signature]", "another", where)
    except CborError as error:
        raise _misshapen("deterministic CBOR", str(error), where) from error
    if not isinstance(header, dict) or not header.keys() <= {_ALGORITHM, _KID}:
        raise _misshapen("algorithm and kid as protected headers", "others", where)
    if not unprotected.keys() <= {_KID} or (_KID in unprotected and _KID in header):
        raise _misshapen("at most a kid as unprotected header, once", "another", where)
    algorithm_id = header.get(_ALGORITHM)
    kids = [headers[_KID] for headers in (header, unprotected) if _KID in headers]
    if not isinstance(algorithm_id, int) or isinstance(algorithm_id, bool):
        raise _misshapen("an algorithm number", repr(algorithm_id)[:40], where)
    kid = kids[0] if kids else b""
    if not isinstance(kid, bytes) or (kids and not 1 <= len(kid) <= KID_MAX_BYTES):
        raise _misshapen(f"a kid of 1 to {KID_MAX_BYTES} bytes", repr(kid)[:40], where)
    return DetachedSignature(
        protected=protected,
        unprotected_kid=kid if _KID in unprotected else b"",
        algorithm_id=algorithm_id,
        kid=kid,
        signature=signature,
    )


def serialize_detached(signature: DetachedSignature) -> bytes:
    """Write a detached signature again; for `parse_detached`'s the same bytes."""
    unprotected = {_KID: signature.unprotected_kid} if signature.unprotected_kid else {}
    return SIGN1_TAG + serialize_cbor([signature.protected, unprotected, None, signature.signature])


def verify_detached(
    signature: DetachedSignature, payload: bytes, keys: Iterable[PublicKey]
) -> bytes | None:
    """Return the id of the key that signed, or `None` if none of the keys did.

    A signature that names one of the keys and is not that key's is refused: it was changed.

    Args:
        signature: The signature.
        payload: What it must be over.
        keys: The keys that count.

    Raises:
        AlgorithmError: The key that it names has another algorithm.
        SignatureError: It is not the signature of the key that it names.
    """
    structure = sign1_structure(signature.protected, payload)
    known = tuple(keys)
    for key in known:
        if signature.kid == kid_of(key):
            if ALGORITHM_IDS[key.algorithm] != signature.algorithm_id:
                raise AlgorithmError(
                    "a signature names another algorithm than its key has",
                    expected=f"{key.algorithm} ({ALGORITHM_IDS[key.algorithm]})",
                    got=signature.algorithm_id,
                    where=f"key {key.key_id.hex()}",
                    hint=_HINT,
                )
            key.verify(structure, signature.signature)
            return key.key_id
    for key in known:
        if ALGORITHM_IDS[key.algorithm] == signature.algorithm_id:
            try:
                key.verify(structure, signature.signature)
            except SignatureError:
                continue  # it names no key of ours: another one of them may have signed
            return key.key_id
    return None


def _misshapen(expected: str, got: str, where: str) -> CoseError:
    return CoseError(
        "a detached signature is not readable",
        expected=expected,
        got=got[:200],
        where=where,
        hint=_HINT,
    )
