"""Signing and verifying COSE_Sign1 and COSE_Sign messages (RFC 9052).

Implements docs/spec/cose.md §4 and §5; the shape of the messages is in `signing.cose_message`. The
algorithm is decided by the key; the message must repeat it.

Not here: who may sign what, which is `signing.trust`; encryption, counter signatures, detached
payloads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signing.cose_message import (
    ALGORITHM_IDS,
    MAX_MESSAGE_BYTES,
    CoseMessage,
    CoseSignature,
    kid_of,
    parse_message,
    refuse_content_type,
    serialize_body_header,
    serialize_sign,
    serialize_sign1,
    serialize_sign1_header,
    serialize_signature_header,
    sign1_structure,
    sign_structure,
)
from signing.errors import (
    AlgorithmError,
    CoseError,
    SignatureError,
    ThresholdError,
    UnknownKeyError,
)
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from signing.keys import PublicKey
    from signing.signers import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verified message says, and who signed it.

    Attributes:
        payload: The signed bytes.
        key_ids: Full key ids of the distinct keys whose signatures were verified.
    """

    payload: bytes
    key_ids: frozenset[bytes]


def sign_one(
    payload: bytes, signer: Signer, *, content_type: str, external_aad: bytes = b""
) -> bytes:
    """Sign a payload with one key as COSE_Sign1 (docs/spec/cose.md §4).

    Args:
        payload: The bytes to sign; they are carried in the message.
        signer: The private key.
        content_type: Media type of the payload, signed with it.
        external_aad: Bytes that both sides know and the message does not carry.

    Returns:
        The message, tag 18.
    """
    protected = serialize_sign1_header(content_type, signer.public_key)
    signature = signer.sign(sign1_structure(protected, payload, external_aad))
    return serialize_sign1(protected, payload, signature)


def sign_many(payload: bytes, signers: Sequence[Signer], *, content_type: str) -> bytes:
    """Sign a payload with several keys as COSE_Sign (docs/spec/cose.md §5).

    Args:
        payload: The bytes to sign; they are carried in the message.
        signers: One to sixteen private keys, each a different one.
        content_type: Media type of the payload, signed with it.

    Returns:
        The message, tag 98, signatures in rising order of kid.

    Raises:
        CoseError: No signer, too many, or one key twice.
    """
    body_protected = serialize_body_header(content_type)
    signatures = [_sign_body(body_protected, payload, signer) for signer in signers]
    return serialize_sign(body_protected, payload, signatures)


def add_signature(untrusted_bytes: bytes, signer: Signer, *, content_type: str) -> bytes:
    """Add one key's signature to a COSE_Sign message; the others are kept, not verified.

    Args:
        untrusted_bytes: The message so far. The signer must have judged its payload.
        signer: The private key.
        content_type: What the signer takes the payload for.

    Returns:
        The message with one signature more.

    Raises:
        CoseError: Not such a message, or the key has signed it already.
    """
    message = parse_message(untrusted_bytes)
    _refuse_kind(message, content_type, is_sign1=False)
    added = _sign_body(message.body_protected, message.payload, signer)
    return serialize_sign(message.body_protected, message.payload, [*message.signatures, added])


def verify_one(
    untrusted_bytes: bytes,
    keys: Iterable[PublicKey],
    *,
    content_type: str,
    max_bytes: int = MAX_MESSAGE_BYTES,
    external_aad: bytes = b"",
) -> Verified:
    """Verify a COSE_Sign1 message by one of several keys (docs/spec/cose.md §4).

    Args:
        untrusted_bytes: The message.
        keys: The keys that may have signed it.
        content_type: What the payload must say it is.
        max_bytes: Longest message that is looked at.
        external_aad: As given to `sign_one`.

    Raises:
        CoseError: Not a COSE_Sign1 message in our shape, or another content type.
        UnknownKeyError: None of the keys signed it.
        AlgorithmError: It names another algorithm than its key has.
        SignatureError: It was changed after signing.
    """
    message = parse_message(untrusted_bytes, max_bytes=max_bytes)
    _refuse_kind(message, content_type, is_sign1=True)
    key_ids = verify_signatures(message, keys, external_aad=external_aad)
    if not key_ids:
        raise _unknown_keys(message)
    return Verified(payload=message.payload, key_ids=key_ids)


def verify_many(
    untrusted_bytes: bytes,
    keys: Iterable[PublicKey],
    *,
    threshold: int,
    content_type: str,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> Verified:
    """Verify a COSE_Sign message by a number of distinct keys (docs/spec/cose.md §5).

    A signature that names none of the keys is not counted, so that a message may be signed for
    old and new keys at once. One that names a key and does not verify refuses the whole message.

    Args:
        untrusted_bytes: The message.
        keys: The keys that may have signed it; one given twice is one key.
        threshold: How many of them must have signed, at least 1.
        content_type: What the payload must say it is.
        max_bytes: Longest message that is looked at.

    Raises:
        CoseError: Not a COSE_Sign message in our shape, or another content type.
        UnknownKeyError: None of the keys signed it.
        ThresholdError: Too few of the keys signed it.
        AlgorithmError: It names another algorithm than one of its keys has.
        SignatureError: It was changed after signing.
    """
    if threshold < 1:
        raise ThresholdError("a threshold below one accepts anything", got=threshold)
    message = parse_message(untrusted_bytes, max_bytes=max_bytes)
    _refuse_kind(message, content_type, is_sign1=False)
    key_ids = verify_signatures(message, keys)
    if not key_ids:
        raise _unknown_keys(message)
    if len(key_ids) < threshold:
        raise ThresholdError(
            "too few keys signed a message",
            expected=f"{threshold} distinct keys",
            got=f"{len(key_ids)}: {', '.join(sorted(key.hex() for key in key_ids))}",
            hint="have another key holder sign it",
        )
    return Verified(payload=message.payload, key_ids=key_ids)


def verify_signatures(
    message: CoseMessage, keys: Iterable[PublicKey], *, external_aad: bytes = b""
) -> frozenset[bytes]:
    """Verify each signature that names one of the keys, and count distinct keys.

    Args:
        message: A message whose shape was checked.
        keys: The keys that count; one given twice is one key.
        external_aad: As given to `sign_one`.

    Returns:
        Full ids of the keys that signed, perhaps none.

    Raises:
        SignatureError: A signature names one of the keys and is not that key's.
    """
    by_kid: dict[bytes, dict[bytes, PublicKey]] = {}
    for key in keys:
        by_kid.setdefault(kid_of(key), {})[key.key_id] = key
    key_ids: set[bytes] = set()
    for signature in message.signatures:
        candidates = tuple(by_kid.get(signature.kid, {}).values())
        if candidates:
            structure = _structure_of(message, signature, external_aad)
            key_ids.add(_verify_by_one_of(candidates, signature, structure))
    return frozenset(key_ids)


def _structure_of(message: CoseMessage, signature: CoseSignature, external_aad: bytes) -> bytes:
    if message.is_sign1:
        return sign1_structure(message.body_protected, message.payload, external_aad)
    return sign_structure(message.body_protected, signature.protected, message.payload)


def _verify_by_one_of(
    candidates: Sequence[PublicKey], signature: CoseSignature, structure: bytes
) -> bytes:
    # The key decides the algorithm, never the message (RFC 9052 §8).
    matching = [key for key in candidates if ALGORITHM_IDS[key.algorithm] == signature.algorithm_id]
    if not matching:
        raise AlgorithmError(
            "a message names another algorithm than its key has",
            expected=" or ".join(f"{key.algorithm}" for key in candidates),
            got=f"COSE algorithm {signature.algorithm_id}",
            where=f"kid {signature.kid.hex()}",
            hint="get the message again from its origin",
        )
    for key in matching[:-1]:
        try:
            key.verify(structure, signature.signature)
        except SignatureError:
            continue
        return key.key_id
    matching[-1].verify(structure, signature.signature)
    return matching[-1].key_id


def _sign_body(body_protected: bytes, payload: bytes, signer: Signer) -> CoseSignature:
    key = signer.public_key
    protected = serialize_signature_header(key)
    return CoseSignature(
        protected=protected,
        algorithm_id=ALGORITHM_IDS[key.algorithm],
        kid=kid_of(key),
        signature=signer.sign(sign_structure(body_protected, protected, payload)),
    )


def _refuse_kind(message: CoseMessage, content_type: str, *, is_sign1: bool) -> None:
    if message.is_sign1 != is_sign1:
        names = {True: "COSE_Sign1", False: "COSE_Sign"}
        raise CoseError(
            "a message is signed in another form",
            expected=names[is_sign1],
            got=names[message.is_sign1],
            hint="get the message again from its origin; it is of another kind",
        )
    refuse_content_type(message, content_type)


def _unknown_keys(message: CoseMessage) -> UnknownKeyError:
    return UnknownKeyError(
        "a message is signed by no key that may sign it",
        got=", ".join(f"kid {signature.kid.hex()}" for signature in message.signatures),
        hint="sign it with a key of the role, or use the trust record that names the signer",
    )
