"""The shape of our COSE messages: encoding, header rules, and the bytes that are signed.

Implements docs/spec/cose.md §4 and §5:

=============  ==============  ========================================================
message        tag, bytes      content
=============  ==============  ========================================================
`COSE_Sign1`   18, `d2`        `[protected, {}, payload, signature]`
`COSE_Sign`    98, `d8 62`     `[protected, {}, payload, [+[protected, {}, signature]]]`
=============  ==============  ========================================================

Protected headers are byte strings around deterministic CBOR: `{1: algorithm, 3: content type,
4: kid}` for COSE_Sign1; for COSE_Sign `{3: content type}` in the body and `{1: algorithm, 4: kid}`
in each signature, in rising order of kid. The unprotected headers are empty. The kid is the first
8 bytes of the key id.

Nothing that this module returns is verified: that is `signing.cose`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signing.algorithms import SIGNATURE_BYTES, Algorithm
from signing.canonical_cbor import parse_cbor, serialize_cbor, serialize_head
from signing.errors import CborError, CoseError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signing.keys import PublicKey

SIGN1_TAG: Final = bytes.fromhex("d2")
SIGN_TAG: Final = bytes.fromhex("d862")
KID_BYTES: Final = 8
MAX_MESSAGE_BYTES: Final = 65_536
MAX_SIGNATURES: Final = 16
MAX_CONTENT_TYPE_BYTES: Final = 120

ALGORITHM_IDS: Final[Mapping[Algorithm, int]] = {
    Algorithm.ECDSA_P256: -7,
    Algorithm.ED25519: -8,
    Algorithm.ECDSA_P384: -35,
    Algorithm.RSA_3072: -37,
}
"""ES256, EdDSA and ES384 of RFC 9053 §2, PS256 of RFC 8230 §2; docs/decisions/0010 says why not
RFC 9864's."""

_ALGORITHM, _CONTENT_TYPE, _KID = 1, 3, 4
_BYTE_STRING: Final = 2
_SIGNATURE1: Final = b"\x84\x6aSignature1"
"""How the list of four that begins with this text is written."""
_SIGNATURE_BYTES: Final = {
    number: SIGNATURE_BYTES[algorithm] for algorithm, number in ALGORITHM_IDS.items()
}
_MAX_HEADER_BYTES: Final = 256
_HINT: Final = "get the message again from its origin; it was changed or is of another kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoseSignature:
    """One signature of a message whose shape was checked; it is not verified.

    Attributes:
        protected: The protected header that belongs to this signature, encoded.
        algorithm_id: COSE algorithm number that the message claims.
        kid: First 8 bytes of the signer's key id, as the message claims.
        signature: As long as the algorithm's are; for a number that is none of ours, as one of
            them.
    """

    protected: bytes
    algorithm_id: int
    kid: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CoseMessage:
    """A message whose shape was checked; none of it is verified.

    Attributes:
        is_sign1: COSE_Sign1, else COSE_Sign.
        body_protected: The body's protected header, encoded.
        content_type: What the payload claims to be.
        payload: The bytes that the signatures are over.
        signatures: At least one; kids rise.
    """

    is_sign1: bool
    body_protected: bytes
    content_type: str
    payload: bytes
    signatures: tuple[CoseSignature, ...]


def parse_message(untrusted_bytes: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> CoseMessage:
    """Check the shape of a message; nothing in the result is verified.

    Raises:
        CoseError: It is neither COSE_Sign1 nor COSE_Sign in the one shape that we write.
    """
    is_sign1 = untrusted_bytes[:1] == SIGN1_TAG
    if not is_sign1 and untrusted_bytes[:2] != SIGN_TAG:
        raise CoseError(
            "bytes are not a signed message",
            expected="COSE_Sign1 (d2…) or COSE_Sign (d862…)",
            got=f"{untrusted_bytes[:2].hex() or 'nothing'}…",
            hint=_HINT,
        )
    tag_bytes = len(SIGN1_TAG if is_sign1 else SIGN_TAG)
    body = _parse(untrusted_bytes[tag_bytes:], max_bytes - tag_bytes, "message")
    match body:
        case [bytes(body_protected), {}, bytes(payload), last] if body[1] == {}:
            pass
        case _:
            raise _misshapen("body", "[protected, {}, payload, signatures]")
    if is_sign1:
        header = _known_sign1_header(body_protected)
        signatures: tuple[CoseSignature, ...] = (
            _signature(body_protected, header, last, "signature"),
        )
    else:
        header = _parse_header(body_protected, {_CONTENT_TYPE}, "body header")
        signatures = _parse_signatures(last)
    content_type = header[_CONTENT_TYPE]
    if not isinstance(content_type, str):
        raise _misshapen("content type", "text")
    return CoseMessage(
        is_sign1=is_sign1,
        body_protected=body_protected,
        content_type=content_type,
        payload=payload,
        signatures=signatures,
    )


def serialize_sign1(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    """Write a COSE_Sign1 message from its encoded header and its signature."""
    return SIGN1_TAG + serialize_cbor([protected, {}, payload, signature])


def serialize_sign1_header(content_type: str, key: PublicKey) -> bytes:
    """Write the protected header of a COSE_Sign1 message."""
    return serialize_cbor(
        {
            _ALGORITHM: ALGORITHM_IDS[key.algorithm],
            _CONTENT_TYPE: _checked_content_type(content_type),
            _KID: kid_of(key),
        }
    )


def serialize_body_header(content_type: str) -> bytes:
    """Write the protected header of a COSE_Sign message's body."""
    return serialize_cbor({_CONTENT_TYPE: _checked_content_type(content_type)})


def serialize_signature_header(key: PublicKey) -> bytes:
    """Write the protected header of one signature of a COSE_Sign message."""
    return serialize_cbor({_ALGORITHM: ALGORITHM_IDS[key.algorithm], _KID: kid_of(key)})


def serialize_sign(
    body_protected: bytes, payload: bytes, signatures: Sequence[CoseSignature]
) -> bytes:
    """Write a COSE_Sign message, signatures in rising order of kid.

    Raises:
        CoseError: No signature, too many, or one key twice.
    """
    ordered = sorted(signatures, key=lambda signature: signature.kid)
    _refuse_signature_list([signature.kid for signature in ordered])
    return SIGN_TAG + serialize_cbor(
        [
            body_protected,
            {},
            payload,
            [[signature.protected, {}, signature.signature] for signature in ordered],
        ]
    )


def _parse_signatures(value: object) -> tuple[CoseSignature, ...]:
    if not isinstance(value, list):
        raise _misshapen("signatures", "a list")
    signatures = []
    for index, entry in enumerate(value[: MAX_SIGNATURES + 1]):
        match entry:
            case [bytes(protected), dict(unprotected), signature] if not unprotected:
                where = f"header of signature {index}"
                header = _parse_header(protected, {_ALGORITHM, _KID}, where)
                signatures.append(_signature(protected, header, signature, f"signature {index}"))
            case _:
                raise _misshapen(f"signature {index}", "[protected, {}, signature]")
    _refuse_signature_list([signature.kid for signature in signatures])
    return tuple(signatures)


def _refuse_signature_list(kids: Sequence[bytes]) -> None:
    if not 1 <= len(kids) <= MAX_SIGNATURES:
        raise CoseError(
            "a message has the wrong number of signatures",
            expected=f"1 to {MAX_SIGNATURES}",
            got=len(kids) if len(kids) <= MAX_SIGNATURES else f"more than {MAX_SIGNATURES}",
        )
    for before, kid in pairwise(kids):
        if kid == before:
            raise CoseError(
                "one key signed a message twice",
                expected="each key once",
                where=f"kid {kid.hex()}",
                hint="have a different key holder sign; one key counts once",
            )
        if kid < before:
            raise _misshapen("order of the signatures", "rising kids")


def _signature(
    protected: bytes, header: Mapping[object, object], signature: object, where: str
) -> CoseSignature:
    algorithm_id, kid = header[_ALGORITHM], header[_KID]
    if not isinstance(algorithm_id, int) or isinstance(algorithm_id, bool):
        raise _misshapen(f"algorithm of {where}", "an integer")
    if not isinstance(kid, bytes) or len(kid) != KID_BYTES:
        raise _misshapen(f"kid of {where}", f"{KID_BYTES} bytes")
    # A number that is none of ours may be of a later reader's key: it is passed over, or refused
    # where its kid names one of our keys.
    known = _SIGNATURE_BYTES.get(algorithm_id)
    sizes = set(_SIGNATURE_BYTES.values()) if known is None else {known}
    if not isinstance(signature, bytes) or len(signature) not in sizes:
        raise _misshapen(where, f"{' or '.join(map(str, sorted(sizes)))} bytes")
    return CoseSignature(
        protected=protected, algorithm_id=algorithm_id, kid=kid, signature=signature
    )


@lru_cache(maxsize=4096)  # a device's header is the same in each of its messages
def _known_sign1_header(untrusted_bytes: bytes) -> Mapping[object, object]:
    return _parse_header(untrusted_bytes, {_ALGORITHM, _CONTENT_TYPE, _KID}, "header")


def _parse_header(untrusted_bytes: bytes, keys: set[int], where: str) -> Mapping[object, object]:
    header = _parse(untrusted_bytes, _MAX_HEADER_BYTES, where)
    if not isinstance(header, dict) or set(header) != keys:
        raise _misshapen(where, f"a map of exactly {sorted(keys)}")
    return MappingProxyType(header)


def _parse(untrusted_bytes: bytes, max_bytes: int, where: str) -> object:
    try:
        return parse_cbor(untrusted_bytes, max_bytes=max_bytes, max_depth=4)
    except CborError as error:
        raise CoseError(
            f"a signed message is not readable: {error.what}",
            expected=error.expected,
            got=error.got,
            where=where if error.where is None else f"{where}, {error.where}",
            hint=_HINT,
        ) from error


def kid_of(key: PublicKey) -> bytes:
    """Return the short name of a key in messages: the first 8 bytes of its key id."""
    return key.key_id[:KID_BYTES]


def sign1_structure(protected: bytes, payload: bytes, external_aad: bytes = b"") -> bytes:
    """Return the bytes that a COSE_Sign1 signature is over (RFC 9052 §4.4)."""
    # As `serialize_cbor(["Signature1", …])`: this is made for every report of every device.
    return b"".join(
        (
            _SIGNATURE1,
            serialize_head(_BYTE_STRING, len(protected)),
            protected,
            serialize_head(_BYTE_STRING, len(external_aad)),
            external_aad,
            serialize_head(_BYTE_STRING, len(payload)),
            payload,
        )
    )


def sign_structure(body_protected: bytes, protected: bytes, payload: bytes) -> bytes:
    """Return the bytes that one signature of COSE_Sign is over (RFC 9052 §4.4)."""
    return serialize_cbor(["Signature", body_protected, protected, b"", payload])


def refuse_content_type(message: CoseMessage, content_type: str) -> None:
    """Refuse a message of another kind than the one that is wanted.

    Raises:
        CoseError: The content type differs.
    """
    if message.content_type != content_type:
        raise CoseError(
            "a signed message is of another kind",
            expected=content_type,
            got=message.content_type,
            hint="give the file of that kind",
        )


def _checked_content_type(content_type: str) -> str:
    if not content_type.isascii() or not 1 <= len(content_type) <= MAX_CONTENT_TYPE_BYTES:
        raise CoseError(
            "a content type cannot be used",
            expected=f"1 to {MAX_CONTENT_TYPE_BYTES} ASCII characters",
            got=ascii(content_type[: MAX_CONTENT_TYPE_BYTES + 1]),
        )
    return content_type


def _misshapen(part: str, expected: str) -> CoseError:
    return CoseError(
        "a signed message has another shape than ours", expected=expected, where=part, hint=_HINT
    )
